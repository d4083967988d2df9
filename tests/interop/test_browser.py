"""In a browser: the official web viewer shows a segment of our server, and pages can read why a call failed."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

rr = pytest.importorskip("rerun")
numpy = pytest.importorskip("numpy")
from browser import Browser  # noqa: E402
from rerun.catalog import CatalogClient  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "recordings" / "demo"
COLOURS = json.loads((DEMO / "colours.json").read_text())


def pixels_of_colours(image: numpy.ndarray) -> dict[str, int]:
    return {
        f"{camera} {colour}": int(
            (abs(image - numpy.array(colour)).max(axis=2) <= COLOURS["tolerance"]).sum()
        )
        for camera, colours in COLOURS["cameras"].items()
        for colour in colours
    }


@contextlib.contextmanager
def web_viewer(url: str, log: Path) -> Iterator[str]:
    """The official web viewer, served for one recording or catalog; gives the page's address."""
    with log.open("w") as output:
        process = subprocess.Popen(
            [
                str(Path(sys.executable).parent / "rerun"),
                "--serve-web",
                "--bind",
                "127.0.0.1",
                "--port",
                "0",
                "--web-viewer-port",
                "0",
                url,
            ],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "RERUN_ANALYTICS": "0", "NO_COLOR": "1", "BROWSER": "true"},
        )
    try:
        deadline = time.monotonic() + 30
        while True:
            found = re.search(r"https?://[^\s\"]*\?url=[^\s\"]+", log.read_text())
            if found:
                break
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield found.group(0).rstrip(".,)")
    finally:
        process.terminate()
        process.wait(20)


def colours_shown(url: str, folder: Path, timeout_s: float) -> tuple[bool, dict[str, int]]:
    """Whether a picture has them all within the time, and what the last one has."""
    folder.mkdir(exist_ok=True)
    with web_viewer(url, folder / "viewer.log") as page, Browser(folder) as browser:
        browser.open(page)
        deadline = time.monotonic() + timeout_s
        while True:
            counts = pixels_of_colours(browser.screenshot())
            shown = all(count >= COLOURS["pixels_min"] for count in counts.values())
            if shown or time.monotonic() > deadline:
                return shown, counts
            time.sleep(0.5)


def picture() -> numpy.ndarray:
    """Fields of the demo's colours."""
    colours = [colour for pair in COLOURS["cameras"].values() for colour in pair]
    return numpy.repeat(numpy.array([colours], numpy.uint8), 40, axis=0).repeat(40, axis=1)


def shows_the_colours(url: str, folder: Path) -> tuple[bool, dict[str, int]]:
    """Two attempts, since software draws slowly when the machine has other work."""
    for attempt in range(2):
        shown, counts = colours_shown(url, folder / str(attempt), timeout_s=90)
        if shown:
            break
    assert len(counts) == 4
    return shown, counts


def test_the_web_viewer_shows_a_segment(serve, tmp_path: Path) -> None:
    server = serve()
    path = tmp_path / "picture.rrd"
    with rr.RecordingStream("rushes_test", recording_id="picture") as recording:
        recording.save(path)
        recording.set_time("frame_nr", sequence=0)
        recording.log("/picture", rr.Image(picture()))
    dataset = CatalogClient(server.url).create_dataset("pictures")
    dataset.register([path.as_uri()]).wait()
    shown, counts = shows_the_colours(dataset.segment_url("picture"), tmp_path)
    assert shown, counts


def test_the_web_viewer_shows_live_messages(serve, tmp_path: Path) -> None:
    """Logged before the viewer came."""
    server = serve()
    recording = rr.RecordingStream("live_app", recording_id="live")
    recording.connect_grpc(f"{server.url}/proxy")
    recording.log("/picture", rr.Image(picture()), static=True)
    recording.flush(timeout_sec=30)
    shown, counts = shows_the_colours(f"{server.url}/proxy", tmp_path)
    recording.disconnect()
    assert shown, counts


def test_the_check_can_fail(serve, tmp_path: Path) -> None:
    """A catalog without that segment."""
    server = serve()
    shown, counts = colours_shown(server.url, tmp_path, timeout_s=5)
    assert not shown, counts


class Quiet(http.server.BaseHTTPRequestHandler):
    """A page of another origin."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.end_headers()
        self.wfile.write(b"<title>elsewhere</title>")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def elsewhere() -> Iterator[int]:
    """The port of a web server that is not ours."""
    pages = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    thread = threading.Thread(target=pages.serve_forever)
    thread.start()
    yield pages.server_address[1]
    pages.shutdown()
    thread.join()


CALL = """
(async () => {
  const answer = await fetch("%s", {
    method: "POST",
    headers: {"content-type": "application/grpc-web+proto", "x-grpc-web": "1", "grpc-timeout": "5S",
              "x-rerun-client-version": "page/1", %s},
    body: new Uint8Array([0, 0, 0, 0, 0]),
  });
  const bytes = new Uint8Array(await answer.arrayBuffer());
  let trailers = "";
  for (let at = 0; at + 5 <= bytes.length;) {
    const size = new DataView(bytes.buffer).getUint32(at + 1);
    if (bytes[at] & 0x80) trailers = new TextDecoder().decode(bytes.slice(at + 5, at + 5 + size));
    at += 5 + size;
  }
  return {http: answer.status, status: answer.headers.get("grpc-status"), message: answer.headers.get("grpc-message"),
          trace: answer.headers.get("x-request-trace-id"), trailers};
})().catch(error => ({error: String(error)}))
"""


def test_a_page_of_another_origin_reads_the_error(serve, tmp_path: Path, elsewhere: int) -> None:
    server = serve()
    base = f"http://127.0.0.1:{server.port}/rerun.cloud.v1alpha1.RerunCloudService"
    unknown = "0123456789ABCDEF0123456789abcdef"
    with Browser(tmp_path) as browser:
        browser.open(f"http://localhost:{elsewhere}/")
        while browser.evaluate("document.title") != "elsewhere":
            time.sleep(0.05)
        failed = browser.evaluate(
            CALL % (f"{base}/ReadDatasetEntry", f'"x-rerun-entry-id": "{unknown}"')
        )
        assert failed["http"] == 200, failed
        assert failed["status"] == "5", failed
        assert unknown.lower() in failed["message"].lower(), failed
        assert len(failed["trace"]) == 32, failed
        assert "grpc-status:5\r\ngrpc-message:" in failed["trailers"], failed
        good = browser.evaluate(CALL % (f"{base}/FindEntries", ""))
        assert good["trailers"].startswith("grpc-status:0\r\n"), good
        # What is no call at all is readable as well.
        absent = browser.evaluate(CALL % (f"http://127.0.0.1:{server.port}/no/such/path", ""))
        assert "grpc-status:12" in absent["trailers"], absent
        # A page that may not call cannot: a frame without an origin.
        refused = browser.evaluate(
            "new Promise(done => { const frame = document.createElement('iframe'); frame.sandbox = 'allow-scripts';"
            'window.onmessage = event => done(event.data); frame.srcdoc = \'<script>fetch("%s/FindEntries", {method: "POST"})'
            '.then(() => parent.postMessage("read", "*"), () => parent.postMessage("refused", "*"))</script>\';'
            "document.body.append(frame); })".replace("%s", base)
        )
        assert refused == "refused"

"""No symbol may bind across the two worlds: Arrow's libraries from the wheel, gRPC and friends from Debian.

libarrow_compute exports re2 and libparquet exports all of OpenSSL. Where such a name meets Debian's own in one link scope,
regular expressions give wrong answers and TLS crashes. The dynamic linker itself is asked what it bound to what.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "release"
EXECUTABLE = BUILD / "bin" / "rushes"

# binding file /a/libx.so [0] to /b/liby.so [0]: normal symbol `name' [VERSION]
BINDING = re.compile(r"binding file (\S+) \[\d+\] to (\S+) \[\d+\]: \w+ symbol `([^']+)'")
ARROW_SIDE = re.compile(r"lib(arrow\w*|parquet)(-\w+)?\.so")
DEBIAN_SIDE = re.compile(
    r"lib(crypto|ssl|re2|grpc|gpr|protobuf|absl|cares|upb|address_sorting)[\w+-]*\.so"
)
# Names of the libraries that executables carry inside; none may be taken from or offered to Arrow's libraries.
CARRIED_SYMBOL = re.compile(
    r"3re2|4grpc|4absl|6google8protobuf|^(SSL|TLS|EVP|CRYPTO|BIO|X509|RSA|EC|BN|ASN1|OPENSSL|ERR|PEM|grpc|gpr|upb|ares)_"
)
# The scope of a regular-expression kernel is the wheel's re2; that it stays there is the point.


def bindings(output: str) -> list[tuple[str, str, str]]:
    """(from file, to file, symbol) of every line of the dynamic linker's report."""
    return [(m[1], m[2], m[3]) for m in BINDING.finditer(output)]


def crossings(found: list[tuple[str, str, str]]) -> list[str]:
    """The bindings that join the two worlds."""
    bad = []
    for source, target, symbol in found:
        names = Path(source).name, Path(target).name
        for one, other in (names, names[::-1]):
            if ARROW_SIDE.match(one) and DEBIAN_SIDE.match(other):
                bad.append(f"{source} -> {target}: {symbol}")
                break
            if (
                ARROW_SIDE.match(one)
                and not ARROW_SIDE.match(other)
                and CARRIED_SYMBOL.search(symbol)
            ):
                bad.append(f"{source} -> {target}: {symbol}")
                break
    return bad


def report(command: list[str], tmp_path: Path, **env: str) -> list[tuple[str, str, str]]:
    """Runs a command under LD_DEBUG=bindings and returns what was bound, children included."""
    run = subprocess.run(
        command,
        env={
            **os.environ,
            "LD_BIND_NOW": "1",
            "LD_DEBUG": "bindings",
            "LD_DEBUG_OUTPUT": str(tmp_path / "ld"),
            **env,
        },
        capture_output=True,
        text=True,
        timeout=240,
        cwd=tmp_path,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    found = []
    for log in tmp_path.glob("ld.*"):
        found += bindings(log.read_text(errors="replace"))
    return found


def needed(path: Path) -> set[str]:
    output = subprocess.run(
        ["readelf", "-d", str(path)], check=True, capture_output=True, text=True
    ).stdout
    return set(re.findall(r"\(NEEDED\).*\[(.+)\]", output))


def module_path() -> Path:
    (path,) = (BUILD / "python").glob("_core*.so")
    return path


@pytest.mark.parametrize(
    ("source", "target", "symbol"),
    [
        ("/u/libcrypto.so.3", "/p/libparquet.so.2600", "EVP_CIPHER_CTX_new"),
        ("/p/libarrow_compute.so.2600", "/u/libre2.so.9", "_ZN3re23RE2C1EPKc"),
        ("/u/libgrpc.so.29", "/p/libparquet.so.2600", "SSL_new"),
        ("/p/libarrow_compute.so.2600", "build/bin/rushes", "_ZN3re23RE2C1EPKc"),
        ("build/bin/rushes", "/p/libparquet.so.2600", "SSL_new"),
    ],
)
def test_the_check_knows_a_crossing(source: str, target: str, symbol: str) -> None:
    line = f"      9:\tbinding file {source} [0] to {target} [0]: normal symbol `{symbol}' [V]\n"
    assert crossings(bindings(line)), line


def test_the_check_lets_honest_bindings_pass() -> None:
    lines = [
        "binding file /p/libarrow.so.2600 [0] to /lib/libstdc++.so.6 [0]: normal symbol `_ZSt4cout'",
        "binding file /p/libarrow_compute.so.2600 [0] to /p/libarrow.so.2600 [0]: normal symbol `x'",
        "binding file /p/libparquet.so.2600 [0] to /p/libparquet.so.2600 [0]: normal symbol `SSL_new'",
        "binding file /u/libgrpc.so.29 [0] to /u/libssl.so.3 [0]: normal symbol `SSL_new'",
    ]
    assert crossings(bindings("\n".join(lines))) == []


def test_executable(tmp_path: Path) -> None:
    found = report([str(EXECUTABLE), "--version"], tmp_path)
    assert any(ARROW_SIDE.match(Path(target).name) for _, target, _ in found)
    assert crossings(found) == []


def test_executable_takes_only_arrow_and_the_c_library() -> None:
    system = re.compile(
        r"^(libc|libm|libstdc\+\+|libgcc_s|libpthread|libdl|librt|ld-linux-x86-64)\.so"
    )
    foreign = [n for n in needed(EXECUTABLE) if not system.match(n) and not ARROW_SIDE.match(n)]
    assert foreign == []


def test_module_takes_libarrow_alone_of_arrow() -> None:
    assert {n for n in needed(module_path()) if ARROW_SIDE.match(n)} == {"libarrow.so.2600"}


def test_module_exports_only_its_entry_point() -> None:
    output = subprocess.run(
        ["nm", "-D", "--defined-only", "--extern-only", str(module_path())],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    # Templates of the standard library and Arrow that every user instantiates are weak; ours must not show.
    strong = [
        line.split()[-1]
        for line in output.splitlines()
        if line.split()[-2] in "TDBR" and not line.split()[-1].startswith("_Z")
    ]
    assert strong == ["PyInit__core"]
    assert not re.search(r"_Z\w*(6google8protobuf|4grpc)\w*", output) or all(
        line.split()[-2] in "WVwvu" for line in output.splitlines() if "8protobuf" in line
    )


@pytest.mark.parametrize("first", ["rushes", "pyarrow"])
def test_module(tmp_path: Path, first: str) -> None:
    """Before and after everything else that a data process loads; with regular expressions and Parquet at work."""
    imports = [
        "rushes, rushes.catalog, rushes.server",
        "pyarrow, pyarrow.compute as pc, pyarrow.parquet as pq, pyarrow.dataset, pyarrow.flight, datafusion",
    ]
    if first == "pyarrow":
        imports.reverse()
    script = "\n".join(
        [
            *(f"import {names}" for names in imports),
            "import duckdb, polars",
            "assert pc.match_substring_regex(pyarrow.array(['abc']), 'a.c').to_pylist() == [True]",
            "pq.write_table(pyarrow.table({'x': [1]}), 'x.parquet')",
            "with rushes.server.Server() as server:",
            "    assert server.client().dataset_names() == []",
            "assert pc.match_substring_regex(pyarrow.array(['abc']), 'a.c').to_pylist() == [True]",
            "assert pq.read_table('x.parquet').num_rows == 1",
        ]
    )
    found = report([sys.executable, "-c", script], tmp_path)
    assert any("_core" in Path(source).name for source, _, _ in found)
    assert any(DEBIAN_SIDE.match(Path(target).name) for _, target, _ in found)
    assert crossings(found) == []

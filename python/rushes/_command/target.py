"""What a command works on: recordings of this machine, or a dataset of a catalog."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import parse_qs, unquote

from rushes import _core
from rushes._errors import nearest
from rushes._open import open_recordings
from rushes.catalog import CatalogClient, DatasetEntry, EntryId

from .errors import CommandError

_ADDRESS = re.compile(
    r"(?P<origin>(?:(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://)?(?:\[[0-9A-Fa-f:.]+\]|[^/:?#\s]+)(?P<port>:\d+)?)"
    r"(?P<path>/[^?#]*)?(?:\?(?P<query>[^#]*))?(?:#.*)?"
)


def open_target(
    target: str, dataset: str | None, token: str
) -> tuple[DatasetEntry, list[str] | None]:
    """The dataset, and the segments that the address names, if it does.

    `target`: the path of a recording or of a directory of them, or an address: `[scheme://]host[:port][/dataset]`, or the URL
    of a dataset or segment as viewers have it (`/entry/ID`, `/dataset/ID?segment_id=…`).
    """
    if target.startswith("file://") or ("://" not in target and Path(target).exists()):
        if dataset is not None:
            raise CommandError(f"--dataset is for catalogs; {target} is a path")
        return open_recordings(target), None
    match = _ADDRESS.fullmatch(target)
    if match is None or (match["scheme"] is None and not _may_be_host(target, match)):
        raise CommandError(
            f"no such file or directory: {target} (an address has a scheme or a port: rerun+http://HOST:PORT)"
        )
    client = CatalogClient._from_connection(_core.Connection.open(match["origin"], token=token))
    name = unquote(match["path"] or "").strip("/")
    kind, _, rest = name.partition("/")
    if kind in ("entry", "dataset") and rest:
        name = rest
    elif name == "catalog" or kind == "folder":
        name = ""
    if name and dataset is not None and name != dataset:
        raise CommandError(f"--dataset {dataset} is not the dataset of the address: {name}")
    segments = parse_qs(match["query"] or "").get("segment_id")
    return _find(client, dataset or name), segments


def _may_be_host(target: str, match: re.Match[str]) -> bool:
    if target.startswith((".", "~")) or re.search(r"\.(rrd|rbl)$", target):
        return False
    return match["port"] is not None or target.partition("/")[0] == "localhost"


def _find(client: CatalogClient, name: str) -> DatasetEntry:
    names = client.dataset_names()
    if not name:
        if len(names) == 1:
            return client.get_dataset(names[0])
        if not names:
            raise CommandError(f"there is no dataset at {client.url}")
        raise CommandError(f"name one of the datasets with --dataset: {', '.join(sorted(names))}")
    if name in names:
        return client.get_dataset(name)
    if re.fullmatch(r"[0-9A-Fa-f]{32}", name):
        return client.get_dataset(id=EntryId(name))
    raise CommandError(f"no dataset named {name} at {client.url}.{nearest(name, names)}")

"""Which jobs have the same result: a digest of everything that decides it."""

from __future__ import annotations

import hashlib

from archpress_server import __version__
from archpress_server.catalog import Catalog, OfferedEmbedding
from archpress_server.compress.types import Request
from archpress_server.jobs.serialise import dumps, request_to_json


def result_key(
    request: Request, offered: OfferedEmbedding, catalog: Catalog, weights: str = ""
) -> str:
    """Return a SHA-256 (hex) that requests of one result share; empty if another try may differ.

    `weights` is the SHA-256 of an uploaded model.

    A latency measured on the worker's CPU decides which networks are tried, and the next
    measurement differs. A folder of images may change without a sign.
    """
    data = _data_state(request.dataset, catalog)
    if request.measures_latency or data is None:
        return ""
    record = {
        "request": request_to_json(request),
        "embedding": offered.manifest.to_json(),
        "data": data,
        "server": __version__,
        "weights": weights,
    }
    return hashlib.sha256(dumps(record).encode()).hexdigest()


def _data_state(dataset: str, catalog: Catalog) -> list[int] | None:
    """Return what changes with an operator's own file; built-in data sets never change."""
    path = catalog.sources.files.get(dataset)
    if path is None:
        return []
    try:
        if path.is_dir():
            return None
        state = path.stat()
    except OSError:
        return None
    return [state.st_size, state.st_mtime_ns]

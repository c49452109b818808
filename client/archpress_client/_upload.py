"""Uploads: the messages that carry a file, and the file they come from."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from archpress_proto.v1.artifact_service_pb2 import UploadModelHeader, UploadModelRequest

_CHUNK_BYTES = 256 * 1024


def model_content(model: str | Path | bytes) -> tuple[bytes, str]:
    """Return a model's bytes and, for a file, its name.

    Raises:
        OSError: the file cannot be read.
    """
    if isinstance(model, bytes):
        return model, ""
    path = Path(model)
    # A file's name may have bytes that are no text, which no message can carry.
    name = os.fsencode(path.name).decode(errors="replace")
    return path.read_bytes(), name[:128]


def upload_messages(content: bytes, display_name: str) -> Iterator[UploadModelRequest]:
    """Yield the header, then the bytes in chunks."""
    yield UploadModelRequest(
        header=UploadModelHeader(
            size_bytes=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
            display_name=display_name,
        )
    )
    for start in range(0, len(content), _CHUNK_BYTES):
        yield UploadModelRequest(data=content[start : start + _CHUNK_BYTES])

"""Files by their content: written whole or not at all, never changed."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path


class ArtifactFiles:
    """A folder of files that are named by the SHA-256 of their bytes."""

    def __init__(self, folder: Path) -> None:
        """Use a folder; it is created when the first file is written."""
        self._folder = folder

    def put(self, content: bytes) -> str:
        """Store bytes durably and return their SHA-256 (hex)."""
        sha256 = hashlib.sha256(content).hexdigest()
        path = self._path(sha256)
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".new-")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)
        return sha256

    def read(self, sha256: str, offset: int, size: int) -> bytes:
        """Return at most `size` bytes from `offset` on; fewer only at the end of the file."""
        with self._path(sha256).open("rb") as file:
            file.seek(offset)
            return file.read(size)

    def delete(self, sha256: str) -> None:
        """Remove a file; nothing happens if it is not there."""
        self._path(sha256).unlink(missing_ok=True)

    def _path(self, sha256: str) -> Path:
        return self._folder / sha256[:2] / sha256


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

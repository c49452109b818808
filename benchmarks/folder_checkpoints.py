"""Checkpoints of a benchmark in a folder: killed after an hour, it goes on from there."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path


class FolderCheckpoints:
    """The `CheckpointStore` of one benchmark, a file for each part.

    A folder belongs to one compression, or to one data set's trainings.
    """

    def __init__(self, folder: Path, every_seconds: float = 120.0) -> None:
        """Use a folder, which need not exist yet."""
        self._folder = folder
        self._every_seconds = every_seconds
        self._saved_at = time.monotonic()

    @property
    def are_there(self) -> bool:
        """Whether an earlier run left something."""
        return self._folder.exists()

    def load(self, part: str) -> bytes | None:
        """Return a part as it was last saved, if it was."""
        file = self._folder / part
        return file.read_bytes() if file.exists() else None

    def save(self, part: str, content: bytes) -> None:
        """Keep a part; a run that is killed meanwhile leaves what was there."""
        self._folder.mkdir(parents=True, exist_ok=True)
        unfinished = self._folder / f"{part}.{os.getpid()}"
        unfinished.write_bytes(content)
        unfinished.replace(self._folder / part)
        self._saved_at = time.monotonic()

    def due(self) -> bool:
        """Return whether it is time to save the training that is under way."""
        return time.monotonic() >= self._saved_at + self._every_seconds

    def clear(self) -> None:
        """Forget everything: what it was kept for has a result."""
        shutil.rmtree(self._folder, ignore_errors=True)

"""Downloads into a folder that processes and machines share: one at a time, whole or not at all."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

from archpress_trainer.data.dataset import DatasetError
from archpress_trainer.file_lock import lock_at_once

WAIT_SECONDS = 1800.0
"""Longest wait for somebody else's download, of up to 250 MB from a slow server."""

_POLL_SECONDS = 0.5


@contextmanager
def alone(name: str, root: Path) -> Iterator[None]:
    """Keep other downloads of a data set out of a folder, and clear away what killed ones left.

    The lock goes with the process, however it ends. Where the file system has no locks, nobody
    waits and nothing is cleared away.

    Raises:
        DatasetError: another download takes longer than `WAIT_SECONDS`.
    """
    root.mkdir(parents=True, exist_ok=True)
    with (root / f".{name}.lock").open("w") as file:
        if _lock(file, name):
            for left in root.glob(f"{_prefix(name)}*"):
                shutil.rmtree(left, ignore_errors=True)
        yield


@contextmanager
def new_files(name: str, root: Path, archives: str) -> Iterator[Path]:
    """Yield a folder with copies of `root`'s archives, whose files are `root`'s if all goes well.

    `archives` is a pattern of paths. Each file takes its place at once, in that of a damaged one
    too, so that whoever reads meanwhile finds no half of it.
    """
    with TemporaryDirectory(prefix=_prefix(name), dir=root, ignore_cleanup_errors=True) as made:
        folder = Path(made)
        for archive in root.glob(archives):
            copy = folder / archive.relative_to(root)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(archive, copy)
        yield folder
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                target = root / path.relative_to(folder)
                target.parent.mkdir(parents=True, exist_ok=True)
                path.replace(target)


def _prefix(name: str) -> str:
    return f".{name}.new-"


def _lock(file: IO[str], name: str) -> bool:
    """Return whether a file is locked, after a wait; False where the file system has no locks."""
    deadline = time.monotonic() + WAIT_SECONDS
    has_told = False
    while True:
        try:
            return lock_at_once(file)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise DatasetError(
                    f"{name}: somebody else's download, which holds {file.name}, takes longer than "
                    f"{WAIT_SECONDS:g} seconds: end it, or wait until it is done"
                ) from None
        if not has_told:
            logging.getLogger(__name__).warning(
                "%s: waiting for somebody else's download, which holds %s", name, file.name
            )
            has_told = True
        time.sleep(_POLL_SECONDS)

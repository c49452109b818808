"""Files by their content, in a local folder or an object store: written whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem
from fsspec.registry import known_implementations

from archpress_server.jobs.errors import FilesUnavailableError, StoreSetupError
from archpress_trainer.whole_file import whole_file

_MARK = "archpress-files"
"""A file that every store holds: without it the folder is not mounted, or the bucket is gone."""

_TEMPORARY = ".new-"
_TEMPORARY_SECONDS = 3600.0
_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    # s3fs tries five times by itself; botocore's own attempts would multiply its time-outs.
    "s3": {
        "config_kwargs": {
            "connect_timeout": 3,
            "read_timeout": 15,
            "retries": {"total_max_attempts": 1},
        }
    },
}


class Files:
    """Files that are named by the SHA-256 of their bytes, below the URL of an fsspec file system.

    Every method raises `FilesUnavailableError` when the store does not answer, refuses or is full.
    """

    def __init__(self, url: str) -> None:
        """Use a folder, which `prepare` makes ready; nothing is asked of it yet.

        Raises:
            StoreSetupError: no file system has this protocol, or its package is not installed.
        """
        protocol = url.partition("://")[0]
        options = {"use_listings_cache": False, "skip_instance_cache": True}
        try:
            self._system, root = fsspec.url_to_fs(url, **options, **_OPTIONS.get(protocol, {}))
        except ImportError as error:
            missing = known_implementations[protocol].get("err", str(error))
            raise StoreSetupError(f"artifacts_url {url}: {missing}") from error
        except (ValueError, TypeError) as error:
            raise StoreSetupError(f"artifacts_url {url}: {error}") from error
        self._url = url
        self._root = root.rstrip("/")
        self._next_clear = 0.0

    def prepare(self) -> None:
        """Make sure that files can be written and read, and clear away what crashes left.

        A local folder is created; a bucket has to be there.

        Raises:
            StoreSetupError: they cannot; says why.
        """
        try:
            with _translated():
                if isinstance(self._system, LocalFileSystem):
                    Path(self._root).mkdir(parents=True, exist_ok=True)
                self._clear_now()
                mark = self._mark()
                content = b"archpress\n" * 1000
                self._write(mark, content)
                if self._system.cat_file(mark) != content:
                    raise OSError("what was written does not read back")
        except (FilesUnavailableError, FileNotFoundError) as error:
            raise StoreSetupError(
                f"artifacts_url {self._url} cannot be written: {_reason(error)}"
            ) from error

    def clear(self) -> None:
        """Remove what interrupted writes left in a local folder; asked often, look once an hour."""
        if time.monotonic() >= self._next_clear:
            self._clear_now()

    def put(self, content: bytes) -> str:
        """Store bytes durably and return their name."""
        sha256 = file_name(content)
        with self._there():
            self._write(self._path(sha256), content)
        return sha256

    def read(self, sha256: str, offset: int, size: int) -> bytes:
        """Return at most `size` bytes from `offset` on; fewer only at the end of the file.

        Raises:
            FileNotFoundError: there is no such file.
        """
        path = self._path(sha256)
        with self._there():
            try:
                data: bytes = self._system.cat_file(path, start=offset, end=offset + size)
            except OSError as error:
                # S3 has no empty ranges.
                if error.errno != errno.EINVAL or self._system.size(path) > offset:
                    raise
                return b""
        return data

    def check(self, sha256: str, size_bytes: int) -> bool:
        """Return whether there is such a file and it has this size."""
        try:
            with self._there():
                return bool(self._system.size(self._path(sha256)) == size_bytes)
        except FileNotFoundError:
            return False

    def delete(self, sha256: str) -> None:
        """Remove a file; nothing happens if it is not there."""
        try:
            with self._there():
                self._system.rm_file(self._path(sha256))
        except FileNotFoundError:
            pass

    @contextmanager
    def _there(self) -> Iterator[None]:
        """Tell a file that is missing from a store that is."""
        try:
            with _translated():
                yield
        except FileNotFoundError as error:
            with _translated():
                if not self._system.exists(self._mark()):
                    raise FilesUnavailableError(f"{self._url} is not there") from error
            raise

    def _clear_now(self) -> None:
        self._next_clear = time.monotonic() + _TEMPORARY_SECONDS
        if not isinstance(self._system, LocalFileSystem):
            return
        with _translated():
            for path in Path(self._root).glob(f"*/{_TEMPORARY}*"):
                # Another server may have just finished it.
                with suppress(FileNotFoundError):
                    if time.time() - path.stat().st_mtime > _TEMPORARY_SECONDS:
                        path.unlink()

    def _write(self, path: str, content: bytes) -> None:
        if isinstance(self._system, LocalFileSystem):
            _write_durably(Path(path), content)
        else:
            # One request, after which the whole object is there or none of it.
            self._system.pipe_file(path, content)

    def _mark(self) -> str:
        return f"{self._root}/{_MARK}"

    def _path(self, sha256: str) -> str:
        return f"{self._root}/{sha256[:2]}/{sha256}"


def file_name(content: bytes) -> str:
    """Return the SHA-256 (hex) that bytes are kept under."""
    return hashlib.sha256(content).hexdigest()


@contextmanager
def _translated() -> Iterator[None]:
    """Raise `FilesUnavailableError` for all but a missing file: drivers raise what they like."""
    try:
        yield
    except (FileNotFoundError, FilesUnavailableError):
        raise
    except Exception as error:
        raise FilesUnavailableError(_reason(error)) from error


def _reason(error: Exception) -> str:
    text = (error.strerror if isinstance(error, OSError) else "") or str(error)
    return text.partition("\n")[0] or type(error).__name__


def _write_durably(path: Path, content: bytes) -> None:
    # Not its parents: a folder that is not mounted must not be made anew.
    path.parent.mkdir(exist_ok=True)
    with whole_file(path, prefix=_TEMPORARY, mode=0o600) as file:
        file.write(content)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

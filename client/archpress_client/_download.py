"""Checked downloads: order, size and hash of the chunks, and files that appear whole."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import threading
from pathlib import Path
from random import Random
from typing import BinaryIO

from archpress_client._config import Retry
from archpress_client._errors import (
    ArchpressError,
    DownloadError,
    InvalidRequestError,
    UnavailableError,
)
from archpress_client._rpc_errors import may_repeat
from archpress_proto.v1.artifact_service_pb2 import (
    DownloadArtifactRequest,
    DownloadArtifactResponse,
)


class Download:
    """Follows one artifact over as many streams as it takes; does no input or output."""

    def __init__(self, name: str, retry: Retry, random: Random, *, sha256: str = "") -> None:
        """Start at the first byte; `sha256` is the hash to expect, if it is known already."""
        self._name = name
        self._retry = retry
        self._random = random
        self._sha256 = sha256
        self._size_bytes: int | None = None
        self._hash = hashlib.sha256()
        self._failures = 0
        self.received_bytes = 0

    def request(self) -> DownloadArtifactRequest:
        """Return the request for the bytes that are missing."""
        return DownloadArtifactRequest(
            name=self._name,
            read_offset=self.received_bytes,
            if_sha256=self._sha256 if self.received_bytes else "",
        )

    @property
    def finished(self) -> bool:
        """Whether all bytes have come."""
        return self._size_bytes is not None and self.received_bytes == self._size_bytes

    def feed(self, message: DownloadArtifactResponse) -> bytes:
        """Return the bytes of a message, which are the next ones.

        Raises:
            DownloadError: the artifact is another one than before, or longer than it said.
        """
        if message.WhichOneof("part") == "info":
            self._describe(message.info.size_bytes, message.info.sha256)
            return b""
        if self._size_bytes is None:
            raise DownloadError(f"{self._name}: bytes came before the description")
        data = message.data
        if self.received_bytes + len(data) > self._size_bytes:
            raise DownloadError(f"{self._name}: more bytes came than its {self._size_bytes}")
        self.received_bytes += len(data)
        self._hash.update(data)
        if data:
            self._failures = 0
        return data

    def _describe(self, size_bytes: int, sha256: str) -> None:
        if self._sha256 and sha256 != self._sha256:
            raise DownloadError(f"{self._name}: the SHA-256 is {sha256}, not {self._sha256}")
        if self._size_bytes not in (None, size_bytes):
            raise DownloadError(f"{self._name}: the size changed from {self._size_bytes}")
        self._sha256 = sha256
        self._size_bytes = size_bytes

    def ended(self, error: ArchpressError | None) -> float | None:
        """Return the wait in seconds before the next request, None when all is there and right.

        Raises:
            ArchpressError: there is no going on.
        """
        if self.finished:
            self._verify()
            return None
        if error is None:
            error = UnavailableError(f"{self._name}: the stream ended too early")
        elif isinstance(error, InvalidRequestError) and self.received_bytes:
            raise DownloadError(f"{self._name} changed on the server") from error
        elif not may_repeat(error):
            raise error
        self._failures += 1
        if self._failures >= self._retry.stream_attempts:
            raise error
        return self._retry.delay_seconds(self._failures, self._random, error.retry_after_seconds)

    def _verify(self) -> None:
        digest = self._hash.hexdigest()
        if digest != self._sha256:
            raise DownloadError(
                f"{self._name}: the bytes have SHA-256 {digest}, not {self._sha256}"
            )


def check_place(path: Path) -> None:
    """Refuse a path whose file cannot be replaced by another.

    Raises:
        OSError: it is a folder, a device or a pipe, or its folder is missing or read-only.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "is a folder", str(path))
    if path.exists() and not path.is_file():
        raise FileExistsError(errno.EEXIST, "is a device or a pipe, not a file", str(path))
    folder = path.parent
    if not folder.is_dir():
        raise FileNotFoundError(errno.ENOENT, "there is no folder", str(folder))
    if not os.access(folder, os.W_OK):
        raise PermissionError(errno.EACCES, "no file can be made in the folder", str(folder))


class PartFile:
    """A file that takes the place of another once it is whole.

    `open` and `finish` may run in another thread; `abandon` waits for them.
    """

    def __init__(self, path: Path) -> None:
        """Name a file beside `path`, or beside what a link there leads to.

        Raises:
            OSError: nothing can take the place of what is at `path`.
        """
        # Else the link would be replaced, and what it leads to would stay as it was.
        self._path = Path(os.path.realpath(path))
        check_place(self._path)
        self._part = self._path.with_name(f".{secrets.token_hex(8)}.part")
        self._lock = threading.Lock()
        self._file: BinaryIO | None = None
        self._abandoned = False

    def open(self) -> BinaryIO:
        """Make the file."""
        with self._lock:
            if self._abandoned:
                raise ValueError(f"{self._part} was abandoned")
            self._file = self._part.open("xb")
            return self._file

    def finish(self) -> None:
        """Bring what was written to the disk and to its place."""
        with self._lock:
            assert self._file is not None  # Since `open`.
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._part.replace(self._path)

    def abandon(self) -> None:
        """Remove what was written; `path` is as it was."""
        with self._lock:
            self._abandoned = True
            if self._file is not None:
                # It writes what is left, which fails on a full disk.
                with contextlib.suppress(OSError):
                    self._file.close()
                self._part.unlink(missing_ok=True)

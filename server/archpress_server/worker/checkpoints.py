"""`JobCheckpoints`: keeps a compression's checkpoints with its job, from time to time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog

from archpress_server.jobs.checkpoints import load_checkpoint, save_checkpoint
from archpress_server.jobs.errors import (
    DatabaseUnavailableError,
    FilesUnavailableError,
    StaleAttemptError,
    StoreError,
)
from archpress_server.jobs.store import JobStore
from archpress_server.worker.patience import patiently

_SHARE_OF_TIME = 0.05
"""Of a worker's time that snapshots may take: large networks are saved less often."""

_SILENT_SECONDS = 5.0
"""After which nobody trains, unless steps took longer: no snapshot could be taken."""


class JobCheckpoints:
    """The `CheckpointStore` of one attempt; the last snapshot can be asked for by another thread.

    What cannot be saved or loaded is logged, and costs no more than the work in it.
    """

    def __init__(
        self,
        store: JobStore,
        job: str,
        attempt: int,
        *,
        every_seconds: float,
        patience_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Keep parts for an attempt; 0 for `every_seconds` keeps none."""
        self._store = store
        self._job = job
        self._attempt = attempt
        self._every_seconds = every_seconds
        self._patience_seconds = patience_seconds
        self._clock = clock
        self._next = clock() + every_seconds
        self._asked: float | None = None
        self._longest_step = 0.0
        self._wanted = threading.Event()
        self._saved = threading.Event()
        self._log = structlog.get_logger().bind(job=job, attempt=attempt)

    def load(self, part: str) -> bytes | None:
        """Return what an earlier attempt saved; None if that is nothing or damaged.

        A database or a store of files that is away is waited for.
        """
        if not self._every_seconds or self._attempt == 1:
            return None
        try:
            content = patiently(
                lambda: load_checkpoint(self._store, self._job, part),
                self._patience_seconds,
                (DatabaseUnavailableError, FilesUnavailableError),
            )
        except (StoreError, ValueError) as error:
            self._log.warning("a checkpoint cannot be used", part=part, error=str(error))
            return None
        if content is not None:
            self._log.info("checkpoint loaded", part=part, size_bytes=len(content))
        return content

    def save(self, part: str, content: bytes) -> None:
        """Keep a part.

        Raises:
            StaleAttemptError: the attempt no longer holds the job.
        """
        if not self._every_seconds:
            return
        began = self._clock()
        try:
            save_checkpoint(self._store, self._job, self._attempt, part, content)
        except StaleAttemptError:
            raise
        except StoreError as error:
            self._log.warning("a checkpoint was not saved", part=part, error=str(error))
        else:
            if self._wanted.is_set():
                self._saved.set()
        end = self._clock()
        self._next = end + max(self._every_seconds, (end - began) / _SHARE_OF_TIME)

    def due(self) -> bool:
        """Return whether the time has come, or somebody waits for a snapshot."""
        now = self._clock()
        if self._asked is not None:
            self._longest_step = max(self._longest_step, now - self._asked)
        self._asked = now
        if self._wanted.is_set():
            return not self._saved.is_set()
        return bool(self._every_seconds) and now >= self._next

    def save_last(self, timeout_seconds: float) -> None:
        """Have the training saved at its next step, and wait for that; to be called by the heart.

        Returns at once where nothing is being trained.
        """
        if not self._every_seconds:
            return
        end = self._clock() + timeout_seconds
        self._wanted.set()
        while self._clock() < end and self._is_training():
            if self._saved.wait(0.05):
                return

    def _is_training(self) -> bool:
        silent_seconds = max(_SILENT_SECONDS, 2 * self._longest_step)
        return self._asked is not None and self._clock() - self._asked < silent_seconds

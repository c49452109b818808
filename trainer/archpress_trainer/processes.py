"""Worker processes that never outlive the process that started them."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

_POLL_SECONDS = 1.0
_EXIT_SECONDS = 10.0
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


class WorkerDiedError(RuntimeError):
    """A worker process ended before it answered; the message says how."""


class WorkerFailedError(RuntimeError):
    """What was called in a worker raised; the message is that of its exception."""


class Worker:
    """One fresh (spawned) process: `start(*arguments)` there returns what answers each request.

    It answers once without a request, with None, when `start` has returned. Start, arguments,
    requests and answers must be picklable. An interrupt from the keyboard is left to its parent.
    """

    def __init__(self, start: Callable[..., Callable[[Any], Any]], *arguments: Any) -> None:
        """Begin to start the process."""
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        """Readable, as `multiprocessing.connection.wait` finds out, once `answer` need not wait."""
        self._process = context.Process(
            target=_serve, args=(os.getpid(), theirs, start, arguments), daemon=True
        )
        self._process.start()
        theirs.close()

    def send(self, request: object) -> None:
        """Send a request; that the process is dead is said by `answer`."""
        with suppress(OSError):
            self.connection.send(request)

    def answer(self) -> Any:
        """Wait for the next answer and return it.

        Raises:
            WorkerFailedError: there is none, because of an exception in the process.
            WorkerDiedError: there is none, because the process ended.
        """
        try:
            answer, error, where = self.connection.recv()
        except (EOFError, OSError):
            raise WorkerDiedError(self._how_it_ended()) from None
        if error is None:
            return answer
        failure = WorkerFailedError(error)
        failure.add_note(where)
        raise failure

    def kill(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        self._process.join()
        self.connection.close()

    def _how_it_ended(self) -> str:
        self._process.join(_EXIT_SECONDS)
        code = self._process.exitcode
        if code is None:
            return "it closed its connection"
        return f"exit status {code}" if code >= 0 else f"killed by signal {-code}"


def usable_cores() -> int:
    """Return how many cores this process may use, which may be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def worker_pool(
    workers: int, initializer: Callable[..., None] | None = None, *arguments: Any
) -> ProcessPoolExecutor:
    """Return a pool of fresh (spawned) processes that end when this one does, however it ends."""
    return ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start,
        initargs=(os.getpid(), initializer, arguments),
    )


def keep_freed_memory() -> None:
    """Let this process keep what it frees instead of giving it back to the system.

    Otherwise glibc maps each large tensor anew and the system clears it page by page, which is
    some 5% of a small net's training. Without glibc this does nothing.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def _serve(
    parent: int,
    connection: Connection,
    start: Callable[..., Callable[[Any], Any]],
    arguments: tuple[Any, ...],
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    try:
        serve = start(*arguments)
    except Exception as error:
        connection.send((None, _text(error), traceback.format_exc()))
        return
    connection.send((None, None, ""))
    while True:
        try:
            request = connection.recv()
        except EOFError:
            return
        answer: tuple[object, str | None, str]
        try:
            answer = (serve(request), None, "")
        except Exception as error:
            answer = (None, _text(error), traceback.format_exc())
        connection.send(answer)


def _text(error: Exception) -> str:
    return str(error) or type(error).__name__


def _start(
    parent: int, initializer: Callable[..., None] | None, arguments: tuple[Any, ...]
) -> None:
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    if initializer is not None:
        initializer(*arguments)


def _end_with(parent: int) -> None:
    """End this process when its parent is gone: a killed parent cannot stop its workers."""
    while os.getppid() == parent:
        time.sleep(_POLL_SECONDS)
    os._exit(1)

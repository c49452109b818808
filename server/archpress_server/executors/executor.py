"""`Executor`: the interface to the place where workers run, and what is told of their end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class ExecutorError(Exception):
    """No worker can be started; the message says why."""


@dataclass(frozen=True)
class End:
    """How a worker ended, whatever it did with its job."""

    cause: str
    """A clause for people, such as "the worker was killed by signal 9"."""
    began: bool = True
    """False if there was no room for it after all: no worker has touched the job."""


class Run(Protocol):
    """One attempt of a job that was given to an executor."""

    @property
    def place(self) -> str:
        """Where it runs, for the log."""
        ...

    async def wait(self) -> End:
        """Return how the worker ended, once it and every process that it started are gone."""
        ...

    def stop(self) -> None:
        """Ask the worker to give its job back and end."""
        ...

    def kill(self) -> None:
        """End the worker whatever it does; a second call is rougher than the first."""
        ...


class Executor(Protocol):
    """Runs attempts, each in a worker process that takes its settings from standard input.

    It is lossy: the job's row alone says what became of a job.
    """

    @property
    def slots(self) -> int:
        """How many attempts may run at one time."""
        ...

    async def open(self) -> None:
        """Make ready.

        Raises:
            ExecutorError: no worker could ever be started; says why.
        """
        ...

    async def has_room(self) -> bool:
        """Return whether one more attempt could begin now."""
        ...

    async def start(self, job: str, attempt: int) -> Run:
        """Give an attempt to a worker.

        Raises:
            ExecutorError: it could not be started.
        """
        ...

    async def close(self) -> None:
        """Let go of everything; attempts have ended or are given up."""
        ...

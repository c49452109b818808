"""`JobReader`: the rows of jobs, read for many calls at once."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from archpress_server.jobs.errors import JobNotFoundError
from archpress_server.jobs.model import JobRecord
from archpress_server.jobs.store import JobStore

_Answer = JobRecord | Exception | None


class JobReader:
    """Reads jobs: who asks while a read runs is answered by the next one.

    The way to a thread and a transaction cost more than a row, so under load one of each serves all
    calls that wait. A read begins after the calls that it serves, so each sees what was stored
    before it.
    """

    def __init__(self, store: JobStore) -> None:
        """Read from a store."""
        self._store = store
        self._waiting: dict[str, asyncio.Future[_Answer]] = {}
        self._reading: asyncio.Task[None] | None = None

    async def get(self, job: str) -> JobRecord:
        """Return a job.

        Raises:
            JobNotFoundError: there is none, or it was deleted.
            JobUnreadableError: it is of another version of the server.
        """
        waiting = self._waiting.setdefault(job, asyncio.get_running_loop().create_future())
        if self._reading is None:
            self._reading = asyncio.create_task(self._read(), name="job reads")
        # Others may wait for the same job.
        answer = await asyncio.shield(waiting)
        if answer is None:
            raise JobNotFoundError(job)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def _read(self) -> None:
        while self._waiting:
            waiting, self._waiting = self._waiting, {}
            answers: Mapping[str, _Answer] | Exception
            try:
                answers = await asyncio.to_thread(self._store.get_all, list(waiting))
            except Exception as error:
                answers = error
            for job, future in waiting.items():
                future.set_result(answers if isinstance(answers, Exception) else answers.get(job))
        self._reading = None

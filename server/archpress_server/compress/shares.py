"""`Shares`: all trainings of a job as one count of progress, so that it never starts anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from archpress_server.compress.pace import Pace
from archpress_server.compress.types import Candidate, Observer, Progress

_STEPS = 1000


class Shares:
    """Gives each part of some work its share of the progress that an observer hears of."""

    def __init__(self, observer: Observer, works: Sequence[float]) -> None:
        """Take the work of each part, in the order in which they are done."""
        self._observer = observer
        self._works = tuple(works)
        self._pace = Pace()

    def part(self, index: int, name: str = "") -> Observer:
        """Return who is told of a part, as if it were all; messages begin with its name."""
        total = sum(self._works)
        begin = sum(self._works[:index]) / total
        return _Part(self._observer, name, begin, self._works[index] / total, self._pace)


class _Part:
    def __init__(
        self, observer: Observer, name: str, begin: float, share: float, pace: Pace
    ) -> None:
        self._observer = observer
        self._name = name
        self._begin = begin
        self._share = share
        self._pace = pace

    def progress(self, progress: Progress) -> None:
        done = self._begin + self._share * progress.step / progress.total_steps
        self._observer.progress(
            replace(
                progress,
                step=round(_STEPS * done),
                total_steps=_STEPS,
                eta_seconds=self._pace.seconds_left(done),
                message=", ".join(filter(None, (self._name, progress.message))),
            )
        )

    def candidate(self, candidate: Candidate) -> None:
        self._observer.candidate(candidate)

    def warning(self, text: str) -> None:
        self._observer.warning(text)

    def should_stop(self) -> bool:
        return self._observer.should_stop()

"""`JobFacts`: what a report is drawn from, read from a job's row and log."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from archpress_server.compress.types import Candidate, Phase, Progress, Waypoint
from archpress_server.jobs.model import Event, JobRecord, LogLine, Severity


@dataclass(frozen=True)
class Training:
    """One training: seconds since the job's start, and accuracies on validation images."""

    name: str
    seconds: tuple[float, ...]
    accuracies: tuple[float, ...]


@dataclass(frozen=True)
class JobFacts:
    """A job, its log, and parameters and accuracy of the embedding's labelled nets."""

    job: JobRecord
    events: tuple[Event, ...]
    labelled: tuple[tuple[int, float], ...] = ()

    @cached_property
    def candidates(self) -> tuple[Candidate, ...]:
        """The candidates as the log knows them last, by rank."""
        found: dict[int, Candidate] = {}
        for event in self.events:
            if isinstance(event.payload, Candidate):
                found[event.payload.rank] = event.payload
        return tuple(found[rank] for rank in sorted(found))

    @cached_property
    def descent(self) -> tuple[tuple[int, float], ...]:
        """Step and mean objective of the descents, size after size."""
        return tuple(
            (number, progress.loss)
            for number, (_, progress) in enumerate(self._progress(Phase.DESCEND), start=1)
            if progress.loss is not None
        )

    @cached_property
    def path(self) -> tuple[Waypoint, ...]:
        """Where the descents went, from their starts on; of a repeated search, the first time."""
        points: list[Waypoint] = []
        last = 0
        for _, progress in self._progress(Phase.DESCEND):
            if progress.step <= last:
                break
            last = progress.step
            if progress.waypoint is not None:
                points.append(progress.waypoint)
        return tuple(points)

    @cached_property
    def trainings(self) -> tuple[Training, ...]:
        """The trainings in the order of their beginnings."""
        points: dict[str, list[tuple[float, float]]] = {}
        start = self.job.start_time or self.job.create_time
        for time, progress in self._progress(Phase.RETRAIN):
            if progress.accuracy is not None:
                # The message ends with the epoch.
                name = progress.message.rpartition(", epoch ")[0] or progress.message
                points.setdefault(name, []).append((time - start, progress.accuracy))
        return tuple(Training(name, *_columns(found)) for name, found in points.items())

    @cached_property
    def warnings(self) -> tuple[str, ...]:
        """What the job warned of, each once."""
        lines = (event.payload for event in self.events if isinstance(event.payload, LogLine))
        return tuple(
            dict.fromkeys(line.text for line in lines if line.severity is not Severity.INFO)
        )

    def _progress(self, phase: Phase) -> Iterable[tuple[float, Progress]]:
        for event in self.events:
            if isinstance(event.payload, Progress) and event.payload.phase is phase:
                yield event.time, event.payload


def _columns(points: Sequence[tuple[float, float]]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    times, accuracies = zip(*points, strict=True)
    return tuple(times), tuple(accuracies)

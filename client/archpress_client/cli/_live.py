"""The progress of a job while it runs, on standard error."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn

from archpress_client import _events
from archpress_client._types import Job, JobState
from archpress_client._types import Progress as JobProgress
from archpress_client.cli import _format


class Live:
    """Shows events: a bar on a terminal, a line per change elsewhere."""

    def __init__(self) -> None:
        """Prepare; entering the context starts the bar."""
        self._console = Console(stderr=True, highlight=False)
        self._bar = Progress(
            TextColumn("{task.description:<10}"),
            BarColumn(bar_width=28),
            TextColumn("{task.fields[steps]}"),
            TextColumn("{task.fields[facts]}"),
            console=self._console,
            disable=not self._console.is_terminal,
            transient=True,
        )
        self._task = self._bar.add_task("queued", total=None, steps="", facts="")
        self._said = ""

    def __enter__(self) -> Self:
        """Start the bar."""
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Take the bar away."""
        self._bar.stop()

    def show(self, event: _events.Event) -> None:
        """Show one event."""
        match event:
            case _events.SnapshotEvent(job=job):
                self._show_job(job)
            case _events.HeartbeatEvent(state=JobState.QUEUED, queue_position=position):
                self._show_queue(position)
            case _events.ProgressEvent(progress=progress):
                self._show_progress(progress)
            case _events.CandidateEvent(candidate=candidate):
                accuracies = (
                    ("predicted", candidate.predicted_accuracy),
                    ("trained", candidate.validation_accuracy),
                )
                self._line(
                    f"{'chosen' if candidate.chosen else 'candidate'} {candidate.rank}"
                    f"{', the input narrowed' if candidate.inherits else ''}: "
                    f"{_format.count(candidate.costs.params)} parameters"
                    + "".join(
                        f", {word} {_format.percent(x)}" for word, x in accuracies if x is not None
                    )
                )
            case _events.CompletedEvent(job=job) if job.cached_result:
                self._line("the result of an equal job before; another --seed trains anew")
            case _events.LogEvent(severity=severity, text=text):
                self._line(f"{severity.value}: {text}")

    def _show_job(self, job: Job) -> None:
        if job.state is JobState.QUEUED:
            self._show_queue(job.queue_position)
        elif job.progress is not None:
            self._show_progress(job.progress)
        else:
            self._bar.update(self._task, description=job.state.value, steps="")

    def _show_queue(self, position: int) -> None:
        place = f"place {position}" if position else ""
        self._bar.update(self._task, description="queued", total=None, steps=place)
        self._say_once(f"queued {place}".rstrip())

    def _show_progress(self, progress: JobProgress) -> None:
        facts = []
        if progress.loss is not None:
            facts.append(f"loss {progress.loss:.3f}")
        if progress.accuracy is not None:
            facts.append(f"accuracy {_format.percent(progress.accuracy)}")
        if progress.eta_seconds is not None:
            facts.append(f"ETA {_format.duration(progress.eta_seconds)}")
        if progress.message:
            facts.append(escape(progress.message))
        total = progress.total_steps or None
        self._bar.update(
            self._task,
            description=progress.phase.value,
            completed=progress.step,
            total=total,
            steps=f"{progress.step}/{total}" if total else "",
            facts=" ".join(facts),
        )
        self._say_once(progress.phase.value)

    def _say_once(self, text: str) -> None:
        """Print a change where there is no bar to show it."""
        if self._bar.disable and text != self._said:
            self._line(text)
        self._said = text

    def _line(self, text: str) -> None:
        self._console.print(escape(text), soft_wrap=True)

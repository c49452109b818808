"""What the commands share: consoles, the progress bar, errors in one line."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from archpress_trainer.data.dataset import DatasetError
from archpress_trainer.embedding.manifest import ArtifactError
from archpress_trainer.population.spec import PopulationError
from archpress_trainer.report.errors import ReportError
from archpress_trainer.space.sampling import SamplerExhaustedError

console = Console()
_errors = Console(stderr=True)


def progress_bar() -> Progress:
    """Return a bar with count, rate, time and a note."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
    )


class OptionsError(ValueError):
    """Options that do not go together; the message says which."""


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn the errors that a user can act on into one line and exit status 1."""
    try:
        yield
    except (
        ArtifactError,
        DatasetError,
        OptionsError,
        PopulationError,
        ReportError,
        SamplerExhaustedError,
        OSError,
    ) as error:
        _errors.print(
            f"archpress-trainer: {_explained(error)}",
            style="red",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        _errors.print("archpress-trainer: interrupted; the same command goes on from here")
        raise typer.Exit(130) from None


def _explained(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "no space left on the disk: free some, and the same command goes on from here"
    return str(error)


class _Rate(ProgressColumn):
    """Steps per minute since the start."""

    def render(self, task: Task) -> Text:
        elapsed = task.elapsed or 0.0
        done = task.completed - float(task.fields.get("resumed", 0))
        rate = done / elapsed * 60 if elapsed > 0 else 0.0
        return Text(f"{rate:,.1f}/min")

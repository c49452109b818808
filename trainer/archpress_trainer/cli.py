"""The `archpress-trainer` command."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

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
from rich.table import Table
from rich.text import Text

from archpress_trainer.build import BuildObserver, BuildSettings, build_embedding
from archpress_trainer.data.dataset import DatasetError
from archpress_trainer.data.registry import DataSources
from archpress_trainer.embedding.fit_autoencoder import AutoencoderSettings, FitStep
from archpress_trainer.embedding.manifest import (
    ArtifactError,
    EmbeddingMethod,
    Manifest,
    read_manifest,
)
from archpress_trainer.embedding.metrics import METRIC_MEANINGS
from archpress_trainer.embedding.paper import PaperSettings
from archpress_trainer.population.executor import LocalExecutor
from archpress_trainer.population.run import Tally
from archpress_trainer.population.spec import PopulationError, default_spec
from archpress_trainer.space.sampling import SamplerExhaustedError
from archpress_trainer.training.device import best_compute
from archpress_trainer.training.fidelity import Fidelity

app = typer.Typer(
    help="Build the embedding that archpress compresses in.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
_console = Console()
_errors = Console(stderr=True)


@app.callback()
def _root() -> None:
    """Keep `build` a subcommand, however few commands there are."""


@app.command()
def build(
    dataset: Annotated[str, typer.Option(help="Name of the data set.")] = "fashion-mnist",
    data: Annotated[
        Path | None, typer.Option(help="An .npz file: then --dataset is the name it gets.")
    ] = None,
    dataset_root: Annotated[
        Path | None, typer.Option(help="Where torchvision's data sets are or go.")
    ] = None,
    nets: Annotated[int, typer.Option(min=20, help="Architectures to train.")] = 300,
    images: Annotated[int, typer.Option(min=1, help="Training images of a label.")] = 12_000,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over them.")] = 3,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings averaged for a label.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Seed of every random choice.")] = 0,
    method: Annotated[
        EmbeddingMethod, typer.Option(help="The default model or the paper's.")
    ] = EmbeddingMethod.DEFAULT,
    autoencoder_nets: Annotated[
        int, typer.Option(min=100, help="Unlabelled nets for the autoencoder.")
    ] = 600_000,
    autoencoder_iterations: Annotated[
        int, typer.Option(min=1, help="Steps of the autoencoder's fit.")
    ] = 5_000,
    paper_iterations: Annotated[
        int, typer.Option(min=1, help="Steps of the paper model's fit.")
    ] = 80_000,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Worker processes; unset is one per core.")
    ] = None,
    work: Annotated[
        Path | None, typer.Option(help="Folder of the stages; unset is OUTPUT.work.")
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder of the artifact.")] = Path("embedding"),
) -> None:
    """Sample nets, train them, fit the embedding, write the artifact and print its metrics.

    Killed at any point and started again with the same options, it keeps every label and the
    finished autoencoder; a fit that was killed starts over.
    """
    with _one_line_errors():
        files = {dataset: data} if data else {}
        sources = DataSources(files=files)
        if dataset_root is not None:
            sources = replace(sources, root=dataset_root)
        loaded = sources.load(dataset)
        spec = default_spec(
            dataset,
            loaded.fingerprint,
            loaded.input_shape,
            loaded.classes,
            Fidelity(images, epochs, seeds),
            seed=seed,
        )
        settings = BuildSettings(
            nets=nets,
            method=method,
            autoencoder=AutoencoderSettings(
                nets=autoencoder_nets, iterations=autoencoder_iterations
            ),
            paper=PaperSettings(iterations=paper_iterations),
        )
        executor = LocalExecutor(sources, workers or os.cpu_count() or 1)
        folder = work or output.with_name(f"{output.name}.work")
        with _progress() as progress:
            embedding = build_embedding(
                spec,
                settings,
                executor,
                folder,
                output,
                best_compute(),
                _observer(progress, settings),
            )
        print_manifest(embedding.manifest)
        _console.print(f"The embedding is in {output}")


@app.command()
def show(folder: Annotated[Path, typer.Argument(help="Folder of an artifact.")]) -> None:
    """Print an embedding's provenance and metrics."""
    with _one_line_errors():
        print_manifest(read_manifest(folder))


def print_manifest(manifest: Manifest) -> None:
    """Print provenance and metrics as a table."""
    table = Table(title=f"{manifest.name}", title_justify="left", show_header=False)
    table.add_row("data set", manifest.dataset)
    table.add_row("labelled nets", str(manifest.population_size))
    table.add_row("fidelity of a label", str(manifest.fidelity))
    for name, meaning in METRIC_MEANINGS:
        if name in manifest.metrics:
            table.add_row(meaning, f"{manifest.metrics[name]:g}")
    _console.print(table)


class _Rate(ProgressColumn):
    """Steps per minute since the start."""

    def render(self, task: Task) -> Text:
        elapsed = task.elapsed or 0.0
        done = task.completed - float(task.fields.get("resumed", 0))
        rate = done / elapsed * 60 if elapsed > 0 else 0.0
        return Text(f"{rate:,.1f}/min")


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=_console,
    )


def _observer(progress: Progress, settings: BuildSettings) -> BuildObserver:
    labels = progress.add_task("labels", total=settings.nets, note="", resumed=0)
    fit_total = (
        settings.paper.iterations
        if settings.method is EmbeddingMethod.PAPER
        else settings.autoencoder.iterations
    )
    fit = progress.add_task("fit", total=fit_total, note="", start=False)
    started = False

    def on_label(tally: Tally) -> None:
        nonlocal started
        if not started:
            started = True
            progress.update(labels, resumed=tally.done)
        note = f"best {tally.best_accuracy:.2%}, {tally.failed} without a label"
        progress.update(labels, completed=tally.done, note=note)

    def on_fit(iteration: int, note: str) -> None:
        progress.start_task(fit)
        progress.update(fit, completed=iteration, note=note)

    def on_autoencoder(step: FitStep) -> None:
        on_fit(step.iteration, f"loss {step.loss:.3f}, exact {step.exact:.1%}")

    def on_paper(iteration: int, loss: float) -> None:
        on_fit(iteration, f"loss {loss:.3f}")

    return BuildObserver(on_label, on_autoencoder, on_paper)


@contextmanager
def _one_line_errors() -> Iterator[None]:
    try:
        yield
    except (
        ArtifactError,
        DatasetError,
        PopulationError,
        SamplerExhaustedError,
        OSError,
    ) as error:
        _errors.print(f"archpress-trainer: {error}", style="red", highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        _errors.print("archpress-trainer: interrupted; the same command goes on from here")
        raise typer.Exit(130) from None

"""`archpress-trainer build`: from a data set to an embedding."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from archpress_trainer.build import BuildObserver, BuildSettings, build_embedding
from archpress_trainer.cli.console import console, one_line_errors, progress_bar
from archpress_trainer.cli.show import print_manifest
from archpress_trainer.data.registry import DataSources
from archpress_trainer.embedding.fit_autoencoder import AutoencoderSettings, FitStep
from archpress_trainer.embedding.manifest import EmbeddingMethod
from archpress_trainer.embedding.paper import PaperSettings
from archpress_trainer.population.executor import LocalExecutor
from archpress_trainer.population.run import Tally
from archpress_trainer.population.spec import default_spec
from archpress_trainer.training.device import best_compute
from archpress_trainer.training.fidelity import Fidelity


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
    with one_line_errors():
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
        with progress_bar() as progress:
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
        console.print(f"The embedding is in {output}")


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

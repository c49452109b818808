"""`archpress-trainer build`: from a data set to an embedding."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from archpress_trainer.build import build_embedding
from archpress_trainer.cli.console import OptionsError, console, one_line_errors, progress_bar
from archpress_trainer.cli.progress import observer, plan_line
from archpress_trainer.cli.show import print_manifest
from archpress_trainer.data.npz import save_npz
from archpress_trainer.data.registry import DataSources
from archpress_trainer.embedding.artifact import check_output
from archpress_trainer.embedding.manifest import EmbeddingMethod
from archpress_trainer.population.executors import ExecutorKind, make_executor
from archpress_trainer.population.local_executor import LocalExecutor
from archpress_trainer.population.records import PopulationStore
from archpress_trainer.population.spec import MAX_SEED, MIN_IMAGE_SIDE, RecipeName, SamplerName
from archpress_trainer.presets import PRESETS, PresetName, population_of, settings_of
from archpress_trainer.rebuild import Origin, read_origin
from archpress_trainer.space.vocab import Limits
from archpress_trainer.training.device import best_compute


def build(
    preset: Annotated[
        PresetName | None,
        typer.Option(
            help="Defaults of the options marked *: quick and standard (if unset) are meant for a "
            "few cores, full for a GPU, residual for nets with skips, paper is the paper's."
        ),
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="Name of the data set; unset is fashion-mnist.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Your own images: an .npz file, or a folder with train/CLASS/*.png and "
            "test/CLASS/*.png. --dataset is the name that they get; unset is the file's."
        ),
    ] = None,
    image_size: Annotated[
        int | None,
        typer.Option(
            min=MIN_IMAGE_SIDE,
            max=Limits.INPUT_SIDE,
            help="Crop a folder's images to their centred square and scale it to this side.",
        ),
    ] = None,
    dataset_root: Annotated[
        Path | None, typer.Option(help="Where torchvision's data sets are or go.")
    ] = None,
    nets: Annotated[int | None, typer.Option(min=20, help="* Architectures to train.")] = None,
    images: Annotated[int | None, typer.Option(min=1, help="* Training images of a label.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="* Passes over them.")] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="* Trainings averaged for a label.")
    ] = None,
    repeats: Annotated[
        int | None, typer.Option(min=0, help="* Nets labelled twice, to tell a label's noise.")
    ] = None,
    also: Annotated[
        list[str] | None,
        typer.Option(
            metavar="EMBEDDING",
            help="* Learn from the labelled nets of this embedding of the same data too; may be "
            "given several times.",
        ),
    ] = None,
    sampler: Annotated[
        SamplerName | None,
        typer.Option(help="* A prior over useful chains or nets with skips, or the paper's."),
    ] = None,
    recipe: Annotated[
        RecipeName | None, typer.Option(help="* How nets are trained: briefly, or as the paper's.")
    ] = None,
    flip: Annotated[
        bool | None,
        typer.Option(
            "--flip/--no-flip",
            help="* Mirror half of the training images, here and in all jobs; not for arrows, "
            "hands or letters. Unset mirrors all but svhn's.",
        ),
    ] = None,
    method: Annotated[
        EmbeddingMethod | None, typer.Option(help="* The default model or the paper's.")
    ] = None,
    autoencoder_nets: Annotated[
        int | None, typer.Option(min=100, help="* Unlabelled nets for the autoencoder.")
    ] = None,
    autoencoder_iterations: Annotated[
        int | None, typer.Option(min=1, help="* Steps of the autoencoder's fit.")
    ] = None,
    autoencoder_batch: Annotated[
        int | None, typer.Option(min=2, help="* Nets per step of the autoencoder's fit.")
    ] = None,
    dimensions: Annotated[
        int | None, typer.Option(min=2, help="* Dimensions of the embedding.")
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            metavar="EMBEDDING",
            help="* Embedding of another data set whose autoencoder the fit goes on from.",
        ),
    ] = None,
    paper_iterations: Annotated[
        int | None, typer.Option(min=1, help="* Steps of the paper model's fit.")
    ] = None,
    min_params: Annotated[
        int | None, typer.Option(min=1, help="* Fewest parameters that sampled nets aim at.")
    ] = None,
    max_macs: Annotated[
        int | None, typer.Option(min=1, help="* Most multiply-accumulates of a net to train.")
    ] = None,
    max_activation_bytes: Annotated[
        int | None, typer.Option(min=1, help="* Most bytes of its activations, at their peak.")
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, max=MAX_SEED, help="Seed of every random choice; unset is 0."),
    ] = None,
    from_: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="EMBEDDING",
            help="Build this embedding again, with its settings: the folder of an artifact, or "
            "the name of one that comes with archpress.",
        ),
    ] = None,
    reuse_labels: Annotated[
        bool, typer.Option("--reuse-labels", help="With --from: take its labels, only fit again.")
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, help="Worker processes; unset is one per core, or what the Ray cluster can hold."
        ),
    ] = None,
    where: Annotated[
        ExecutorKind, typer.Option("--executor", help="Train nets on this machine or on Ray.")
    ] = ExecutorKind.LOCAL,
    ray_address: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="A Ray cluster, or auto on one of its nodes; unset starts one on this machine.",
        ),
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
    options: dict[str, Any] = {
        "nets": nets,
        "images": images,
        "epochs": epochs,
        "seeds": seeds,
        "repeats": repeats,
        "also": tuple(also) if also else None,
        "sampler": sampler,
        "recipe": recipe,
        "flip": flip,
        "method": method,
        "autoencoder_nets": autoencoder_nets,
        "autoencoder_iterations": autoencoder_iterations,
        "autoencoder_batch": autoencoder_batch,
        "dimensions": dimensions,
        "start": start,
        "paper_iterations": paper_iterations,
        "min_params": min_params,
        "max_macs": max_macs,
        "max_activation_bytes": max_activation_bytes,
    }
    chosen = {name: value for name, value in options.items() if value is not None}
    with one_line_errors():
        origin = _origin(
            from_, reuse_labels, {**chosen, "preset": preset, "dataset": dataset, "seed": seed}
        )
        check_output(output, apart=[path for path in (data, work) if path])
        folder = work or output.resolve().with_name(f"{output.resolve().name}.work")
        sources, name = _sources(origin, dataset, data, image_size, dataset_root)
        loaded = sources.load(name)
        if origin is not None:
            origin.check_dataset(loaded)
            spec, settings = origin.spec, origin.settings
        else:
            choices = replace(PRESETS[preset or PresetName.STANDARD], **chosen)
            spec = population_of(choices, name, loaded, seed=seed or 0)
            settings = settings_of(choices, name)
        folder.mkdir(parents=True, exist_ok=True)
        if data is not None and data.is_dir():
            # Read once, not once per worker; and the server can be given it as it was used here.
            # Named by its content: nothing says yet that no other build is at work in the folder.
            packed = folder / f"dataset-{loaded.fingerprint[:12]}.npz"
            if not packed.exists():
                save_npz(loaded, packed)
            sources = replace(sources, files={name: packed})
        del loaded
        if origin is not None and reuse_labels:
            origin.reuse_labels(PopulationStore(folder / "population"))
        compute = best_compute()
        executor = make_executor(where, sources, workers=workers, ray_address=ray_address)
        crew = executor.workers if isinstance(executor, LocalExecutor) else None
        console.print(plan_line(spec, settings, crew, compute), soft_wrap=True, markup=False)
        with progress_bar() as progress:
            embedding = build_embedding(
                spec, settings, executor, folder, output, compute, observer(progress, settings)
            )
        print_manifest(embedding.manifest)
        console.print(f"The embedding is in {output}", markup=False)


def _origin(place: str | None, reuse_labels: bool, decided: dict[str, Any]) -> Origin | None:
    """Return the embedding to build again, if one is named; `decided` are options it excludes."""
    if place is None:
        if reuse_labels:
            raise OptionsError("--reuse-labels needs --from, the embedding to take labels from")
        return None
    given = [f"--{name.replace('_', '-')}" for name, value in decided.items() if value is not None]
    if given:
        raise OptionsError(
            f"--from takes every setting from the embedding; leave out {', '.join(given)}"
        )
    return read_origin(place)


def _sources(
    origin: Origin | None,
    dataset: str | None,
    data: Path | None,
    image_size: int | None,
    root: Path | None,
) -> tuple[DataSources, str]:
    """Return where data sets come from, and the name of the one to use."""
    if image_size is not None and (data is None or not data.is_dir()):
        raise OptionsError("--image-size needs --data with a folder of images")
    if origin is not None:
        name = origin.spec.dataset
    else:
        name = dataset or (data.resolve().stem if data else "fashion-mnist")
    sources = DataSources(files={name: data} if data else {}, image_size=image_size)
    if root is not None:
        sources = replace(sources, root=root)
    if origin is not None and name not in sources.names:
        raise OptionsError(f"{origin.folder} was built on {name!r}: give that data set as --data")
    return sources, name

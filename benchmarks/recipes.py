"""What each ingredient of the retraining is worth, by validation accuracy.

Networks that the server plans for three sizes are trained by the recipe of STANDARD effort and by
changes of it, from several seeds, taught by the input network as the recipe has it. The test split
is read for the input network only. Each training is a line of OUTPUT.jsonl; a run that was broken
off goes on.

Prediction: a teacher is worth the most, more the smaller the network; shifts and erased squares
help where there is a teacher and hurt the smallest networks without one; averaged weights are worth
a tenth of a point; the rest is within the noise.

Outcome, with one seed, from a recipe without a teacher: a teacher gives 0.3 to 0.7 point, more to
the larger network; shifts hurt, erased squares do nothing beside a teacher
(docs/adr/0014-the-input-network-teaches.md). That is `results/recipes-fashion-mnist.jsonl`; changes
of today's recipe were not measured and go to another file.

    python benchmarks/recipes.py --output recipes.jsonl --workers 2
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from arguments import existing, output_file, positive, positive_number, usage_errors
from bench_worker import start_worker
from input_network import input_network
from json_lines import JsonLines, Record

from archpress_server.compress.effort import effort_plan
from archpress_server.compress.planning import plan
from archpress_server.compress.types import Budget, Effort, Method, Request
from archpress_trainer.data.registry import DataSources
from archpress_trainer.embedding.artifact import load
from archpress_trainer.embedding.bundled import artifact_folder
from archpress_trainer.processes import worker_pool
from archpress_trainer.space.build import build
from archpress_trainer.space.costs import count
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.named import named
from archpress_trainer.training.device import best_compute
from archpress_trainer.training.loop import train
from archpress_trainer.training.recipe import Recipe
from archpress_trainer.training.teaching import Teacher

NETWORKS = {
    "fashion-mnist": "conv-7",
    "cifar10": "conv-10",
    "cifar100": "conv-10",
    "svhn": "conv-10",
}
"""The paper's input network for each of its data sets."""
SIZES = {"fashion-mnist": (93_000, 50_000, 20_000), "cifar10": (400_000, 100_000)}

CHANGES: Mapping[str, Mapping[str, Any]] = {
    "as it is": {},
    "half the epochs": {"epochs": 0.5},
    "twice the epochs": {"epochs": 2.0},
    "half the rate": {"learning_rate": 0.05},
    "twice the rate": {"learning_rate": 0.2},
    "decay 5e-5": {"weight_decay": 5e-5},
    "decay 5e-4": {"weight_decay": 5e-4},
    "decay 1e-3": {"weight_decay": 1e-3},
    "no averaging": {"average_decay": 0.0},
    "longer averaging": {"average_decay": 0.999},
    "label smoothing 0.1": {"label_smoothing": 0.1},
    "no teacher": {"distil_weight": 0.0, "distil_shift": 0},
    "two views": {"distil_shift": 0},
    "temperature 2": {"distil_temperature": 2.0},
    "half by the teacher": {"distil_weight": 0.5},
    "all by the teacher": {"distil_weight": 1.0},
    "shifts of 1": {"crop_padding": 1, "distil_shift": 0},
    "shifts of 2": {"crop_padding": 2, "distil_shift": 0},
    "squares of 6": {"erase": 6, "distil_shift": 0},
}
"""Of the recipe of STANDARD effort; with `epochs` as a factor."""


@dataclass(frozen=True)
class Settings:
    """What every training has in common."""

    dataset: str
    data: Path | None
    teacher: Path
    epochs: int
    images: int | None


@dataclass(frozen=True)
class Run:
    """One training: a change of the recipe, the network of a size, a seed."""

    change: str
    size: int
    network: Architecture
    seed: int


class Bench:
    """What a worker keeps between trainings."""

    def __init__(self, settings: Settings) -> None:
        """Load the images."""
        self._settings = settings
        self._compute = best_compute()
        files = {settings.dataset: settings.data} if settings.data else {}
        self._dataset = dataset = DataSources(files=files).load(settings.dataset)
        self._data = dataset.split().subset(settings.images).to(self._compute.device)
        effort = effort_plan(Effort.STANDARD, Method.DEFAULT, settings.dataset, dataset.input_shape)
        self._effort = effort
        self._teacher: Teacher | None = None
        self.recipe = replace(effort.final_recipe, epochs=settings.epochs)

    @property
    def common(self) -> Record:
        """What all lines of an output have in common: the recipe that is changed, the images."""
        return {
            "dataset": self._settings.dataset,
            "recipe": self.recipe.to_json(),
            "images": len(self._data.train),
        }

    def teacher(self) -> Teacher:
        """Return the input network, which is trained if there is no file of it."""
        if self._teacher is None:
            dataset, compute = self._dataset, self._compute
            network = named(NETWORKS[self._settings.dataset], dataset.input_shape, dataset.classes)
            source = input_network(
                self._settings.teacher,
                network,
                self._data,
                dataset.test(),
                self._effort.input_recipe_for(count(network).macs, len(self._data.train)),
                0,
                compute,
            )
            self._teacher = Teacher(source.network.to(compute.device), compute)
        return self._teacher

    def run(self, run: Run) -> Record:
        """Train once and return the line."""
        recipe = changed(self.recipe, run.change)
        generator = torch.Generator().manual_seed(run.seed)
        network = build(run.network, generator)
        teacher = self.teacher() if recipe.distil_weight else None
        result = train(network, self._data, recipe, generator, self._compute, teacher=teacher)
        return {
            "change": run.change,
            "size": run.size,
            "params": count(run.network).params,
            "epochs": recipe.epochs,
            "seed": run.seed,
            "validation": round(result.accuracy, 5),
            "seconds": round(result.seconds, 2),
            **self.common,
        }


def changed(recipe: Recipe, change: str) -> Recipe:
    """Return a recipe with one of the changes."""
    values = dict(CHANGES[change])
    values["epochs"] = max(1, round(recipe.epochs * values.get("epochs", 1)))
    return replace(recipe, **values)


@lru_cache(maxsize=1)
def _bench(settings: Settings) -> Bench:
    return Bench(settings)


def _run(settings: Settings, run: Run) -> Record:
    return _bench(settings).run(run)


def networks(dataset: str, sizes: Sequence[int]) -> dict[int, Architecture]:
    """Return the best plan of the server for each size, without training any."""
    embedding = load(artifact_folder(dataset))
    space = embedding.manifest.space
    network = named(NETWORKS[dataset], space.input_shape, space.classes)
    return {
        size: plan(Request(network, dataset, Budget(max_params=size)), embedding, 1)
        .candidates[0]
        .architecture
        for size in sizes
    }


def summary(lines: list[Record]) -> dict[str, Any]:
    """Return the mean over seeds for each size and change, and the gain over no change.

    The gain is the mean over the seeds that both have, of which there are `pairs`; without any it
    is None.
    """
    table: dict[str, Any] = {}
    for change in CHANGES:
        row: dict[str, Any] = {}
        for size in sorted({line["size"] for line in lines}):
            found = _of(lines, change, size)
            if found:
                before = _of(lines, "as it is", size)
                gains = [found[seed] - before[seed] for seed in found if seed in before]
                row[str(size)] = {
                    "n": len(found),
                    "mean": round(mean(found.values()), 3),
                    "sd": round(stdev(found.values()), 3) if len(found) > 1 else None,
                    "gain": round(mean(gains), 3) if gains else None,
                    "pairs": len(gains),
                }
        if row:
            table[change] = row
    return table


def _of(lines: list[Record], change: str, size: int) -> dict[int, float]:
    """Return validation accuracies in percent by seed."""
    return {
        line["seed"]: 100 * line["validation"]
        for line in lines
        if line["change"] == change and line["size"] == size
    }


def main() -> None:
    """Run what is missing, then summarise."""
    parser, options = _options()
    started = time.monotonic()
    settings = Settings(
        options.dataset,
        options.data,
        options.output.with_suffix(".teacher.safetensors"),
        options.epochs,
        options.images,
    )
    with usage_errors(parser):
        lines = JsonLines(options.output)
        bench = Bench(settings)
        lines.require(bench.common)
        planned = networks(options.dataset, options.sizes or SIZES[options.dataset])
    # Trained before the workers start, so that they find its file.
    bench.teacher()
    # The workers have their own.
    del bench
    torch.cuda.empty_cache()
    runs = [
        Run(change, size, network, seed)
        for seed in range(options.seeds)
        for change in options.changes
        for size, network in planned.items()
        if not lines.holds({"change": change, "size": size, "seed": seed})
    ]
    with worker_pool(options.workers, start_worker) as pool:
        for future in as_completed([pool.submit(_run, settings, run) for run in runs]):
            lines.add(future.result())
            if options.seconds and time.monotonic() - started > options.seconds:
                pool.shutdown(wait=False, cancel_futures=True)
                break
    text = json.dumps(summary(lines.records), indent=1)
    options.output.with_suffix(".json").write_text(text + "\n")
    print(text)


def _options() -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--dataset", default="fashion-mnist", choices=sorted(SIZES))
    parser.add_argument(
        "--data", type=existing, help="an .npz, for a data set that is not installed"
    )
    parser.add_argument("--output", type=output_file, required=True, help="JSON lines")
    parser.add_argument("--changes", nargs="+", default=list(CHANGES), choices=list(CHANGES))
    parser.add_argument("--sizes", type=positive, nargs="+", help="limits on parameters")
    parser.add_argument("--seeds", type=positive, default=2)
    parser.add_argument("--workers", type=positive, default=2)
    parser.add_argument("--epochs", type=positive, default=40)
    parser.add_argument("--images", type=positive)
    parser.add_argument("--seconds", type=positive_number, help="start no training after so long")
    return parser, parser.parse_args()


if __name__ == "__main__":
    main()

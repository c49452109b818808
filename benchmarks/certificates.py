"""What the service delivers at the sizes of the goals: certified accuracies over several seeds.

`compress` gets CONV-7 (CONV-10 for CIFAR-10), a limit on parameters and a seed. The seed decides
search, rounds and training; the input network is trained once by the same recipe if the effort says
that it teaches, or comes from a file. A draft, which does not train it, has it taught if there is
`--input`: then its weights, trained at standard effort, come with the request. The accuracy is the
certificate's; beside it are the validation accuracies of what was trained in full, the search's
winner and the narrowed input network. Each job is a line of OUTPUT.jsonl; a run that was broken off
goes on, within a job too, as the server does.

    python benchmarks/certificates.py --output benchmarks/results/certificates.jsonl
    python benchmarks/certificates.py --input benchmarks/results/conv-7.input.safetensors \\
        --effort draft --output benchmarks/results/certificates-draft.jsonl
    python benchmarks/certificates.py --dataset cifar10 --data cifar10.npz --effort draft \\
        --seeds 1 --output benchmarks/results/certificates-cifar10-draft.jsonl
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Iterable
from concurrent.futures import as_completed
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import torch
from arguments import existing, output_file, positive, usage_errors
from bench_worker import start_worker
from folder_checkpoints import FolderCheckpoints
from input_network import input_network
from json_lines import JsonLines, Record
from quiet import Quiet
from recipes import CHANGES, NETWORKS, SIZES, changed
from rivals import OURS_NOW

from archpress_server.compress.effort import effort_plan
from archpress_server.compress.input_net import TrainedInput
from archpress_server.compress.pipeline import compress
from archpress_server.compress.types import (
    Budget,
    Candidate,
    CompressionError,
    Effort,
    Method,
    Request,
    RequestError,
)
from archpress_trainer.data.registry import DataSources
from archpress_trainer.embedding.artifact import load
from archpress_trainer.embedding.bundled import artifact_folder
from archpress_trainer.processes import worker_pool
from archpress_trainer.space.costs import count
from archpress_trainer.space.named import named
from archpress_trainer.training.device import best_compute


@dataclass(frozen=True)
class Settings:
    """What every job has in common; `change` is one of `recipes.py`."""

    dataset: str
    data: Path | None
    effort: Effort
    change: str
    epochs: int | None
    output: Path
    input: Path | None
    embedding: str | None = None
    """A folder; the bundled one by default."""
    download: bool = False
    """Whether a data set that is not at hand may be downloaded."""

    def checkpoints(self, target: int, seed: int) -> FolderCheckpoints:
        """Return where a job keeps what it has done, beside the output."""
        return FolderCheckpoints(self.output.with_suffix(f".{target}-{seed}.checkpoints"))


class _InFull(Quiet):
    """Remembers what full trainings reached: the last that is told of each kind of candidate."""

    def __init__(self) -> None:
        self._told: dict[bool, float | None] = {}

    def candidate(self, candidate: Candidate) -> None:
        """Take note."""
        self._told[candidate.inherits] = candidate.validation_accuracy

    def record(self) -> Record:
        """Return both validation accuracies, None for what there was not."""
        return {
            "searched_validation": self._told.get(False),
            "narrowed_validation": self._told.get(True),
        }


class Bench:
    """What a worker keeps between jobs."""

    def __init__(self, settings: Settings) -> None:
        """Load the images and the embedding."""
        self._settings = settings
        self._compute = best_compute()
        files = {settings.dataset: settings.data} if settings.data else {}
        sources = DataSources(files=files, download=settings.download)
        self._dataset = sources.load(settings.dataset)
        self._embedding = load(artifact_folder(settings.embedding or settings.dataset))
        shape, classes = self._dataset.input_shape, self._dataset.classes
        plan = effort_plan(settings.effort, Method.DEFAULT, settings.dataset, shape)
        final = changed(plan.final_recipe, settings.change)
        if settings.epochs is not None:
            final = replace(final, epochs=settings.epochs)
        self._plan = replace(plan, final_recipe=final)
        self._source = named(NETWORKS[settings.dataset], shape, classes)
        images = self._dataset.training_count
        self._given = plan.teaches or settings.input is not None
        self._taught = self._given and plan.affords_teacher(count(self._source).macs, images)
        self._input: TrainedInput | None = None

    @property
    def common(self) -> Record:
        """What all lines of an output have in common."""
        return {
            "dataset": self._settings.dataset,
            "effort": self._settings.effort,
            "change": self._settings.change,
            "epochs": self._plan.final_recipe.epochs,
            "taught": self._taught,
            "recipe": self._plan.final_recipe.to_json(),
            "embedding": self._embedding.manifest.name,
            "ours": OURS_NOW,
            "input": self._settings.input and _sha256(self._settings.input),
        }

    def job(self, target: int, seed: int) -> Record:
        """Compress once and return the line; a job that fails or is refused says why."""
        request = Request(
            self._source,
            self._settings.dataset,
            Budget(max_params=target),
            self._settings.effort,
            seed=seed,
        )
        line: Record = {**self.common, "target_params": target, "seed": seed}
        checkpoints = self._settings.checkpoints(target, seed)
        goes_on, in_full = checkpoints.are_there, _InFull()
        try:
            result = compress(
                request,
                self._embedding,
                self._dataset,
                in_full,
                threads=1,
                effort=self._plan,
                compute=self._compute,
                input_network=self.input(),
                checkpoints=checkpoints,
            )
        except (CompressionError, RequestError) as error:
            return line | {"failed": str(error)}
        return line | {
            "params": result.costs_after.params,
            "macs": result.costs_after.macs,
            "accuracy": result.certificate.accuracy,
            "accuracy_before": result.accuracy_before,
            "validation": round(result.validation_accuracy, 5),
            **in_full.record(),
            "optimism": result.optimism,
            "device": self._compute.device.type,
            "seconds": None if goes_on else round(result.seconds, 1),
        }

    def input(self) -> TrainedInput | None:
        """Return the input network if there is to be one, trained if there is no file of it."""
        if self._given and self._input is None:
            self._input = self._trained_input()
        return self._input

    def _trained_input(self) -> TrainedInput:
        settings, data = self._settings, self._dataset.split()
        plan = self._plan
        if not plan.teaches:
            shape = self._dataset.input_shape
            plan = effort_plan(Effort.STANDARD, Method.DEFAULT, settings.dataset, shape)
        trained = input_network(
            settings.input or settings.output.with_suffix(".input.safetensors"),
            self._source,
            data.to(self._compute.device),
            self._dataset.test(),
            plan.input_recipe_for(count(self._source).macs, len(data.train)),
            0,
            self._compute,
        )
        return trained.given(data.normalisation)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@lru_cache(maxsize=1)
def _bench(settings: Settings) -> Bench:
    return Bench(settings)


def _job(settings: Settings, target: int, seed: int) -> Record:
    return _bench(settings).job(target, seed)


def output_name(dataset: str, effort: Effort) -> str:
    """Return the name of the file that is committed."""
    parts = ["certificates"]
    parts += [dataset] if dataset != "fashion-mnist" else []
    parts += [effort] if effort is not Effort.STANDARD else []
    return f"{'-'.join(parts)}.jsonl"


def begin(settings: Settings) -> JsonLines:
    """Return the output; a data set or an embedding that is missing is an error of its own.

    Raises:
        SystemExit: the output was begun with other settings.
    """
    lines = JsonLines(settings.output)
    lines.require(_bench(settings).common)
    return lines


def run(
    settings: Settings, lines: JsonLines, targets: Iterable[int], seeds: int, workers: int
) -> None:
    """Run the jobs that are missing in the output."""
    jobs = [
        (target, seed)
        for seed in range(seeds)
        for target in targets
        if not lines.holds({"target_params": target, "seed": seed})
    ]
    if not jobs:
        return
    # Trained before the workers start, so that they find its file.
    _bench(settings).input()
    # The workers have their own.
    _bench.cache_clear()
    torch.cuda.empty_cache()
    with worker_pool(workers, start_worker) as pool:
        for future in as_completed([pool.submit(_job, settings, *job) for job in jobs]):
            line = future.result()
            lines.add(line)
            settings.checkpoints(line["target_params"], line["seed"]).clear()
            print(line, flush=True)


def main() -> None:
    """Run the jobs that are missing."""
    parser, options = _options()
    settings = Settings(
        options.dataset,
        options.data,
        options.effort,
        options.change,
        options.epochs,
        options.output,
        options.input,
    )
    with usage_errors(parser):
        lines = begin(settings)
    targets = options.targets or SIZES[options.dataset]
    run(settings, lines, targets, options.seeds, options.workers)


def _options() -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--dataset", default="fashion-mnist", choices=sorted(SIZES))
    parser.add_argument(
        "--data", type=existing, help="an .npz, for a data set that is not installed"
    )
    parser.add_argument("--output", type=output_file, required=True, help="JSON lines")
    parser.add_argument(
        "--input", type=existing, help="the input network; made beside OUTPUT by default"
    )
    parser.add_argument("--targets", type=positive, nargs="+", help="limits on parameters")
    parser.add_argument("--effort", type=Effort, default=Effort.STANDARD, choices=list(Effort))
    parser.add_argument("--change", default="as it is", choices=list(CHANGES))
    parser.add_argument("--epochs", type=positive, help="of the final training")
    parser.add_argument("--seeds", type=positive, default=5)
    parser.add_argument("--workers", type=positive, default=2)
    return parser, parser.parse_args()


if __name__ == "__main__":
    main()

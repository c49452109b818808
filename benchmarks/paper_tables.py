"""The paper's tables 1 and 2, measured here: ours at the paper's size, and the input network.

For each row of table 1 the input network is trained by our final recipe; `compress` gets the size
that the paper's result has as its budget, and the trained input network as its teacher. Table 2 has
the paper's rivals on CIFAR-10, as it printed them; ours there is the row `cifar10` of table 1.
Accuracies are those of the test split: the certificate's for ours, read once after the training for
the input network.

A row whose data or embedding is not at hand stays empty, with the reason in the output. So does one
that needs a GPU (CONV-10 costs 20 times what CONV-7 does), unless `--images` asks for a reduced
fidelity, which every line of the output then states. Every measurement is a line of the output as
soon as it is there; run again, the program goes on where it was, within a training too.

    python benchmarks/paper_tables.py --rows fashion-mnist
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from arguments import named_path, named_value, output_file, positive, usage_errors
from folder_checkpoints import FolderCheckpoints
from input_network import InputNetwork, input_network
from json_lines import RESULTS, JsonLines
from quiet import Quiet

from archpress_server.compress.effort import effort_plan
from archpress_server.compress.pipeline import compress
from archpress_server.compress.types import (
    Budget,
    CompressionError,
    Effort,
    Method,
    Request,
    RequestError,
)
from archpress_trainer.data.dataset import DatasetError, ImageDataset
from archpress_trainer.data.registry import DataSources
from archpress_trainer.embedding.artifact import load
from archpress_trainer.embedding.bundled import artifact_folder
from archpress_trainer.embedding.interface import Embedding
from archpress_trainer.embedding.manifest import ArtifactError
from archpress_trainer.space.costs import count
from archpress_trainer.space.named import named
from archpress_trainer.training.device import best_compute

INPUT, OURS = "input", "ours"


@dataclass(frozen=True)
class PaperRow:
    """A row of table 1: accuracies in percent, as printed."""

    network: str
    input_accuracy: float
    input_params: int
    accuracy: float
    params: int
    needs_gpu: bool


TABLE_1: Mapping[str, PaperRow] = {
    "fashion-mnist": PaperRow("conv-7", 91.46, 708_000, 92.44, 93_000, False),
    "cifar10": PaperRow("conv-10", 92.35, 24_400_000, 92.31, 1_200_000, True),
    "cifar100": PaperRow("conv-10", 70.95, 24_400_000, 69.63, 5_400_000, True),
    "svhn": PaperRow("conv-10", 96.02, 24_400_000, 95.39, 2_785_000, True),
}
"""What the paper printed; sizes of its results follow from its compression rates."""

TABLE_2 = (
    ("Romero et al. (2014), distillation", 91.33, 1_200_000),
    ("Molchanov et al. (2016), pruning", 91.06, 2_300_000),
    ("Ashok et al. (2018), policy gradient", 92.05, 1_700_000),
    ("the paper", 92.31, 1_200_000),
)
"""Name, accuracy in percent and parameters on CIFAR-10, as printed."""


class EmptyRowError(Exception):
    """A row that cannot be measured here; the message says why."""


def main() -> None:
    """Measure what is missing in the output."""
    parser, options = _options()
    with usage_errors(parser):
        lines = JsonLines(options.output)
    for name in options.rows:
        try:
            _Row(name, lines, options).measure()
        except EmptyRowError as reason:
            record = {"row": name, "status": "empty", "reason": str(reason)}
            if not lines.holds(record):
                lines.add(record)
            print(f"{name}: {reason}", flush=True)


def _options() -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", nargs="+", choices=tuple(TABLE_1), default=tuple(TABLE_1))
    parser.add_argument("--effort", type=Effort, choices=tuple(Effort), default=Effort.STANDARD)
    parser.add_argument("--seeds", type=positive, default=5)
    parser.add_argument("--images", type=positive, help="training images, for a reduced fidelity")
    parser.add_argument("--epochs", type=positive, help="of both final trainings, likewise")
    parser.add_argument(
        "--data",
        type=named_path,
        nargs="+",
        default=[],
        metavar="NAME=PATH",
        help="an .npz or a folder of images",
    )
    parser.add_argument(
        "--embedding", type=named_value, nargs="+", default=[], metavar="NAME=FOLDER"
    )
    parser.add_argument("--download", action="store_true", help="data sets that are not at hand")
    parser.add_argument("--threads", type=positive, default=2)
    parser.add_argument("--output", type=output_file, default=RESULTS / "paper_tables.jsonl")
    return parser, parser.parse_args()


class _Row:
    """Measures one row; everything it needs is there once it is built."""

    def __init__(self, name: str, lines: JsonLines, options: argparse.Namespace) -> None:
        self._name = name
        self._lines = lines
        self._options = options
        self._paper = TABLE_1[name]
        self._compute = best_compute()
        on_gpu = self._compute.device.type == "cuda"
        if self._paper.needs_gpu and not on_gpu and options.images is None:
            raise EmptyRowError(f"{self._paper.network} needs a GPU, and there is none")
        self._embedding = _embedding(name, options)
        self._dataset = _dataset(name, options)
        self._architecture = named(
            self._paper.network, self._dataset.input_shape, self._dataset.classes
        )
        plan = effort_plan(options.effort, Method.DEFAULT, name, self._dataset.input_shape)
        if options.epochs is not None:
            final = replace(plan.final_recipe, epochs=options.epochs)
            plan = replace(plan, final_recipe=final, input_epochs=None)
        self._plan = plan
        self._fidelity = {
            "effort": options.effort.value,
            "images": self._dataset.training_count,
            "epochs": plan.final_recipe.epochs,
            "recipe": plan.final_recipe.to_json(),
            "embedding": self._embedding.manifest.name,
            "reduced": options.images is not None or options.epochs is not None,
        }

    def measure(self) -> None:
        """Add every line that is missing."""
        for seed in range(self._options.seeds):
            for what, measured in ((INPUT, self._input), (OURS, self._ours)):
                key = {"row": self._name, "what": what, "seed": seed, **self._fidelity}
                if self._lines.holds(key):
                    continue
                record = {"status": "measured", **measured(seed)}
                self._lines.add({**key, **record, "device": str(self._compute.device)})
                self._checkpoints(seed).clear()
                print(key, record, flush=True)

    def _ours(self, seed: int) -> dict[str, Any]:
        request = Request(
            self._architecture,
            self._name,
            Budget(max_params=self._paper.params),
            self._options.effort,
            seed=seed,
        )
        trained = self._trained(seed).given(self._dataset.split().normalisation)
        checkpoints = self._checkpoints(seed)
        goes_on = checkpoints.are_there
        try:
            result = compress(
                request,
                self._embedding,
                self._dataset,
                Quiet(),
                threads=self._options.threads,
                effort=self._plan,
                compute=self._compute,
                input_network=trained,
                checkpoints=checkpoints,
            )
        except (CompressionError, RequestError) as error:
            return {"status": "failed", "reason": f"{error.reason}: {error}"}
        certificate = result.certificate
        return {
            "params": certificate.costs.params,
            "macs": certificate.costs.macs,
            "accuracy": certificate.accuracy,
            "validation": result.validation_accuracy,
            "predicted": result.prediction and result.prediction.accuracy,
            "seconds": None if goes_on else round(result.seconds, 1),
        }

    def _input(self, seed: int) -> dict[str, Any]:
        trained = self._trained(seed)
        costs = count(self._architecture)
        return {
            "params": costs.params,
            "macs": costs.macs,
            "accuracy": trained.test,
            "validation": trained.validation,
            "seconds": round(trained.seconds, 1),
        }

    def _checkpoints(self, seed: int) -> FolderCheckpoints:
        """Return where the compression from a seed keeps what it has done."""
        return FolderCheckpoints(self._beside(seed, "ours.checkpoints"))

    def _beside(self, seed: int, name: str) -> Path:
        """Return a path of this row, seed and fidelity: trainings of others stay as they are."""
        output: Path = self._options.output
        fidelity = "-".join(str(self._fidelity[part]) for part in ("effort", "images", "epochs"))
        return output.with_suffix(f".{self._name}-{fidelity}-{seed}.{name}")

    def _trained(self, seed: int) -> InputNetwork:
        data = self._dataset.split().to(self._compute.device)
        return input_network(
            self._beside(seed, "safetensors"),
            self._architecture,
            data,
            self._dataset.test(),
            self._plan.input_recipe_for(count(self._architecture).macs, len(data.train)),
            seed,
            self._compute,
        )


def _embedding(name: str, options: argparse.Namespace) -> Embedding:
    try:
        return load(artifact_folder(dict(options.embedding).get(name, name)))
    except ArtifactError as error:
        raise EmptyRowError(f"there is no embedding for {name}: {error}") from None


def _dataset(name: str, options: argparse.Namespace) -> ImageDataset:
    try:
        dataset = DataSources(files=dict(options.data), download=options.download).load(name)
    except DatasetError as error:
        raise EmptyRowError(str(error)) from None
    return replace(
        dataset,
        train_images=dataset.train_images[: options.images],
        train_labels=dataset.train_labels[: options.images],
    )


if __name__ == "__main__":
    main()

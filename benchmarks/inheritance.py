"""Do a trained network's weights say which of its narrower forms will end best?

The input network is narrowed to equally many parameters in many ways: its widths, scaled by random
factors, are fitted to the budget. Every form starts from its strongest channels, learns from the
input network by the final recipe and is measured on validation images. What could have ranked the
forms before, from the cheapest on: the embedding's prediction; the accuracy of the inherited
weights as they are, after the statistics of normalisations were renewed, and after one epoch; a
short training from nothing, as rounds train. The test split is not read.

Each (target, form, seed) is a line of the output as soon as it is there; run again, the program
goes on where it was. The input network is kept beside the output, in a file that is not committed.
The committed lines are by a recipe of before; those by today's go to another file.

Prediction: inherited weights say little before they are trained, since damage is not what remains
after a training; one epoch says most. Outcome at a thirty-fifth of the parameters: they say
nothing, and one epoch less than hoped; forms end so much alike that nothing can rank them well.

    python benchmarks/inheritance.py --output inheritance.jsonl
    python benchmarks/inheritance.py --forms 3 --seeds 2 --epochs 1 --images 2000 \
        --output /tmp/x.jsonl
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import torch
from arguments import DATASETS, NETWORKS, output_file, positive, usage_errors
from input_network import InputNetwork, check_target, input_network
from json_lines import RESULTS, JsonLines, Record
from torch import nn

from archpress_server.compress.effort import effort_plan
from archpress_server.compress.heir import heir_widths
from archpress_server.compress.types import Effort, Method
from archpress_trainer.data.dataset import LabelledImages, TrainingData
from archpress_trainer.data.registry import DataSources
from archpress_trainer.embedding.artifact import load
from archpress_trainer.embedding.bundled import artifact_folder
from archpress_trainer.embedding.interface import Embedding
from archpress_trainer.space.build import Network, build
from archpress_trainer.space.costs import count
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.named import named
from archpress_trainer.space.reading_form import reading_form
from archpress_trainer.space.width_groups import WidthGroups
from archpress_trainer.space.widths import SizeBudget
from archpress_trainer.training.device import Compute, best_compute
from archpress_trainer.training.inheritance import narrowed
from archpress_trainer.training.loop import accuracy, train
from archpress_trainer.training.recipe import Recipe
from archpress_trainer.training.teaching import Teacher

_SPREAD = 0.6
"""Standard deviation of the logarithm of the factors on widths."""
_RENEWED_IMAGES = 4_000


@dataclass(frozen=True)
class Bench:
    """What every form has in common."""

    data: TrainingData
    final: Recipe
    short: Recipe
    compute: Compute
    embedding: Embedding
    source: InputNetwork
    teacher: Teacher

    def run(self, form: Architecture, seed: int) -> dict[str, Any]:
        """Return what could rank a form, with the seconds that it took, and how the form ends."""
        epoch = replace(self.final, epochs=1)
        rankers: dict[str, Callable[[], float]] = {
            "prediction": lambda: self.embedding.predict([reading_form(form)])[0].accuracy,
            "inherited": lambda: self._accuracy(self._heir(form)),
            "inherited, statistics renewed": lambda: self._accuracy(self._renewed(form)),
            "inherited, one epoch": lambda: self._trained(self._heir(form), epoch, seed),
            "short training from nothing": lambda: self._from_nothing(form, seed),
        }
        scores, seconds = {}, {}
        for name, ranker in rankers.items():
            scores[name], seconds[name] = _timed(ranker)
        final, final_seconds = _timed(lambda: self._trained(self._heir(form), self.final, seed))
        return {
            "scores": scores,
            "seconds": seconds,
            "final": final,
            "final_seconds": final_seconds,
        }

    def _heir(self, form: Architecture) -> Network:
        return narrowed(self.source.network, form).to(self.compute.device)

    def _renewed(self, form: Architecture) -> Network:
        network = self._heir(form)
        for layer in network.layers:
            if isinstance(layer, nn.BatchNorm2d):
                layer.reset_running_stats()
                layer.momentum = None
        images = self.data.normalisation(self.data.train.images[:_RENEWED_IMAGES])
        network.train()
        with torch.no_grad():
            for batch in images.split(self.final.batch_size):
                network(batch)
        return network.eval()

    def _from_nothing(self, form: Architecture, seed: int) -> float:
        network = build(form, torch.Generator().manual_seed(seed))
        generator = torch.Generator().manual_seed(seed)
        return train(network, self.data, self.short, generator, self.compute).accuracy

    def _trained(self, network: Network, recipe: Recipe, seed: int) -> float:
        generator = torch.Generator().manual_seed(seed)
        return train(
            network, self.data, recipe, generator, self.compute, teacher=self.teacher
        ).accuracy

    def _accuracy(self, network: Network) -> float:
        data = self.data
        return accuracy(network, data.validation, data.normalisation, self.compute)


@dataclass(frozen=True)
class _Given:
    """What is there before anything is trained."""

    architecture: Architecture
    data: TrainingData
    validation: LabelledImages
    final: Recipe
    short: Recipe
    compute: Compute
    embedding: Embedding

    def settings(self, options: argparse.Namespace) -> Record:
        """Return what all lines of an output have in common."""
        return {
            "network": options.network,
            "dataset": options.dataset,
            "images": len(self.data.train),
            "epochs": options.epochs,
            "input_epochs": options.input_epochs,
            "forms": options.forms,
            "embedding": self.embedding.manifest.name,
            "recipe": self.final.to_json(),
            "short_recipe": self.short.to_json(),
        }

    def bench(self, options: argparse.Namespace) -> Bench:
        """Return what every form has, for which the input network is trained."""
        source = input_network(
            options.output.with_suffix(".input.safetensors"),
            self.architecture,
            self.data,
            self.validation,
            replace(self.final, epochs=options.input_epochs),
            0,
            self.compute,
        )
        # A copy, since the device may be another.
        teacher = Teacher(deepcopy(source.network).to(self.compute.device), self.compute)
        return Bench(
            self.data, self.final, self.short, self.compute, self.embedding, source, teacher
        )


def forms(architecture: Architecture, target: int, number: int) -> list[Architecture]:
    """Return narrower forms of about equally many parameters; the first is scaled evenly."""
    rng = Random(target)
    groups = WidthGroups(architecture)
    found: dict[str, Architecture] = {}
    spread = 0.0
    while len(found) < number:
        widths = [max(4, round(w * min(1.0, rng.lognormvariate(0, spread)))) for w in groups.widths]
        form = heir_widths(groups.with_widths(widths), SizeBudget(target))
        spread = _SPREAD
        if form is not None and count(form).params >= 0.95 * target:
            found[form.digest] = form
    return list(found.values())


def main() -> None:
    """Measure what is missing in the output."""
    parser, options = _options()
    with usage_errors(parser):
        lines = JsonLines(options.output)
        given = _given(options)
    for target in options.targets:
        check_target(given.architecture, target)
    settings = given.settings(options)
    lines.require({"settings": settings})
    bench = given.bench(options)
    for target in options.targets:
        architectures = forms(bench.source.network.architecture, target, options.forms)
        for seed in range(options.seeds):
            for index, form in enumerate(architectures):
                key = {"target": target, "form": index, "seed": seed}
                if lines.holds(key):
                    continue
                costs = count(form)
                record = {
                    **key,
                    "widths": WidthGroups(form).widths,
                    "params": costs.params,
                    "macs": costs.macs,
                    **bench.run(form, seed),
                    "settings": settings,
                }
                lines.add(record)
                print(record, flush=True)


def _options() -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--dataset", default="fashion-mnist", choices=DATASETS)
    parser.add_argument("--network", default="conv-7", choices=NETWORKS)
    parser.add_argument("--embedding", help="a folder; the bundled one by default")
    parser.add_argument("--targets", nargs="+", type=positive, default=(20_000,), metavar="PARAMS")
    parser.add_argument("--forms", type=positive, default=12)
    parser.add_argument("--seeds", type=positive, default=2)
    parser.add_argument("--images", type=positive, default=12_000, help="training images")
    parser.add_argument("--epochs", type=positive, default=8, help="of the final training")
    parser.add_argument("--input-epochs", type=positive, default=6, help="of the input network's")
    parser.add_argument("--output", type=output_file, default=RESULTS / "inheritance.jsonl")
    return parser, parser.parse_args()


def _given(options: argparse.Namespace) -> _Given:
    dataset = DataSources(download=False).load(options.dataset)
    whole = dataset.split()
    compute = best_compute()
    plan = effort_plan(Effort.STANDARD, Method.DEFAULT, options.dataset, dataset.input_shape)
    return _Given(
        named(options.network, dataset.input_shape, dataset.classes),
        whole.subset(options.images).to(compute.device),
        whole.validation,
        replace(plan.final_recipe, name="final", epochs=options.epochs),
        plan.round_recipe,
        compute,
        load(artifact_folder(options.embedding or options.dataset)),
    )


def _timed(work: Callable[[], float]) -> tuple[float, float]:
    started = time.perf_counter()
    result = work()
    return round(result, 5), round(time.perf_counter() - started, 2)


if __name__ == "__main__":
    main()

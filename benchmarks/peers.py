"""Ours beside other ways to a small network: the same input network, data and training compute.

Methods: `ours`, the search; `heir`, the input network narrowed as a job does it, and
`progressive-heir`, in two steps; structured pruning by Torch-Pruning and further training
(`pruning` takes the same share of every layer, `global-pruning` takes channels where they matter
least); `distillation` into the input network with all widths scaled alike; N2N's `layer-removal` by
policy gradient (the paper's strongest rival in table 2); `width-scaling`, the scaled network
trained from scratch. All but the last learn from the input network too.

Each gets the same final recipe with its one-cycle schedule, which for pruning means to rewind the
learning rate; that beats fine-tuning at a small one (Renda et al. 2020). The schedule is as long as
the work allows: a network of half the multiply-accumulates gets twice the epochs. What counts as
work is said in `peer_methods.py`. Decisions use validation images; the test split is read once for
each network, for the number that is reported.

Every (method, target, seed) is a line of the output as soon as it is there; run again, the program
goes on where it was. What a method cannot reach is said and has no line. The input network is kept
in a file beside the output, or comes from one that is named, which must be of the same training.

Prediction: ours is ahead most at the smallest target, where proportions matter most; distillation
and what a pruned network inherits are worth half a point over training from scratch.

Outcome: not so. On CONV-7 the search is behind Torch-Pruning and behind ours narrowed at both
sizes, by 0.4 to 0.5 point in the mean of two seeds, and behind the scaled network from scratch too,
by 0.4 and 0.1. What pruning inherits is worth nothing at 50,000 parameters and 0.4 point at 20,000,
distillation nothing and 0.3. Ours narrowed is as good as Torch-Pruning, and at 70,900 parameters
the very same network. N2N's layer removal is last. On ResNet-20 the search is ahead, and
ours narrowed behind Torch-Pruning by 0.2 point in both seeds.

    python benchmarks/peers.py
    python benchmarks/peers.py --work 1e11 --images 6000 --input-epochs 1 --seeds 1 \
        --targets 50000 --output /tmp/peers.jsonl

Of the committed results three are by the present recipe: `peers.jsonl` by the command without
options,

    python benchmarks/peers.py --work 1.25e13 --images 55000 --input-epochs 20 --seeds 5 \
        --targets 70900 --methods heir pruning \
        --input benchmarks/results/conv-7.input.safetensors \
        --output benchmarks/results/peers-all-images.jsonl

and `peers-progressive.jsonl`:

    python benchmarks/peers.py --targets 20000 --seeds 2 --methods heir progressive-heir \
        --output benchmarks/results/peers-progressive.jsonl

`peers-earlier.jsonl` and `peers-resnet-20.jsonl` (`--network resnet-20 --targets 54000`) are by the
one before, whose teacher spoke of the images as they are; each line holds it. N2N's search was then
bounded after each update only: it took 53 to 90% of the work instead of 50.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, replace
from typing import Any

import torch
from arguments import (
    DATASETS,
    NETWORKS,
    existing,
    output_file,
    positive,
    positive_number,
    usage_errors,
)
from input_network import EXACT, InputNetwork, check_smaller, check_target, input_network
from json_lines import RESULTS, JsonLines, Record
from peer_methods import METHODS, Comparison, OutOfReachError
from pruning import torch_pruning
from rivals import OURS_NOW

from archpress_server.compress.effort import effort_plan
from archpress_server.compress.types import Effort, Method, RequestError
from archpress_trainer.data.dataset import LabelledImages, TrainingData
from archpress_trainer.data.registry import DataSources
from archpress_trainer.embedding.artifact import load
from archpress_trainer.embedding.bundled import artifact_folder
from archpress_trainer.embedding.interface import Embedding
from archpress_trainer.space.costs import count
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.named import named
from archpress_trainer.training.device import Compute, best_compute
from archpress_trainer.training.loop import accuracy
from archpress_trainer.training.recipe import Recipe

_TARGETS = (50_000, 20_000)


@dataclass(frozen=True)
class _Given:
    """What is there before anything is trained."""

    architecture: Architecture
    data: TrainingData
    test: LabelledImages
    compute: Compute
    recipe: Recipe
    round_recipe: Recipe
    work: float
    embedding: Embedding

    def comparison(self, source: InputNetwork) -> Comparison:
        """Return what all methods get."""
        return Comparison(
            self.data,
            self.compute,
            self.recipe,
            self.round_recipe,
            self.work,
            source,
            self.embedding,
        )


def main() -> None:
    """Measure what is missing in the output, and print what there is."""
    parser, options = _options()
    with usage_errors(parser):
        lines = JsonLines(options.output)
        given = _given(options)
    check = check_target if all("heir" in name for name in options.methods) else check_smaller
    for target in options.targets:
        check(given.architecture, target)
    settings = {
        "dataset": options.dataset,
        "network": options.network,
        "images": len(given.data.train),
        "work": given.work,
        "recipe": replace(given.recipe, epochs=0).to_json(),
        "input_epochs": given.recipe.epochs,
        "rounds": given.round_recipe.to_json(),
        "embedding": given.embedding.manifest.name,
        "ours": OURS_NOW,
    }
    lines.require({"settings": settings})
    for line in lines.records:
        print(_told(line), flush=True)
    missing = [
        (method, target, seed)
        for seed in range(options.seeds)
        for target in options.targets
        for method in options.methods
        if not lines.holds(_key(method, target, seed))
    ]
    if not missing:
        return
    if any("pruning" in method for method, _, _ in missing):
        torch_pruning()
    source = input_network(
        options.input or options.output.with_suffix(".input.safetensors"),
        given.architecture,
        given.data,
        given.test,
        given.recipe,
        0,
        given.compute,
    )
    comparison = given.comparison(source)
    _add_input(lines, settings, source)
    for cell in missing:
        try:
            record = _measured(comparison, given.test, *cell)
        except (OutOfReachError, RequestError) as error:
            print(*cell, f"is left out: {error}", flush=True)
            continue
        line = {**_key(*cell), **record, "settings": settings}
        lines.add(line)
        print(_told(line), flush=True)


def _key(method: str, target: int | None, seed: int) -> dict[str, Any]:
    return {"method": method, "target": target, "seed": seed}


def _told(line: Record) -> str:
    head = line["method"]
    if line["target"] is not None:
        head += f", at most {line['target']:,} parameters, seed {line['seed']}"
    if line["test"] is None:
        return f"{head}: the training diverged"
    return f"{head}: {100 * line['test']:.2f}% @ {line['params']:,}, {line['epochs']} epochs"


def _options() -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--dataset", default="fashion-mnist", choices=DATASETS)
    parser.add_argument("--network", default="conv-7", choices=NETWORKS)
    parser.add_argument("--embedding", help="a folder; the bundled one by default")
    parser.add_argument("--methods", nargs="+", choices=tuple(METHODS), default=tuple(METHODS))
    parser.add_argument("--targets", nargs="+", type=positive, default=_TARGETS, metavar="PARAMS")
    parser.add_argument("--seeds", type=positive, default=2)
    parser.add_argument(
        "--work", type=positive_number, default=1e12, help="multiply-accumulates for each network"
    )
    parser.add_argument(
        "--images", type=positive, default=12_000, help="training images, at most all"
    )
    parser.add_argument("--input", type=existing, help="the file of the input network")
    parser.add_argument(
        "--input-epochs", type=positive, default=6, help="of the input network's training"
    )
    parser.add_argument("--output", type=output_file, default=RESULTS / "peers.jsonl")
    return parser, parser.parse_args()


def _given(options: argparse.Namespace) -> _Given:
    compute = best_compute()
    dataset = DataSources(download=False).load(options.dataset)
    data = dataset.split().subset(options.images).to(compute.device)
    architecture = named(options.network, dataset.input_shape, dataset.classes)
    plan = effort_plan(Effort.STANDARD, Method.DEFAULT, options.dataset, dataset.input_shape)
    images = len(data.train)
    recipe = plan.input_recipe_for(count(architecture).macs, images)
    recipe = replace(recipe, name="final", epochs=options.input_epochs)
    return _Given(
        architecture,
        data,
        dataset.test(),
        compute,
        recipe,
        plan.round_recipe,
        options.work,
        load(artifact_folder(options.embedding or options.dataset)),
    )


def _add_input(lines: JsonLines, settings: dict[str, Any], source: InputNetwork) -> None:
    key = _key("input", None, 0)
    if lines.holds(key):
        return
    costs = count(source.network.architecture)
    record = {
        "params": costs.params,
        "macs": costs.macs,
        "epochs": settings["input_epochs"],
        "validation": source.validation,
        "test": source.test,
        "work": source.work,
        "seconds": round(source.seconds, 1),
    }
    line = {**key, **record, "settings": settings}
    lines.add(line)
    print(_told(line), flush=True)


def _measured(
    comparison: Comparison, test: LabelledImages, method: str, target: int, seed: int
) -> dict[str, Any]:
    started = time.perf_counter()
    outcome = METHODS[method](comparison, target, seed)
    network = outcome.network
    costs = count(network.architecture)
    if costs.params > target:
        raise RuntimeError(f"{method} gave {costs.params} parameters for {target}")
    found = outcome.validation is not None
    return {
        "params": costs.params,
        "macs": costs.macs,
        "epochs": outcome.epochs,
        "validation": outcome.validation,
        "test": accuracy(network, test, comparison.data.normalisation, EXACT) if found else None,
        "work": outcome.work,
        "search_work": outcome.search_work,
        "teacher_work": outcome.teacher_work,
        "once_work": outcome.once_work,
        "networks_trained": outcome.networks_trained,
        "seconds": round(time.perf_counter() - started, 1),
        "device": str(comparison.compute.device),
        "torch": torch.__version__,
    }


if __name__ == "__main__":
    main()

"""What an heir is worth when an exporter folded the input network's batch normalisations.

The trained input network is narrowed to a size and trained on, taught by itself, in three ways: as
it was trained; as it comes back from ONNX, without normalisations; and from ONNX with those that
heirs get (`training/batch_norms.py`). Decisions use validation images; the test split is not read
but for the input network. Each training is a line of the output. The committed lines are by recipes
of before; those by today's go to another file.

Prediction: without normalisations the recipe's rates end a training at chance; with new ones an
heir reaches what one of the unfolded network reaches.

Outcome: docs/adr/0031-heirs-have-normalisations.md.

    python benchmarks/folding.py --images 12000 --input-epochs 6 --epochs 8 --output folding.jsonl
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

import torch
from arguments import output_file, positive, usage_errors
from input_network import check_target, input_network
from json_lines import RESULTS, JsonLines

from archpress_server.compress.effort import effort_plan
from archpress_server.compress.export import to_onnx
from archpress_server.compress.heir import heir_widths
from archpress_server.compress.types import Effort, Method
from archpress_server.onnx_import.network import imported_network
from archpress_server.onnx_import.read import read_onnx
from archpress_trainer.data.registry import DataSources
from archpress_trainer.processes import keep_freed_memory
from archpress_trainer.space.costs import count
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.named import named
from archpress_trainer.space.widths import SizeBudget
from archpress_trainer.training.device import best_compute
from archpress_trainer.training.inheritance import narrowed
from archpress_trainer.training.loop import train
from archpress_trainer.training.recipe import Recipe
from archpress_trainer.training.teaching import Teacher

TRAINED, FOLDED, RENEWED = "as it was trained", "folded", "folded, normalised anew"

_DATASET, _NETWORK = "fashion-mnist", "conv-7"
_EFFORTS = (Effort.DRAFT, Effort.STANDARD)


def main() -> None:
    """Measure what is missing in the output."""
    parser, options = _options()
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    compute = best_compute()
    with usage_errors(parser):
        lines = JsonLines(options.output)
        dataset = DataSources().load(_DATASET)
    data = dataset.split().subset(options.images).to(compute.device)
    shape = dataset.input_shape
    finals = {effort: _recipe(effort, shape, options.epochs) for effort in _EFFORTS}
    common = {
        "dataset": _DATASET,
        "network": _NETWORK,
        "images": len(data.train),
        "input_epochs": options.input_epochs,
        "recipes": {effort.value: final.to_json() for effort, final in finals.items()},
    }
    lines.require(common)
    recipe = _recipe(Effort.STANDARD, shape, options.input_epochs)
    architecture = named(_NETWORK, shape, dataset.classes)
    check_target(architecture, options.target)
    cache = options.output.with_suffix(".input.safetensors")
    trained = input_network(cache, architecture, data, dataset.test(), recipe, 0, compute)
    source = trained.given(data.normalisation)
    folded = imported_network(read_onnx(to_onnx(source.network, data.normalisation)))
    again = replace(source, network=folded.eval())
    teacher = Teacher(source.network.to(compute.device), compute)
    starts = {TRAINED: source.network, FOLDED: folded, RENEWED: again.bequeathed(data)}
    for seed in range(options.seeds):
        for effort, final in finals.items():
            for way, start in starts.items():
                key = {"way": way, "effort": effort.value, "target": options.target, "seed": seed}
                if lines.holds(key):
                    continue
                network = narrowed(start, _narrow(start.architecture, options.target))
                generator = torch.Generator().manual_seed(seed)
                began = time.perf_counter()
                result = train(network, data, final, generator, compute, teacher=teacher)
                costs = count(network.architecture)
                lines.add(
                    {
                        **key,
                        "epochs": final.epochs,
                        "rate": final.learning_rate,
                        "input": round(trained.validation, 5),
                        "params": costs.params,
                        "macs": costs.macs,
                        "validation": round(result.accuracy, 5),
                        "seconds": round(time.perf_counter() - began, 1),
                        **common,
                    }
                )
                print(lines.records[-1], flush=True)


def _narrow(architecture: Architecture, target: int) -> Architecture:
    narrow = heir_widths(architecture, SizeBudget(target))
    assert narrow is not None
    return narrow


def _recipe(effort: Effort, shape: tuple[int, int, int], epochs: int) -> Recipe:
    plan = effort_plan(effort, Method.DEFAULT, _DATASET, shape)
    return replace(plan.final_recipe, name="final", epochs=epochs)


def _options() -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--target", type=positive, default=20_000, help="limit on parameters")
    parser.add_argument("--images", type=positive, help="training images; all by default")
    parser.add_argument("--input-epochs", type=positive, default=20)
    parser.add_argument("--epochs", type=positive, default=20)
    parser.add_argument("--seeds", type=positive, default=2)
    parser.add_argument("--threads", type=positive, default=1)
    parser.add_argument("--output", type=output_file, default=RESULTS / "folding.jsonl")
    return parser, parser.parse_args()


if __name__ == "__main__":
    main()

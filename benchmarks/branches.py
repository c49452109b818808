"""Do branches that are there in training only, and are folded away afterwards, pay?

Beside every convolution that a batch normalisation follows, a 1x1 convolution with a batch
normalisation of its own is trained, and the identity with one where the shapes allow; their sum is
one convolution of the same size afterwards (Ding et al. 2021, "RepVGG", section 3.3; ours keep the
network's own normalisation behind the sum). Networks that the server plans are trained by the
recipe of STANDARD effort with and without branches from the same seeds. The folded network is
measured, on validation images; the test split is not read. Each training is a line of the output.
The committed lines are of networks and a recipe of before; today's go to another file.

Prediction: a tenth or two of a point for the plain chains that we find, at half the speed; less
than what the same time brings in further epochs.

    python benchmarks/branches.py --images 12000 --output branches.jsonl
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, replace
from typing import Any

import torch
from arguments import output_file, positive, usage_errors
from bench_worker import start_worker
from json_lines import RESULTS, JsonLines, Record
from recipes import SIZES, networks
from torch import nn
from torch.nn import functional

from archpress_server.compress.effort import effort_plan
from archpress_server.compress.types import Effort, Method
from archpress_trainer.data.dataset import TrainingData
from archpress_trainer.data.registry import DataSources
from archpress_trainer.space.build import Network, build
from archpress_trainer.space.graph import Architecture
from archpress_trainer.training.device import Compute, best_compute
from archpress_trainer.training.loop import accuracy, train
from archpress_trainer.training.recipe import Recipe

PLAIN, BRANCHED, LONGER = "plain", "branches", "plain, twice the epochs"


class Branched(nn.Module):
    """A convolution and beside it a 1x1 convolution, and the identity where shapes allow it."""

    def __init__(self, main: nn.Conv2d, generator: torch.Generator) -> None:
        """Put branches beside a convolution of one group, whose weights stay."""
        super().__init__()
        self.main = main
        self.point = nn.Conv2d(
            main.in_channels, main.out_channels, 1, stride=main.stride[0], bias=False
        )
        nn.init.kaiming_normal_(self.point.weight, mode="fan_out", generator=generator)
        self.point_norm = nn.BatchNorm2d(main.out_channels)
        same = main.in_channels == main.out_channels and main.stride == (1, 1)
        self.identity_norm = nn.BatchNorm2d(main.in_channels) if same else None

    @staticmethod
    def fits(layer: nn.Module) -> bool:
        """Whether a layer is a convolution of odd size whose padding keeps the image's size."""
        return (
            isinstance(layer, nn.Conv2d)
            and layer.groups == 1
            and layer.kernel_size[0] % 2 == 1
            and layer.padding == (layer.kernel_size[0] // 2,) * 2
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the sum of the branches."""
        total: torch.Tensor = self.main(images) + self.point_norm(self.point(images))
        return total if self.identity_norm is None else total + self.identity_norm(images)

    @torch.no_grad()
    def folded(self) -> nn.Conv2d:
        """Return the one convolution that gives the same in evaluation mode."""
        main, width = self.main, self.main.kernel_size[0] // 2
        scale, shift = _affine(self.point_norm)
        kernel = self.point.weight * scale[:, None, None, None]
        if self.identity_norm is not None:
            scale, further = _affine(self.identity_norm)
            kernel = kernel + torch.diag(scale)[:, :, None, None]
            shift = shift + further
        made = nn.Conv2d(
            main.in_channels,
            main.out_channels,
            main.kernel_size[0],
            stride=main.stride[0],
            padding=width,
        )
        made.weight.copy_(main.weight + functional.pad(kernel, (width,) * 4))
        assert made.bias is not None
        made.bias.copy_(shift if main.bias is None else main.bias + shift)
        return made


def _affine(norm: nn.BatchNorm2d) -> tuple[torch.Tensor, torch.Tensor]:
    assert norm.running_var is not None
    assert norm.running_mean is not None
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return scale, norm.bias - norm.running_mean * scale


def branched(network: Network, generator: torch.Generator) -> Network:
    """Put branches beside every convolution that a normalisation follows, in place."""
    layers = network.layers
    for index, follower in enumerate(list(layers)[1:]):
        layer = layers[index]
        if isinstance(follower, nn.BatchNorm2d) and Branched.fits(layer):
            assert isinstance(layer, nn.Conv2d)
            layers[index] = Branched(layer, generator)
    return network


def fold(network: Network) -> Network:
    """Fold every branch away, in place."""
    for index, layer in enumerate(network.layers):
        if isinstance(layer, Branched):
            network.layers[index] = layer.folded()
    return network


@dataclass(frozen=True)
class Bench:
    """What every training has in common."""

    data: TrainingData
    recipe: Recipe
    compute: Compute

    @property
    def common(self) -> Record:
        """What all lines of an output have in common, the epochs being those of plain training."""
        return {"images": len(self.data.train), "recipe": self.recipe.to_json()}

    def run(self, way: str, architecture: Architecture, seed: int) -> dict[str, Any]:
        """Train once and return what came of it."""
        started = time.perf_counter()
        recipe = self.recipe
        if way == LONGER:
            recipe = replace(recipe, epochs=2 * recipe.epochs)
        generator = torch.Generator().manual_seed(seed)
        network = build(architecture, generator)
        if way == BRANCHED:
            branched(network, generator)
        train(network, self.data, recipe, generator, self.compute)
        fold(network)
        data = self.data
        found = accuracy(network, data.validation, data.normalisation, self.compute)
        return {
            "epochs": recipe.epochs,
            "validation": round(found, 5),
            "seconds": round(time.perf_counter() - started, 1),
        }


def main() -> None:
    """Measure what is missing in the output."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--dataset", default="fashion-mnist", choices=sorted(SIZES))
    parser.add_argument("--sizes", type=positive, nargs="+", help="limits on parameters")
    parser.add_argument("--images", type=positive, help="training images; all by default")
    parser.add_argument("--epochs", type=positive, default=10)
    parser.add_argument("--seeds", type=positive, default=3)
    parser.add_argument("--output", type=output_file, default=RESULTS / "branches.jsonl")
    options = parser.parse_args()
    start_worker()
    with usage_errors(parser):
        lines = JsonLines(options.output)
        bench = _prepare(options)
        common = {"dataset": options.dataset, **bench.common}
        lines.require(common)
        planned = networks(options.dataset, options.sizes or SIZES[options.dataset])
    for seed in range(options.seeds):
        for size, architecture in planned.items():
            for way in (PLAIN, BRANCHED, LONGER):
                key = {"way": way, "size": size, "seed": seed}
                if lines.holds(key):
                    continue
                lines.add({**key, **bench.run(way, architecture, seed), **common})
                print(lines.records[-1], flush=True)


def _prepare(options: argparse.Namespace) -> Bench:
    compute = best_compute()
    dataset = DataSources(download=False).load(options.dataset)
    data = dataset.split().subset(options.images).to(compute.device)
    effort = effort_plan(Effort.STANDARD, Method.DEFAULT, options.dataset, dataset.input_shape)
    return Bench(data, replace(effort.final_recipe, epochs=options.epochs), compute)


if __name__ == "__main__":
    main()

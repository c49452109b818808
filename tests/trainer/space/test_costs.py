"""Costs: frozen numbers, and equal to counts over the built module."""

from __future__ import annotations

from dataclasses import asdict
from random import Random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from archpress_trainer.space.build import build, count_params
from archpress_trainer.space.costs import count
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.layer import INPUT
from archpress_trainer.space.layers import (
    add,
    average_pool,
    batch_norm,
    conv,
    global_average_pool,
    linear,
    relu,
)
from archpress_trainer.space.named import named
from archpress_trainer.space.sampling import Sampler
from archpress_trainer.space.shapes import elements
from tests.trainer.nets import random_dag, sampled, samplers
from tests.trainer.space.frozen import FROZEN

seeds = st.integers(0, 2**32 - 1)


def counted_macs(architecture: Architecture) -> int:
    """Count multiply-accumulates by hooks on a real forward pass."""
    total = 0

    def hook(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.Conv2d):
            total += output[0].numel() * module.weight[0].numel()
        elif isinstance(module, nn.Linear):
            total += module.weight.numel()

    network = build(architecture).eval()
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(hook)
    with torch.no_grad():
        network(torch.zeros(1, *architecture.input_shape))
    return total


def folded_params(architecture: Architecture) -> int:
    """Count parameters as if every norm with a private weighted input were folded into it."""
    network = build(architecture)
    total = 0
    for index, layer in enumerate(architecture.layers):
        module = network.layers[index]
        readers = architecture.consumers[index]
        norms = [r for r in readers if isinstance(network.layers[r], _NORMS)]
        is_weighted = any(isinstance(m, nn.Conv2d | nn.Linear) for m in module.modules())
        if is_weighted and len(readers) == 1 and norms:
            weight = next(p for p in module.parameters() if p.ndim > 1)
            total += weight.numel() + layer.out_channels
        elif not (isinstance(module, _NORMS) and _is_private(architecture, index)):
            total += count_params(module)
    return total


_NORMS = (nn.BatchNorm2d, nn.BatchNorm1d)


def _is_private(architecture: Architecture, index: int) -> bool:
    (source,) = architecture.layers[index].inputs
    if source == INPUT or architecture.layers[source].kind.name not in ("CONVOLUTION", "LINEAR"):
        return False
    return len(architecture.consumers[source]) == 1


def peak_elements(architecture: Architecture) -> int:
    """Return the most numbers alive at a step: made by then, and read at it or later."""
    steps = range(len(architecture.layers))
    sizes = {INPUT: elements(architecture.input_shape)} | {
        i: elements(architecture.shapes[i]) for i in steps
    }
    readers = {node: [i for i in steps if node in architecture.layers[i].inputs] for node in sizes}
    return max(
        sum(
            size
            for node, size in sizes.items()
            if node == step or (node < step and any(r >= step for r in readers[node]))
        )
        for step in steps
    )


def check(architecture: Architecture) -> None:
    costs = count(architecture)
    assert architecture.costs == costs
    assert costs.params == count_params(build(architecture))
    assert costs.macs == counted_macs(architecture)
    assert costs.deployed_params == folded_params(architecture)
    assert costs.peak_activation_bytes == 4 * peak_elements(architecture)


@pytest.mark.parametrize("name", sorted(FROZEN))
def test_named_networks_cost_the_frozen_numbers(name: str) -> None:
    frozen = dict(FROZEN[name])
    architecture = named(name, frozen.pop("input_shape"), frozen.pop("classes"))
    assert asdict(count(architecture)) == frozen
    assert count_params(build(architecture)) == frozen["params"]


@pytest.mark.parametrize("name", ["conv-7", "resnet-20"])
def test_named_networks_cost_what_the_module_does(name: str) -> None:
    check(named(name, FROZEN[name]["input_shape"], FROZEN[name]["classes"]))


@pytest.mark.parametrize(("name", "paper"), [("conv-7", 708_000), ("conv-10", 24_400_000)])
def test_the_papers_networks_have_the_papers_size(name: str, paper: int) -> None:
    costs = count(named(name, FROZEN[name]["input_shape"], FROZEN[name]["classes"]))
    assert abs(costs.params - paper) <= 0.01 * paper


@pytest.mark.parametrize("sampler", samplers((3, 16, 16)), ids=lambda s: type(s).__name__)
def test_sampled_networks_cost_what_the_module_does(sampler: Sampler) -> None:
    for sample in sampled(sampler, 25, seed=5):
        assert sample.costs == count(sample.architecture)
        check(sample.architecture)


@given(seed=seeds)
@settings(max_examples=40)
def test_random_graphs_cost_what_the_module_does(seed: int) -> None:
    check(random_dag(Random(seed)))


def test_costs_by_hand() -> None:
    layers = (conv(4, 3), batch_norm(), relu(), conv(4, 3, groups=4), linear(2))
    costs = count(Architecture((2, 6, 6), 2, layers))
    assert costs.params == 4 * 2 * 9 + 2 * 4 + (4 * 9 + 4) + (2 * 144 + 2)
    assert costs.macs == 4 * 2 * 9 * 36 + 4 * 9 * 36 + 2 * 144
    # The norm becomes four biases of the first convolution.
    assert costs.deployed_params == costs.params - 4
    assert costs.peak_activation_bytes == 4 * (144 + 144)


def test_a_shared_convolution_keeps_its_norm() -> None:
    layers = (conv(4, 3), batch_norm(), add(0, 1), global_average_pool(), linear(2))
    costs = count(Architecture((1, 6, 6), 2, layers))
    assert costs.deployed_params == costs.params


def test_a_norm_behind_a_pool_is_not_folded() -> None:
    layers = (conv(4, 3), average_pool(), batch_norm(), global_average_pool(), linear(2))
    costs = count(Architecture((1, 6, 6), 2, layers))
    assert costs.deployed_params == costs.params

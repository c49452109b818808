"""The builder: a module that computes what the graph says, initialised from its generator."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from random import Random

import pytest
import torch
from torch import nn
from torch.nn import functional

from archpress_trainer.space.build import build
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.layer import Layer
from archpress_trainer.space.layers import (
    add,
    average_pool,
    concat,
    conv,
    global_average_pool,
    linear,
    max_pool,
    relu,
)
from archpress_trainer.space.vocab import ACTIVATIONS, LayerKind
from tests.trainer.nets import random_dag, reordered, small_net


def test_a_graph_computes_what_its_layers_say() -> None:
    layers = (
        conv(4, 3),
        replace(relu(), inputs=(0,)),
        conv(4, 1, inputs=(0,)),
        add(1, 2),
        concat(0, 3, 3),
        max_pool(),
        average_pool(3, stride=1, padding=1),
        linear(3),
    )
    network = build(Architecture((2, 6, 6), 3, layers), torch.Generator().manual_seed(1)).eval()
    images = torch.randn(5, 2, 6, 6, generator=torch.Generator().manual_seed(2))
    first, third, dense = network.layers[0], network.layers[2], network.layers[7]
    with torch.no_grad():
        a = first(images)
        b = a.relu() + third(a)
        c = functional.max_pool2d(torch.cat([a, b, b], dim=1), 2)
        expected = dense(functional.avg_pool2d(c, 3, 1, 1).flatten(1))
        assert torch.allclose(network(images), expected)


def test_a_reordered_graph_computes_the_same() -> None:
    for seed in range(10):
        architecture = random_dag(Random(seed)).canonical()
        other = reordered(architecture, Random(seed + 1)).canonical()
        images = torch.randn(3, *architecture.input_shape)
        outputs = []
        for net in (architecture, other):
            network = build(net, torch.Generator().manual_seed(seed)).eval()
            with torch.no_grad():
                outputs.append(network(images))
        assert torch.equal(*outputs)


@pytest.mark.parametrize("kind", sorted(ACTIVATIONS))
def test_every_activation_bends(kind: LayerKind) -> None:
    net = Architecture((1, 4, 4), 2, (Layer(kind), linear(2)))
    values = torch.linspace(-8, 8, 16).view(1, 1, 4, 4)
    bent = build(net).eval().layers[0](values)
    slopes = bent.flatten().diff()
    assert bent.shape == values.shape
    assert slopes.max() - slopes.min() > 0.1


def test_the_generator_decides_the_weights() -> None:
    first, second, other = (
        build(small_net(), torch.Generator().manual_seed(seed)).state_dict() for seed in (3, 3, 4)
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["layers.0.weight"], other["layers.0.weight"])


def test_building_leaves_the_global_generator_alone_in_its_result() -> None:
    torch.manual_seed(0)
    first = build(small_net(), torch.Generator().manual_seed(3)).state_dict()
    torch.manual_seed(1)
    second = build(small_net(), torch.Generator().manual_seed(3)).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_training_starts_near_uniform_class_probabilities() -> None:
    network = build(small_net(), torch.Generator().manual_seed(0))
    images = torch.randn(64, 1, 12, 12, generator=torch.Generator().manual_seed(1))
    loss = functional.cross_entropy(network(images), torch.arange(64) % 4)
    assert abs(loss.item() - torch.tensor(4.0).log().item()) < 0.05
    last = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
    assert last.bias.abs().max() == 0


def test_gradients_reach_every_parameter() -> None:
    network = build(random_dag(Random(11)), torch.Generator().manual_seed(0))
    functional.cross_entropy(network(torch.randn(8, 3, 8, 8)), torch.zeros(8).long()).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize(("side", "stride"), [(1, 2), (1, 3), (2, 3)])
def test_a_stride_larger_than_the_image_has_finite_gradients(side: int, stride: int) -> None:
    # In bfloat16 this gradient held numbers that nobody had written.
    net = Architecture((8, side, side), 2, (conv(16, 3, stride=stride), linear(2)))
    network = build(net, torch.Generator().manual_seed(0)).to(memory_format=torch.channels_last)
    images = torch.randn(32, 8, side, side, generator=torch.Generator().manual_seed(1))
    gradients = []
    for _ in range(8):
        _leave_not_a_numbers_behind()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = network(images.contiguous(memory_format=torch.channels_last))
        network.zero_grad()
        _leave_not_a_numbers_behind()
        functional.cross_entropy(logits.float(), torch.arange(32) % 2).backward()
        gradient = next(network.layers[0].parameters()).grad
        assert gradient is not None
        gradients.append(gradient.clone())
    assert all(torch.equal(gradient, gradients[0]) for gradient in gradients)
    assert gradients[0].isfinite().all()


def _leave_not_a_numbers_behind() -> None:
    """Fill memory and free it, so that what reads before it writes is found out."""
    blocks = [
        torch.full((size,), float("nan"), dtype=dtype)
        for size in (64, 256, 1024, 4096, 16384, 65536)
        for dtype in (torch.float32, torch.bfloat16)
        for _ in range(6)
    ]
    del blocks


@pytest.mark.parametrize(("channels", "groups"), [(1, 1), (3, 1), (7, 1), (16, 1), (6, 6)])
@pytest.mark.parametrize("stride", [2, 3])
def test_gradients_of_strided_projections_are_right(
    channels: int, groups: int, stride: int
) -> None:
    layers = (conv(12, 1, stride=stride, groups=groups), global_average_pool(), linear(2))
    network = build(Architecture((channels, 28, 28), 2, layers), torch.Generator().manual_seed(0))
    images = torch.randn(64, channels, 28, 28, generator=torch.Generator().manual_seed(1))
    exact = deepcopy(network).double()
    exact(images.double()).square().sum().backward()
    network.to(memory_format=torch.channels_last)
    network(images.to(memory_format=torch.channels_last)).square().sum().backward()
    for found, expected in zip(network.parameters(), exact.parameters(), strict=True):
        assert found.grad is not None
        assert expected.grad is not None
        torch.testing.assert_close(found.grad.double(), expected.grad, rtol=1e-3, atol=1e-3)

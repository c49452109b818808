"""Narrower networks that inherit the channels of a trained one."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from archpress_trainer.data.registry import DataSources
from archpress_trainer.space.build import Network, build
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.layers import conv, global_average_pool, linear, max_pool, relu
from archpress_trainer.space.width_groups import WidthGroups
from archpress_trainer.training.device import Compute
from archpress_trainer.training.inheritance import can_narrow, channel_norms, narrowed
from archpress_trainer.training.loop import accuracy, train
from archpress_trainer.training.recipe import Recipe
from tests.norms import with_lived_norms
from tests.trainer.nets import chains, residual_net, residual_nets, small_net

FLATTENED = Architecture((2, 8, 8), 3, (conv(8, 3), relu(), max_pool(), linear(6), linear(3)))
NETS = [FLATTENED, small_net(), residual_net(), *chains(8), *residual_nets(24)]


def trained(architecture: Architecture) -> Network:
    """Return a network whose every number is as odd as after a training."""
    return with_lived_norms(build(architecture, torch.Generator().manual_seed(0)))


def images(architecture: Architecture) -> torch.Tensor:
    return torch.randn(3, *architecture.input_shape, generator=torch.Generator().manual_seed(2))


def silence(network: Network, group: int, channels: list[int]) -> None:
    """Set to zero all weights that some channels of a width group touch."""
    architecture, groups = network.architecture, WidthGroups(network.architecture)
    sizes = groups.channels(groups.widths)

    def places(slot: int) -> list[int]:
        found, begin = [], 0
        for part in groups.parts(slot):
            found += [begin + channel for channel in channels if part == group + 1]
            begin += sizes[part]
        return found

    for index, module in enumerate(network.layers):
        for part in module.modules():
            if not isinstance(part, nn.Conv2d | nn.Linear | nn.BatchNorm1d | nn.BatchNorm2d):
                continue
            part.weight.data[places(groups.slots[index + 1])] = 0
            if part.bias is not None:
                part.bias.data[places(groups.slots[index + 1])] = 0
            if part.weight.dim() > 1 and not architecture.is_depthwise(index):
                shape = architecture.in_shape(index)
                each = part.weight.data.view(len(part.weight), shape[0], -1)
                each[:, places(groups.slots[architecture.layers[index].inputs[0] + 1])] = 0


@pytest.mark.parametrize("architecture", NETS)
def test_with_all_channels_it_is_the_same_network(architecture: Architecture) -> None:
    network = trained(architecture)
    copy = narrowed(network, architecture)
    assert copy.architecture == architecture
    assert torch.equal(copy(images(architecture)), network(images(architecture)))


@pytest.mark.parametrize("architecture", NETS)
def test_channels_that_do_nothing_go_first(architecture: Architecture) -> None:
    network = trained(architecture)
    groups = WidthGroups(architecture)
    for group, width in enumerate(groups.widths):
        silence(network, group, list(range(0, width, 2)))
    smaller = narrowed(network, groups.with_widths([width // 2 for width in groups.widths]))
    before, after = network(images(architecture)), smaller(images(architecture))
    assert torch.allclose(before, after, atol=1e-5)


def test_the_norm_of_a_channel_is_that_of_all_that_it_touches() -> None:
    network = build(Architecture((1, 2, 2), 2, (conv(2, 1), relu(), linear(2))))
    first, last = network.layers[0], network.layers[2]
    for module in (first, last):
        for parameter in module.parameters():
            nn.init.constant_(parameter, 2.0)
    # One weight makes a channel; two outputs read four pixels of it.
    assert channel_norms(network)[0].tolist() == [4.0 + 2 * 4 * 4.0] * 2


@pytest.mark.parametrize(
    ("architecture", "text"),
    [
        (small_net(8, second=17), "layer 4 has 16 channels, fewer than 17"),
        (residual_net(), "there are 22 layers, not 9"),
        (replace(small_net(), layers=(conv(8, 5), *small_net().layers[1:])), "in more than widths"),
    ],
)
def test_only_widths_may_differ(architecture: Architecture, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        narrowed(trained(small_net()), architecture)


def test_only_grouped_convolutions_cannot_be_narrowed() -> None:
    layers = (conv(8, 3), conv(8, 3, groups=4), global_average_pool(), linear(3))
    assert not can_narrow(Architecture((2, 8, 8), 3, layers))
    assert all(map(can_narrow, NETS))


def test_what_was_learned_shortens_the_training(tiny_sources: DataSources, cpu: Compute) -> None:
    data = tiny_sources.load("tiny").split()
    # The tiny images differ in where they are light, so the classifier reads places.
    layers = (conv(16, 3), relu(), max_pool(), linear(4))
    network = build(Architecture((1, 12, 12), 4, layers), torch.Generator().manual_seed(0))
    recipe = Recipe("test", 3, batch_size=64, learning_rate=0.05, flip=False)
    train(network, data, recipe, torch.Generator().manual_seed(0), cpu)
    small = narrowed(network, WidthGroups(network.architecture).with_widths([6]))
    fresh = build(small.architecture, torch.Generator().manual_seed(0))
    reached = [accuracy(net, data.validation, data.normalisation, cpu) for net in (small, fresh)]
    assert reached[0] > reached[1] + 0.2

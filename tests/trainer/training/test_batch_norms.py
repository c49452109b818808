"""Trained networks that get the batch normalisations that they lack."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from archpress_trainer.space.batch_norms import with_batch_norms
from archpress_trainer.space.build import Network, build
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.layers import batch_norm, conv, linear, relu
from archpress_trainer.training import batch_norms
from archpress_trainer.training.batch_norms import batch_normed
from tests.norms import with_lived_norms
from tests.trainer.nets import residual_net, residual_nets, small_net, without_norms

# Its first convolution is normalised, its second has no bias of its own.
NO_BIAS = replace(conv(8, 3), bias=False)
HALF = Architecture((1, 12, 12), 4, (conv(8, 3), batch_norm(), relu(), NO_BIAS, relu(), linear(4)))
FOLDED = [HALF, *map(without_norms, (small_net(), residual_net(), *residual_nets(12)))]


def lived(architecture: Architecture) -> Network:
    """Return a network whose biases are no zeros either."""
    network = with_lived_norms(build(architecture, torch.Generator().manual_seed(0)))
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.uniform_(parameter, generator=torch.Generator().manual_seed(1))
    return network


def images(architecture: Architecture, seed: int, count: int = 64) -> torch.Tensor:
    return torch.randn(
        count, *architecture.input_shape, generator=torch.Generator().manual_seed(seed)
    )


@pytest.mark.parametrize("architecture", FOLDED)
def test_it_gives_the_same(architecture: Architecture) -> None:
    network = lived(architecture)
    found = batch_normed(network, images(architecture, 2))
    assert found.architecture == with_batch_norms(architecture)
    assert not found.training
    seen = images(architecture, 3)
    torch.testing.assert_close(found(seen), network(seen), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("architecture", FOLDED[1:])
def test_a_training_begins_where_the_network_is(architecture: Architecture) -> None:
    network = lived(architecture)
    seen = images(architecture, 2)
    found = batch_normed(network, seen)
    expected = network(seen)
    for module in found.modules():
        module.train(isinstance(module, nn.BatchNorm2d))
    torch.testing.assert_close(found(seen), expected, atol=1e-3, rtol=1e-2)


def test_images_that_do_not_fit_into_memory_at_once_are_seen_in_parts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network, seen = lived(without_norms(small_net())), images(small_net(), 2)
    whole = batch_normed(network, seen)
    most = []
    network.register_forward_pre_hook(lambda _, inputs: most.append(len(inputs[0])))
    monkeypatch.setattr(batch_norms, "images_at_once", lambda _: 25)
    parts = batch_normed(network, seen)
    assert most == [25, 25, 14]
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(parts.state_dict()[name], value, msg=name)


def test_a_network_with_all_of_them_comes_back_itself() -> None:
    network = lived(small_net())
    assert batch_normed(network, images(small_net(), 2)) is network

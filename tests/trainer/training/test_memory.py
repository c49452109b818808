"""How many images a network is asked about at once."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from archpress_trainer.space.build import build
from archpress_trainer.space.costs import count
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.layers import conv, global_average_pool, linear
from archpress_trainer.training.memory import MOST_IMAGES, images_at_once


@pytest.mark.parametrize(
    ("side", "width", "most"), [(12, 8, MOST_IMAGES), (64, 128, 121), (512, 256, 1)]
)
def test_activations_take_256_megabytes_at_the_most(side: int, width: int, most: int) -> None:
    layers = (conv(width, 1, padding=0), global_average_pool(), linear(4))
    network = Architecture((1, side, side), 4, layers)
    assert images_at_once(network) == most
    if 1 < most < MOST_IMAGES:
        peak = count(network).peak_activation_bytes
        assert most * peak <= 256_000_000 < (most + 1) * peak


def test_a_module_takes_what_the_network_in_it_takes() -> None:
    layers = (conv(128, 1, padding=0), global_average_pool(), linear(4))
    network = Architecture((1, 64, 64), 4, layers)
    assert images_at_once(nn.Sequential(build(network, torch.Generator()))) == 121
    assert images_at_once(nn.Linear(3, 3)) == MOST_IMAGES

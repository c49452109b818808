"""How many images a network is asked about at once, by the memory that its activations take."""

from __future__ import annotations

from torch import nn

from archpress_trainer.space.build import Network
from archpress_trainer.space.costs import count
from archpress_trainer.space.graph import Architecture

MOST_IMAGES = 500
_ACTIVATION_BYTES = 256_000_000


def images_at_once(network: Architecture | nn.Module) -> int:
    """Return how many images fit into 256 MB of activations, 1 to `MOST_IMAGES`.

    A module takes what the networks in it take; without any it does not say, and gets
    `MOST_IMAGES`.
    """
    if isinstance(network, Architecture):
        architectures = [network]
    else:
        parts = network.modules()
        architectures = [part.architecture for part in parts if isinstance(part, Network)]
    largest = max((count(one).peak_activation_bytes for one in architectures), default=0)
    return max(1, min(MOST_IMAGES, _ACTIVATION_BYTES // max(1, largest)))

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

    A module that is no `Network` does not say what it takes: `MOST_IMAGES` then.
    """
    if isinstance(network, Network):
        network = network.architecture
    if not isinstance(network, Architecture):
        return MOST_IMAGES
    fitting = _ACTIVATION_BYTES // max(1, count(network).peak_activation_bytes)
    return max(1, min(MOST_IMAGES, fitting))

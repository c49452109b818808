"""How many images a network is asked about at once, by the memory that its activations take."""

from __future__ import annotations

from archpress_trainer.space.costs import count
from archpress_trainer.space.graph import Architecture

MOST_IMAGES = 500
_ACTIVATION_BYTES = 256_000_000


def images_at_once(architecture: Architecture) -> int:
    """Return how many images fit into 256 MB of activations, 1 to `MOST_IMAGES`."""
    fitting = _ACTIVATION_BYTES // max(1, count(architecture).peak_activation_bytes)
    return max(1, min(MOST_IMAGES, fitting))

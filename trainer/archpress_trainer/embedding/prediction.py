"""`Prediction`: what an embedding says about a network's accuracy."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Prediction:
    """A predicted accuracy in [0, 1] with its 90% interval, calibrated on held-out nets.

    It is the accuracy at the embedding's fidelity, which is less than after full training: it
    ranks networks.
    """

    accuracy: float
    lower: float
    upper: float

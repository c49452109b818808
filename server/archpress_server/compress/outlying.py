"""An input network unlike the labelled ones: how far outside it lies, and the nearest inside."""

from __future__ import annotations

from collections.abc import Sequence
from math import log2
from statistics import pstdev

from archpress_trainer.embedding.codec import OutsideSpaceError
from archpress_trainer.embedding.interface import Embedding, Exemplar
from archpress_trainer.space.costs import Costs, count
from archpress_trainer.space.graph import Architecture


def outlying(architecture: Architecture, costs: Costs, embedding: Embedding) -> str | None:
    """Say how far a network lies outside the labelled ones, and what that does to its prediction.

    None where it lies inside, or where nothing is known of the labelled ones.
    """
    exemplars = embedding.exemplars
    if not exemplars:
        return None
    beyond = [
        text
        for name, value, known in (
            ("parameters", costs.params, [e.costs.params for e in exemplars]),
            ("multiply-accumulates", costs.macs, [e.costs.macs for e in exemplars]),
            ("layers", len(architecture.layers), [len(e.architecture.layers) for e in exemplars]),
        )
        if (text := _beyond(name, value, known))
    ]
    if not beyond:
        return None
    return f"the input network has {' and '.join(beyond)}; {_told(architecture, embedding)}"


def _beyond(name: str, value: int, known: Sequence[int]) -> str:
    most, least = max(known), min(known)
    if value > most:
        return f"{value / most:.1f} times the {name} of the largest labelled network"
    if value < least:
        return f"{value / least:.2f} of the {name} of the smallest labelled network"
    return ""


def _told(architecture: Architecture, embedding: Embedding) -> str:
    try:
        (own,) = embedding.predict([architecture])
    except OutsideSpaceError:
        return "nothing is predicted for itself"
    return (
        f"its own predicted accuracy, {own.accuracy:.1%}, is an extrapolation that no label backs"
    )


def nearest(architecture: Architecture, exemplars: Sequence[Exemplar]) -> Architecture:
    """Return the labelled network nearest in parameters, MACs and depth, each by its spread."""
    own = _place(architecture, count(architecture))
    places = [_place(exemplar.architecture, exemplar.costs) for exemplar in exemplars]
    spreads = [pstdev(values) or 1.0 for values in zip(*places, strict=True)]

    def distance(place: Sequence[float]) -> float:
        gaps = zip(place, own, spreads, strict=True)
        return sum(((there - here) / spread) ** 2 for there, here, spread in gaps)

    best = min(range(len(places)), key=lambda index: (distance(places[index]), index))
    return exemplars[best].architecture


def _place(architecture: Architecture, costs: Costs) -> tuple[float, float, float]:
    return log2(costs.params), log2(costs.macs), log2(len(architecture.layers))

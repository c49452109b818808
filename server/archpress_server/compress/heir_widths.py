"""Which widths a narrower network should have: a local search by what is predicted of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from random import Random

from archpress_trainer.embedding.interface import Embedding
from archpress_trainer.embedding.prediction import Prediction
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.reading_form import reading_form
from archpress_trainer.space.width_groups import WidthGroups

_ROUNDS = 12
_CHILDREN = 32
_PARENTS = 4
_TRIES = 8
"""Draws for each child that is wanted; at the limits many change nothing."""
_LARGEST_STEP = 0.25
"""Share of a width that one change takes."""

_Widths = tuple[int, ...]


def best_widths(
    start: Architecture,
    most: Sequence[int],
    fits: Callable[[Sequence[int]], bool],
    embedding: Embedding,
    rng: Random,
    *,
    multiple: int,
) -> tuple[Architecture, Prediction]:
    """Return the network with the widths that are predicted to be best, and the prediction.

    Children of the best take channels from one or two groups and give others what then fits. What
    counts is the lower end of the prediction.

    Args:
        start: the network to begin with; it fits.
        most: widest that each of its free `WidthGroups` may be.
        fits: whether widths of these groups keep to the limits.
        embedding: predicts the networks, as trained from scratch.
        rng: draws the changes.
        multiple: by which widths change.

    Raises:
        OutsideSpaceError: the embedding cannot read such networks.
    """
    groups = WidthGroups(start)
    known: dict[_Widths, Prediction] = {}

    def add(found: Iterable[_Widths]) -> None:
        new = [widths for widths in dict.fromkeys(found) if widths not in known]
        if new:
            networks = [reading_form(groups.with_widths(widths)) for widths in new]
            known.update(zip(new, embedding.predict(networks), strict=True))

    def ranked() -> list[_Widths]:
        return sorted(known, key=lambda widths: (-known[widths].lower, widths))

    add([tuple(groups.widths)])
    for _ in range(_ROUNDS if groups.widths else 0):
        parents = ranked()[:_PARENTS]
        children: set[_Widths] = set()
        for _ in range(_TRIES * _CHILDREN):
            child = _changed(rng.choice(parents), most, fits, rng, multiple)
            if child not in known:
                children.add(child)
            if len(children) == _CHILDREN:
                break
        if not children:
            break
        add(sorted(children))
    best = ranked()[0]
    return groups.with_widths(best), known[best]


def _changed(
    parent: _Widths,
    most: Sequence[int],
    fits: Callable[[Sequence[int]], bool],
    rng: Random,
    multiple: int,
) -> _Widths:
    widths = list(parent)
    places = range(len(widths))
    taken = rng.sample(places, rng.randint(1, min(2, len(widths))))
    for place in taken:
        share = rng.uniform(0.0, _LARGEST_STEP)
        step = max(multiple, int(widths[place] * share) // multiple * multiple)
        if widths[place] > step:
            widths[place] -= step
    for place in rng.sample(places, min(2, len(widths))):
        while widths[place] + multiple <= most[place]:
            wider = [*widths]
            wider[place] += multiple
            if not fits(wider):
                break
            widths = wider
    return tuple(widths)

"""A skip more or less: one of the small changes of an architecture with joins."""

from __future__ import annotations

from random import Random

from archpress_trainer.space.architecture_space import ArchitectureSpace
from archpress_trainer.space.draft import Draft
from archpress_trainer.space.layer import Layer
from archpress_trainer.space.vocab import JOINS, WEIGHTED, LayerKind

_CONCAT_SHARE = 0.25


def change_skip(draft: Draft, space: ArchitectureSpace, rng: Random) -> bool:
    """Take a skip out of a draft or put one in, and return whether that can be."""
    joins = draft.places(*JOINS)
    if joins and rng.random() < 0.5:
        return _drop(draft, rng.choice(joins))
    return _add(draft, space, rng)


def _drop(draft: Draft, join: int) -> bool:
    """Take out a join, with the projection in front of it if its skip has one."""
    start = join
    while start > 0 and draft.layers[start - 1].inputs == (start - 2,):
        start -= 1
    projection = start - 1
    if projection >= 0:
        layer = draft.layers[projection]
        on_the_skip = layer.kind is LayerKind.CONVOLUTION and layer.inputs[0] < projection - 1
        if on_the_skip and projection - 1 in draft.layers[join].inputs:
            return draft.remove(projection, join + 1)
    return draft.remove(join, join + 1)


def _add(draft: Draft, space: ArchitectureSpace, rng: Random) -> bool:
    kind = LayerKind.CONCAT if rng.random() < _CONCAT_SHARE else LayerKind.ADD
    shapes = draft.shapes
    pairs = [
        (source, last)
        for last in range(1, len(shapes) - 1)
        for source in range(max(-1, last - space.max_reach + 1), last - 1)
        if len(shapes[last]) == 3
        and (
            draft.shape_of(source) == shapes[last]
            if kind is LayerKind.ADD
            else draft.shape_of(source)[1:] == shapes[last][1:]
        )
        and any(draft.layers[index].kind in WEIGHTED for index in range(source + 1, last + 1))
    ]
    if not pairs:
        return False
    source, last = rng.choice(pairs)
    draft.insert(last + 1, [Layer(kind, inputs=(source, last))])
    return True

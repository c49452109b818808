"""Small changes of an architecture: the discrete neighbourhood that local search walks in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random

from archpress_trainer.space.architecture_space import DEPTHWISE, ArchitectureSpace
from archpress_trainer.space.draft import Draft
from archpress_trainer.space.errors import ArchitectureError
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.layer import Layer
from archpress_trainer.space.skips import change_skip
from archpress_trainer.space.vocab import ACTIVATIONS, POOLS, LayerKind
from archpress_trainer.space.width_groups import WidthGroups

_HEAD_KINDS = frozenset({LayerKind.BATCH_NORM, *ACTIVATIONS})


def neighbour(
    architecture: Architecture, space: ArchitectureSpace, rng: Random
) -> Architecture | None:
    """Return an architecture of the space that differs in one place, or None if the draw has none.

    The changes: another width, kernel or activation, a block more or less, a pool moved or
    replaced by a stride, a dropout more or less; with joins in the space also a skip more or less,
    and a convolution made depthwise or whole again.
    """
    changes = _CHANGES_WITH_JOINS if space.has_joins else _CHANGES
    (change,) = rng.choices(list(changes), list(changes.values()))
    try:
        if change is None:
            result = _other_width(architecture, space, rng)
        else:
            draft = Draft(architecture)
            result = draft.built() if change(draft, space, rng) else None
    except ArchitectureError:
        return None
    if result is None or result == architecture:
        return None
    return result if space.contains(result) else None


def _other_width(
    architecture: Architecture, space: ArchitectureSpace, rng: Random
) -> Architecture | None:
    groups = WidthGroups(architecture)
    if not groups.places:
        return None
    widths = [*groups.widths]
    place = rng.choice(range(len(widths)))
    wider = rng.random() < 0.5
    rungs = [c for c in space.channels if (c > widths[place] if wider else c < widths[place])]
    if not rungs:
        return None
    widths[place] = rungs[0] if wider else rungs[-1]
    return groups.with_widths(widths)


def _kernel(draft: Draft, space: ArchitectureSpace, rng: Random) -> bool:
    place = rng.choice(draft.places(LayerKind.CONVOLUTION))
    odd = [k for k in space.kernels if k % 2 and k // 2 in space.paddings]
    kernel = rng.choice(odd)
    draft.change(place, kernel=kernel, padding=kernel // 2)
    return True


def _insert(draft: Draft, space: ArchitectureSpace, rng: Random) -> bool:
    place = rng.choice(draft.places(LayerKind.CONVOLUTION))
    start, end = draft.block(place, _HEAD_KINDS)
    block = draft.layers[start:end]
    draft.insert(end, block, origin=start)
    _unstride(draft, end, end + len(block))
    return True


def _remove(draft: Draft, space: ArchitectureSpace, rng: Random) -> bool:
    places = draft.places(LayerKind.CONVOLUTION)
    if len(places) < 2:
        return False
    return draft.remove(*draft.block(rng.choice(places), _HEAD_KINDS))


def _move_pool(draft: Draft, space: ArchitectureSpace, rng: Random) -> bool:
    places = draft.places(*POOLS)
    if not places:
        return False
    place = rng.choice(places)
    if draft.block(place, frozenset()) != (place, place + 1):
        return False
    pool = draft.layers[place]
    draft.remove(place, place + 1)
    ends = [draft.block(start, _HEAD_KINDS)[1] for start in draft.places(LayerKind.CONVOLUTION)]
    draft.insert(rng.choice(ends), [pool], origin=place)
    return True


def _swap_pool(draft: Draft, space: ArchitectureSpace, rng: Random) -> bool:
    places = draft.places(*POOLS)
    layers = draft.layers
    strided = [i for i in draft.places(LayerKind.CONVOLUTION) if layers[i].stride > 1]
    if strided and (not places or rng.random() < 0.5):
        start, end = draft.block(rng.choice(strided), _HEAD_KINDS)
        _unstride(draft, start, end)
        draft.insert(end, [Layer(LayerKind.MAX_POOL, kernel=2, stride=2)])
        return True
    if not places:
        return False
    place = rng.choice(places)
    if rng.random() < 0.5:
        other = POOLS - {layers[place].kind}
        draft.change(place, kind=next(iter(other)))
        return True
    before = [i for i in draft.places(LayerKind.CONVOLUTION) if i < place]
    if not before or layers[before[-1]].stride > 1:
        return False
    draft.change(before[-1], stride=2)
    return draft.remove(place, place + 1)


def _activation(draft: Draft, space: ArchitectureSpace, rng: Random) -> bool:
    kinds = sorted(ACTIVATIONS & set(space.kinds))
    kind = rng.choice(kinds)
    for place in draft.places(*ACTIVATIONS):
        draft.change(place, kind=kind)
    return True


def _dropout(draft: Draft, space: ArchitectureSpace, rng: Random) -> bool:
    places = draft.places(LayerKind.DROPOUT)
    if places:
        place = rng.choice(places)
        return draft.remove(place, place + 1)
    if LayerKind.DROPOUT not in space.kinds:
        return False
    draft.insert(len(draft.layers) - 1, [Layer(LayerKind.DROPOUT, rate=space.dropout_rate)])
    return True


def _separate(draft: Draft, space: ArchitectureSpace, rng: Random) -> bool:
    """Make a convolution depthwise with a pointwise one behind, or such a pair whole again."""
    place = rng.choice(draft.places(LayerKind.CONVOLUTION))
    layer = draft.layers[place]
    if layer.groups == DEPTHWISE:
        pointwise = draft.block(place, _HEAD_KINDS)[1]
        if pointwise == len(draft.layers):
            return False
        behind = draft.layers[pointwise]
        if behind.kind is not LayerKind.CONVOLUTION or behind.kernel != 1:
            return False
        draft.change(place, groups=1, out_channels=behind.out_channels)
        return draft.remove(place + 1, pointwise + 1)
    if layer.kernel == 1 or layer.groups != 1:
        return False
    between = [Layer(LayerKind.BATCH_NORM)] if draft.places(LayerKind.BATCH_NORM) else []
    kinds = Counter(draft.layers[index].kind for index in draft.places(*ACTIVATIONS))
    between += [Layer(kind) for kind, _ in kinds.most_common(1)]
    pointwise_layer = Layer(
        LayerKind.CONVOLUTION, kernel=1, out_channels=layer.out_channels, stride=1
    )
    draft.change(place, groups=DEPTHWISE, out_channels=0)
    draft.insert(place + 1, [*between, pointwise_layer])
    return True


def _unstride(draft: Draft, start: int, end: int) -> None:
    for place in range(start, end):
        if draft.layers[place].kind is LayerKind.CONVOLUTION and draft.layers[place].stride > 1:
            draft.change(place, stride=1)


_Change = Callable[[Draft, ArchitectureSpace, Random], bool]

_CHANGES: dict[_Change | None, float] = {
    None: 4,
    _kernel: 3,
    _insert: 2,
    _remove: 2,
    _move_pool: 2,
    _swap_pool: 1,
    _activation: 1,
    _dropout: 0.5,
}
"""How often each change is tried; None is another width."""

_CHANGES_WITH_JOINS = {**_CHANGES, change_skip: 2, _separate: 1}

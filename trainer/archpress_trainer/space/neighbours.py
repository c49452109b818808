"""Small changes of a chain: the discrete neighbourhood that local search walks in."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from archpress_trainer.space.architecture_space import ArchitectureSpace
from archpress_trainer.space.errors import ArchitectureError
from archpress_trainer.space.graph import Architecture, Layer
from archpress_trainer.space.vocab import ACTIVATIONS, POOLS, WEIGHTED, LayerKind

_HEAD_KINDS = frozenset({LayerKind.BATCH_NORM, *ACTIVATIONS})


def neighbour(
    architecture: Architecture, space: ArchitectureSpace, rng: Random
) -> Architecture | None:
    """Return a chain of the space that differs in one place, or None if the draw gives none.

    The changes: another width, kernel or activation, a block more or less, a pool moved or
    replaced by a stride, a dropout more or less.
    """
    layers = [_loose(layer) for layer in architecture.layers]
    change = rng.choices(
        (_width, _kernel, _insert, _remove, _move_pool, _swap_pool, _activation, _dropout),
        (4, 3, 2, 2, 2, 1, 1, 0.5),
    )[0]
    changed = change(layers, space, rng)
    if changed is None:
        return None
    try:
        result = Architecture(architecture.input_shape, architecture.classes, tuple(changed))
    except ArchitectureError:
        return None
    return result if result != architecture and space.contains(result) else None


def _loose(layer: Layer) -> Layer:
    """Return a layer without what follows from its place."""
    return Layer(
        layer.kind,
        layer.kernel,
        layer.out_channels if layer.kind in WEIGHTED else 0,
        layer.stride,
        layer.padding,
        layer.groups,
        rate=layer.rate,
    )


def _places(layers: list[Layer], *kinds: LayerKind) -> list[int]:
    return [index for index, layer in enumerate(layers) if layer.kind in kinds]


def _width(layers: list[Layer], space: ArchitectureSpace, rng: Random) -> list[Layer] | None:
    places = [i for i in _places(layers, *WEIGHTED) if i != len(layers) - 1]
    place = rng.choice(places)
    width = layers[place].out_channels
    wider = rng.random() < 0.5
    rungs = [c for c in space.channels if (c > width if wider else c < width)]
    if not rungs:
        return None
    layers[place] = replace(layers[place], out_channels=rungs[0] if wider else rungs[-1])
    return layers


def _kernel(layers: list[Layer], space: ArchitectureSpace, rng: Random) -> list[Layer] | None:
    place = rng.choice(_places(layers, LayerKind.CONVOLUTION))
    odd = [k for k in space.kernels if k % 2 and k // 2 in space.paddings]
    kernel = rng.choice(odd)
    layers[place] = replace(layers[place], kernel=kernel, padding=kernel // 2)
    return layers


def _block_end(layers: list[Layer], start: int) -> int:
    end = start + 1
    while end < len(layers) and layers[end].kind in _HEAD_KINDS:
        end += 1
    return end


def _insert(layers: list[Layer], space: ArchitectureSpace, rng: Random) -> list[Layer] | None:
    start = rng.choice(_places(layers, LayerKind.CONVOLUTION))
    end = _block_end(layers, start)
    block = layers[start:end]
    block[0] = replace(block[0], stride=1)
    return [*layers[:end], *block, *layers[end:]]


def _remove(layers: list[Layer], space: ArchitectureSpace, rng: Random) -> list[Layer] | None:
    places = _places(layers, LayerKind.CONVOLUTION)
    if len(places) < 2:
        return None
    start = rng.choice(places)
    return [*layers[:start], *layers[_block_end(layers, start) :]]


def _move_pool(layers: list[Layer], space: ArchitectureSpace, rng: Random) -> list[Layer] | None:
    places = _places(layers, *POOLS)
    if not places:
        return None
    place = rng.choice(places)
    pool = layers.pop(place)
    starts = _places(layers, LayerKind.CONVOLUTION)
    ends = [_block_end(layers, start) for start in starts]
    layers.insert(rng.choice(ends), pool)
    return layers


def _swap_pool(layers: list[Layer], space: ArchitectureSpace, rng: Random) -> list[Layer] | None:
    places = _places(layers, *POOLS)
    strided = [i for i in _places(layers, LayerKind.CONVOLUTION) if layers[i].stride > 1]
    if strided and (not places or rng.random() < 0.5):
        place = rng.choice(strided)
        layers[place] = replace(layers[place], stride=1)
        pool = Layer(LayerKind.MAX_POOL, kernel=2, stride=2)
        layers.insert(_block_end(layers, place), pool)
        return layers
    if not places:
        return None
    place = rng.choice(places)
    if rng.random() < 0.5:
        other = POOLS - {layers[place].kind}
        layers[place] = replace(layers[place], kind=next(iter(other)))
        return layers
    before = [i for i in _places(layers, LayerKind.CONVOLUTION) if i < place]
    if not before or layers[before[-1]].stride > 1:
        return None
    layers[before[-1]] = replace(layers[before[-1]], stride=2)
    del layers[place]
    return layers


def _activation(layers: list[Layer], space: ArchitectureSpace, rng: Random) -> list[Layer] | None:
    kinds = sorted(ACTIVATIONS & set(space.kinds))
    kind = rng.choice(kinds)
    return [replace(layer, kind=kind) if layer.kind in ACTIVATIONS else layer for layer in layers]


def _dropout(layers: list[Layer], space: ArchitectureSpace, rng: Random) -> list[Layer] | None:
    places = _places(layers, LayerKind.DROPOUT)
    if places:
        del layers[rng.choice(places)]
        return layers
    if LayerKind.DROPOUT not in space.kinds:
        return None
    layers.insert(len(layers) - 1, Layer(LayerKind.DROPOUT, rate=space.dropout_rate))
    return layers

"""`small_networks`: the networks of a space that limits are compared with.

None of the widths that the space lists has fewer parameters or multiply-accumulates. Narrowed input
networks may, whose widths are their own; and by a table of latencies one with pools that overlap
may be faster.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import product

from archpress_server.compress.layer_work import LatencyModel, network_seconds
from archpress_trainer.space.architecture_space import DEPTHWISE, ArchitectureSpace
from archpress_trainer.space.costs import count
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.layer import Layer
from archpress_trainer.space.layers import average_pool, conv, global_average_pool, linear, max_pool
from archpress_trainer.space.shapes import window_output
from archpress_trainer.space.vocab import LayerKind


@lru_cache(maxsize=16)
def small_networks(space: ArchitectureSpace) -> tuple[Architecture, ...]:
    """Return small networks of a space, first those that do not shrink the image.

    They are one convolution, as narrow as the space has them or depthwise, of any kernel and
    stride, behind no, one or more pools, with a linear classifier behind an average or right
    behind.
    """
    averages: list[tuple[Layer, ...]] = [()]
    if LayerKind.GLOBAL_AVERAGE_POOL in space.kinds:
        averages.insert(0, (global_average_pool(),))
    found = [
        Architecture(
            space.input_shape,
            space.classes,
            (*pools, convolution, *average, linear(space.classes)),
        )
        for pools, sides in _pools(space).items()
        for convolution, average in product(_convolutions(space, sides), averages)
    ]
    return tuple(network for network in found if space.contains(network))


@lru_cache(maxsize=16)
def smallest_networks(space: ArchitectureSpace) -> tuple[Architecture, ...]:
    """Return the networks of the space with the fewest parameters and the fewest MACs.

    Of equally small ones they are those with the largest images before the convolution.
    """
    costs = {network: count(network) for network in small_networks(space)}
    return (
        min(costs, key=lambda network: costs[network].params),
        min(costs, key=lambda network: costs[network].macs),
    )


def fastest_networks(space: ArchitectureSpace, model: LatencyModel) -> list[Architecture]:
    """Return small networks of the space, the fastest by a model first."""
    return sorted(small_networks(space), key=lambda net: (network_seconds(model, net), net.digest))


def _convolutions(space: ArchitectureSpace, sides: tuple[int, ...]) -> Iterator[Layer]:
    """Yield narrow convolutions with each kernel and stride that give an image of another size."""
    width, padding, channels = min(space.channels), min(space.paddings), space.input_shape[0]
    seen = set()
    for kernel, stride in product(sorted(space.kernels), sorted(space.strides)):
        left = tuple(window_output(side, kernel, stride, padding) for side in sides)
        if min(left) < 1 or (kernel, left) in seen:
            continue
        seen.add((kernel, left))
        yield conv(width, kernel, stride=stride, padding=padding)
        if DEPTHWISE in space.groups and channels >= width:
            yield conv(channels, kernel, stride=stride, padding=padding, groups=channels)


def _pools(space: ArchitectureSpace) -> dict[tuple[Layer, ...], tuple[int, ...]]:
    """Return the sides that runs of pools leave: none, one, and so on until one pixel is left.

    There is a run for each kind and largest window. Windows do not overlap; where an image is too
    low or too narrow for any, single pixels are skipped.
    """
    windows = sorted(set(space.kernels) & set(space.strides) - {1}, reverse=True)
    kinds = ((LayerKind.MAX_POOL, max_pool), (LayerKind.AVERAGE_POOL, average_pool))
    found: dict[tuple[Layer, ...], tuple[int, ...]] = {(): space.input_shape[1:]}
    for (kind, pool), largest in product(kinds, windows):
        run: tuple[Layer, ...] = ()
        sides: tuple[int, ...] = space.input_shape[1:]
        while kind in space.kinds and max(sides) > 1:
            window = max((w for w in windows if w <= min(largest, *sides)), default=1)
            stride = window if window > 1 else max(space.strides)
            run = (*run, pool(window, stride=stride))
            sides = tuple(window_output(side, window, stride, 0) for side in sides)
            found[run] = sides
    return found

"""Hand features of an architecture: cheap facts that say much about its accuracy.

Three groups: the net as a whole, its profile over the resolutions that it passes through, and how
well a signal gets through it. Spaces with joins have a fourth, `join_features`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import log2

import numpy as np
from numpy.typing import NDArray

from archpress_trainer.embedding.join_features import JOIN_FEATURES, join_features
from archpress_trainer.space.architecture_space import ArchitectureSpace
from archpress_trainer.space.costs import Costs, layer_macs, layer_params
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.shapes import Shape, elements
from archpress_trainer.space.vocab import ACTIVATIONS, POOLS, WEIGHTED, WINDOWED, LayerKind

WHOLE = (
    "log2 params",
    "log2 macs",
    "log2 peak activation bytes",
    "layers",
    "convolutions",
    "log2 mean width",
    "log2 widest",
    "log2 last width",
    "log2 first width",
    "mean kernel",
    "first kernel",
    "batch norms per convolution",
    "activations per convolution",
    "log2 side before the head",
    "log2 features into the classifier",
    "downsamplings",
    "max pools",
    "average pools",
    "global pool",
    "dropouts",
    "hidden linear layers",
    "sigmoids",
    "place of the first downsampling",
    "log2 receptive field",
)
"""Features of the net as a whole; what the simple predictors of `metrics.py` read."""

_HALVINGS = 5
PROFILE = tuple(
    f"{fact} after {halvings} halvings"
    for fact in ("convolutions", "log2 widest", "largest kernel", "share of macs")
    for halvings in range(_HALVINGS)
)
"""Convolutions by the resolution that they work at; the last one holds all smaller ones."""

SIGNAL = (
    "longest run of convolutions without batch norm",
    "share of convolutions with batch norm",
    "share of convolutions with an activation",
    "convolutions without an activation",
    "convolutions with sigmoid and no batch norm",
    "relus",
    "leaky relus",
    "silus",
    "first stride",
    "log2 narrowest",
    "spread of log2 width",
    "share of kernel 1",
    "share of kernel 3",
    "receptive field over side",
    "log2 smallest map",
    "log2 mean map",
    "batch norm before the classifier",
    "activation before the classifier",
    "dropout before the classifier",
    "batch norm on the input",
    "share of params in linear layers",
    "log2 params in convolutions",
)

FEATURES = (*WHOLE, *PROFILE, *SIGNAL)
"""What every architecture has."""


def feature_names(space: ArchitectureSpace) -> tuple[str, ...]:
    """Return what is told of a space's architectures."""
    return (*FEATURES, *JOIN_FEATURES) if space.has_joins else FEATURES


def features(architecture: Architecture, space: ArchitectureSpace) -> NDArray[np.float32]:
    """Return the features of an architecture, shape `(features,)`."""
    costs = architecture.costs
    blocks = _blocks(architecture)
    field = _receptive_field(architecture)
    values = (
        *_whole(architecture, blocks, costs, field),
        *_profile(architecture, blocks),
        *_signal(architecture, blocks, costs, field),
        *(join_features(architecture, costs) if space.has_joins else ()),
    )
    return np.array(values, dtype=np.float32)


def feature_matrix(
    architectures: Iterable[Architecture], space: ArchitectureSpace
) -> NDArray[np.float32]:
    """Return the features of several architectures, shape `(count, features)`."""
    return np.stack([features(architecture, space) for architecture in architectures])


class _Block:
    """A convolution and the kinds of the layers up to the next one, pool or linear layer."""

    __slots__ = ("followers", "index", "kernel", "log_width", "stride")

    def __init__(self, architecture: Architecture, index: int) -> None:
        layers = architecture.layers
        layer = layers[index]
        self.index = index
        self.kernel = layer.kernel
        self.stride = layer.stride
        self.log_width = log2(layer.out_channels)
        end = index + 1
        while end < len(layers) and layers[end].kind not in WEIGHTED | POOLS:
            end += 1
        self.followers = {follower.kind for follower in layers[index + 1 : end]}

    @property
    def has_norm(self) -> bool:
        return LayerKind.BATCH_NORM in self.followers

    @property
    def has_activation(self) -> bool:
        return not ACTIVATIONS.isdisjoint(self.followers)


def _blocks(architecture: Architecture) -> list[_Block]:
    return [
        _Block(architecture, index)
        for index, layer in enumerate(architecture.layers)
        if layer.kind is LayerKind.CONVOLUTION
    ]


def _whole(
    architecture: Architecture, blocks: Sequence[_Block], costs: Costs, field: int
) -> tuple[float, ...]:
    layers = architecture.layers
    kinds = [layer.kind for layer in layers]
    log_widths = [block.log_width for block in blocks]
    downsamplings = [i for i, layer in enumerate(layers) if layer.stride > 1]
    n = len(blocks)
    return (
        log2(costs.params),
        log2(costs.macs),
        log2(costs.peak_activation_bytes),
        len(layers),
        n,
        sum(log_widths) / n,
        max(log_widths),
        log_widths[-1],
        log_widths[0],
        sum(block.kernel for block in blocks) / n,
        blocks[0].kernel,
        kinds.count(LayerKind.BATCH_NORM) / n,
        sum(kind in ACTIVATIONS for kind in kinds) / n,
        log2(_maps(architecture)[-1][1]),
        log2(elements(architecture.in_shape(len(layers) - 1))),
        len(downsamplings),
        kinds.count(LayerKind.MAX_POOL),
        kinds.count(LayerKind.AVERAGE_POOL),
        kinds.count(LayerKind.GLOBAL_AVERAGE_POOL),
        kinds.count(LayerKind.DROPOUT),
        kinds.count(LayerKind.LINEAR) - 1,
        kinds.count(LayerKind.SIGMOID),
        (downsamplings[0] / len(layers)) if downsamplings else 1.0,
        log2(field),
    )


def _profile(architecture: Architecture, blocks: Sequence[_Block]) -> tuple[float, ...]:
    convolutions, widest, kernel, macs = ([0.0] * _HALVINGS for _ in range(4))
    side = architecture.input_shape[1]
    for block in blocks:
        out = architecture.shapes[block.index]
        halvings = min(_HALVINGS - 1, max(0, round(log2(side / out[1]))))
        before = architecture.in_shape(block.index)
        convolutions[halvings] += 1
        widest[halvings] = max(widest[halvings], block.log_width)
        kernel[halvings] = max(kernel[halvings], block.kernel)
        macs[halvings] += layer_macs(architecture.layers[block.index], before, out)
    total = sum(macs)
    return (*convolutions, *widest, *kernel, *(share / total for share in macs))


def _signal(
    architecture: Architecture, blocks: Sequence[_Block], costs: Costs, field: int
) -> tuple[float, ...]:
    layers = architecture.layers
    kinds = [layer.kind for layer in layers]
    n = len(blocks)
    run = longest = 0
    for block in blocks:
        run = 0 if block.has_norm else run + 1
        longest = max(longest, run)
    log_widths = [block.log_width for block in blocks]
    maps = [elements(shape) for shape in architecture.shapes[:-1]]
    linear_params = sum(
        layer_params(layer, architecture.in_shape(index))
        for index, layer in enumerate(layers)
        if layer.kind is LayerKind.LINEAR
    )
    head = kinds[-4:-1]
    return (
        longest,
        sum(block.has_norm for block in blocks) / n,
        sum(block.has_activation for block in blocks) / n,
        sum(not block.has_activation for block in blocks),
        sum(LayerKind.SIGMOID in block.followers and not block.has_norm for block in blocks),
        kinds.count(LayerKind.RELU),
        kinds.count(LayerKind.LEAKY_RELU),
        kinds.count(LayerKind.SILU),
        blocks[0].stride,
        min(log_widths),
        float(np.std(log_widths)),
        sum(block.kernel == 1 for block in blocks) / n,
        sum(block.kernel == 3 for block in blocks) / n,
        field / architecture.input_shape[1],
        log2(min(maps)),
        log2(sum(maps) / len(maps)),
        LayerKind.BATCH_NORM in head,
        not ACTIVATIONS.isdisjoint(head),
        LayerKind.DROPOUT in head,
        kinds[0] is LayerKind.BATCH_NORM,
        linear_params / costs.params,
        log2(1 + costs.params - linear_params),
    )


def _maps(architecture: Architecture) -> list[Shape]:
    return [shape for shape in architecture.shapes if len(shape) == 3]


def _receptive_field(architecture: Architecture) -> int:
    fields, jumps = [1], [1]
    for layer in architecture.layers:
        source = max(layer.inputs, key=lambda index: fields[index + 1]) + 1
        windowed = layer.kind in WINDOWED
        fields.append(fields[source] + ((layer.kernel - 1) * jumps[source] if windowed else 0))
        jumps.append(jumps[source] * (layer.stride if windowed else 1))
    return fields[-1]

"""Hand features of an architecture: cheap facts that say much about its accuracy."""

from __future__ import annotations

from collections.abc import Iterable
from math import log2

import numpy as np
from numpy.typing import NDArray

from archpress_trainer.space.costs import Costs, count
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.shapes import elements
from archpress_trainer.space.vocab import ACTIVATIONS, POOLS, LayerKind

FEATURES = (
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


def features(architecture: Architecture, costs: Costs | None = None) -> NDArray[np.float32]:
    """Return the `FEATURES` of a chain, shape `(features,)`."""
    costs = costs or count(architecture)
    layers, shapes = architecture.layers, architecture.shapes
    convolutions = [i for i, layer in enumerate(layers) if layer.kind is LayerKind.CONVOLUTION]
    widths = [layers[i].out_channels for i in convolutions]
    kernels = [layers[i].kernel for i in convolutions]
    downsamplings = [i for i, layer in enumerate(layers) if layer.stride > 1]
    maps = [shape for shape in shapes if len(shape) == 3]
    n = len(convolutions)
    kinds = [layer.kind for layer in layers]
    values = (
        log2(costs.params),
        log2(costs.macs),
        log2(costs.peak_activation_bytes),
        len(layers),
        n,
        float(np.mean(np.log2(widths))),
        log2(max(widths)),
        log2(widths[-1]),
        log2(widths[0]),
        float(np.mean(kernels)),
        kernels[0],
        kinds.count(LayerKind.BATCH_NORM) / n,
        sum(kind in ACTIVATIONS for kind in kinds) / n,
        log2(maps[-1][1]),
        log2(elements(architecture.input_shapes(len(layers) - 1)[0])),
        len(downsamplings),
        kinds.count(LayerKind.MAX_POOL),
        kinds.count(LayerKind.AVERAGE_POOL),
        kinds.count(LayerKind.GLOBAL_AVERAGE_POOL),
        kinds.count(LayerKind.DROPOUT),
        kinds.count(LayerKind.LINEAR) - 1,
        kinds.count(LayerKind.SIGMOID),
        (downsamplings[0] / len(layers)) if downsamplings else 1.0,
        log2(_receptive_field(architecture)),
    )
    return np.array(values, dtype=np.float32)


def feature_matrix(architectures: Iterable[Architecture]) -> NDArray[np.float32]:
    """Return the features of several chains, shape `(count, features)`."""
    return np.stack([features(architecture) for architecture in architectures])


def _receptive_field(architecture: Architecture) -> int:
    field, jump = 1, 1
    for layer in architecture.layers:
        if layer.kind is LayerKind.CONVOLUTION or layer.kind in POOLS:
            field += (layer.kernel - 1) * jump
            jump *= layer.stride
    return field

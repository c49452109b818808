"""Exact costs of an architecture, as integers and without torch: the one place that counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from archpress_trainer.space.layer import INPUT, Layer
from archpress_trainer.space.shapes import Shape, elements
from archpress_trainer.space.vocab import WEIGHTED, LayerKind

if TYPE_CHECKING:
    from archpress_trainer.space.graph import Architecture

_FLOAT_BYTES = 4
_WITH_PARAMS = WEIGHTED | {LayerKind.BATCH_NORM}


@dataclass(frozen=True, slots=True)
class Costs:
    """What a network costs for one image.

    `params` counts the trained network (weights, biases, two per normalised channel), `macs` the
    multiply-accumulates of convolutions and linear layers, `deployed_params` what is left once
    each BATCH_NORM that follows a convolution or linear layer is folded into it, and
    `peak_activation_bytes` the most float32 activation that must be alive at once, with no layer
    computed in place.
    """

    params: int
    macs: int
    deployed_params: int
    peak_activation_bytes: int


def layer_params(layer: Layer, in_shape: Shape) -> int:
    """Return the trained parameters of one layer."""
    bias = layer.out_channels if layer.bias else 0
    if layer.kind is LayerKind.CONVOLUTION:
        return layer.out_channels * (in_shape[0] // layer.groups) * layer.kernel**2 + bias
    if layer.kind is LayerKind.LINEAR:
        return layer.out_channels * elements(in_shape) + bias
    if layer.kind is LayerKind.BATCH_NORM:
        return 2 * in_shape[0]
    return 0


def layer_macs(layer: Layer, in_shape: Shape, out_shape: Shape) -> int:
    """Return the multiply-accumulates of one layer for one image."""
    if layer.kind is LayerKind.CONVOLUTION:
        return elements(out_shape) * (in_shape[0] // layer.groups) * layer.kernel**2
    if layer.kind is LayerKind.LINEAR:
        return elements(in_shape) * layer.out_channels
    return 0


def folds_into_input(architecture: Architecture, index: int) -> bool:
    """Return whether layer `index` is a BATCH_NORM that folds into the layer that it reads."""
    layer = architecture.layers[index]
    if layer.kind is not LayerKind.BATCH_NORM:
        return False
    source = layer.inputs[0]
    if source == INPUT or architecture.layers[source].kind not in WEIGHTED:
        return False
    return architecture.consumers[source] == (index,)


def count(architecture: Architecture) -> Costs:
    """Return the exact costs of an architecture, which `Architecture.costs` remembers."""
    params = macs = deployed = 0
    for index, layer in enumerate(architecture.layers):
        if layer.kind not in _WITH_PARAMS:
            continue
        in_shape = architecture.in_shape(index)
        own = layer_params(layer, in_shape)
        params += own
        macs += layer_macs(layer, in_shape, architecture.shapes[index])
        if folds_into_input(architecture, index):
            # The fold turns the pair's scale and shift into one bias, where there was none.
            had_bias = architecture.layers[layer.inputs[0]].bias
            own = 0 if had_bias else in_shape[0]
        deployed += own
    return Costs(params, macs, deployed, _peak_activation_bytes(architecture))


def _peak_activation_bytes(architecture: Architecture) -> int:
    last_use = {INPUT: 0}
    for index, layer in enumerate(architecture.layers):
        last_use[index] = index
        for source in layer.inputs:
            last_use[source] = index
    sizes = {INPUT: elements(architecture.input_shape)}
    alive = peak = sizes[INPUT]
    for index, layer in enumerate(architecture.layers):
        sizes[index] = elements(architecture.shapes[index])
        alive += sizes[index]
        peak = max(peak, alive)
        for node in {index, *layer.inputs}:
            if last_use[node] == index:
                alive -= sizes[node]
    return peak * _FLOAT_BYTES

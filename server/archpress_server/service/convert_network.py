"""Networks and their costs between messages and domain."""

from __future__ import annotations

from archpress_proto.v1 import architecture_pb2 as arch_pb
from archpress_trainer.space.costs import Costs
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.layer import Layer
from archpress_trainer.space.vocab import WEIGHTED, LayerKind

LAYER_KINDS = frozenset(int(kind) for kind in LayerKind)
"""The numbers of kinds that can be read."""

_INT64_MAX = 2**63 - 1
_DROPOUT_RATE = 0.5


def layer_from_proto(message: arch_pb.Layer) -> Layer:
    """Return a layer, unchecked; its kind must be known."""
    kind = LayerKind(message.kind)
    rate = _DROPOUT_RATE if kind is LayerKind.DROPOUT else 0.0
    return Layer(
        kind=kind,
        kernel=message.kernel,
        out_channels=message.out_channels,
        stride=message.stride,
        padding=message.padding,
        groups=message.groups if message.HasField("groups") else 1,
        bias=message.bias if message.HasField("bias") else None,
        rate=message.rate if message.HasField("rate") else rate,
        inputs=tuple(message.inputs),
    )


def layer_to_proto(layer: Layer, index: int) -> arch_pb.Layer:
    """Return layer `index` of an architecture; the implied input is left out."""
    message = arch_pb.Layer(
        kind=arch_pb.LayerKind.Name(int(layer.kind)),  # type: ignore[arg-type]
        kernel=layer.kernel,
        out_channels=layer.out_channels,
        stride=layer.stride,
        padding=layer.padding,
        inputs=() if layer.inputs == (index - 1,) else layer.inputs,
    )
    if layer.kind is LayerKind.CONVOLUTION and layer.groups != 1:
        message.groups = layer.groups
    if layer.kind in WEIGHTED and layer.bias is not None:
        message.bias = layer.bias
    if layer.kind is LayerKind.DROPOUT:
        message.rate = layer.rate
    return message


def architecture_from_proto(message: arch_pb.Architecture) -> Architecture:
    """Return an architecture of known layer kinds.

    Raises:
        ArchitectureError: it does not hold together.
    """
    shape = message.input_shape
    layers = tuple(layer_from_proto(layer) for layer in message.layers)
    return Architecture((shape.channels, shape.height, shape.width), message.classes, layers)


def architecture_to_proto(architecture: Architecture) -> arch_pb.Architecture:
    """Return the message of an architecture, with its inferred channels and biases."""
    return arch_pb.Architecture(
        input_shape=input_shape_to_proto(architecture.input_shape),
        classes=architecture.classes,
        layers=[layer_to_proto(layer, index) for index, layer in enumerate(architecture.layers)],
    )


def input_shape_to_proto(shape: tuple[int, int, int]) -> arch_pb.InputShape:
    """Return the message of an image's shape."""
    return arch_pb.InputShape(channels=shape[0], height=shape[1], width=shape[2])


def costs_to_proto(costs: Costs) -> arch_pb.Costs:
    """Return the message of some costs; the largest networks stop at its largest number."""
    return arch_pb.Costs(
        params=min(costs.params, _INT64_MAX),
        macs=min(costs.macs, _INT64_MAX),
        deployed_params=min(costs.deployed_params, _INT64_MAX),
        peak_activation_bytes=min(costs.peak_activation_bytes, _INT64_MAX),
    )

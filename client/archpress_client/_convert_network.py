"""Between the messages of networks and their costs and the client's own types of them."""

from __future__ import annotations

from archpress_client._network import WEIGHTED, Layer, LayerKind, Network
from archpress_client._types import Costs
from archpress_proto.v1 import architecture_pb2


def network_to_proto(network: Network) -> architecture_pb2.Architecture:
    """Return the message for a network."""
    channels, height, width = network.input_shape
    return architecture_pb2.Architecture(
        input_shape=architecture_pb2.InputShape(channels=channels, height=height, width=width),
        classes=network.classes,
        layers=[_layer_to_proto(layer) for layer in network.layers],
    )


def _layer_to_proto(layer: Layer) -> architecture_pb2.Layer:
    message = architecture_pb2.Layer(
        kind=architecture_pb2.LayerKind.ValueType(layer.kind.value),
        kernel=layer.kernel,
        out_channels=layer.out_channels,
        stride=layer.stride,
        padding=layer.padding,
        bias=layer.bias,
        inputs=layer.inputs,
    )
    if layer.groups != 1:
        message.groups = layer.groups
    # A rate of 0 is a value, and what an unset one means is not 0.
    if layer.kind is LayerKind.DROPOUT or layer.rate:
        message.rate = layer.rate
    return message


def network_from_proto(message: architecture_pb2.Architecture) -> Network:
    """Return the network in a message."""
    shape = message.input_shape
    return Network(
        (shape.channels, shape.height, shape.width),
        message.classes,
        [_layer_from_proto(layer) for layer in message.layers],
    )


def _layer_from_proto(message: architecture_pb2.Layer) -> Layer:
    kind = layer_kind(message.kind)
    unset_rate = 0.5 if kind is LayerKind.DROPOUT else 0.0
    return Layer(
        kind,
        kernel=message.kernel,
        out_channels=message.out_channels if kind in WEIGHTED else 0,
        stride=message.stride,
        padding=message.padding,
        groups=message.groups if message.HasField("groups") else 1,
        bias=message.bias if message.HasField("bias") else None,
        rate=message.rate if message.HasField("rate") else unset_rate,
        inputs=tuple(message.inputs),
    )


def layer_kind(number: int) -> LayerKind:
    """Return the kind with this number; UNKNOWN for one of a newer server."""
    try:
        return LayerKind(number)
    except ValueError:
        return LayerKind.UNKNOWN


def costs_from_proto(message: architecture_pb2.Costs) -> Costs:
    """Return the costs in a message."""
    return Costs(
        params=message.params,
        macs=message.macs,
        deployed_params=message.deployed_params,
        peak_activation_bytes=message.peak_activation_bytes,
    )

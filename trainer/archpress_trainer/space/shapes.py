"""Shape inference: the output shape of one layer from the shapes of its inputs."""

from __future__ import annotations

from collections.abc import Sequence

from archpress_trainer.space.layer import Layer
from archpress_trainer.space.vocab import JOINS, POOLS, LayerKind

Shape = tuple[int, ...]
"""`(channels, height, width)` of a feature map, or `(channels,)` of a vector."""


class ShapeError(ValueError):
    """A layer that does not fit its input; `field` names the attribute at fault."""

    def __init__(self, field: str, reason: str) -> None:
        """Keep the field beside the message."""
        self.field = field
        super().__init__(reason)


def elements(shape: Shape) -> int:
    """Return how many numbers a shape holds."""
    count = 1
    for side in shape:
        count *= side
    return count


def window_output(side: int, kernel: int, stride: int, padding: int) -> int:
    """Return the output side of a convolution or pooling window (floor mode); may be <= 0."""
    return (side + 2 * padding - kernel) // stride + 1


def output_shape(layer: Layer, inputs: Sequence[Shape]) -> Shape:
    """Return the shape that `layer` makes of its inputs.

    Raises:
        ShapeError: the layer cannot take these inputs.
    """
    if layer.kind in JOINS:
        return _join(layer.kind, inputs)
    shape = inputs[0]
    if layer.kind is LayerKind.LINEAR:
        return (layer.out_channels,)
    if layer.kind is LayerKind.GLOBAL_AVERAGE_POOL:
        return (_feature_map(layer.kind, shape)[0],)
    if layer.kind is LayerKind.CONVOLUTION or layer.kind in POOLS:
        return _window(layer, _feature_map(layer.kind, shape))
    return shape


def _feature_map(kind: LayerKind, shape: Shape) -> Shape:
    if len(shape) != 3:
        raise ShapeError(
            "kind", f"{kind.name} needs a feature map, but its input is a vector of {shape[0]}"
        )
    return shape


def _window(layer: Layer, shape: Shape) -> Shape:
    channels, *sides = shape
    out = []
    for side in sides:
        result = window_output(side, layer.kernel, layer.stride, layer.padding)
        if result < 1:
            raise ShapeError(
                "kernel",
                f"kernel {layer.kernel} with padding {layer.padding} is larger than its "
                f"{side}-pixel input: the output vanishes",
            )
        out.append(result)
    if layer.kind is not LayerKind.CONVOLUTION:
        return (channels, *out)
    if channels % layer.groups or layer.out_channels % layer.groups:
        raise ShapeError(
            "groups",
            f"groups {layer.groups} must divide the {channels} input and "
            f"{layer.out_channels} output channels",
        )
    return (layer.out_channels, *out)


def _join(kind: LayerKind, inputs: Sequence[Shape]) -> Shape:
    first = inputs[0]
    for shape in inputs[1:]:
        same = shape == first if kind is LayerKind.ADD else shape[1:] == first[1:]
        if not same:
            raise ShapeError(
                "inputs", f"{kind.name} cannot join shapes {list(first)} and {list(shape)}"
            )
    if kind is LayerKind.ADD:
        return first
    return (sum(shape[0] for shape in inputs), *first[1:])

"""Square windows: kernel, stride and padding from ONNX's attributes."""

from __future__ import annotations

from archpress_server.onnx_import.graph import Node
from archpress_trainer.space.shapes import Shape
from archpress_trainer.space.vocab import Limits

Window = tuple[int, int, int]
"""Kernel, stride and padding."""


def window(node: Node, shape: Shape, kernel: tuple[int, ...] = ()) -> Window:
    """Return the window of a node on maps of a shape; `kernel` where its weights tell it.

    Raises:
        RequestError: the window is not square, dilated, padded unevenly or rounded up.
    """
    sides = node.numbers("kernel_shape", kernel)
    if kernel and sides != kernel:
        raise node.refused(f"kernel_shape is {list(sides)}, the weights are {list(kernel)}")
    side = _one(node, "kernel_shape", sides, 2)
    stride = _one(node, "strides", node.numbers("strides", (1, 1)), 2)
    if _one(node, "dilations", node.numbers("dilations", (1, 1)), 2) != 1:
        raise node.refused("is dilated")
    padding = _padding(node, side, stride)
    rounded = stride > 0 and any(_rounds_up(one, side, stride, padding) for one in shape[1:])
    if node.integer("ceil_mode", 0) and rounded:
        raise node.refused("rounds its output's size up (ceil_mode)")
    if not 1 <= side <= Limits.KERNEL or stride < 1 or not 0 <= padding <= Limits.PADDING:
        raise node.refused(f"has a window of {side}, stride {stride} and padding {padding}")
    if shape[1:] == (side, side) and padding == 0:
        # One step is all there is, so that the stride means nothing.
        stride = max(1, min(stride, Limits.STRIDE))
    return side, stride, padding


def _rounds_up(length: int, side: int, stride: int, padding: int) -> bool:
    """Whether rounding up gives one place more; a window that begins behind the map is none."""
    span = length + 2 * padding - side
    places = -(-span // stride)
    return places != span // stride and places * stride < length + padding


def _padding(node: Node, side: int, stride: int) -> int:
    auto = node.attributes.get("auto_pad", b"NOTSET")
    if auto == b"VALID":
        return 0
    if auto in (b"SAME_UPPER", b"SAME_LOWER"):
        if stride != 1 or side % 2 == 0:
            raise node.refused("pads unevenly: auto_pad needs stride 1 and an odd kernel")
        return side // 2
    if auto != b"NOTSET":
        raise node.refused("has an unknown auto_pad")
    return _one(node, "pads", node.numbers("pads", (0, 0, 0, 0)), 4)


def _one(node: Node, name: str, values: tuple[int, ...], count: int) -> int:
    if len(values) != count or len(set(values)) != 1:
        raise node.refused(f"{name} is {list(values)[:8]}, must be {count} equal numbers")
    return values[0]

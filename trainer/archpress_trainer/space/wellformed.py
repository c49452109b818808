"""Checks on an architecture's attributes that need no shapes: ranges, inputs, ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from archpress_trainer.space.errors import Violation
from archpress_trainer.space.layer import Layer
from archpress_trainer.space.vocab import (
    CLASSIFIERS,
    JOINS,
    POOLS,
    WEIGHTED,
    WINDOWED,
    LayerKind,
    Limits,
)


def header_violations(
    input_shape: tuple[int, int, int], classes: int, layers: int
) -> list[Violation]:
    """Return the faults of everything but the layers themselves."""
    found = []
    names = ("channels", "height", "width")
    limits = (Limits.INPUT_CHANNELS, Limits.INPUT_SIDE, Limits.INPUT_SIDE)
    for name, value, limit in zip(names, input_shape, limits, strict=True):
        if not 1 <= value <= limit:
            found.append(Violation(f"input_shape.{name}", f"is {value}, must be 1 to {limit}"))
    if not 2 <= classes <= Limits.CLASSES:
        found.append(Violation("classes", f"is {classes}, must be 2 to {Limits.CLASSES}"))
    if not 1 <= layers <= Limits.LAYERS:
        found.append(Violation("layers", f"there are {layers}, must be 1 to {Limits.LAYERS}"))
    return found


def layer_violations(layers: Sequence[Layer]) -> list[Violation]:
    """Return the faults of every layer's attributes and inputs."""
    found: list[Violation] = []
    read: set[int] = set()
    for index, layer in enumerate(layers):
        for name, reason in (*_attribute_faults(layer), *_input_faults(index, layer)):
            found.append(Violation(name, reason, index, layer.kind))
        read.update(layer.inputs)
    for index, layer in enumerate(layers[:-1]):
        if index not in read:
            found.append(Violation("inputs", "no later layer reads this one", index, layer.kind))
    if layers[-1].kind not in CLASSIFIERS:
        names = " or ".join(sorted(kind.name for kind in CLASSIFIERS))
        found.append(
            Violation("kind", f"the last layer must be {names}", len(layers) - 1, layers[-1].kind)
        )
    return found


def _ranges(kind: LayerKind) -> tuple[tuple[str, int, int], ...]:
    """Return the attributes of a kind with their least and their largest values."""
    windowed, weighted = kind in WINDOWED, kind in WEIGHTED
    return (
        ("kernel", int(windowed), Limits.KERNEL if windowed else 0),
        ("stride", int(windowed), Limits.STRIDE if windowed else 0),
        ("padding", 0, Limits.PADDING if windowed else 0),
        ("out_channels", int(weighted), Limits.CHANNELS),
        ("groups", 1, Limits.CHANNELS if kind is LayerKind.CONVOLUTION else 1),
    )


_RANGES: Mapping[LayerKind, tuple[tuple[str, int, int], ...]] = {
    kind: _ranges(kind) for kind in LayerKind
}


def _attribute_faults(layer: Layer) -> list[tuple[str, str]]:
    faults = []
    for name, low, high in _RANGES[layer.kind]:
        value = getattr(layer, name)
        if not low <= value <= high:
            most = f" to {high}" if high != low else ""
            faults.append((name, f"is {value}, must be {low}{most}"))
    if layer.kind in POOLS and layer.padding > layer.kernel // 2:
        faults.append(
            ("padding", f"is {layer.padding}, must be at most half the kernel {layer.kernel}")
        )
    rate_limit = 1.0 if layer.kind is LayerKind.DROPOUT else 0.0
    if not (0.0 <= layer.rate < rate_limit or layer.rate == 0.0):
        faults.append(("rate", f"is {layer.rate}, must be at least 0 and below {rate_limit:g}"))
    if layer.bias is not None and layer.kind not in WEIGHTED:
        faults.append(("bias", f"{layer.kind.name} has no bias"))
    return faults


def _input_faults(index: int, layer: Layer) -> list[tuple[str, str]]:
    count = len(layer.inputs)
    if layer.kind in JOINS and count < 2:
        return [("inputs", f"{layer.kind.name} needs two or more inputs, has {count}")]
    if count > Limits.LAYERS:
        return [("inputs", f"{layer.kind.name} has {count} inputs, at most {Limits.LAYERS}")]
    if layer.kind not in JOINS and count != 1:
        return [("inputs", f"{layer.kind.name} needs one input, has {count}")]
    return [
        ("inputs", f"names layer {source}, must be -1 (the network's input) to {index - 1}")
        for source in layer.inputs
        if not -1 <= source < index
    ]

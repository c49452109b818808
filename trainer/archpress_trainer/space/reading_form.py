"""`reading_form`: a network as spaces with joins read it, whatever order it came in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.layer import INPUT, Layer
from archpress_trainer.space.vocab import JOINS, LayerKind, Limits


def reading_form(architecture: Architecture) -> Architecture:
    """Return the same network with joins of two inputs each, and the short branch listed last.

    A join of many layers, as dense blocks have them, becomes one of the join of all but the last
    with the last. Exporters list a skip's projection in front of its body or behind; here it is
    always behind. A chain, a network that is in this form already, or one that would have too many
    layers in it, comes back as it is.
    """
    if architecture.is_chain:
        return architecture
    layers = _ordered(_paired(architecture.layers))
    if layers == list(architecture.layers) or len(layers) > Limits.LAYERS:
        return architecture
    return Architecture(architecture.input_shape, architecture.classes, tuple(layers))


def _paired(layers: Sequence[Layer]) -> list[Layer]:
    """Return layers of which no join has more than two inputs."""
    found: list[Layer] = []
    place = {INPUT: INPUT}
    joined: dict[tuple[LayerKind, int, int], int] = {}
    for index, layer in enumerate(layers):
        inputs = tuple(place[source] for source in layer.inputs)
        if layer.kind not in JOINS or len(inputs) == 2:
            found.append(replace(layer, inputs=inputs))
            place[index] = len(found) - 1
            if layer.kind in JOINS:
                joined[layer.kind, inputs[0], inputs[1]] = place[index]
            continue
        all_before, *others = inputs
        for other in others:
            key = (layer.kind, all_before, other)
            if key not in joined:
                found.append(Layer(layer.kind, inputs=(all_before, other)))
                joined[key] = len(found) - 1
            all_before = joined[key]
        place[index] = all_before
    return found


def _ordered(layers: Sequence[Layer]) -> list[Layer]:
    """Return layers with all that leads to a join listed branch by branch, the longest first."""
    depths: list[int] = []
    for layer in layers:
        depths.append(1 + max(0 if s == INPUT else depths[s] for s in layer.inputs))
    order: list[int] = []
    placed = {INPUT}
    waiting = [len(layers) - 1]
    while waiting:
        index = waiting[-1]
        missing = [source for source in layers[index].inputs if source not in placed]
        if not missing:
            waiting.pop()
            if index not in placed:
                placed.add(index)
                order.append(index)
            continue
        waiting.append(max(missing, key=lambda source: depths[source]))
    place = {old: new for new, old in enumerate(order)} | {INPUT: INPUT}
    return [
        replace(layers[old], inputs=tuple(place[source] for source in layers[old].inputs))
        for old in order
    ]

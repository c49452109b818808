"""`LayerWork`: what a layer does when a network runs, and `LatencyModel`: how long that takes.

A delivered network has no dropout and no batch norm that folds into the layer before it, so neither
takes time here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Protocol

from archpress_trainer.space.costs import folds_into_input, layer_macs
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.shapes import elements
from archpress_trainer.space.vocab import WINDOWED, LayerKind
from archpress_trainer.space.width_groups import WidthGroups


@dataclass(frozen=True, slots=True)
class LayerWork:
    """One layer of a delivered network: what decides how long it takes for one image.

    `kernel` is 0 for kinds without a window; `outputs` counts the numbers that it writes.
    """

    kind: LayerKind
    kernel: int
    in_channels: int
    out_channels: int
    macs: int
    outputs: int

    @property
    def is_depthwise(self) -> bool:
        """Whether it is a convolution of each channel by itself."""
        return self.in_channels > 1 and 0 < self.macs == self.outputs * self.kernel**2


class LatencyModel(Protocol):
    """Tells how long networks take, layer by layer."""

    @property
    def fixed_seconds(self) -> float:
        """Seconds that every run takes, whatever the network."""
        ...

    def layer_seconds(self, work: LayerWork) -> float:
        """Return the seconds of one layer."""
        ...


def network_seconds(model: LatencyModel, architecture: Architecture) -> float:
    """Return the seconds that a model gives a network: its fixed ones and those of each layer."""
    return total_seconds(model, works(architecture))


def total_seconds(model: LatencyModel, layers: Iterable[LayerWork]) -> float:
    """Return the seconds of a run through some layers, to the picosecond.

    So three layers of 0.1 ms keep to a limit of 0.3 ms, and the order of layers does not count.
    """
    parts = [model.fixed_seconds, *(model.layer_seconds(work) for work in layers)]
    return round(math.fsum(parts), 12)


def whole_nanoseconds(seconds: float) -> float:
    """Return the least time of whole nanoseconds, as the wire has it, that is no shorter."""
    return next(n / 1e9 for n in count(math.floor(seconds * 1e9)) if n / 1e9 >= seconds)


def works(architecture: Architecture) -> list[LayerWork]:
    """Return the layers that take time once the network is delivered."""
    return [layer_work(architecture, index) for index in timed_layers(architecture)]


def timed_layers(architecture: Architecture) -> list[int]:
    """Return the places of the layers that are left in a delivered network."""
    return [
        index
        for index, layer in enumerate(architecture.layers)
        if layer.kind is not LayerKind.DROPOUT and not folds_into_input(architecture, index)
    ]


def layer_work(architecture: Architecture, index: int) -> LayerWork:
    """Return what one layer does."""
    layer = architecture.layers[index]
    before, after = architecture.in_shape(index), architecture.shapes[index]
    kernel = layer.kernel if layer.kind in WINDOWED else 0
    macs = layer_macs(layer, before, after)
    return LayerWork(layer.kind, kernel, before[0], after[0], macs, elements(after))


class WidthLatency:
    """Seconds of a network as a function of its free widths, as `WidthCosts` is."""

    def __init__(self, groups: WidthGroups, model: LatencyModel) -> None:
        """Work out each timed layer's work per channel."""
        self._model = model
        self._groups = groups
        self._layers: list[tuple[LayerKind, int, int, int, float, int, bool]] = []
        architecture = groups.architecture
        for index in timed_layers(architecture):
            work = layer_work(architecture, index)
            into = groups.slots[architecture.layers[index].inputs[0] + 1]
            pairs = work.out_channels * (1 if work.is_depthwise else work.in_channels)
            positions = work.outputs // work.out_channels
            self._layers.append(
                (
                    work.kind,
                    work.kernel,
                    into,
                    groups.slots[index + 1],
                    work.macs / pairs,
                    positions,
                    work.is_depthwise,
                )
            )

    def __call__(self, widths: Sequence[int]) -> float:
        """Return the seconds at these widths of the free groups."""
        return total_seconds(self._model, self._works(self._groups.channels(widths)))

    def _works(self, channels: Sequence[int]) -> Iterator[LayerWork]:
        for kind, kernel, into, out, per_pair, positions, is_depthwise in self._layers:
            before, after = channels[into], channels[out]
            macs = round(per_pair * after * (1 if is_depthwise else before))
            yield LayerWork(kind, kernel, before, after, macs, positions * after)

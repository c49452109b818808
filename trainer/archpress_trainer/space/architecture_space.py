"""`ArchitectureSpace`: which architectures an embedding covers, versioned and hashed."""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from archpress_trainer.space.errors import Violation
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.layer import Layer
from archpress_trainer.space.vocab import JOINS, PAPER_KINDS, WINDOWED, LayerKind

CHANNEL_RUNGS = (
    *range(8, 64, 8),
    *range(64, 128, 16),
    *range(128, 256, 32),
    *range(256, 512, 64),
    *range(512, 1025, 128),
)
"""Channel counts of the practical space: multiples of 8 (others train several times slower on a
CPU), from 32 on four to an octave."""

PRACTICAL_KINDS = (
    LayerKind.CONVOLUTION,
    LayerKind.MAX_POOL,
    LayerKind.BATCH_NORM,
    LayerKind.RELU,
    LayerKind.SIGMOID,
    LayerKind.DROPOUT,
    LayerKind.AVERAGE_POOL,
    LayerKind.LINEAR,
    LayerKind.GLOBAL_AVERAGE_POOL,
    LayerKind.LEAKY_RELU,
    LayerKind.SILU,
)

RESIDUAL_KINDS = (
    *PRACTICAL_KINDS,
    LayerKind.ADD,
    LayerKind.CONCAT,
    LayerKind.RELU6,
    LayerKind.HARD_SWISH,
)

DEPTHWISE = 0
"""Stands in `ArchitectureSpace.groups` for one group per channel."""

_LATER_FIELDS: Mapping[str, Any] = {"groups": [1], "max_reach": 1}
"""Fields younger than the first artifacts, whose digests must not change: left out if default."""


@dataclass(frozen=True)
class ArchitectureSpace:
    """The architectures that an embedding covers, for one input shape and class count.

    `kernels`, `strides` and `paddings` list what windowed layers may have, `channels` what
    convolutions and hidden linear layers may have, `groups` what convolutions may have (1 and
    `DEPTHWISE`), and `max_params`, `max_macs` bound the whole. A convolution may read a layer up
    to `max_reach` places before it; at 1 the space holds chains only. A join reads the layer before
    it and one other as far back.
    """

    input_shape: tuple[int, int, int]
    classes: int
    kinds: tuple[LayerKind, ...] = PRACTICAL_KINDS
    kernels: tuple[int, ...] = (1, 2, 3, 5, 7)
    strides: tuple[int, ...] = (1, 2, 3)
    paddings: tuple[int, ...] = (0, 1, 2, 3)
    channels: tuple[int, ...] = CHANNEL_RUNGS
    dropout_rate: float = 0.2
    max_layers: int = 48
    max_params: int = 1_500_000
    max_macs: int = 80_000_000
    groups: tuple[int, ...] = (1,)
    max_reach: int = 1

    @property
    def has_joins(self) -> bool:
        """Whether some of the architectures are no chains."""
        return self.max_reach > 1

    def rung(self, width: float) -> int:
        """Return the channel count that is nearest to a width."""
        place = bisect_left(self.channels, width)
        below = self.channels[max(place - 1, 0)]
        above = self.channels[min(place, len(self.channels) - 1)]
        return below if width - below < above - width else above

    @property
    def digest(self) -> str:
        """SHA-256 (hex) over every field."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON data."""
        record = asdict(self)
        record["kinds"] = [kind.name for kind in self.kinds]
        plain = {key: list(v) if isinstance(v, tuple) else v for key, v in record.items()}
        return {key: v for key, v in plain.items() if _LATER_FIELDS.get(key) != v}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> ArchitectureSpace:
        """Inverse of `to_json`."""
        values: dict[str, Any] = {
            key: tuple(v) if isinstance(v, list) else v for key, v in record.items()
        }
        values["kinds"] = tuple(LayerKind[name] for name in record["kinds"])
        return cls(**values)

    def violations(self, architecture: Architecture) -> list[Violation]:
        """Return why an architecture lies outside this space; empty if it lies inside."""
        found = []
        if architecture.input_shape != self.input_shape:
            found.append(
                Violation(
                    "input_shape",
                    f"is {list(architecture.input_shape)}, the space has {list(self.input_shape)}",
                )
            )
        if architecture.classes != self.classes:
            found.append(
                Violation("classes", f"is {architecture.classes}, the space has {self.classes}")
            )
        if not self.has_joins and not architecture.is_chain:
            found.append(Violation("layers", "is not a chain"))
        if all(layer.kind is not LayerKind.CONVOLUTION for layer in architecture.layers):
            found.append(Violation("layers", "there is no convolution"))
        limits = (
            ("layers", len(architecture.layers), self.max_layers),
            ("params", architecture.costs.params, self.max_params),
            ("macs", architecture.costs.macs, self.max_macs),
        )
        found += [
            Violation(name, f"there are {value}, the space allows {limit}")
            for name, value, limit in limits
            if value > limit
        ]
        last = len(architecture.layers) - 1
        for index, layer in enumerate(architecture.layers):
            faults = self._layer_faults(layer, last=index == last)
            if layer.groups != 1:
                faults += self._groups_faults(layer, depthwise=architecture.is_depthwise(index))
            if self.has_joins:
                faults += self._reach_faults(index, layer)
            for name, reason in faults:
                found.append(Violation(name, reason, index, layer.kind))
        return found

    def contains(self, architecture: Architecture) -> bool:
        """Return whether an architecture lies inside this space."""
        return not self.violations(architecture)

    def _layer_faults(self, layer: Layer, *, last: bool) -> list[tuple[str, str]]:
        if layer.kind not in self.kinds:
            return [("kind", "is not in the space")]
        faults = []
        if layer.kind in WINDOWED:
            for name, value, allowed in (
                ("kernel", layer.kernel, self.kernels),
                ("stride", layer.stride, self.strides),
                ("padding", layer.padding, self.paddings),
            ):
                if value not in allowed:
                    faults.append((name, f"is {value}, the space has {list(allowed)}"))
        chooses = layer.kind in (LayerKind.CONVOLUTION, LayerKind.LINEAR) and not last
        if chooses and layer.out_channels > max(self.channels):
            faults.append(
                ("out_channels", f"is {layer.out_channels}, at most {max(self.channels)}")
            )
        return faults

    def _groups_faults(self, layer: Layer, *, depthwise: bool) -> list[tuple[str, str]]:
        if (DEPTHWISE if depthwise else layer.groups) in self.groups:
            return []
        known = "1 or one per channel" if DEPTHWISE in self.groups else "1"
        return [("groups", f"is {layer.groups}, the space has {known}")]

    def _reach_faults(self, index: int, layer: Layer) -> list[tuple[str, str]]:
        if layer.kind in JOINS and (len(layer.inputs) != 2 or layer.inputs.count(index - 1) != 1):
            return [("inputs", "must be the layer before it and one other")]
        reach = index - min(layer.inputs)
        if reach > 1 and layer.kind not in JOINS and layer.kind is not LayerKind.CONVOLUTION:
            return [("inputs", "must be the layer before it: only convolutions and joins reach on")]
        if reach > self.max_reach:
            return [
                ("inputs", f"reaches {reach} layers back, the space allows {self.max_reach}"),
            ]
        return []


def residual_space(input_shape: tuple[int, int, int], classes: int) -> ArchitectureSpace:
    """Return the space of nets with skips, dense connections and depthwise convolutions.

    The reach spans a bottleneck block with its projection, and its length a ResNet-20.
    """
    return ArchitectureSpace(
        input_shape,
        classes,
        kinds=RESIDUAL_KINDS,
        max_layers=96,
        groups=(1, DEPTHWISE),
        max_reach=12,
    )


def paper_space(input_shape: tuple[int, int, int], classes: int) -> ArchitectureSpace:
    """Return the space that the paper samples from (section 9), bounded in cost.

    The paper filters nets that are "too large to be practical" without a number; the bounds are
    ours.
    """
    return ArchitectureSpace(
        input_shape,
        classes,
        kinds=PAPER_KINDS,
        kernels=tuple(range(1, 11)),
        strides=tuple(range(1, 11)),
        paddings=tuple(range(11)),
        channels=tuple(range(16, 4097)),
        dropout_rate=0.5,
        max_layers=50,
        max_params=30_000_000,
        max_macs=1_500_000_000,
    )

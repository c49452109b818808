"""`Layer`: one layer of an architecture, and where its input comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from archpress_trainer.space.vocab import WEIGHTED, LayerKind

INPUT = -1
"""The index that stands for the network's input in `Layer.inputs`."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer; attributes that its kind does not have stay at their defaults.

    `inputs` are indices of earlier layers, `INPUT` for the network's input; empty means the
    previous layer. `bias` None means: there is one unless the only consumer is a BATCH_NORM.
    """

    kind: LayerKind
    kernel: int = 0
    out_channels: int = 0
    stride: int = 0
    padding: int = 0
    groups: int = 1
    bias: bool | None = None
    rate: float = 0.0
    inputs: tuple[int, ...] = ()

    def with_width(
        self, out_channels: int, groups: int | None = None, bias: bool | None = None
    ) -> Layer:
        """Return the layer with other output channels, and with other groups or bias if given."""
        # Searches make many of these, and `dataclasses.replace` takes three times as long.
        return Layer(
            self.kind,
            self.kernel,
            out_channels,
            self.stride,
            self.padding,
            self.groups if groups is None else groups,
            self.bias if bias is None else bias,
            self.rate,
            self.inputs,
        )

    def to_json(self, place: int | None = None) -> dict[str, Any]:
        """Return the attributes that are no defaults and do not follow from the input or place."""
        record: dict[str, Any] = {"kind": self.kind.name}
        for name, default in _LAYER_DEFAULTS.items():
            value = getattr(self, name)
            implied = name == "out_channels" and self.kind not in WEIGHTED
            if value != default and not implied:
                record[name] = list(value) if isinstance(value, tuple) else value
        if place is not None and self.inputs == (place - 1,):
            del record["inputs"]
        return record

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Layer:
        """Inverse of `to_json`."""
        values = dict(record)
        kind = LayerKind[values.pop("kind")]
        inputs = tuple(values.pop("inputs", ()))
        return cls(kind=kind, inputs=inputs, **values)


_LAYER_DEFAULTS: Mapping[str, Any] = {
    "kernel": 0,
    "out_channels": 0,
    "stride": 0,
    "padding": 0,
    "groups": 1,
    "bias": None,
    "rate": 0.0,
    "inputs": (),
}

"""`LatencyTable`: how long the layers of networks take on a caller's own device."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from archpress_server.compress.layer_work import LayerWork
from archpress_trainer.space.vocab import LayerKind


@dataclass(frozen=True, slots=True)
class LayerLatency:
    """How long layers of a kind take on a device, in seconds.

    `kernel` None is for every kernel that has no row of its own.
    """

    kind: LayerKind
    kernel: int | None = None
    fixed_seconds: float = 0.0
    seconds_per_mac: float = 0.0
    seconds_per_output: float = 0.0


@dataclass(frozen=True)
class LatencyTable:
    """A caller's own device, layer by layer; a network's latency is the exact sum."""

    layers: tuple[LayerLatency, ...]
    fixed_seconds: float = 0.0

    def layer_seconds(self, work: LayerWork) -> float:
        """Return the seconds of one layer.

        Raises:
            KeyError: the table has no row for its kind and kernel.
        """
        row = self.row(work.kind, work.kernel)
        if row is None:
            raise KeyError(f"{work.kind.name} of kernel {work.kernel}")
        return (
            row.fixed_seconds
            + row.seconds_per_mac * work.macs
            + row.seconds_per_output * work.outputs
        )

    def row(self, kind: LayerKind, kernel: int) -> LayerLatency | None:
        """Return the row for layers of a kind and kernel, None if there is none."""
        return self._rows.get((kind, kernel)) or self._rows.get((kind, None))

    @cached_property
    def _rows(self) -> dict[tuple[LayerKind, int | None], LayerLatency]:
        return {(row.kind, row.kernel): row for row in self.layers}

"""`WidthCosts`: what a chain costs at other widths, without building it.

Fitting widths tries dozens of them per network, and building a validated chain for each costs a
hundred times as much as the sums here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from archpress_trainer.space.costs import layer_macs, layer_params
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.vocab import WEIGHTED, LayerKind, Limits


@dataclass(frozen=True, slots=True)
class _Weighted:
    """A convolution or linear layer: costs per pair of widths and per output channel."""

    params_per_pair: int
    macs_per_pair: int
    params_per_output: int
    groups: int


class WidthCosts:
    """Parameters and MACs of a chain as a function of the widths of its free layers."""

    def __init__(self, architecture: Architecture) -> None:
        """Work out each layer's costs per pair of input and output channels.

        Raises:
            ValueError: the architecture is no chain.
        """
        if not architecture.is_chain:
            raise ValueError("widths are counted for chains only")
        self._first = architecture.input_shape[0]
        self._weighted: list[_Weighted] = []
        self._norms: list[int] = []
        self._last = 0
        for index, layer in enumerate(architecture.layers):
            if layer.kind is LayerKind.BATCH_NORM:
                self._norms.append(len(self._weighted))
            if layer.kind not in WEIGHTED:
                continue
            (before,) = architecture.input_shapes(index)
            bias = layer.out_channels if layer.bias else 0
            pairs = (before[0] // layer.groups) * layer.out_channels
            params = layer_params(layer, before) - bias
            macs = layer_macs(layer, before, architecture.shapes[index])
            self._weighted.append(
                _Weighted(params // pairs, macs // pairs, int(bool(layer.bias)), layer.groups)
            )
            self._last = layer.out_channels

    def __call__(self, widths: Sequence[int]) -> tuple[int, int] | None:
        """Return parameters and MACs at these widths, or None where no such network can be.

        Args:
            widths: output channels of every weighted layer but the last, in order.
        """
        if len(widths) + 1 != len(self._weighted) or not self._allowed(widths):
            return None
        channels = [self._first, *widths, self._last]
        params = macs = 0
        for before, own, layer in zip(channels, channels[1:], self._weighted, strict=False):
            if before % layer.groups or own % layer.groups:
                return None
            pairs = before // layer.groups * own
            params += pairs * layer.params_per_pair + own * layer.params_per_output
            macs += pairs * layer.macs_per_pair
        return params + 2 * sum(channels[place] for place in self._norms), macs

    def _allowed(self, widths: Sequence[int]) -> bool:
        return all(1 <= width <= Limits.CHANNELS for width in widths)

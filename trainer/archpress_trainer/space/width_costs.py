"""`WidthCosts`: what a network costs at other widths, without building it.

Fitting widths tries dozens of them per network, and building a validated network for each costs a
hundred times as much as the sums here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from archpress_trainer.space.costs import layer_macs, layer_params
from archpress_trainer.space.vocab import WEIGHTED, LayerKind, Limits
from archpress_trainer.space.width_groups import WidthGroups


@dataclass(frozen=True, slots=True)
class _Weighted:
    """A convolution or linear layer: slots of its widths, costs per pair and per output channel.

    A depthwise convolution has a pair per channel, which `groups` 0 says.
    """

    before: int
    after: int
    params_per_pair: int
    macs_per_pair: int
    params_per_output: int
    groups: int


class WidthCosts:
    """Parameters and MACs of a network as a function of its free widths."""

    def __init__(self, groups: WidthGroups) -> None:
        """Work out each layer's costs per pair of input and output channels."""
        self._groups = groups
        self._weighted: list[_Weighted] = []
        self._norms: list[int] = []
        architecture = groups.architecture
        for index, layer in enumerate(architecture.layers):
            into = groups.slots[layer.inputs[0] + 1]
            if layer.kind is LayerKind.BATCH_NORM:
                self._norms.append(into)
            if layer.kind not in WEIGHTED:
                continue
            before = architecture.in_shape(index)
            bias = layer.out_channels if layer.bias else 0
            pairs = (before[0] // layer.groups) * layer.out_channels
            params = layer_params(layer, before) - bias
            macs = layer_macs(layer, before, architecture.shapes[index])
            self._weighted.append(
                _Weighted(
                    into,
                    groups.slots[index + 1],
                    params // pairs,
                    macs // pairs,
                    int(bool(layer.bias)),
                    0 if architecture.is_depthwise(index) else layer.groups,
                )
            )

    def __call__(self, widths: Sequence[int]) -> tuple[int, int] | None:
        """Return parameters and MACs at these widths, or None where no such network can be.

        Args:
            widths: of the free groups, in order.
        """
        if len(widths) != len(self._groups.places) or not self._allowed(widths):
            return None
        channels = self._groups.channels(widths)
        params = macs = 0
        for layer in self._weighted:
            own, groups = channels[layer.after], layer.groups
            if groups == 0:
                pairs = own
            else:
                before = channels[layer.before]
                if before % groups or own % groups:
                    return None
                pairs = before // groups * own
            params += pairs * layer.params_per_pair + own * layer.params_per_output
            macs += pairs * layer.macs_per_pair
        return params + 2 * sum(channels[slot] for slot in self._norms), macs

    def _allowed(self, widths: Sequence[int]) -> bool:
        return all(1 <= width <= Limits.CHANNELS for width in widths)

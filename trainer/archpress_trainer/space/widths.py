"""Fitting a network's widths to a budget, exactly: scale all, then fill what is left."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from archpress_trainer.space.costs import Costs
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.vocab import WEIGHTED
from archpress_trainer.space.width_costs import WidthCosts

_BISECTIONS = 9


@dataclass(frozen=True, slots=True)
class SizeBudget:
    """Hard limits on exact counts; None is unset."""

    max_params: int | None = None
    max_macs: int | None = None

    def used(self, costs: Costs) -> float:
        """Return the share of the tightest limit that is used; 0 without limits."""
        shares = [
            cost / limit
            for cost, limit in ((costs.params, self.max_params), (costs.macs, self.max_macs))
            if limit
        ]
        return max(shares, default=0.0)

    def holds(self, costs: Costs) -> bool:
        """Return whether the costs keep to every limit."""
        return self.allows(costs.params, costs.macs)

    def allows(self, params: int, macs: int) -> bool:
        """Return whether parameters and MACs keep to every limit."""
        return (self.max_params is None or params <= self.max_params) and (
            self.max_macs is None or macs <= self.max_macs
        )


def free_layers(architecture: Architecture) -> tuple[int, ...]:
    """Return the layers whose width may change: all weighted ones but the last of them."""
    weighted = [i for i, layer in enumerate(architecture.layers) if layer.kind in WEIGHTED]
    return tuple(weighted[:-1])


def with_widths(
    architecture: Architecture, places: Sequence[int], widths: Sequence[int]
) -> Architecture:
    """Return the chain with other widths at these layers.

    Raises:
        ArchitectureError: the widths do not fit the graph.
    """
    chosen = dict(zip(places, widths, strict=True))
    layers = tuple(
        layer.with_width(chosen.get(index, layer.out_channels if layer.kind in WEIGHTED else 0))
        for index, layer in enumerate(architecture.layers)
    )
    return Architecture(architecture.input_shape, architecture.classes, layers)


def fit_widths(
    architecture: Architecture,
    budget: SizeBudget,
    *,
    multiple: int = 8,
    smallest: int = 8,
    max_scale: float = 4.0,
    also: Callable[[Sequence[int]], bool] | None = None,
) -> Architecture | None:
    """Return the chain with its widths scaled to use the budget, or None if it cannot.

    All widths are scaled alike as far as the budget allows and rounded down to multiples; then
    single layers are widened, the one furthest below its share first, while that still fits.

    Args:
        architecture: a chain.
        budget: what must hold; without it and `also` the chain is returned as it is.
        multiple: widths of the result are multiples of this.
        smallest: narrowest width.
        max_scale: most by which a width may grow.
        also: a further limit, told the output channels of `free_layers`; it should hold at less if
            it holds at more.

    Raises:
        ValueError: the architecture is no chain.
    """
    if budget == SizeBudget() and also is None:
        return architecture
    places = free_layers(architecture)
    original = [architecture.layers[i].out_channels for i in places]
    costs_at = WidthCosts(architecture)

    def scaled(scale: float) -> list[int]:
        return [max(smallest, int(w * scale + 1e-9) // multiple * multiple) for w in original]

    def fits(widths: Sequence[int]) -> bool:
        costs = costs_at(widths)
        if costs is None or not budget.allows(*costs):
            return False
        return also is None or also(widths)

    low, high = 0.0, max_scale
    if not fits(scaled(low)):
        return None
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if fits(scaled(middle)):
            low = middle
        else:
            high = middle
    widths = _filled(fits, scaled(low), original, multiple, max_scale)
    return with_widths(architecture, places, widths)


def _filled(
    fits: Callable[[Sequence[int]], bool],
    widths: list[int],
    original: list[int],
    multiple: int,
    max_scale: float,
) -> list[int]:
    open_places = set(range(len(widths)))
    while open_places:
        place = min(open_places, key=lambda i: (widths[i] / original[i], i))
        wider = [*widths]
        wider[place] += multiple
        if wider[place] <= max_scale * original[place] and fits(wider):
            widths = wider
        else:
            open_places.remove(place)
    return widths

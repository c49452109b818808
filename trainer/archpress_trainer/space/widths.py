"""Fitting a network's widths to a budget, exactly: scale all, then fill what is left."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from archpress_trainer.space.costs import Costs
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.width_costs import WidthCosts
from archpress_trainer.space.width_groups import WidthGroups

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


def fit_widths(
    architecture: Architecture,
    budget: SizeBudget,
    *,
    multiple: int = 8,
    smallest: int = 8,
    max_scale: float = 4.0,
    also: Callable[[Sequence[int]], bool] | None = None,
) -> Architecture | None:
    """Return the network with its widths scaled to use the budget, or None if it cannot.

    All widths are scaled alike as far as the budget allows and rounded down to multiples; then
    single groups are widened, the one furthest below its share first, while that still fits.

    Args:
        architecture: the network.
        budget: what must hold; without it and `also` the network is returned as it is.
        multiple: widths of the result are multiples of this.
        smallest: narrowest width.
        max_scale: most by which a width may grow.
        also: a further limit, told the widths of the free `WidthGroups`; it should hold at less if
            it holds at more.
    """
    if budget == SizeBudget() and also is None:
        return architecture
    groups = WidthGroups(architecture)
    original = groups.widths
    costs_at = WidthCosts(groups)

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
    return groups.with_widths(widths)


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

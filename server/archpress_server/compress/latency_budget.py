"""`LatencyLimit`: a limit on latency as the search sees it, by a table or by a fitted model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from archpress_server.compress.latency import untrained_seconds
from archpress_server.compress.latency_checks import infeasible_latency
from archpress_server.compress.latency_model import calibrate
from archpress_server.compress.latency_table import LatencyTable
from archpress_server.compress.layer_work import LatencyModel, WidthLatency, network_seconds, works
from archpress_server.compress.small_networks import fastest_networks, smallest_networks
from archpress_server.compress.types import FieldViolation, Reason, Request, RequestError
from archpress_trainer.embedding.interface import Exemplar
from archpress_trainer.space.architecture_space import ArchitectureSpace
from archpress_trainer.space.costs import count
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.width_groups import WidthGroups
from archpress_trainer.space.widths import SizeBudget, fit_widths

_NEAR = 2.0
_FASTEST_MEASURED = 3
_FEASIBLE_MARGIN = 1.25
"""How far over the fastest measurement the limit lies that is named as feasible: times vary."""


@dataclass(frozen=True)
class LatencyLimit:
    """Most seconds that a network may take by a model.

    `exact` says that the model's word is final, as a table's is; else networks are measured before
    they are proposed.
    """

    limit_seconds: float
    model: LatencyModel
    exact: bool

    def seconds(self, architecture: Architecture) -> float:
        """Return what the model gives a network."""
        return network_seconds(self.model, architecture)

    def holds(self, architecture: Architecture) -> bool:
        """Return whether a network keeps to the limit by the model."""
        return self.seconds(architecture) <= self.limit_seconds

    def used(self, architecture: Architecture) -> float:
        """Return the share of the limit that a network uses by the model."""
        return self.seconds(architecture) / self.limit_seconds

    def unlisted(self, architecture: Architecture) -> list[str]:
        """Return the kinds of a network's layers for which a table has no row."""
        if not isinstance(self.model, LatencyTable):
            return []
        return sorted(
            {
                f"{work.kind.name} with kernel {work.kernel}" if work.kernel else work.kind.name
                for work in works(architecture)
                if self.model.row(work.kind, work.kernel) is None
            }
        )

    def fit_widths(
        self,
        architecture: Architecture,
        budget: SizeBudget,
        *,
        multiple: int = 8,
        smallest: int = 8,
        max_scale: float = 4.0,
    ) -> Architecture | None:
        """Return the network with its widths scaled to use the limit and a budget, if they can."""
        seconds_at = WidthLatency(WidthGroups(architecture), self.model)
        return fit_widths(
            architecture,
            budget,
            multiple=multiple,
            smallest=smallest,
            max_scale=max_scale,
            also=lambda widths: seconds_at(widths) <= self.limit_seconds,
        )

    def implied(self, budget: SizeBudget, exemplars: Sequence[Exemplar]) -> SizeBudget:
        """Return a budget whose MACs are also at most what the limit usually allows.

        Descent knows expected MACs, not times: the networks of the population whose times are
        within a factor of two of the limit say how many MACs go into it.
        """
        timed = [(self.seconds(e.architecture), e.costs.macs) for e in exemplars]
        near = [
            macs * self.limit_seconds / seconds
            for seconds, macs in timed
            if self.limit_seconds / _NEAR <= seconds <= self.limit_seconds * _NEAR
        ]
        if not near:
            return budget
        macs = max(1, round(median(near)))
        most = macs if budget.max_macs is None else min(macs, budget.max_macs)
        return SizeBudget(budget.max_params, most)


def infeasible_together(
    limit: LatencyLimit, budget: SizeBudget, space: ArchitectureSpace
) -> RequestError:
    """Return the refusal of a latency that no network was found within, beside the other limits.

    Its metadata name, for each limit that is in the way, the nearest value that is feasible beside
    the others.
    """
    most = limit.limit_seconds
    known = [(_seconds(limit, net), count(net)) for net in _small(space, limit, budget)]
    quick = [costs for seconds, costs in known if seconds <= most]
    small = [seconds for seconds, costs in known if budget.holds(costs)]
    metadata = {}
    params = [c.params for c in quick if SizeBudget(max_macs=budget.max_macs).holds(c)]
    if params and budget.max_params is not None and min(params) > budget.max_params:
        metadata["max_params"] = str(min(params))
    macs = [c.macs for c in quick if SizeBudget(budget.max_params).holds(c)]
    if macs and budget.max_macs is not None and min(macs) > budget.max_macs:
        metadata["max_macs"] = str(min(macs))
    if small:
        margin = 1.0 if limit.exact else _FEASIBLE_MARGIN
        _, nearest = infeasible_latency(most, max(most, min(small)) * margin)
        metadata |= nearest
    path, text = "budget.max_latency", "no network of the space keeps to max_latency"
    if budget != SizeBudget():
        path, text = "budget", f"{text} and the other limits together"
    return RequestError((FieldViolation(path, text, Reason.BUDGET_INFEASIBLE),), metadata)


def _seconds(limit: LatencyLimit, network: Architecture) -> float:
    """Return what a network takes: by a model that is final, else measured."""
    return (
        limit.seconds(network) if limit.exact else untrained_seconds(network, limit.limit_seconds)
    )


def _small(space: ArchitectureSpace, limit: LatencyLimit, budget: SizeBudget) -> list[Architecture]:
    """Return small networks; where each is measured a few, of which some keep to the sizes."""
    fastest, smallest = fastest_networks(space, limit.model), smallest_networks(space)
    if limit.exact:
        return [*fastest, *smallest]
    holding = [network for network in fastest if budget.holds(count(network))]
    few = (*fastest[:_FASTEST_MEASURED], *holding[:_FASTEST_MEASURED], *smallest)
    return list(dict.fromkeys(few))


def calibrated(request: Request, space: ArchitectureSpace) -> LatencyModel | None:
    """Return a model of this machine for a request that limits latency without a table.

    It takes seconds.
    """
    return calibrate(space) if request.measures_latency else None


def latency_limit(
    request: Request, space: ArchitectureSpace, measured: LatencyModel | None
) -> LatencyLimit | None:
    """Return the request's limit on latency, None without one.

    Args:
        request: checked; with a table of the caller's device, which then is exact, or without.
        space: of the embedding.
        measured: what `calibrated` gave for the request.

    Raises:
        RequestError: no network of the space keeps to it; metadata name the nearest feasible limit.
    """
    most = request.budget.max_latency_seconds
    if most is None:
        return None
    if request.latency_table is not None:
        return LatencyLimit(most, request.latency_table, exact=True)
    assert measured is not None
    limit = LatencyLimit(most, measured, exact=False)
    fastest = min(
        untrained_seconds(network, most)
        for network in fastest_networks(space, limit.model)[:_FASTEST_MEASURED]
    )
    if fastest > most:
        violation, metadata = infeasible_latency(most, fastest * _FEASIBLE_MARGIN)
        raise RequestError((violation,), metadata)
    return limit

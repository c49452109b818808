"""`Ladder`: the candidates of each size that a request asks for, found by one search a size."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from archpress_server.compress.checkpoints import CheckpointStore
from archpress_server.compress.layer_work import LatencyModel
from archpress_server.compress.planning import plan
from archpress_server.compress.types import (
    Budget,
    Candidate,
    Phase,
    Plan,
    Progress,
    Request,
    RequestError,
)
from archpress_trainer.embedding.interface import Embedding
from archpress_trainer.embedding.manifest import Manifest
from archpress_trainer.space.costs import Costs

_RATIO = 0.6
"""Size of a model against the largest candidate of the size before."""

_VERSION = 3
_CANDIDATES = "candidates"


@dataclass(frozen=True)
class Ladder:
    """Candidates by size, the largest first; none is of two sizes."""

    costs_before: Costs
    sizes: tuple[tuple[Candidate, ...], ...]
    warnings: tuple[str, ...]

    def beside(self, candidate: Candidate) -> tuple[Candidate, ...]:
        """Return the candidates of a candidate's size, itself among them."""
        return next(size for size in self.sizes if any(c.rank == candidate.rank for c in size))

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return {
            "costs_before": asdict(self.costs_before),
            "sizes": [[candidate.to_json() for candidate in size] for size in self.sizes],
            "warnings": list(self.warnings),
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Ladder:
        """Inverse of `to_json`."""
        return cls(
            Costs(**record["costs_before"]),
            tuple(tuple(map(Candidate.from_json, size)) for size in record["sizes"]),
            tuple(record["warnings"]),
        )


def plan_sizes(
    request: Request,
    embedding: Embedding,
    max_candidates: int,
    *,
    inheriting: bool,
    given: bool = False,
    train_images: int | None = None,
    on_progress: Callable[[Progress], None],
    latency_model: LatencyModel | None = None,
) -> Ladder:
    """Return candidates for each size that a request asks for, each found by a search of its own.

    The first size is that of the request with one model; a floor of accuracy holds for that alone.
    Ranks count on over the sizes. The input network with narrower layers is a size's last
    candidate, where there is one: `inheriting` its weights or from nothing, so that a search whose
    predictions are bad does not lose to scaling. `given`, `train_images` and `latency_model` are as
    of `plan`.

    Raises:
        RequestError: the request is invalid or infeasible.
    """
    number = max(1, request.pareto_models)
    first = plan(
        request,
        embedding,
        max_candidates,
        on_progress=_PlanProgress(on_progress, 0, number),
        latency_model=latency_model,
        train_images=train_images,
        inheriting=inheriting,
        given=given,
    )
    sizes = [_with_heir(first, first.candidates, (), inheriting)]
    warnings = list(first.warnings)
    budget = replace(request.budget, min_accuracy=None)
    while len(sizes) < number and sizes[-1]:
        budget = _next_budget(budget, sizes[-1])
        known = [candidate for candidates in sizes for candidate in candidates]
        try:
            found = plan(
                replace(request, budget=budget),
                embedding,
                max_candidates,
                on_progress=_PlanProgress(on_progress, len(sizes), number),
                latency_model=latency_model,
                train_images=train_images,
                inheriting=inheriting,
                given=given,
                known=frozenset(candidate.architecture.digest for candidate in known),
            )
        except RequestError as error:
            # No network of the space is so small, or none that is fast enough.
            warnings.append(f"there are {len(sizes)} sizes, not {number}: {error}")
            break
        warnings += [warning for warning in found.warnings if warning not in warnings]
        fresh = tuple(replace(c, rank=len(known) + c.rank) for c in found.candidates)
        size = _with_heir(found, fresh, known, inheriting)
        if not size:
            none_left = "no other network keeps to the limits"
            warnings.append(f"there are {len(sizes)} sizes, not {number}: {none_left}")
            break
        sizes.append(size)
    return Ladder(first.costs_before, tuple(filter(None, sizes)), tuple(warnings))


def kept_ladder(
    checkpoints: CheckpointStore, manifest: Manifest, make: Callable[[], Ladder]
) -> Ladder:
    """Return the candidates that an earlier attempt found by an embedding, or make and keep them.

    An embedding of another name, or fitted on other nets, finds its own.
    """
    made_by = {"version": _VERSION, "embedding": [manifest.name, manifest.population_digest]}
    content = checkpoints.load(_CANDIDATES)
    if content is not None:
        try:
            record = json.loads(content)
            if made_by.items() <= record.items():
                return Ladder.from_json(record["ladder"])
        except (ValueError, KeyError, TypeError, AttributeError):
            # Damaged: they are found again.
            pass
    ladder = make()
    record = {**made_by, "ladder": ladder.to_json()}
    checkpoints.save(_CANDIDATES, json.dumps(record).encode())
    return ladder


def size_of(budget: Budget) -> Callable[[Costs], int]:
    """Return the cost by which the models of a budget are ordered: MACs where only they count."""
    return _macs if _by_macs(budget) else _params


def size_name(index: int, number: int) -> str:
    """Return what messages call a size; nothing where it is the only one."""
    return f"size {index + 1} of {number}" if number > 1 else ""


def _with_heir(
    found: Plan, candidates: Sequence[Candidate], known: Sequence[Candidate], inheriting: bool
) -> tuple[Candidate, ...]:
    """Return a size's candidates with its heir, unless that is among those of other sizes.

    Where the search found the heir's network itself, that inherits in its place.
    """
    heir = found.heir
    if heir is None:
        return tuple(candidates)
    digest, taken = heir.architecture.digest, [*known, *candidates]
    if all(candidate.architecture.digest != digest for candidate in taken):
        return (*candidates, replace(heir, rank=len(taken) + 1, inherits=inheriting))
    # The heir's own, whose layers are listed as the input's are.
    return tuple(
        replace(heir, rank=candidate.rank, inherits=inheriting)
        if candidate.architecture.digest == digest
        else candidate
        for candidate in candidates
    )


def _next_budget(budget: Budget, candidates: Sequence[Candidate]) -> Budget:
    size = size_of(budget)
    limit = max(1, int(_RATIO * max(size(candidate.costs) for candidate in candidates)))
    if _by_macs(budget):
        return replace(budget, max_macs=limit, max_macs_ratio=None)
    return replace(budget, max_params=limit, max_params_ratio=None)


def _by_macs(budget: Budget) -> bool:
    macs = budget.max_macs is not None or budget.max_macs_ratio is not None
    return macs and budget.max_params is None and budget.max_params_ratio is None


def _params(costs: Costs) -> int:
    return costs.params


def _macs(costs: Costs) -> int:
    return costs.macs


class _PlanProgress:
    """Reports the plan of one size as a part of all, so that no phase comes twice."""

    def __init__(self, report: Callable[[Progress], None], index: int, number: int) -> None:
        self._report = report
        self._index = index
        self._number = number

    def __call__(self, progress: Progress) -> None:
        if progress.phase is not Phase.DECODE:
            if self._index == 0:
                self._report(progress)
            return
        before = self._index * progress.total_steps
        self._report(
            replace(
                progress,
                step=before + progress.step,
                total_steps=self._number * progress.total_steps,
                message=size_name(self._index, self._number),
            )
        )

"""`plan`: candidates for a request without training any."""

from __future__ import annotations

import time
from collections.abc import Callable

from archpress_server.compress.checks import check_request, size_budget
from archpress_server.compress.heir import find_heir, heir_warnings
from archpress_server.compress.latency_budget import (
    calibrated,
    infeasible_together,
    latency_limit,
)
from archpress_server.compress.latency_screen import propose_within
from archpress_server.compress.layer_work import LatencyModel
from archpress_server.compress.reach import floor_warnings
from archpress_server.compress.search import PlanSettings, Search
from archpress_server.compress.types import Candidate, Method, Plan, Progress, Request
from archpress_trainer.embedding.interface import Embedding


def plan(
    request: Request,
    embedding: Embedding,
    max_candidates: int,
    *,
    settings: PlanSettings | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    latency_model: LatencyModel | None = None,
    train_images: int | None = None,
    inheriting: bool = True,
    given: bool = False,
    known: frozenset[str] = frozenset(),
) -> Plan:
    """Return candidates for a request, in the order to try them, valid and within the hard budgets.

    There is at least one, but for the paper's method, whose decode may be neither, and where some
    are `known`.

    Args:
        request: what to look for.
        embedding: of the request's data set and method.
        max_candidates: most candidates wanted.
        settings: how wide the search is; what the method means by default.
        on_progress: told of every step.
        latency_model: of this machine, where the request limits latency without a table of its
            own; calibrated first where there is none, which takes seconds.
        train_images: of the final training, where they are known.
        inheriting: the heir may start from trained weights, of which predictions know nothing.
        given: such weights are there already, and may teach every network but the paper's.
        known: digests of networks that are candidates elsewhere, and not wanted again.

    Raises:
        RequestError: the request is invalid or infeasible.
    """
    started = time.perf_counter()
    manifest = embedding.manifest
    check_request(request, manifest)
    measured = latency_model or calibrated(request, manifest.space)
    limit = latency_limit(request, manifest.space, measured)
    search = Search(request, embedding, settings, on_progress, limit, train_images, known)
    search.run()
    found = propose_within(search, max_candidates, limit, manifest.space)
    sizes = size_budget(request.budget, search.costs_before)
    if not (found or known) and limit is not None and search.settings.smallest:
        raise infeasible_together(limit, sizes, manifest.space)
    heir = find_heir(request, embedding, sizes, limit, len(found) + 1)
    predicted = [(scored.prediction, scored.costs.macs) for scored in found]
    if heir is not None and heir.prediction is not None:
        predicted.append((heir.prediction, heir.costs.macs))
    unknown = heir is not None and (inheriting or heir.prediction is None)
    # The paper's method neither learns from the input network nor narrows it.
    unknown |= given and request.method is not Method.PAPER
    hardly = floor_warnings(
        request, predicted, manifest.fidelity, train_images=train_images, tells_all=not unknown
    )
    return Plan(
        costs_before=search.costs_before,
        candidates=tuple(
            Candidate(s.architecture, s.costs, s.prediction, rank)
            for rank, s in enumerate(found, start=1)
        ),
        embedding=manifest.name,
        seconds=time.perf_counter() - started,
        warnings=(*search.warnings, *heir_warnings(request, limit), *hardly),
        heir=heir,
    )

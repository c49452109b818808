"""`plan`: candidates for a request without training any."""

from __future__ import annotations

import time
from collections.abc import Callable

from archpress_server.compress.checks import check_request
from archpress_server.compress.search import PlanSettings, Search
from archpress_server.compress.types import Candidate, Plan, Progress, Request
from archpress_trainer.embedding.interface import Embedding


def plan(
    request: Request,
    embedding: Embedding,
    max_candidates: int,
    *,
    settings: PlanSettings | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Plan:
    """Return candidates for a request, best first, all valid and within the hard budgets.

    Raises:
        RequestError: the request is invalid or infeasible.
    """
    started = time.perf_counter()
    check_request(request, embedding.manifest)
    search = Search(request, embedding, settings, on_progress)
    search.run()
    return Plan(
        costs_before=search.costs_before,
        candidates=tuple(
            Candidate(s.architecture, s.costs, s.prediction, rank)
            for rank, s in enumerate(search.propose(max_candidates), start=1)
        ),
        embedding=embedding.manifest.name,
        seconds=time.perf_counter() - started,
        warnings=tuple(search.warnings),
    )

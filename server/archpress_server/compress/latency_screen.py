"""Proposing networks that keep to a limit on latency: screened by a model, then measured."""

from __future__ import annotations

from dataclasses import replace
from statistics import median

from archpress_server.compress.decode import Scored
from archpress_server.compress.latency import untrained_seconds
from archpress_server.compress.latency_budget import LatencyLimit
from archpress_server.compress.search import Search
from archpress_server.compress.small_networks import fastest_networks
from archpress_trainer.space.architecture_space import ArchitectureSpace

_MEASURED_PER_WANTED = 3
_FALLBACK = 3


def propose_within(
    search: Search, number: int, limit: LatencyLimit | None, space: ArchitectureSpace
) -> list[Scored]:
    """Return up to `number` proposals of a search within a limit, in the order to try them.

    By a model that is not exact each is measured, and those over the limit are left out. What the
    measurements say against the model tightens the screen for those that follow.
    """
    if limit is None or limit.exact:
        return search.propose(number)
    kept: list[Scored] = []
    factors: list[float] = []
    most = limit.limit_seconds
    screen = limit
    while len(kept) < number and len(factors) < _MEASURED_PER_WANTED * number:
        fresh = search.propose(number - len(kept), within=screen)
        if not fresh:
            break
        for scored in fresh:
            seconds = untrained_seconds(scored.architecture, most)
            factors.append(seconds / limit.seconds(scored.architecture))
            if seconds <= most:
                kept.append(scored)
        screen = replace(limit, limit_seconds=most / max(1.0, median(factors)))
    dropped = len(factors) - len(kept)
    if dropped:
        search.warnings.append(
            f"{dropped} of {len(factors)} proposals measured over max_latency and were left out"
        )
    if not kept and search.settings.smallest:
        fastest = fastest_networks(space, limit.model)[:_FALLBACK]
        kept = [
            s for s in search.scored(fastest) if untrained_seconds(s.architecture, most) <= most
        ][:number]
        if kept:
            search.warnings.append("only the smallest networks measured within max_latency")
    return kept

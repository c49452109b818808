"""The last check of a certified result: whether it keeps to all that was asked, and what to say."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from archpress_server.compress.layer_work import network_seconds, whole_nanoseconds
from archpress_server.compress.types import (
    Budget,
    Compression,
    CompressionError,
    FrontModel,
    Reason,
    Request,
)

_MAX_LATENCY = "max_latency"

_SLACK = 1e-9
"""What accuracies may be off by: more than their differences round, far less than an image is."""


@dataclass(frozen=True)
class _Miss:
    """A field of the budget that a result misses, and the value with which it would not.

    `plain` is that value as decimal digits, rounded to what is met too.
    """

    field: str
    text: str
    nearest: float
    plain: str


def judge(result: Compression, request: Request) -> Compression:
    """Return a result that meets the budget.

    Raises:
        CompressionError: it misses the latency or an accuracy asked for; `best` is the result,
            `nearest_budget` the request's, loosened as little as needed.
    """
    missed = _misses(result, request)
    if not missed:
        return result
    nearest = request.budget
    for miss in missed:
        nearest = _loosened(nearest, miss)
    raise CompressionError(
        Reason.BUDGET_UNREACHABLE,
        "the best network " + " and ".join(miss.text for miss in missed),
        metadata={miss.field: miss.plain for miss in missed},
        best=replace(result, budget_met=False),
        nearest_budget=nearest,
    )


def too_slow(result: Compression | FrontModel, request: Request) -> bool:
    """Return whether a result's latency is over the limit, if there is one."""
    most = request.budget.max_latency_seconds
    return most is not None and _latency_seconds(result, request) > most


def slower_warning(result: Compression) -> str | None:
    """Return a warning where the result multiplies less than the input but takes no less time."""
    before, after = result.costs_before.macs, result.costs_after.macs
    proof = result.certificate
    old, new = proof.input_latency.median_seconds, proof.latency.median_seconds
    if after >= before or new < old:
        return None
    return (
        f"MACs fell from {before} to {after}, but the median latency did not: "
        f"{old * 1e3:.3f} ms before, {new * 1e3:.3f} ms after"
    )


def _latency_seconds(result: Compression | FrontModel, request: Request) -> float:
    """Return the latency that a limit is about: of the caller's device, or as certified here."""
    if request.latency_table is not None:
        return network_seconds(request.latency_table, result.architecture)
    return result.certificate.latency.median_seconds


def _misses(result: Compression, request: Request) -> list[_Miss]:
    budget, reached = request.budget, result.certificate.accuracy
    found = []
    if too_slow(result, request):
        needed = whole_nanoseconds(_latency_seconds(result, request))
        text = f"takes {needed:.9f} s, {_MAX_LATENCY} is {budget.max_latency_seconds:.15g} s"
        found.append(_Miss(_MAX_LATENCY, text, needed, f"{needed:.9f}s"))
    floor = budget.min_accuracy
    if floor is not None and _is_over(floor, reached):
        plain = f"{math.floor((reached + _SLACK) * 1e6) / 1e6:.6f}"
        text = f"reaches {plain} on the test split, min_accuracy is {floor:g}"
        found.append(_Miss("min_accuracy", text, reached, plain))
    drop, before = budget.max_accuracy_drop, result.accuracy_before
    if drop is not None and before is not None and _is_over(before - reached, drop):
        plain = f"{math.ceil((before - reached - _SLACK) * 1e6) / 1e6:.6f}"
        text = (
            f"loses {plain} against the input network's {before:.4f}, max_accuracy_drop is {drop:g}"
        )
        found.append(_Miss("max_accuracy_drop", text, before - reached, plain))
    return found


def _is_over(value: float, limit: float) -> bool:
    """Return whether an accuracy, or a difference of two, is above another one."""
    return value > limit + _SLACK


def _loosened(budget: Budget, miss: _Miss) -> Budget:
    match miss.field:
        case "min_accuracy":
            return replace(budget, min_accuracy=miss.nearest)
        case "max_accuracy_drop":
            return replace(budget, max_accuracy_drop=miss.nearest)
        case _:
            return replace(budget, max_latency_seconds=miss.nearest)

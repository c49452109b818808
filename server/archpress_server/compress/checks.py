"""Checks on a request before any work, from exact counts and an embedding's manifest alone."""

from __future__ import annotations

from decimal import ROUND_UP, Context, Decimal
from fractions import Fraction

from archpress_server.compress.latency_checks import MAX_LATENCY_SECONDS, latency_violations
from archpress_server.compress.small_networks import smallest_networks
from archpress_server.compress.types import Budget, FieldViolation, Reason, Request, RequestError
from archpress_trainer.embedding.manifest import Manifest
from archpress_trainer.space.architecture_space import ArchitectureSpace
from archpress_trainer.space.costs import Costs, count
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.widths import SizeBudget

MAX_INPUT_PARAMS = 200_000_000
MAX_INPUT_MACS = 50_000_000_000
MAX_INPUT_ACTIVATION_BYTES = 2**30
"""Largest input network, whose latency is measured beside the result's."""


def budget_violations(budget: Budget) -> list[FieldViolation]:
    """Return every field of a budget that is out of its range."""
    found = []
    counts = (("max_params", budget.max_params), ("max_macs", budget.max_macs))
    for name, number in counts:
        if number is not None and number < 1:
            found.append(_invalid(name, f"is {number}, must be at least 1"))
    ratios = (
        ("max_params_ratio", budget.max_params_ratio),
        ("max_macs_ratio", budget.max_macs_ratio),
    )
    for name, value in ratios:
        if value is not None and not 0 < value <= 1:
            found.append(_invalid(name, f"is {value:g}, must be above 0 and at most 1"))
    pairs = (
        ("max_params", budget.max_params, budget.max_params_ratio),
        ("max_macs", budget.max_macs, budget.max_macs_ratio),
    )
    for name, absolute, ratio in pairs:
        if absolute is not None and ratio is not None:
            found.append(_invalid(f"{name}_ratio", f"contradicts {name}: set one of the two"))
    shares = (
        ("min_accuracy", budget.min_accuracy),
        ("max_accuracy_drop", budget.max_accuracy_drop),
    )
    for name, value in shares:
        if value is not None and not 0 <= value <= 1:
            found.append(_invalid(name, f"is {value:g}, must be 0 to 1"))
    latency = budget.max_latency_seconds
    if latency is not None and not 0 < latency <= MAX_LATENCY_SECONDS:
        text = f"is {latency:g} s, must be positive and at most {MAX_LATENCY_SECONDS:g} s"
        found.append(_invalid("max_latency", text))
    return found


def size_budget(budget: Budget, before: Costs) -> SizeBudget:
    """Return the hard limits that a budget means for a network of these costs."""
    params, macs = budget.max_params, budget.max_macs
    if budget.max_params_ratio is not None:
        params = _share(before.params, budget.max_params_ratio)
    if budget.max_macs_ratio is not None:
        macs = _share(before.macs, budget.max_macs_ratio)
    return SizeBudget(params, macs)


def check_request(request: Request, manifest: Manifest) -> None:
    """Refuse a request that no search could serve.

    Raises:
        RequestError: with every violation: shape and classes that differ from the data set's,
            budgets out of range, budgets below the smallest network of the space (metadata name
            the nearest feasible values), bad entries of a latency table.
    """
    costs = count(request.architecture)
    large, metadata = _too_large(costs)
    found = [*shape_violations(request.architecture, manifest), *large]
    if not (costs.params and costs.macs):
        text = "has no layer with weights, so that there is nothing to make smaller"
        found.append(FieldViolation("architecture", text, Reason.INVALID_ARCHITECTURE))
    invalid = budget_violations(request.budget)
    if not invalid:
        invalid, nearest = _infeasible(request, manifest.space)
        metadata = metadata or nearest
    slow, fastest = latency_violations(request, manifest.space)
    invalid += slow
    metadata |= fastest
    if found or invalid:
        raise RequestError((*found, *invalid), metadata)


def shape_violations(architecture: Architecture, manifest: Manifest) -> list[FieldViolation]:
    """Return how a network's input shape and classes differ from the data set's."""
    found = []
    space = manifest.space
    names = ("channels", "height", "width")
    for name, own, theirs in zip(names, architecture.input_shape, space.input_shape, strict=True):
        if own != theirs:
            found.append(
                FieldViolation(
                    f"architecture.input_shape.{name}",
                    f"is {own}, images of {manifest.dataset} have {theirs}",
                    Reason.SHAPE_MISMATCH,
                )
            )
    if architecture.classes != space.classes:
        found.append(
            FieldViolation(
                "architecture.classes",
                f"is {architecture.classes}, {manifest.dataset} has {space.classes}",
                Reason.SHAPE_MISMATCH,
            )
        )
    return found


def _too_large(costs: Costs) -> tuple[list[FieldViolation], dict[str, str]]:
    """Return the fault of an input that is too large to run here, and its metadata."""
    limits = (
        ("params", "max_input_params", costs.params, MAX_INPUT_PARAMS),
        ("macs", "max_input_macs", costs.macs, MAX_INPUT_MACS),
        (
            "peak_activation_bytes",
            "max_input_activation_bytes",
            costs.peak_activation_bytes,
            MAX_INPUT_ACTIVATION_BYTES,
        ),
    )
    for name, limit, actual, maximum in limits:
        if actual > maximum:
            text = f"its {name} are {actual}, this server takes at most {maximum}"
            metadata = {"limit": limit, "maximum": str(maximum), "actual": str(actual)}
            return [FieldViolation("architecture", text, Reason.LIMIT_EXCEEDED)], metadata
    return [], {}


def _infeasible(
    request: Request, space: ArchitectureSpace
) -> tuple[list[FieldViolation], dict[str, str]]:
    before = count(request.architecture)
    limits = size_budget(request.budget, before)
    least = [count(network) for network in smallest_networks(space)]
    params, macs = min(c.params for c in least), min(c.macs for c in least)
    budget = request.budget
    found: list[FieldViolation] = []
    nearest: dict[str, str] = {}
    checks = (
        ("max_params", limits.max_params, params, before.params, budget.max_params_ratio),
        ("max_macs", limits.max_macs, macs, before.macs, budget.max_macs_ratio),
    )
    for name, limit, smallest, whole, ratio in checks:
        if limit is None or limit >= smallest:
            continue
        field = name if ratio is None else f"{name}_ratio"
        text = f"allows {limit}, the smallest network of the space needs {smallest}"
        if ratio is None or smallest > whole:
            # No ratio up to 1 would do, a plain limit does.
            nearest[name] = str(smallest)
        else:
            nearest[field] = _least_ratio(smallest, whole)
        found.append(FieldViolation(f"budget.{field}", text, Reason.BUDGET_INFEASIBLE))
    return found, nearest


def _least_ratio(smallest: int, whole: int) -> str:
    """Return the least ratio of six digits whose share of the whole is the smallest or more."""
    context = Context(prec=6, rounding=ROUND_UP)
    return f"{context.divide(Decimal(smallest), Decimal(whole)):f}"


def _share(whole: int, ratio: float) -> int:
    """Return how many a ratio of a whole is, by its decimal: 0.29 of 100 is 29."""
    return int(whole * Fraction(str(ratio)))


def _invalid(name: str, description: str) -> FieldViolation:
    return FieldViolation(f"budget.{name}", description, Reason.INVALID_BUDGET)

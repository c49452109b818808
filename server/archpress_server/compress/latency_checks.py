"""Checks on a limit of latency and on a caller's table, before any work and without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from archpress_server.compress.latency_table import LatencyTable, LayerLatency
from archpress_server.compress.layer_work import network_seconds, whole_nanoseconds
from archpress_server.compress.small_networks import fastest_networks
from archpress_server.compress.types import FieldViolation, Reason, Request
from archpress_trainer.space.architecture_space import ArchitectureSpace
from archpress_trainer.space.vocab import WINDOWED, LayerKind, Limits

MAX_TABLE_ROWS = 512

MAX_LATENCY_SECONDS = 86_400.0
"""Most seconds of a limit on latency, and of any number of a table."""

_NUMBERS = ("fixed_seconds", "seconds_per_mac", "seconds_per_output")


def latency_violations(
    request: Request, space: ArchitectureSpace
) -> tuple[list[FieldViolation], dict[str, str]]:
    """Return what is wrong with a request's table, or with its limit by that table, and metadata.

    A limit that is measured on this machine is checked where it can be measured.
    """
    table, most = request.latency_table, request.budget.max_latency_seconds
    if table is None:
        return [], {}
    found = table_violations(table.fixed_seconds, dict(enumerate(table.layers)))
    found += _missing(table, space)
    if most is None:
        text = "is for budget.max_latency, which is not set"
        found.append(FieldViolation("latency_table", text, Reason.INVALID_FIELD))
    if found or most is None or not most > 0:
        return found, {}
    fastest = network_seconds(table, fastest_networks(space, table)[0])
    if fastest <= most:
        return [], {}
    violation, metadata = infeasible_latency(most, fastest)
    return [violation], metadata


def table_violations(
    fixed_seconds: float, rows: Mapping[int, LayerLatency]
) -> list[FieldViolation]:
    """Return every bad entry of a table by its path; `rows` maps places in the table to rows."""
    found = _number("fixed_seconds", fixed_seconds)
    if len(rows) > MAX_TABLE_ROWS:
        text = f"has {len(rows)} rows, at most {MAX_TABLE_ROWS} are allowed"
        return [*found, _bad("layers", text)]
    seen: dict[tuple[LayerKind, int | None], int] = {}
    for place, row in rows.items():
        path = f"layers[{place}]"
        kernel = row.kernel
        if kernel is not None and row.kind not in WINDOWED:
            found.append(_bad(f"{path}.kernel", f"is {kernel}, {row.kind.name} has no kernel"))
        elif kernel is not None and not 1 <= kernel <= Limits.KERNEL:
            text = f"is {kernel}, must be 1 to {Limits.KERNEL}"
            found.append(_bad(f"{path}.kernel", text))
        for name in _NUMBERS:
            found += _number(f"{path}.{name}", getattr(row, name))
        first = seen.setdefault((row.kind, kernel), place)
        if first != place:
            found.append(_bad(path, f"is for the same layers as layers[{first}]"))
    return found


def infeasible_latency(most: float, nearest: float) -> tuple[FieldViolation, dict[str, str]]:
    """Return the fault of a limit that no network meets, and the metadata with one that some do."""
    text = f"{whole_nanoseconds(nearest):.9f}s"
    violation = FieldViolation(
        "budget.max_latency",
        f"allows {most:.15g} s, the fastest network of the space needs {text}",
        Reason.BUDGET_INFEASIBLE,
    )
    return violation, {"max_latency": text}


def _missing(table: LatencyTable, space: ArchitectureSpace) -> list[FieldViolation]:
    """Return a fault for each kind of the space, or kernel of a kind, that has no row."""
    found = []
    for kind in space.kinds:
        if kind is LayerKind.DROPOUT:
            continue
        kernels: Sequence[int] = space.kernels if kind in WINDOWED else (0,)
        missing = [kernel for kernel in kernels if table.row(kind, kernel) is None]
        if missing:
            text = f"has no row for {kind.name}"
            if len(missing) < len(kernels):
                text += f" with kernel {', '.join(map(str, missing))}"
            found.append(_bad("layers", text))
    return found


def _number(path: str, value: float) -> list[FieldViolation]:
    if 0 <= value <= MAX_LATENCY_SECONDS:
        return []
    return [_bad(path, f"is {value:g}, must be 0 to {MAX_LATENCY_SECONDS:g}")]


def _bad(path: str, text: str) -> FieldViolation:
    return FieldViolation(f"latency_table.{path}", text, Reason.INVALID_FIELD)

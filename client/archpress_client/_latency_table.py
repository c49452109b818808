"""`LatencyTable`: how long layers take on the caller's own device, in code and as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from archpress_client._errors import FieldViolation, InvalidRequestError
from archpress_client._network import LayerKind

_NUMBERS = ("fixed_seconds", "seconds_per_mac", "seconds_per_output")
_ROW = frozenset({"kind", "kernel", *_NUMBERS})


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerLatency:
    """Seconds of layers of a kind: fixed, per multiply-accumulate, per number written."""

    kind: LayerKind
    kernel: int | None = None
    """None is every kernel that has no row of its own."""
    fixed_seconds: float = 0.0
    seconds_per_mac: float = 0.0
    seconds_per_output: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class LatencyTable:
    """A device, layer by layer; a network's latency is the sum."""

    layers: Sequence[LayerLatency]
    fixed_seconds: float = 0.0
    """Of every run, whatever the network."""

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON data, which `from_json` reads."""
        rows = [{**asdict(row), "kind": row.kind.name} for row in self.layers]
        return {"fixed_seconds": self.fixed_seconds, "layers": rows}

    @classmethod
    def from_json(cls, record: object) -> LatencyTable:
        """Inverse of `to_json`; numbers that are left out are 0.

        Raises:
            InvalidRequestError: it is no table, with every fault.
        """
        faults: list[FieldViolation] = []
        if not isinstance(record, Mapping) or not isinstance(record.get("layers"), list):
            raise _refused([FieldViolation("latency_table", "is no object with a list `layers`")])
        for key in record.keys() - {"layers", "fixed_seconds"}:
            faults.append(FieldViolation(f"latency_table.{key}", "is unknown"))
        fixed = _number("latency_table.fixed_seconds", record.get("fixed_seconds", 0.0), faults)
        rows = []
        for index, entry in enumerate(record["layers"]):
            rows.append(_row(f"latency_table.layers[{index}]", entry, faults))
        if faults:
            raise _refused(faults)
        return cls(layers=tuple(rows), fixed_seconds=fixed)

    @classmethod
    def load(cls, path: str | Path) -> LatencyTable:
        """Read a table from a JSON file.

        Raises:
            InvalidRequestError: the file holds no table.
            OSError: the file cannot be read.
        """
        try:
            record = json.loads(Path(path).read_text(encoding="utf-8"))
        except ValueError as error:
            raise _refused([FieldViolation("latency_table", f"{path}: {error}")]) from error
        return cls.from_json(record)

    def violations(self) -> Iterator[FieldViolation]:
        """Yield what the messages cannot carry, or a server refuses whatever its embedding."""
        path = "spec.latency_table"
        yield from _negative(f"{path}.fixed_seconds", self.fixed_seconds)
        if not isinstance(self.layers, tuple | list):
            yield FieldViolation(f"{path}.layers", f"is {self.layers!r}, must be a list of rows")
            return
        for index, row in enumerate(self.layers):
            if not isinstance(row, LayerLatency):
                text = f"is {row!r}, must be a LayerLatency"
                yield FieldViolation(f"{path}.layers[{index}]", text)
                continue
            if not isinstance(row.kind, LayerKind):
                text = f"is {row.kind!r}, must be a LayerKind"
                yield FieldViolation(f"{path}.layers[{index}].kind", text)
            for name in _NUMBERS:
                yield from _negative(f"{path}.layers[{index}].{name}", getattr(row, name))
            kernel: object = row.kernel
            counts = isinstance(kernel, Integral) and not isinstance(kernel, bool)
            if kernel is not None and not (counts and kernel in range(1, 32)):
                text = f"is {kernel!r}, must be 1 to 31"
                yield FieldViolation(f"{path}.layers[{index}].kernel", text)


def _row(path: str, entry: object, faults: list[FieldViolation]) -> LayerLatency:
    if not isinstance(entry, Mapping):
        faults.append(FieldViolation(path, "is no object"))
        return LayerLatency(kind=LayerKind.UNKNOWN)
    for key in entry.keys() - _ROW:
        faults.append(FieldViolation(f"{path}.{key}", "is unknown"))
    name = entry.get("kind")
    kind = LayerKind.__members__.get(str(name), LayerKind.UNKNOWN)
    if kind is LayerKind.UNKNOWN:
        faults.append(FieldViolation(f"{path}.kind", f"is {name!r}, must name a kind of layer"))
    kernel = entry.get("kernel")
    if kernel is not None and (isinstance(kernel, bool) or not isinstance(kernel, int)):
        faults.append(FieldViolation(f"{path}.kernel", f"is {kernel!r}, must be a whole number"))
        kernel = None
    fixed, per_mac, per_output = (
        _number(f"{path}.{field}", entry.get(field, 0.0), faults) for field in _NUMBERS
    )
    return LayerLatency(
        kind=kind,
        kernel=kernel,
        fixed_seconds=fixed,
        seconds_per_mac=per_mac,
        seconds_per_output=per_output,
    )


def _number(path: str, value: object, faults: list[FieldViolation]) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            faults.append(FieldViolation(path, "is larger than any float"))
            return 0.0
    faults.append(FieldViolation(path, f"is {value!r}, must be a number"))
    return 0.0


def _negative(path: str, value: float) -> Iterator[FieldViolation]:
    if not (isinstance(value, Real) and 0 <= value <= sys.float_info.max):
        yield FieldViolation(path, f"is {value!r}, must be 0 or more and finite")


def _refused(faults: list[FieldViolation]) -> InvalidRequestError:
    return InvalidRequestError.of(faults, reason="INVALID_FIELD")

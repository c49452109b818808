"""`Faults`: all that is wrong with a request, told at once."""

from __future__ import annotations

from archpress_server.compress.types import FieldViolation, Reason, RequestError

MOST_FAULTS = 100
"""That are told of a request; the others are counted."""


class Faults:
    """Collects the faults of a request; the metadata are those of the one that stands for all."""

    def __init__(self) -> None:
        """Begin with none."""
        self._found: list[tuple[FieldViolation, dict[str, str]]] = []
        self._more = 0

    def add(
        self, path: str, text: str, reason: Reason = Reason.INVALID_FIELD, **metadata: str
    ) -> None:
        """Add a fault."""
        self._keep(FieldViolation(path, text, reason), metadata)

    def add_limit(self, path: str, name: str, maximum: int, actual: int) -> None:
        """Add that a value is beyond a limit of this name."""
        text = f"is {actual}, the limit {name} is {maximum}"
        limits = {"limit": name, "maximum": str(maximum), "actual": str(actual)}
        self.add(path, text, Reason.LIMIT_EXCEEDED, **limits)

    def check_range(self, path: str, value: float, least: float, most: float) -> None:
        """Add that a value is outside a range, if it is."""
        if not least <= value <= most:
            self.add(path, f"is {value:g}, must be {least:g} to {most:g}")

    def check_count(self, path: str, count: int, most: int) -> bool:
        """Return whether a list is no longer than it may be; add that it is, otherwise."""
        if count > most:
            self.add(path, f"there are {count}, at most {most} are allowed")
        return count <= most

    def merge(self, error: RequestError, model: str) -> None:
        """Add the faults below `spec` that the domain's own checks found and nobody named yet.

        Those of the network are told of the field that gives it, `model`.
        """
        named = {(violation.path, violation.reason) for violation, _ in self._found}
        for violation in error.violations:
            path = f"spec.{violation.path}"
            # A wrong side is named once, as part of the whole shape.
            if path.startswith("spec.architecture.input_shape."):
                continue
            if model != "architecture" and path.startswith("spec.architecture"):
                path = f"spec.{model}"
            if (path, violation.reason) not in named:
                fault = FieldViolation(path, violation.description, violation.reason)
                self._keep(fault, dict(error.metadata))

    def raise_if_any(self) -> None:
        """Raise a `RequestError` with all of them, those that a better request mends first."""
        if self._found:
            ordered = sorted(self._found, key=lambda item: item[0].reason is Reason.NO_EMBEDDING)
            told = [violation for violation, _ in ordered]
            if self._more:
                text = f"has {self._more} more faults"
                told.append(FieldViolation("request", text, Reason.INVALID_FIELD))
            raise RequestError(tuple(told), ordered[0][1])

    def _keep(self, violation: FieldViolation, metadata: dict[str, str]) -> None:
        if len(self._found) < MOST_FAULTS:
            self._found.append((violation, metadata))
        else:
            self._more += 1

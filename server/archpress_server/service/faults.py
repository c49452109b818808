"""`Faults`: all that is wrong with a request, told at once."""

from __future__ import annotations

from archpress_server.compress.types import FieldViolation, Reason, RequestError


class Faults:
    """Collects the faults of a request; the metadata are those of the one that stands for all."""

    def __init__(self) -> None:
        """Begin with none."""
        self._found: list[tuple[FieldViolation, dict[str, str]]] = []

    def add(
        self, path: str, text: str, reason: Reason = Reason.INVALID_FIELD, **metadata: str
    ) -> None:
        """Add a fault."""
        self._found.append((FieldViolation(path, text, reason), metadata))

    def add_limit(self, path: str, name: str, maximum: int, actual: int) -> None:
        """Add that a value is beyond a limit of this name."""
        text = f"is {actual}, the limit {name} is {maximum}"
        limits = {"limit": name, "maximum": str(maximum), "actual": str(actual)}
        self.add(path, text, Reason.LIMIT_EXCEEDED, **limits)

    def check_range(self, path: str, value: float, least: float, most: float) -> None:
        """Add that a value is outside a range, if it is."""
        if not least <= value <= most:
            self.add(path, f"is {value:g}, must be {least:g} to {most:g}")

    def merge(self, error: RequestError) -> None:
        """Add the faults below `spec` that the domain's own checks found and nobody named yet."""
        named = {violation.path for violation, _ in self._found}
        for violation in error.violations:
            path = f"spec.{violation.path}"
            # A wrong side is named once, as part of the whole shape.
            if path not in named and not path.startswith("spec.architecture.input_shape."):
                fault = FieldViolation(path, violation.description, violation.reason)
                self._found.append((fault, dict(error.metadata)))

    def raise_if_any(self) -> None:
        """Raise a `RequestError` with all of them, those that a better request mends first."""
        if self._found:
            ordered = sorted(self._found, key=lambda item: item[0].reason is Reason.NO_EMBEDDING)
            raise RequestError(tuple(violation for violation, _ in ordered), ordered[0][1])

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._found)

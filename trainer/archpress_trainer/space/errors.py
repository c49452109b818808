"""What is wrong with an architecture, in terms that its author can act on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from archpress_trainer.space.vocab import LayerKind


@dataclass(frozen=True, slots=True)
class Violation:
    """One fault: the layer's index and kind (None for the whole net), the field and the reason."""

    field: str
    reason: str
    layer: int | None = None
    kind: LayerKind | None = None

    @property
    def path(self) -> str:
        """The field's path from the architecture, e.g. `layers[3].kernel`."""
        return self.field if self.layer is None else f"layers[{self.layer}].{self.field}"

    def __str__(self) -> str:
        """Path, kind and reason in one line."""
        kind = "" if self.kind is None else f" ({self.kind.name})"
        return f"{self.path}{kind}: {self.reason}"


class ArchitectureError(ValueError):
    """An architecture that cannot be built; `violations` lists every fault that was found."""

    def __init__(self, violations: Iterable[Violation]) -> None:
        """Keep the violations and join them into the message."""
        self.violations = tuple(violations)
        super().__init__("; ".join(str(violation) for violation in self.violations))

    def __reduce__(self) -> tuple[type[ArchitectureError], tuple[tuple[Violation, ...]]]:
        """Pickle by violations, so that the error crosses process borders."""
        return type(self), (self.violations,)

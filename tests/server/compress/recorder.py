"""An observer that keeps what it is told."""

from __future__ import annotations

from dataclasses import dataclass, field

from archpress_server.compress.types import Candidate, Phase, Progress


@dataclass
class Recorder:
    """Asks to stop once it has heard of the phase `stop_in`."""

    stop_in: Phase | None = None
    seen: list[Progress] = field(default_factory=list)
    candidates: list[Candidate] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def progress(self, progress: Progress) -> None:
        self.seen.append(progress)

    def candidate(self, candidate: Candidate) -> None:
        self.candidates.append(candidate)

    def warning(self, text: str) -> None:
        self.warnings.append(text)

    def should_stop(self) -> bool:
        return self.stop_in is not None and self.seen[-1].phase is self.stop_in

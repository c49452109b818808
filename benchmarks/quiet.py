"""An observer of a compression that shows nothing and never stops it."""

from __future__ import annotations

from archpress_server.compress.types import Candidate, Progress


class Quiet:
    """Follows a compression without a word."""

    def progress(self, progress: Progress) -> None:
        """Nothing is shown."""

    def candidate(self, candidate: Candidate) -> None:
        """Nothing is shown."""

    def warning(self, text: str) -> None:
        """Nothing is shown."""

    def should_stop(self) -> bool:
        """Never."""
        return False

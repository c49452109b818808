"""What a compression has done so far, kept so that another attempt goes on from there."""

from __future__ import annotations

from typing import Protocol


class CheckpointStore(Protocol):
    """Keeps named parts of one compression, as bytes that may be gone or damaged."""

    def load(self, part: str) -> bytes | None:
        """Return a part as it was last saved, by this or an earlier attempt, if it is there."""
        ...

    def save(self, part: str, content: bytes) -> None:
        """Keep a part in the place of what it was; what cannot be kept is given up."""
        ...

    def due(self) -> bool:
        """Return whether it is time to save the training that is under way."""
        ...


class NoCheckpoints:
    """Keeps nothing."""

    def load(self, part: str) -> bytes | None:
        """Return None."""
        return None

    def save(self, part: str, content: bytes) -> None:
        """Do nothing."""

    def due(self) -> bool:
        """Return False."""
        return False


NO_CHECKPOINTS = NoCheckpoints()

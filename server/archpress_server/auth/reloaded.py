"""`Reloaded`: what some files hold, read again when they change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

import structlog

T = TypeVar("T")
_Signature = tuple[tuple[int, int, int, int] | None, ...]


class Reloaded(Generic[T]):
    """A value from files; one that cannot be read leaves the old value in force.

    Files are replaced one after the other, so a change counts as wrong when it still is at the next
    look. It is tried at every look from then on: a clock or a right may be what was wrong.
    """

    def __init__(
        self,
        what: str,
        paths: Sequence[Path],
        load: Callable[[], T],
        tell: Callable[[str, bool], None],
    ) -> None:
        """Read the files; `tell` hears `what` with True for a wrong change, False at its end.

        Raises:
            ValueError: what `load` raises.
        """
        self._what = what
        self._paths = tuple(paths)
        self._load = load
        self._tell = tell
        self._in_force = _signature(self._paths)
        self._doubted: _Signature | None = None
        self._told: _Signature | None = None
        self.value = load()
        """The newest value that could be read."""

    def refresh(self) -> bool:
        """Look at the files, and return whether there is a new value."""
        found = _signature(self._paths)
        if found == self._in_force:
            self._settle()
            return False
        try:
            value = self._load()
        # Whatever a library makes of a file: the look at it must go on, or nothing can be revoked.
        except Exception as error:
            self._doubt(found, error)
            return False
        if _signature(self._paths) != found:
            # Replaced while they were read: the next look decides.
            return False
        self.value, self._in_force = value, found
        self._settle()
        structlog.get_logger().info("changed files are in force", what=self._what)
        return True

    def _doubt(self, found: _Signature, error: Exception) -> None:
        if found == self._doubted and found != self._told:
            self._told = found
            self._tell(self._what, True)
            structlog.get_logger().error(
                "changed files are wrong, the old content stays in force",
                what=self._what,
                error=str(error),
            )
        self._doubted = found

    def _settle(self) -> None:
        if self._told is not None:
            self._tell(self._what, False)
        self._doubted = self._told = None


def _signature(paths: Sequence[Path]) -> _Signature:
    return tuple(_facts(path) for path in paths)


def _facts(path: Path) -> tuple[int, int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino

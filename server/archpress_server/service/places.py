"""`Places`: how many calls of one kind run at one time, and how many of one principal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from archpress_server.service.errors import BusyError


class Places:
    """Lets few calls of one kind run, and fewer of one principal, so that nobody takes all."""

    def __init__(self, kind: str, total: int, each: int) -> None:
        """Begin with all of them free; `kind` is what errors call the calls."""
        self._kind = kind
        self._total = total
        self._each = each
        self._taken: Counter[str] = Counter()

    @contextmanager
    def taken(self, principal: str) -> Iterator[None]:
        """Hold a place; where callers have no names, they share all of them.

        Raises:
            BusyError: all are taken, or all that are for this principal.
        """
        each = self._each if principal else self._total
        if self._taken.total() >= self._total:
            raise BusyError(f"{self._total} {self._kind} are under way, which is the most that may")
        if self._taken[principal] >= each:
            text = f"{each} of your {self._kind} are under way, which is the most that may"
            raise BusyError(text)
        self._taken[principal] += 1
        try:
            yield
        finally:
            self._taken[principal] -= 1
            if not self._taken[principal]:
                del self._taken[principal]

"""What an error says, in one line."""

from __future__ import annotations


def first_line(error: BaseException) -> str:
    """Return the beginning of an error's text."""
    return (str(error).splitlines() or [type(error).__name__])[0][:300]

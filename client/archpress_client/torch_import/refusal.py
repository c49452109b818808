"""The error of a module that cannot be expressed, and what it says of its cause."""

from __future__ import annotations

from archpress_client._errors import FieldViolation, InvalidRequestError


def refused(text: str) -> InvalidRequestError:
    """Return the error; `text` says where and why."""
    return InvalidRequestError.of([FieldViolation("module", text)], reason="INVALID_ARCHITECTURE")


def first_line(error: Exception) -> str:
    """Return an error's type and the first line of its text, shortened."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:300]}"

"""The error of a module that cannot be expressed."""

from __future__ import annotations

from archpress_client._errors import FieldViolation, InvalidRequestError


def refused(text: str) -> InvalidRequestError:
    """Return the error; `text` says where and why."""
    return InvalidRequestError.of([FieldViolation("module", text)], reason="INVALID_ARCHITECTURE")

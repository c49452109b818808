"""What is wrong with an ONNX file, in terms that its author can act on."""

from __future__ import annotations

from collections.abc import Mapping

from archpress_server.compress.types import FieldViolation, Reason, RequestError

PATH = "data"
"""The field of an upload that holds the file."""


def refused(
    text: str,
    reason: Reason = Reason.INVALID_ARCHITECTURE,
    metadata: Mapping[str, str] | None = None,
) -> RequestError:
    """Return the error of a file that is refused as a whole."""
    return RequestError((FieldViolation(PATH, text, reason),), metadata)


def node_refused(name: str, op: str, text: str, **metadata: str) -> RequestError:
    """Return the error of a file that is refused for one node."""
    facts = {"node": name, "op": op, **metadata}
    return refused(f"node {name!r} ({op}): {text}", metadata=facts)

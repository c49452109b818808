"""What keeps a report from being written."""

from __future__ import annotations


class ReportError(RuntimeError):
    """A report that cannot be made here; the message says what to do."""

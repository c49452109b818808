"""`PhaseSpans`: the phases of an attempt as spans, one after another."""

from __future__ import annotations

from contextlib import ExitStack

from archpress_server.compress.types import Phase
from archpress_server.traces import Span, Traces


class PhaseSpans:
    """Ends a phase's span when the next phase begins; safe to close from another thread."""

    def __init__(self, traces: Traces, attempt: Span) -> None:
        """Make spans below that of the attempt."""
        self._traces = traces
        self._attempt = attempt
        self._open = ExitStack()

    def enter(self, phase: Phase) -> None:
        """Begin a phase, and so end the one before."""
        self.close()
        self._open.enter_context(
            self._traces.span(phase.value, self._attempt.traceparent, {"archpress.phase": phase})
        )

    def close(self) -> None:
        """End the phase that is open."""
        ended, self._open = self._open, ExitStack()
        ended.close()

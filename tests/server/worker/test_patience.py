"""What a worker asks of a database that is away for a moment."""

from __future__ import annotations

import pytest

from archpress_server.jobs.errors import DatabaseUnavailableError, StaleAttemptError
from archpress_server.worker import patience
from archpress_server.worker.patience import patiently


def test_a_database_that_comes_back_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "_RETRY_SECONDS", 0.0)
    failures = [DatabaseUnavailableError("locked")] * 3

    def write() -> str:
        if failures:
            raise failures.pop()
        return "done"

    assert patiently(write, patience_seconds=5.0) == "done"
    with pytest.raises(StaleAttemptError):
        patiently(lambda: (_ for _ in ()).throw(StaleAttemptError()), patience_seconds=5.0)

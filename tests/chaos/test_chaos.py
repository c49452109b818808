"""A little of each kind of chaos; `make chaos` does much of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos import scenarios
from tests.server.postgresql import empty_schema, running_postgresql

pytestmark = pytest.mark.slow


def test_no_job_is_lost_or_finished_twice(tmp_path: Path) -> None:
    config = scenarios.settings(tmp_path / "state")
    summary = scenarios.kills(config, jobs=6, clients=6, seed=1)
    assert summary.server_kills
    assert summary.worker_kills
    assert not summary.faults


def test_a_server_that_is_asked_to_stop_loses_nothing(tmp_path: Path) -> None:
    config = scenarios.settings(tmp_path / "state")
    summary = scenarios.drain(config, jobs=4, watchers=2, seed=1)
    assert summary.reconnects
    assert not summary.faults


def test_the_loss_of_a_replica_loses_no_event(tmp_path: Path) -> None:
    with running_postgresql() as engine, empty_schema(engine) as url:
        config = scenarios.settings(tmp_path / "state", url)
        summary = scenarios.failover(config, jobs=4, seed=1)
    assert summary.reconnects
    assert not summary.faults

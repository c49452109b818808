"""What a worker is told by its environment."""

from __future__ import annotations

import pytest

from archpress_server.config import ServerConfig
from archpress_server.executors.order import worker_order


def test_the_operators_way_of_waiting_reaches_workers(
    config: ServerConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
    order = worker_order(config, "job", 1, ())
    assert order.environment == {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}

"""What holds for every test of the API's calls."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from archpress_server.server import Server

NOT_REFUSED = ("OK", "CANCELLED", "UNIMPLEMENTED")


@pytest.fixture
def each_refusal_moves_one_series(server: Server) -> Iterator[None]:
    """Check at the end that the calls that failed are those that were counted under a reason."""
    yield
    registry = server.metrics.registry
    samples = [sample for metric in registry.collect() for sample in metric.samples]
    failed = sum(
        sample.value
        for sample in samples
        if sample.name == "grpc_server_handled_total"
        and sample.labels["grpc_code"] not in NOT_REFUSED
    )
    counted = sum(s.value for s in samples if s.name == "archpress_rejected_total")
    assert counted == failed

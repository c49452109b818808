"""What is delivered beside the certified model, and what its failure costs."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from archpress_server.compress import delivery as module
from archpress_server.compress.delivery import Delivery
from archpress_server.compress.types import Compression, Phase, Progress, Request, StoppedError
from archpress_trainer.data.registry import DataSources
from tests.server.compress.recorder import Recorder
from tests.trainer.nets import small_net


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def delivery(tiny_sources: DataSources, recorder: Recorder) -> Delivery:
    dataset = tiny_sources.load("tiny")
    return Delivery(Request(small_net(8), "tiny"), dataset, dataset.split(), recorder, 1, 2)


def fail(*_: object) -> bytes:
    raise OSError(28, "No space left on device", "/tmp/secret")


def test_a_failed_int8_copy_is_told_and_costs_nothing_else(
    delivery: Delivery,
    recorder: Recorder,
    with_all: Compression,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "quantize", fail)
    with capture_logs() as lines:
        assert delivery.quantized(with_all.front[0]) is None
    (line,) = lines
    assert recorder.warnings == [f"there is no INT8 copy: internal error {line['error_id']}"]
    assert recorder.seen[-1].phase is Phase.CERTIFY


def test_who_wants_to_stop_gets_no_copy(
    delivery: Delivery, recorder: Recorder, with_all: Compression
) -> None:
    recorder.stop_in = Phase.CERTIFY
    recorder.progress(Progress(Phase.CERTIFY))
    with pytest.raises(StoppedError):
        delivery.quantized(with_all.front[0])

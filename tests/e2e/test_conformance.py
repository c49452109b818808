"""Both clients keep their promises over a network that breaks, with a real server behind it."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
import torch

from archpress_client import (
    Client,
    CompletedEvent,
    Event,
    HeartbeatEvent,
    ProgressEvent,
    Retry,
    Timeouts,
)
from archpress_server.compress.export import to_onnx
from archpress_trainer.data.dataset import Normalisation
from archpress_trainer.space.build import build
from archpress_trainer.space.named import conv_7
from tests.client.driven import Connect, Kind, LoopThread
from tests.e2e.networks import NETWORK
from tests.e2e.proxy import Cut, Delay, Fault, FaultyProxy, Stall, Truncate

KINDS: tuple[type[Fault], ...] = (Cut, Truncate, Delay, Cut, Stall)
RETRY = Retry(initial_seconds=0.02, max_seconds=0.2, request_attempts=10)
SILENCE = Timeouts(download_silence_seconds=0.2)


@pytest.fixture
def proxy(target: str, loop_thread: LoopThread) -> Iterator[FaultyProxy]:
    proxy = FaultyProxy(target, loop_thread)
    yield proxy
    proxy.close()


@pytest.fixture
def client(proxy: FaultyProxy, connect: Connect) -> Iterator[Client]:
    with connect(proxy.target, retry=RETRY, timeouts=SILENCE) as client:
        yield client


@pytest.fixture(scope="module")
def finished(target: str) -> str:
    """The name of a job that is done, and was not answered from the cache."""
    with Client(target) as client:
        client.compress(NETWORK, dataset="tiny", max_params=1_500).result(timeout_seconds=240)
        return next(job.name for job in client.jobs(["succeeded"]) if not job.cached_result)


@pytest.fixture(scope="module")
def model() -> bytes:
    """An ONNX file of 2.8 MB."""
    network = build(conv_7((1, 28, 28), 10), torch.Generator().manual_seed(0))
    return to_onnx(network, Normalisation((0.5,), (0.5,)))


def logged(events: list[Event]) -> list[Event]:
    return [event for event in events if not isinstance(event, HeartbeatEvent)]


def faults(seed: int, count: int, longest: int, kinds: tuple[type[Fault], ...]) -> list[Fault]:
    random = Random(seed)
    return [kinds[i % len(kinds)](random.randint(0, longest)) for i in range(count)]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_watch_through_20_faults_misses_no_event(
    client: Client,
    proxy: FaultyProxy,
    target: str,
    finished: str,
    seed: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Client(target) as direct:
        expected = list(direct.job(finished).events())
    monkeypatch.setattr(Timeouts, "watch_silence_seconds", 0.2)
    # The head of a stream and its last event have over 900 bytes: the faults run out first.
    proxy.plan(faults(seed, 20, 600, KINDS))
    events = logged(list(client.job(finished).events()))
    assert [(event.seq, type(event)) for event in events] == [
        (event.seq, type(event)) for event in expected
    ]
    assert [type(event) for event in events].count(CompletedEvent) == 1
    assert proxy.left == 0
    assert proxy.struck >= 10


@pytest.mark.slow
def test_a_running_job_is_followed_through_faults(
    client: Client, proxy: FaultyProxy, target: str, connect: Connect
) -> None:
    proxy.plan(faults(7, 20, 4_000, (Cut, Truncate)))
    # Else the second kind of client gets the result of the first one's job.
    seed = list(Kind).index(connect.kind)
    job = client.compress(NETWORK, dataset="tiny", max_params=1_400, seed=seed)
    events: list[Event] = []
    result = job.result(on_event=events.append, timeout_seconds=240)
    numbers = [event.seq for event in logged(events)]
    assert numbers == sorted(set(numbers))
    # Progress that newer progress outdates may be left out, and nothing else.
    with Client(target) as direct:
        whole = logged(list(direct.job(job.name).events()))
    kept = {event.seq for event in whole if not isinstance(event, ProgressEvent)}
    assert kept <= set(numbers)
    assert isinstance(events[-1], CompletedEvent)
    assert not events[-1].job.cached_result
    assert hashlib.sha256(client.read(result)).hexdigest() == result.sha256
    assert proxy.struck >= 3


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_download_through_20_faults_equals_its_checksum(
    client: Client, proxy: FaultyProxy, target: str, model: bytes, tmp_path: Path, seed: int
) -> None:
    with Client(target) as direct:
        uploaded = direct.upload(model)
    proxy.plan(faults(seed, 20, 400_000, (Cut, Truncate, Cut, Stall)))
    path = tmp_path / "model.onnx"
    client.download(uploaded, path)
    assert path.read_bytes() == model
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]
    assert proxy.left == 0


@pytest.mark.slow
def test_an_upload_that_breaks_is_sent_again(
    client: Client, proxy: FaultyProxy, model: bytes
) -> None:
    proxy.plan([Cut(80), Truncate(60)])
    assert client.upload(model).sha256 == hashlib.sha256(model).hexdigest()
    assert proxy.struck == 2


@pytest.mark.slow
@pytest.mark.parametrize("after_bytes", [0, 30, 60, 90, 120])
def test_a_request_whose_answer_is_lost_makes_one_job(
    client: Client, proxy: FaultyProxy, target: str, after_bytes: int
) -> None:
    mark = str(uuid.uuid4())
    proxy.plan([Cut(after_bytes), Truncate(after_bytes)])
    job = client.compress(NETWORK, dataset="tiny", max_params=1_300, labels={"mark": mark})
    with Client(target) as direct:
        assert [found.name for found in direct.jobs(labels={"mark": mark})] == [job.name]
        direct.cancel(job.name)
    assert proxy.struck == 2


@pytest.mark.slow
def test_all_jobs_are_listed_over_a_connection_that_breaks(
    client: Client, proxy: FaultyProxy, target: str, finished: str
) -> None:
    with Client(target) as direct:
        expected = [job.name for job in direct.jobs()]
    proxy.plan([Cut(200), Truncate(1_000), Cut(100)])
    assert [job.name for job in client.jobs(page_size=1)] == expected
    assert finished in expected

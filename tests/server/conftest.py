"""A prepared state, a server on a free port, and jobs to give it."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest
import sqlalchemy as sa

from archpress_proto.v1.compression_service_pb2_grpc import CompressionServiceStub
from archpress_server.catalog import load_catalog
from archpress_server.compress.types import (
    Budget,
    Certificate,
    Compression,
    FrontModel,
    Latency,
    Phase,
    Progress,
    QuantizedModel,
    Request,
)
from archpress_server.config import ServerConfig
from archpress_server.jobs.leases import Leases
from archpress_server.jobs.model import (
    JobError,
    JobRecord,
    JobResult,
    JobSpec,
    State,
    Submission,
)
from archpress_server.server import Server
from archpress_server.state import open_leases, prepare_state
from archpress_trainer.embedding.manifest import EmbeddingMethod, Manifest
from archpress_trainer.embedding.prediction import Prediction
from archpress_trainer.space.architecture_space import ArchitectureSpace
from archpress_trainer.space.costs import count
from archpress_trainer.space.named import named
from archpress_trainer.training.fidelity import Fidelity
from tests.server.postgresql import empty_schema, running_postgresql

if TYPE_CHECKING:
    from archpress_proto.v1.compression_service_pb2_grpc import CompressionServiceAsyncStub

FAKE_WORKER = Path(__file__).parent / "fake_worker.py"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what is marked `both_databases` and touches a database on each of them."""
    marked = metafunc.definition.get_closest_marker("both_databases") is not None
    if marked and "database_url" in metafunc.fixturenames:
        metafunc.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[sa.Engine]:
    """A PostgreSQL server: that of TEST_DATABASE_URL, or one of the tests' own."""
    with running_postgresql() as engine:
        yield engine


@pytest.fixture
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """SQLite in the state folder, or an empty schema of the test's own on PostgreSQL."""
    if getattr(request, "param", "sqlite") == "sqlite":
        yield ""
        return
    with empty_schema(request.getfixturevalue("postgresql")) as url:
        yield url


@pytest.fixture
def embedding_folder(tmp_path: Path) -> Path:
    """An embedding's manifest alone: servers need no weights."""
    manifest = Manifest(
        name="fashion-mnist-default-1",
        method=EmbeddingMethod.DEFAULT,
        dataset="fashion-mnist",
        dataset_fingerprint="0" * 64,
        space=ArchitectureSpace((1, 28, 28), 10),
        fidelity=Fidelity(1000, 2, 1),
        population_size=300,
        population_digest="0" * 64,
        metrics={"accuracy_kendall_tau": 0.5, "held_out_networks": 60.0},
        settings={},
    )
    folder = tmp_path / "embedding"
    folder.mkdir()
    (folder / "manifest.json").write_text(json.dumps(manifest.to_json()))
    return folder


@pytest.fixture
def config(tmp_path: Path, embedding_folder: Path, database_url: str) -> ServerConfig:
    """Settings with short times; no result cache, since equal jobs are to run."""
    return ServerConfig(
        database_url=database_url,
        port=0,
        metrics_port=0,
        state_dir=tmp_path / "state",
        embeddings_dir=(embedding_folder,),
        threads_per_worker=1,
        lease_seconds=20.0,
        heartbeat_seconds=0.1,
        cancel_grace_seconds=1.0,
        drain_grace_seconds=5.0,
        poll_seconds=0.02,
        result_cache=False,
    )


@pytest.fixture
def leases(config: ServerConfig) -> Iterator[Leases]:
    """The store of an empty state."""
    prepare_state(config)
    leases = open_leases(config)
    yield leases
    leases.store.database.close()


@pytest.fixture
def submission() -> Submission:
    """A job to create."""
    request = Request(named("conv-7", (1, 28, 28), 10), "fashion-mnist")
    return Submission(JobSpec(request, embedding="fashion-mnist-default-1"))


@pytest.fixture
def compression(submission: Submission) -> Compression:
    """A result."""
    architecture = submission.spec.request.architecture
    costs, prediction = count(architecture), Prediction(0.9, 0.8, 0.95)
    latency = Latency(0.001, 0.0009, 0.002, 1, 1, 50, "a cpu")
    certificate = Certificate(
        sha256="0" * 64,
        size_bytes=600_000,
        params_on_bytes=costs.deployed_params,
        costs=costs,
        test_images=10_000,
        accuracy=0.91,
        accuracy_lower=0.90,
        accuracy_upper=0.92,
        argmax_agreement=1.0,
        max_abs_logit_difference=1e-5,
        latency=latency,
        input_latency=latency,
        opset=17,
        onnxruntime_version="1.20",
        torch_version="2.5",
    )
    return Compression(
        model=bytes(range(250)) * 2400,
        architecture=architecture,
        costs_before=costs,
        costs_after=costs,
        prediction=prediction,
        validation_accuracy=0.92,
        certificate=certificate,
        embedding="fashion-mnist-default-1",
        budget_met=True,
        seconds=1.5,
    )


@pytest.fixture
def with_all(compression: Compression) -> Compression:
    """A result with a front of two and an INT8 copy."""
    first = FrontModel(
        model=compression.model,
        architecture=compression.architecture,
        costs=compression.costs_after,
        prediction=compression.prediction,
        validation_accuracy=compression.validation_accuracy,
        certificate=compression.certificate,
    )
    smaller = named("resnet-20", (1, 28, 28), 10)
    second = replace(
        first,
        model=b"smaller",
        architecture=smaller,
        costs=count(smaller),
        validation_accuracy=0.9,
    )
    int8 = QuantizedModel(
        model=b"int8",
        sha256="1" * 64,
        size_bytes=4,
        calibration_images=1_000,
        test_images=10_000,
        accuracy=0.905,
        accuracy_lower=0.9,
        accuracy_upper=0.91,
        argmax_agreement=0.99,
        latency=compression.certificate.latency,
        onnxruntime_version="1.20",
    )
    return replace(compression, front=(first, second), int8=int8, seed_accuracies=(0.91, 0.92))


@pytest.fixture
def failed_job(submission: Submission, compression: Compression) -> JobRecord:
    """A job that missed its budget, with its best model."""
    bare = replace(compression, model=b"", budget_met=False)
    return JobRecord(
        id="01a20c62-4f83-7704-85b7-4ab1ca3c2729",
        state=State.FAILED,
        spec=replace(submission.spec, labels={"a": "b"}),
        create_time=1000.25,
        progress=Progress(Phase.CERTIFY, 1, 1),
        result=JobResult("01a20c62-4f83-7704-85b7-4ab1ca3c2720", bare, Budget(min_accuracy=0.9)),
        error=JobError("BUDGET_UNREACHABLE", "0.9 at most", {"min_accuracy": "0.9"}),
        start_time=1001.0,
        end_time=1002.0,
        expire_time=2000.0,
        attempt=1,
        last_seq=9,
        run_seconds=1.0,
    )


@pytest.fixture
def full_job(failed_job: JobRecord, with_all: Compression) -> JobRecord:
    """A job that succeeded with a front and an INT8 copy."""
    bare = replace(
        with_all,
        model=b"",
        front=tuple(replace(model, model=b"") for model in with_all.front),
        int8=with_all.int8 and replace(with_all.int8, model=b""),
    )
    result = JobResult("one", bare, front=("one", "two"), int8="three")
    return replace(failed_job, state=State.SUCCEEDED, result=result, error=None)


@pytest.fixture
async def server(config: ServerConfig) -> AsyncIterator[Server]:
    """A server whose workers do what a job's label `mode` says (`fake_worker.py`)."""
    prepare_state(config)
    command = (sys.executable, str(FAKE_WORKER))
    server = Server(config, load_catalog(config), worker_command=command, warm=False)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def channel(server: Server) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to the server."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield channel


@pytest.fixture
def stub(channel: grpc.aio.Channel) -> CompressionServiceAsyncStub:
    """The compression service of the server."""
    return CompressionServiceStub(channel)

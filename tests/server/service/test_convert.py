"""Round trips between domain and messages, and between domain and JSON."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archpress_proto.v1 import architecture_pb2 as arch_pb
from archpress_proto.v1 import jobs_pb2 as pb
from archpress_server.compress.latency_table import LatencyTable, LayerLatency
from archpress_server.compress.types import (
    Budget,
    Candidate,
    Compression,
    Effort,
    Method,
    Phase,
    Progress,
    Request,
    Waypoint,
)
from archpress_server.jobs.model import (
    EventKind,
    JobError,
    JobRecord,
    JobResult,
    JobSpec,
    LogLine,
    Severity,
    State,
    Submission,
)
from archpress_server.jobs.serialise import (
    payload_from_json,
    payload_to_json,
    spec_from_json,
    spec_to_json,
)
from archpress_server.service.convert import (
    architecture_from_proto,
    architecture_to_proto,
    budget_from_proto,
    budget_to_proto,
    duration,
    job_to_proto,
    latency_table_to_proto,
    layer_latency_from_proto,
    seconds,
    timestamp,
)
from archpress_trainer.embedding.prediction import Prediction
from archpress_trainer.space.architecture_space import ArchitectureSpace
from archpress_trainer.space.costs import count
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.named import NAMED, named
from archpress_trainer.space.practical_sampler import PracticalSampler, Window
from archpress_trainer.space.sampling import draw
from archpress_trainer.space.vocab import LayerKind

fractions = st.floats(0.0, 1.0)
budgets = st.builds(
    Budget,
    max_params=st.none() | st.integers(0, 2**63 - 1),
    max_params_ratio=st.none() | fractions,
    max_macs=st.none() | st.integers(0, 2**63 - 1),
    max_macs_ratio=st.none() | fractions,
    max_latency_seconds=st.none() | st.integers(0, 10**12).map(lambda n: n / 1e9),
    min_accuracy=st.none() | fractions,
    max_accuracy_drop=st.none() | fractions,
)


def sampled(seed: int) -> Architecture:
    sampler = PracticalSampler(ArchitectureSpace((1, 28, 28), 10), Window(2_000, 500_000))
    return next(iter(draw(sampler, Random(seed)))).architecture


architectures = st.integers(0, 10**6).map(sampled) | st.sampled_from(sorted(NAMED)).map(
    lambda name: named(name, (3, 32, 32), 10)
)
seconds_each = st.floats(0.0, 1.0)
tables = st.builds(
    LatencyTable,
    layers=st.lists(
        st.builds(
            LayerLatency,
            kind=st.sampled_from(LayerKind),
            kernel=st.none() | st.integers(1, 31),
            fixed_seconds=seconds_each,
            seconds_per_mac=seconds_each,
            seconds_per_output=seconds_each,
        ),
        max_size=3,
    ).map(tuple),
    fixed_seconds=seconds_each,
)
specs = st.builds(
    JobSpec,
    request=st.builds(
        Request,
        architecture=architectures,
        dataset=st.text(),
        budget=budgets,
        effort=st.sampled_from(Effort),
        method=st.sampled_from(Method),
        seed=st.integers(0, 2**64 - 1),
        latency_table=st.none() | tables,
        pareto_models=st.integers(1, 8),
        int8=st.booleans(),
        training_seeds=st.integers(1, 8),
    ),
    embedding=st.text(),
    network=st.text(),
    labels=st.dictionaries(st.text(), st.text()),
    priority=st.integers(-100, 100),
    max_run_time_seconds=st.floats(1, 1e5),
    max_queue_time_seconds=st.none() | st.floats(0, 1e5),
)


@settings(max_examples=40)
@given(architectures)
def test_architectures_survive_messages(architecture: Architecture) -> None:
    message = architecture_to_proto(architecture)
    wire = arch_pb.Architecture.FromString(message.SerializeToString())
    assert architecture_from_proto(wire) == architecture


@given(budgets)
def test_budgets_survive_messages(budget: Budget) -> None:
    wire = pb.Budget.FromString(budget_to_proto(budget).SerializeToString())
    assert budget_from_proto(wire) == budget


@given(tables)
def test_latency_tables_survive_messages(table: LatencyTable) -> None:
    wire = pb.LatencyTable.FromString(latency_table_to_proto(table).SerializeToString())
    assert tuple(layer_latency_from_proto(row) for row in wire.layers) == table.layers
    assert wire.fixed_seconds == table.fixed_seconds


def test_a_zero_budget_is_set() -> None:
    assert budget_from_proto(pb.Budget(max_params=0)) == Budget(max_params=0)


@settings(max_examples=40)
@given(specs)
def test_specifications_survive_json(spec: JobSpec) -> None:
    assert spec_from_json(json.loads(json.dumps(spec_to_json(spec)))) == spec


@given(st.integers(0, 10**15))
def test_durations_survive_messages(nanos: int) -> None:
    assert math.isclose(seconds(duration(nanos / 1e9)), nanos / 1e9, abs_tol=1e-6)


@given(st.floats(0, 4e9))
def test_timestamps_are_exact_to_a_microsecond(time: float) -> None:
    message = timestamp(time)
    assert 0 <= message.nanos < 10**9
    assert math.isclose(message.seconds + message.nanos / 1e9, time, abs_tol=1e-6)


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        (EventKind.PROGRESS, Progress(Phase.RETRAIN, 3, 10, 0.5, 0.9, 12.5, "epoch 3")),
        (EventKind.PROGRESS, Progress(Phase.VALIDATE)),
        (EventKind.PROGRESS, Progress(Phase.DESCEND, 3, 25, 0.5, waypoint=Waypoint(0.9, 48e3))),
        (EventKind.LOG, LogLine(Severity.WARNING, "odd")),
    ],
)
def test_small_payloads_survive_json(
    kind: EventKind, payload: Progress | LogLine, submission: Submission
) -> None:
    record = json.loads(json.dumps(payload_to_json(payload)))
    assert payload_from_json(kind, record, "id", submission.spec) == payload


@pytest.mark.parametrize("prediction", [Prediction(0.9, 0.8, 0.95), None])
def test_candidates_survive_json(submission: Submission, prediction: Prediction | None) -> None:
    architecture = submission.spec.request.architecture
    candidate = Candidate(
        architecture, count(architecture), prediction, 2, 0.7, True, inherits=True
    )
    record = json.loads(json.dumps(payload_to_json(candidate)))
    back = payload_from_json(EventKind.CANDIDATE, record, "id", submission.spec)
    assert back == candidate


@pytest.fixture
def failed_job(submission: Submission, compression: Compression) -> JobRecord:
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


def test_jobs_survive_json(failed_job: JobRecord) -> None:
    record = json.loads(json.dumps(payload_to_json(failed_job)))
    back = payload_from_json(EventKind.COMPLETED, record, failed_job.id, failed_job.spec)
    assert back == failed_job


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


def test_a_front_and_int8_survive_json(full_job: JobRecord) -> None:
    record = json.loads(json.dumps(payload_to_json(full_job)))
    back = payload_from_json(EventKind.COMPLETED, record, full_job.id, full_job.spec)
    assert back == full_job


def test_results_that_nothing_predicted(full_job: JobRecord) -> None:
    assert full_job.result is not None
    compression = full_job.result.compression
    blind = replace(
        compression,
        prediction=None,
        front=tuple(replace(model, prediction=None) for model in compression.front),
    )
    job = replace(full_job, result=replace(full_job.result, compression=blind))
    record = json.loads(json.dumps(payload_to_json(job)))
    assert payload_from_json(EventKind.COMPLETED, record, job.id, job.spec) == job
    result = job_to_proto(job).result
    for message in (result, *result.front):
        assert not message.HasField("predicted_accuracy")
        assert not message.HasField("predicted_interval")


def test_results_of_before_fronts_can_be_read(full_job: JobRecord) -> None:
    record = payload_to_json(full_job)
    del record["result"]["front"], record["result"]["int8"]
    for late in ("front", "int8", "seed_accuracies"):
        del record["result"]["compression"][late]
    back = payload_from_json(EventKind.COMPLETED, record, full_job.id, full_job.spec)
    assert isinstance(back, JobRecord)
    assert back.result is not None
    assert (back.result.front, back.result.compression.int8) == ((), None)
    assert back.result.compression.seed_accuracies == ()


def test_a_front_and_int8_become_messages(full_job: JobRecord) -> None:
    result = job_to_proto(full_job).result
    assert [model.artifact for model in result.front] == ["artifacts/one", "artifacts/two"]
    assert result.artifact == "artifacts/one"
    assert result.front[0].architecture == result.architecture
    assert result.front[0].certificate == result.certificate
    assert result.front[1].validation_accuracy == 0.9
    assert result.front[1].costs.params < result.front[0].costs.params
    assert result.int8.artifact == "artifacts/three"
    assert (result.int8.accuracy, result.int8.accuracy_interval.upper) == (0.905, 0.91)
    assert result.int8.latency == result.certificate.latency
    assert result.seed_accuracies == [0.91, 0.92]
    brief = job_to_proto(full_job, brief=True).result
    assert not any(model.HasField("architecture") for model in brief.front)


def test_what_was_asked_for_is_echoed(submission: Submission) -> None:
    request = replace(submission.spec.request, pareto_models=3, int8=True, training_seeds=2)
    job = JobRecord("", State.QUEUED, replace(submission.spec, request=request), 0.0)
    message = job_to_proto(job).spec
    assert (message.pareto_models, message.int8, message.training_seeds) == (3, True, 2)


def test_a_failed_job_carries_its_result_and_its_reason(failed_job: JobRecord) -> None:
    message = job_to_proto(failed_job)
    assert message.state == pb.JOB_STATE_FAILED
    assert message.error.code == 9
    assert b"BUDGET_UNREACHABLE" in message.error.details[0].value
    assert message.result.artifact == "artifacts/01a20c62-4f83-7704-85b7-4ab1ca3c2720"
    assert not message.result.budget_met
    assert message.result.nearest_budget.min_accuracy == 0.9
    assert message.spec.architecture.classes == 10
    assert not message.result.HasField("accuracy_before")
    assert not message.result.HasField("optimism")


def test_a_result_carries_what_was_measured_beside_it(failed_job: JobRecord) -> None:
    assert failed_job.result is not None
    measured = replace(failed_job.result.compression, accuracy_before=0.0, optimism=-0.01)
    job = replace(failed_job, result=replace(failed_job.result, compression=measured))
    message = job_to_proto(job).result
    assert message.HasField("accuracy_before")
    assert (message.accuracy_before, message.optimism) == (0.0, -0.01)


def test_a_table_is_echoed(submission: Submission) -> None:
    table = LatencyTable((LayerLatency(LayerKind.CONVOLUTION, 3, 1e-6),), 1e-5)
    spec = replace(submission.spec, request=replace(submission.spec.request, latency_table=table))
    message = job_to_proto(JobRecord("", State.QUEUED, spec, 0.0)).spec.latency_table
    assert (message.fixed_seconds, message.layers[0].kernel) == (1e-5, 3)


def test_a_brief_job_has_no_architectures(failed_job: JobRecord) -> None:
    message = job_to_proto(failed_job, brief=True)
    assert not message.spec.HasField("architecture")
    assert not message.result.HasField("architecture")
    assert not message.HasField("progress")


def test_a_named_network_is_echoed_by_name(submission: Submission) -> None:
    spec = replace(submission.spec, network="conv-7")
    job = JobRecord("", State.QUEUED, spec, 0.0)
    assert job_to_proto(job).spec.WhichOneof("model") == "network"


def test_every_kind_of_layer_has_its_number() -> None:
    assert {f"LAYER_KIND_{kind.name}": int(kind) for kind in LayerKind} == {
        name: number for name, number in arch_pb.LayerKind.items() if number
    }

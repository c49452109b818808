"""Messages become the client's types, whatever a newer server adds."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from google.protobuf.descriptor import EnumDescriptor
from hypothesis import given
from hypothesis import strategies as st

from archpress_client import CompletedEvent, Effort, JobState, Method, Model, Phase, Waypoint
from archpress_client._convert_job import (
    event_from_proto,
    job_from_proto,
    progress_from_proto,
    state_to_proto,
)
from archpress_client._convert_spec import spec_from_proto
from archpress_client._durations import duration_to_proto
from archpress_client._events import UnknownEvent
from archpress_proto.v1 import jobs_pb2
from tests.client.told_jobs import final_job, log_of


class NoSource:
    def save(self, model: Model, path: Path) -> None:
        raise AssertionError("nothing is fetched")

    def read(self, model: Model) -> bytes:
        raise AssertionError("nothing is fetched")


NO_SOURCE = NoSource()


def names(enum: EnumDescriptor, prefix: str) -> set[str]:
    return {value.name.removeprefix(prefix) for value in enum.values} - {"UNSPECIFIED"}


def test_enums_are_those_of_the_api() -> None:
    for kind, descriptor, prefix in (
        (JobState, jobs_pb2.JobState.DESCRIPTOR, "JOB_STATE_"),
        (Phase, jobs_pb2.Phase.DESCRIPTOR, "PHASE_"),
        (Effort, jobs_pb2.Effort.DESCRIPTOR, "EFFORT_"),
        (Method, jobs_pb2.Method.DESCRIPTOR, "METHOD_"),
    ):
        assert {*names(descriptor, prefix), "UNKNOWN"} == set(kind.__members__)
    assert state_to_proto(JobState.FAILED) == jobs_pb2.JobState.JOB_STATE_FAILED


def test_unknown_numbers_are_unknown() -> None:
    job = jobs_pb2.Job(state=jobs_pb2.JobState.ValueType(77))
    assert job_from_proto(job, NO_SOURCE).state is JobState.UNKNOWN
    assert not JobState.UNKNOWN.is_final
    progress = jobs_pb2.Progress(phase=jobs_pb2.Phase.ValueType(77))
    assert progress_from_proto(progress).phase is Phase.UNKNOWN
    assert event_from_proto(jobs_pb2.JobEvent(seq=3), NO_SOURCE) == UnknownEvent(3, None)
    spec = spec_from_proto(
        jobs_pb2.JobSpec(effort=jobs_pb2.Effort.ValueType(77), method=jobs_pb2.Method.ValueType(77))
    )
    assert (spec.effort, spec.method) == (Effort.UNKNOWN, Method.UNKNOWN)


def test_unset_effort_and_method_are_the_defaults_of_the_api() -> None:
    spec = spec_from_proto(jobs_pb2.JobSpec())
    assert (spec.effort, spec.method) == (Effort.DRAFT, Method.DEFAULT)


def test_unset_is_none_and_zero_is_zero() -> None:
    assert progress_from_proto(jobs_pb2.Progress()).loss is None
    assert progress_from_proto(jobs_pb2.Progress(loss=0.0)).loss == 0.0
    assert progress_from_proto(jobs_pb2.Progress()).waypoint is None
    point = jobs_pb2.Waypoint(predicted_accuracy=0.9, expected_params=48e3)
    found = progress_from_proto(jobs_pb2.Progress(waypoint=point)).waypoint
    assert found == Waypoint(predicted_accuracy=0.9, expected_params=48e3)
    assert job_from_proto(jobs_pb2.Job(), NO_SOURCE).start_time is None


def test_a_whole_job() -> None:
    queued = jobs_pb2.Job(name="jobs/1", state=jobs_pb2.JobState.JOB_STATE_QUEUED)
    event = event_from_proto(log_of(queued)[-1], NO_SOURCE)
    assert isinstance(event, CompletedEvent)
    job = event.job
    assert job.state is JobState.SUCCEEDED
    assert job.end_time == datetime.fromtimestamp(1_800_000_060, UTC)
    assert job.result is not None
    assert job.result.accuracy == job.result.certificate.accuracy == 0.9312
    assert job.result.run_time_seconds == 61.0
    assert job.result.seed_accuracies == (0.92, 0.9321)
    latency = job.result.certificate.latency
    assert latency is not None
    assert latency.p90_seconds == pytest.approx(240e-6)
    assert "_source" not in repr(job.result)


def test_a_failed_job_says_why() -> None:
    job = job_from_proto(final_job(jobs_pb2.Job(name="jobs/1"), "failed"), NO_SOURCE)
    assert job.error is not None
    assert job.error.reason == "BUDGET_UNREACHABLE"


@given(st.floats(0, 1e9))
def test_durations(seconds: float) -> None:
    message = duration_to_proto(seconds)
    assert 0 <= message.nanos < 10**9
    assert message.seconds + message.nanos / 1e9 == pytest.approx(seconds, abs=1e-6)

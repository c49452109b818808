"""Jobs, their events and uploaded models in messages of the API."""

from __future__ import annotations

from archpress_client import _events
from archpress_client._convert_network import costs_from_proto, network_from_proto
from archpress_client._convert_result import candidate_from_proto, result_from_proto
from archpress_client._convert_spec import spec_from_proto
from archpress_client._message_fields import enum_field, optional, point_of_time, seconds
from archpress_client._rpc_errors import reason_of
from archpress_client._types import (
    Failure,
    Job,
    JobState,
    ModelSource,
    Phase,
    Progress,
    UploadedModel,
    Waypoint,
)
from archpress_proto.v1 import artifact_service_pb2, jobs_pb2


def job_from_proto(message: jobs_pb2.Job, source: ModelSource) -> Job:
    """Return the job in a message; its result fetches its bytes from `source`."""
    error = None
    if message.HasField("error"):
        reason, metadata = reason_of(message.error)
        error = Failure(reason, message.error.message, metadata)
    return Job(
        name=message.name,
        state=enum_field(JobState, message.state, JobState.UNKNOWN),
        spec=spec_from_proto(message.spec),
        progress=progress_from_proto(message.progress) if message.HasField("progress") else None,
        result=result_from_proto(message.result, source) if message.HasField("result") else None,
        error=error,
        create_time=point_of_time(message, "create_time"),
        start_time=point_of_time(message, "start_time"),
        end_time=point_of_time(message, "end_time"),
        expire_time=point_of_time(message, "expire_time"),
        attempt=message.attempt,
        last_seq=message.last_seq,
        queue_position=message.queue_position,
        cached_result=message.cached_result,
    )


def event_from_proto(message: jobs_pb2.JobEvent, source: ModelSource) -> _events.Incoming:
    """Return the event in a message."""
    seq, time = message.seq, point_of_time(message, "time")
    match message.WhichOneof("event"):
        case "snapshot":
            return _events.SnapshotEvent(seq, time, job_from_proto(message.snapshot, source))
        case "progress":
            return _events.ProgressEvent(seq, time, progress_from_proto(message.progress))
        case "candidate":
            return _events.CandidateEvent(seq, time, candidate_from_proto(message.candidate))
        case "log":
            severity = enum_field(
                _events.LogSeverity, message.log.severity, _events.LogSeverity.INFO
            )
            return _events.LogEvent(seq, time, severity, message.log.text)
        case "heartbeat":
            state = enum_field(JobState, message.heartbeat.state, JobState.UNKNOWN)
            return _events.HeartbeatEvent(time, state, message.heartbeat.queue_position)
        case "gap":
            return _events.GapEvent(time, message.gap.to_seq)
        case "completed":
            return _events.CompletedEvent(seq, time, job_from_proto(message.completed, source))
        case _:
            return _events.UnknownEvent(seq, time)


def progress_from_proto(message: jobs_pb2.Progress) -> Progress:
    """Return the progress in a message."""
    return Progress(
        phase=enum_field(Phase, message.phase, Phase.UNKNOWN),
        step=message.step,
        total_steps=message.total_steps,
        loss=optional(message, "loss"),
        accuracy=optional(message, "accuracy"),
        eta_seconds=seconds(message, "eta"),
        message=message.message,
        waypoint=_waypoint(message),
    )


def _waypoint(message: jobs_pb2.Progress) -> Waypoint | None:
    if not message.HasField("waypoint"):
        return None
    point = message.waypoint
    return Waypoint(
        predicted_accuracy=point.predicted_accuracy, expected_params=point.expected_params
    )


def upload_from_proto(message: artifact_service_pb2.Artifact) -> UploadedModel:
    """Return the uploaded model in a message."""
    return UploadedModel(
        artifact=message.name,
        sha256=message.sha256,
        size_bytes=message.size_bytes,
        network=network_from_proto(message.architecture),
        costs=costs_from_proto(message.costs),
        display_name=message.display_name,
        expire_time=point_of_time(message, "expire_time"),
    )


def state_to_proto(state: JobState) -> jobs_pb2.JobState.ValueType:
    """Return the number of a state."""
    return jobs_pb2.JobState.Value(f"JOB_STATE_{state.name}")

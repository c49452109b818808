"""Jobs, their logs and artifacts, from domain to messages."""

from __future__ import annotations

from archpress_proto.v1 import artifact_service_pb2 as artifact_pb
from archpress_proto.v1 import jobs_pb2 as pb
from archpress_server.compress.types import Candidate, Progress, Waypoint
from archpress_server.jobs.model import ArtifactRecord, Event, JobRecord, LogLine, State
from archpress_server.service.convert_network import architecture_to_proto, costs_to_proto
from archpress_server.service.convert_result import candidate_to_proto, result_to_proto
from archpress_server.service.convert_spec import spec_to_proto
from archpress_server.service.errors import job_status
from archpress_server.service.times import duration, timestamp


def job_to_proto(job: JobRecord, *, brief: bool = False) -> pb.Job:
    """Return the message of a job; a brief one has no architectures, and of progress the place."""
    message = pb.Job(
        name=f"jobs/{job.id}" if job.id else "",
        state=state_to_proto(job.state),
        spec=spec_to_proto(job.spec, brief=brief),
        attempt=job.attempt,
        last_seq=job.last_seq,
        queue_position=job.queue_position,
        cached_result=job.cached_result,
        create_time=timestamp(job.create_time),
        start_time=None if job.start_time is None else timestamp(job.start_time),
        end_time=None if job.end_time is None else timestamp(job.end_time),
        expire_time=None if job.expire_time is None else timestamp(job.expire_time),
    )
    if job.progress is not None:
        progress = job.progress
        if brief:
            progress = Progress(progress.phase, progress.step, progress.total_steps)
        message.progress.CopyFrom(progress_to_proto(progress))
    if job.result is not None:
        message.result.CopyFrom(result_to_proto(job.result, job.run_seconds, brief=brief))
    if job.error is not None:
        message.error.CopyFrom(job_status(job.error))
    return message


def event_to_proto(event: Event) -> pb.JobEvent:
    """Return the message of an entry of a job's log."""
    message = pb.JobEvent(job=f"jobs/{event.job}", seq=event.seq, time=timestamp(event.time))
    match event.payload:
        case JobRecord() as job:
            part = message.completed if job.state.final else message.snapshot
            part.CopyFrom(job_to_proto(job))
        case Progress() as progress:
            message.progress.CopyFrom(progress_to_proto(progress))
        case Candidate() as candidate:
            message.candidate.CopyFrom(candidate_to_proto(candidate))
        case LogLine() as line:
            message.log.severity = pb.LogSeverity.Value(f"LOG_SEVERITY_{line.severity.name}")
            message.log.text = line.text[:2000]
    return message


def heartbeat_to_proto(job: JobRecord, time: float) -> pb.JobEvent:
    """Return the sign of life of a job's stream."""
    beat = pb.Heartbeat(state=state_to_proto(job.state), queue_position=job.queue_position)
    return pb.JobEvent(job=f"jobs/{job.id}", time=timestamp(time), heartbeat=beat)


def progress_to_proto(progress: Progress) -> pb.Progress:
    """Return the message of some progress."""
    eta = progress.eta_seconds
    return pb.Progress(
        phase=pb.Phase.Value(f"PHASE_{progress.phase.name}"),
        step=progress.step,
        total_steps=progress.total_steps,
        loss=progress.loss,
        accuracy=progress.accuracy,
        eta=None if eta is None else duration(eta),
        message=progress.message,
        waypoint=_waypoint(progress.waypoint),
    )


def _waypoint(point: Waypoint | None) -> pb.Waypoint | None:
    if point is None:
        return None
    return pb.Waypoint(predicted_accuracy=point.accuracy, expected_params=point.params)


def state_to_proto(state: State) -> pb.JobState.ValueType:
    """Return the message's state."""
    return pb.JobState.Value(f"JOB_STATE_{state.name}")


def state_from_proto(state: int) -> State | None:
    """Return a state; None if there is no such one."""
    if state == pb.JOB_STATE_UNSPECIFIED or state not in pb.JobState.values():
        return None
    return State[pb.JobState.Name(state).removeprefix("JOB_STATE_")]  # type: ignore[arg-type]


def artifact_to_proto(artifact: ArtifactRecord) -> artifact_pb.Artifact:
    """Return the message of an artifact."""
    expire = artifact.expire_time
    return artifact_pb.Artifact(
        name=f"artifacts/{artifact.id}",
        kind=artifact_pb.ARTIFACT_KIND_RESULT if artifact.job else artifact_pb.ARTIFACT_KIND_UPLOAD,
        size_bytes=artifact.size_bytes,
        sha256=artifact.sha256,
        architecture=architecture_to_proto(artifact.architecture),
        costs=costs_to_proto(artifact.costs),
        job=f"jobs/{artifact.job}" if artifact.job else "",
        display_name=artifact.display_name,
        create_time=timestamp(artifact.create_time),
        expire_time=None if expire is None else timestamp(expire),
    )

"""What the messages of jobs say."""

from __future__ import annotations

from dataclasses import replace

from archpress_proto.v1 import jobs_pb2 as pb
from archpress_server.compress.latency_table import LatencyTable, LayerLatency
from archpress_server.jobs.model import (
    JobRecord,
    State,
    Submission,
)
from archpress_server.service.convert_job import job_to_proto
from archpress_trainer.space.vocab import LayerKind


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
    whole = job_to_proto(failed_job).progress
    assert message.progress == pb.Progress(
        phase=whole.phase, step=whole.step, total_steps=whole.total_steps
    )


def test_a_named_network_is_echoed_by_name(submission: Submission) -> None:
    spec = replace(submission.spec, network="conv-7")
    job = JobRecord("", State.QUEUED, spec, 0.0)
    assert job_to_proto(job).spec.WhichOneof("model") == "network"

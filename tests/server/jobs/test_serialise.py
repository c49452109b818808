"""Round trips between domain and JSON."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings

from archpress_server.compress.types import (
    Budget,
    Candidate,
    Phase,
    Progress,
    Waypoint,
)
from archpress_server.jobs.model import (
    EventKind,
    JobRecord,
    JobSpec,
    LogLine,
    Severity,
    Submission,
)
from archpress_server.jobs.serialise import (
    payload_from_json,
    payload_to_json,
    spec_from_json,
    spec_to_json,
    submission_digest,
)
from archpress_server.service.convert_job import job_to_proto
from archpress_trainer.embedding.prediction import Prediction
from archpress_trainer.space.costs import count
from tests.server.strategies import specs


@settings(max_examples=40)
@given(specs)
def test_specifications_survive_json(spec: JobSpec) -> None:
    assert spec_from_json(json.loads(json.dumps(spec_to_json(spec)))) == spec


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


def test_jobs_survive_json(failed_job: JobRecord) -> None:
    record = json.loads(json.dumps(payload_to_json(failed_job)))
    back = payload_from_json(EventKind.COMPLETED, record, failed_job.id, failed_job.spec)
    assert back == failed_job


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


def test_a_request_has_one_digest_whatever_the_release(submission: Submission) -> None:
    digest = submission_digest(submission)
    assert digest == "28910115a8ba7af80b2e8c54abdd69db77e9eace9c7b5ebb23141bd190e0d246"
    spec = submission.spec
    assert submission_digest(replace(submission, spec=replace(spec, embedding="other"))) == digest
    for change in ({"seed": 1}, {"int8": True}, {"budget": Budget(max_params=1)}):
        other = replace(spec, request=replace(spec.request, **change))
        assert submission_digest(replace(submission, spec=other)) != digest
    assert submission_digest(replace(submission, spec=replace(spec, priority=1))) != digest

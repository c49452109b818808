"""A real compression, as its job's row and log would hold it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from archpress_server.compress.effort import EffortPlan
from archpress_server.compress.pipeline import compress
from archpress_server.compress.types import Budget, Candidate, Progress, Request
from archpress_server.jobs.model import (
    Event,
    EventKind,
    JobRecord,
    JobResult,
    JobSpec,
    LogLine,
    Payload,
    Severity,
    State,
)
from archpress_server.report.facts import JobFacts
from archpress_trainer.data.registry import DataSources
from archpress_trainer.embedding.artifact import load
from archpress_trainer.training.device import Compute
from archpress_trainer.training.recipe import Recipe
from tests.trainer.nets import small_net

NET = small_net(32, second=32)
SHORT = EffortPlan(
    trained_candidates=3,
    round_recipe=Recipe("round", 2, batch_size=32, learning_rate=0.1),
    round_images=200,
    final_recipe=Recipe("final", 3, batch_size=16, learning_rate=0.1),
)


class Log:
    """An observer that writes what it is told as a job's log."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def _add(self, kind: EventKind, payload: Payload) -> None:
        self.events.append(Event("1", len(self.events) + 1, time.time(), kind, payload))

    def progress(self, progress: Progress) -> None:
        self._add(EventKind.PROGRESS, progress)

    def candidate(self, candidate: Candidate) -> None:
        self._add(EventKind.CANDIDATE, candidate)

    def warning(self, text: str) -> None:
        self._add(EventKind.LOG, LogLine(Severity.WARNING, text))

    def should_stop(self) -> bool:
        return False


@pytest.fixture(scope="session")
def facts(tiny_embedding: Path, tiny_sources: DataSources, cpu: Compute) -> JobFacts:
    """A job that brought two sizes and a quantized copy."""
    request = Request(NET, "tiny", Budget(max_params=3_000), pareto_models=2, int8=True)
    embedding, log, start = load(tiny_embedding), Log(), time.time()
    result = compress(
        request,
        embedding,
        tiny_sources.load("tiny"),
        log,
        threads=1,
        effort=SHORT,
        compute=cpu,
    )
    log.warning("a line with <b>signs</b>")
    job = JobRecord(
        "01a21bfa",
        State.SUCCEEDED,
        JobSpec(request, embedding.manifest.name),
        start - 2,
        result=JobResult("a", result, front=("a", "b")[: len(result.front)], int8="c"),
        start_time=start,
        end_time=time.time(),
        attempt=1,
        run_seconds=12.0,
    )
    labelled = tuple((e.costs.params, e.accuracy) for e in embedding.exemplars)
    return JobFacts(job, tuple(log.events), labelled)

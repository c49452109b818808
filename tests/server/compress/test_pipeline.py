"""`compress` from a request to certified bytes, with real training on a small data set."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from archpress_server.compress.effort import EffortPlan, effort_plan
from archpress_server.compress.export import INPUT_NAME
from archpress_server.compress.latency import session
from archpress_server.compress.pipeline import compress
from archpress_server.compress.types import (
    Budget,
    Candidate,
    Compression,
    CompressionError,
    Effort,
    Method,
    Phase,
    Progress,
    Reason,
    Request,
    StoppedError,
)
from archpress_trainer.data.registry import DataSources
from archpress_trainer.embedding.artifact import load
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.layers import (
    batch_norm,
    conv,
    global_average_pool,
    linear,
    max_pool,
    relu,
)
from archpress_trainer.training.device import Compute
from archpress_trainer.training.recipe import Recipe, Schedule

NET = Architecture(
    (1, 12, 12),
    4,
    (
        conv(32, 3),
        batch_norm(),
        relu(),
        max_pool(),
        conv(32, 3),
        batch_norm(),
        relu(),
        global_average_pool(),
        linear(4),
    ),
)
SHORT = EffortPlan(
    trained_candidates=2,
    round_recipe=Recipe("round", 1, batch_size=32, learning_rate=0.1),
    round_images=200,
    final_recipe=Recipe("final", 12, batch_size=16, learning_rate=0.1, average_decay=0.9),
)


@dataclass
class Recorder:
    """Keeps what it is told; asks to stop once it has heard `stop_after` reports of a phase."""

    stop_in: Phase | None = None
    seen: list[Progress] = field(default_factory=list)
    candidates: list[Candidate] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def progress(self, progress: Progress) -> None:
        self.seen.append(progress)

    def candidate(self, candidate: Candidate) -> None:
        self.candidates.append(candidate)

    def warning(self, text: str) -> None:
        self.warnings.append(text)

    def should_stop(self) -> bool:
        return self.stop_in is not None and self.seen[-1].phase is self.stop_in


def run(
    request: Request, folder: Path, sources: DataSources, cpu: Compute, recorder: Recorder
) -> Compression:
    return compress(
        request,
        load(folder),
        sources.load("tiny"),
        recorder,
        threads=1,
        effort=SHORT,
        compute=cpu,
    )


def test_a_request_becomes_a_small_certified_model(
    tiny_embedding: Path, tiny_sources: DataSources, cpu: Compute
) -> None:
    recorder = Recorder()
    request = Request(NET, "tiny", Budget(max_params=3_000))
    result = run(request, tiny_embedding, tiny_sources, cpu, recorder)
    assert result.budget_met
    assert result.certificate.params_on_bytes <= result.costs_after.params <= 3_000
    # Four classes; the tiny embedding knows too little to find good nets, but they learn.
    assert result.certificate.accuracy > 0.5
    # The delivered bytes alone give the certified accuracy.
    test = tiny_sources.load("tiny").test()
    images = test.images.numpy().astype(np.float32) / 255
    logits = session(result.model, 1).run(None, {INPUT_NAME: images})[0]
    accuracy = float((logits.argmax(axis=1) == test.labels.numpy()).mean())
    assert accuracy == pytest.approx(result.certificate.accuracy)
    phases = list(dict.fromkeys(progress.phase for progress in recorder.seen))
    assert phases == list(Phase)
    chosen = [candidate for candidate in recorder.candidates if candidate.chosen]
    assert [candidate.architecture for candidate in chosen] == [result.architecture]
    assert chosen[0].validation_accuracy == result.validation_accuracy


@pytest.mark.parametrize("phase", [Phase.DESCEND, Phase.RETRAIN])
def test_it_stops_when_asked(
    tiny_embedding: Path, tiny_sources: DataSources, cpu: Compute, phase: Phase
) -> None:
    request = Request(NET, "tiny", Budget(max_params=3_000))
    recorder = Recorder(stop_in=phase)
    with pytest.raises(StoppedError):
        run(request, tiny_embedding, tiny_sources, cpu, recorder)
    assert recorder.seen[-1].phase is phase


def test_a_missed_accuracy_floor_keeps_the_best_model(
    tiny_embedding: Path, tiny_sources: DataSources, cpu: Compute
) -> None:
    request = Request(NET, "tiny", Budget(max_params=200, min_accuracy=1.0))
    with pytest.raises(CompressionError) as error:
        run(request, tiny_embedding, tiny_sources, cpu, Recorder())
    assert error.value.reason is Reason.BUDGET_UNREACHABLE
    best, nearest = error.value.best, error.value.nearest_budget
    assert best is not None
    assert nearest is not None
    assert not best.budget_met
    assert best.costs_after.params <= 200
    assert nearest.min_accuracy == best.certificate.accuracy < 1.0


def test_efforts_spend_more_and_the_papers_method_trains_one() -> None:
    plans = [effort_plan(e, Method.DEFAULT, "fashion-mnist", (1, 28, 28)) for e in Effort]
    assert [plan.final_recipe.epochs for plan in plans] == sorted(
        plan.final_recipe.epochs for plan in plans
    )
    assert len({plan.trained_candidates for plan in plans}) == len(plans)
    paper = effort_plan(Effort.FULL, Method.PAPER, "fashion-mnist", (1, 28, 28))
    assert paper.trained_candidates == 1
    assert paper.final_recipe.schedule is Schedule.STEPS
    assert paper.final_recipe.epochs == 50


def test_a_draft_trains_large_networks_for_fewer_epochs() -> None:
    plan = effort_plan(Effort.DRAFT, Method.DEFAULT, "fashion-mnist", (1, 28, 28))
    epochs = [plan.recipe_for(macs, 55_000).epochs for macs in (10**5, 10**7, 10**9)]
    assert epochs[0] == plan.final_recipe.epochs
    assert epochs == sorted(epochs, reverse=True)
    assert epochs[2] >= 5
    full = effort_plan(Effort.FULL, Method.DEFAULT, "fashion-mnist", (1, 28, 28))
    assert full.recipe_for(10**9, 55_000) == full.final_recipe

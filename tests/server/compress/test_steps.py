"""What a compression does where a step of it finds less than it looked for."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from archpress_server.compress import delivery, latency_budget
from archpress_server.compress.certify import certify
from archpress_server.compress.effort import EffortPlan
from archpress_server.compress.latency_model import FittedLatency
from archpress_server.compress.pipeline import compress
from archpress_server.compress.types import (
    Budget,
    Certificate,
    Compression,
    CompressionError,
    Method,
    Reason,
    Request,
    RequestError,
)
from archpress_trainer.data.registry import DataSources
from archpress_trainer.embedding.artifact import load
from archpress_trainer.space.architecture_space import ArchitectureSpace
from archpress_trainer.training.device import Compute
from archpress_trainer.training.recipe import Recipe, population_recipe
from tests.server.compress.recorder import Recorder
from tests.trainer.nets import small_net

NET = small_net(32, second=32)
SHORT = EffortPlan(
    trained_candidates=2,
    round_recipe=Recipe("round", 1, batch_size=32, learning_rate=0.1),
    round_images=200,
    final_recipe=Recipe("final", 2, batch_size=16, learning_rate=0.1, average_decay=0.9),
)


@pytest.fixture
def compressed(tiny_embedding: Path, tiny_sources: DataSources, cpu: Compute) -> Any:
    def run(request: Request, recorder: Recorder, effort: EffortPlan = SHORT) -> Compression:
        return compress(
            request,
            load(tiny_embedding),
            tiny_sources.load("tiny"),
            recorder,
            threads=1,
            effort=effort,
            compute=cpu,
        )

    return run


def test_a_job_goes_on_without_an_input_network_that_diverges(compressed: Any) -> None:
    wild = Recipe("final", 2, batch_size=16, learning_rate=1e30)
    effort = replace(SHORT, final_recipe=wild, teaches=True)
    request, recorder = Request(NET, "tiny", Budget(max_params=3_000)), Recorder()
    # Here the candidates diverge too, which is what ends the job.
    with pytest.raises(CompressionError, match="candidates diverged"):
        compressed(request, recorder, effort)
    assert any("nothing is learnt from the input network" in text for text in recorder.warnings)


def test_an_input_network_trained_for_its_accuracy_teaches_too(compressed: Any) -> None:
    recorder = Recorder()
    effort = replace(SHORT, final_recipe=replace(SHORT.final_recipe, epochs=12))
    budget = Budget(max_params=3_000, max_accuracy_drop=0.9)
    compressed(Request(NET, "tiny", budget), recorder, effort)
    assert any(candidate.inherits for candidate in recorder.candidates)
    assert not any("weights are not used" in text for text in recorder.warnings)


@pytest.mark.parametrize("ratio", [math.nan, math.inf])
def test_a_ratio_that_is_no_number_is_refused(compressed: Any, ratio: float) -> None:
    bounded = replace(SHORT, final_work_macs=1e9)
    with pytest.raises(RequestError, match="max_params_ratio"):
        compressed(Request(NET, "tiny", Budget(max_params_ratio=ratio)), Recorder(), bounded)


def test_the_papers_method_has_no_second_choice(compressed: Any) -> None:
    recorder = Recorder()
    request = Request(NET, "tiny", Budget(max_params=110), method=Method.PAPER)
    with pytest.raises(CompressionError) as error:
        compressed(request, recorder)
    assert error.value.reason is Reason.BUDGET_UNREACHABLE
    assert "no decode was valid" in str(error.value)
    assert recorder.candidates == []


def test_all_sizes_go_by_one_measurement_of_this_machine(
    compressed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def calibrate(space: ArchitectureSpace) -> FittedLatency:
        calls.append(space)
        return FittedLatency(1e-5, 8, {}, 0.0)

    monkeypatch.setattr(latency_budget, "calibrate", calibrate)
    budget = Budget(max_params=3_000, max_latency_seconds=1.0)
    compressed(Request(NET, "tiny", budget, pareto_models=2), Recorder())
    assert len(calls) == 1


def test_optimism_is_of_the_round_where_the_next_candidate_is_delivered(
    compressed: Any, tiny_embedding: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certified = []

    def slow(*arguments: Any, **options: Any) -> Certificate:
        found = certify(*arguments, **options)
        certified.append(found)
        latency = replace(found.latency, median_seconds=9.0)
        return replace(found, latency=latency) if len(certified) == 1 else found

    monkeypatch.setattr(delivery, "certify", slow)
    fidelity = load(tiny_embedding).manifest.fidelity
    as_labels = replace(
        SHORT,
        round_recipe=population_recipe(fidelity.epochs),
        round_images=fidelity.train_images,
    )
    budget = Budget(max_params=3_000, max_latency_seconds=1.0)
    result = compressed(Request(NET, "tiny", budget), Recorder(), as_labels)
    assert len(certified) == 2
    assert result.optimism is not None

"""What a compression does where a step of it finds less than it looked for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from archpress_server.compress import delivery, front, latency_budget, steps
from archpress_server.compress.certify import certify
from archpress_server.compress.conditions import Conditions
from archpress_server.compress.effort import EffortPlan
from archpress_server.compress.input_net import TrainedInput
from archpress_server.compress.latency_model import FittedLatency
from archpress_server.compress.legacy import Legacy
from archpress_server.compress.pipeline import compress
from archpress_server.compress.retrain import Trained, retrain
from archpress_server.compress.types import (
    Budget,
    Candidate,
    Certificate,
    Compression,
    CompressionError,
    Method,
    Progress,
    Reason,
    Request,
    RequestError,
)
from archpress_trainer.data.registry import DataSources
from archpress_trainer.embedding.artifact import load
from archpress_trainer.space.architecture_space import ArchitectureSpace
from archpress_trainer.space.build import build
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
    trained = [c for c in recorder.candidates if c.validation_accuracy is not None]
    assert any(candidate.inherits for candidate in trained)
    assert not any("weights are not used" in text for text in recorder.warnings)


@pytest.mark.parametrize(
    ("method", "most_work"),
    [(Method.DEFAULT, None), (Method.DEFAULT, 1.0), (Method.PAPER, None)],
    ids=["taught", "too-dear", "paper"],
)
def test_who_learns_from_the_input_network(
    tiny_embedding: Path,
    tiny_sources: DataSources,
    cpu: Compute,
    method: Method,
    most_work: float | None,
) -> None:
    dataset, recorder = tiny_sources.load("tiny"), Recorder()
    data, embedding = dataset.split(), load(tiny_embedding)
    effort = replace(SHORT, final_work_macs=most_work)
    request = Request(small_net(64, second=64), "tiny", Budget(max_params=3_000))
    job = steps.Steps(request, dataset, Conditions(data, effort, 0, cpu, recorder), 1)
    ladder = job.planned(embedding, inheriting=True, given=True)
    source = TrainedInput(
        build(request.architecture, torch.Generator()).eval(), data.normalisation, 1.0
    )
    legacy = replace(job, request=replace(request, method=method)).legacy(source, ladder)
    assert (legacy is None) == (method is Method.PAPER)
    assert bool(legacy and legacy.teacher) == (method is not Method.PAPER and most_work is None)
    warned = any("do not teach" in text for text in recorder.warnings)
    assert warned == (most_work is not None)


def test_weights_that_neither_teach_nor_start_anything_are_not_used(
    tiny_embedding: Path, tiny_sources: DataSources, cpu: Compute
) -> None:
    dataset, recorder = tiny_sources.load("tiny"), Recorder()
    data, effort = dataset.split(), replace(SHORT, final_work_macs=1.0)
    request = Request(NET, "tiny", Budget(max_params=3_000))
    job = steps.Steps(request, dataset, Conditions(data, effort, 0, cpu, recorder), 1)
    ladder = job.planned(load(tiny_embedding), inheriting=False)
    source = TrainedInput(build(NET, torch.Generator()).eval(), data.normalisation, 1.0)
    assert job.legacy(source, ladder) is None
    assert any("weights are not used: to ask" in text for text in recorder.warnings)


def test_a_search_takes_one_thread_and_gives_the_others_back(
    tiny_embedding: Path, tiny_sources: DataSources, cpu: Compute
) -> None:
    threads: list[int] = []

    class Observer(Recorder):
        def progress(self, progress: Progress) -> None:
            threads.append(torch.get_num_threads())

    dataset = tiny_sources.load("tiny")
    conditions = Conditions(dataset.split(), SHORT, 0, cpu, Observer())
    job = steps.Steps(Request(NET, "tiny", Budget(max_params=3_000)), dataset, conditions, 1)
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        assert job.planned(load(tiny_embedding), inheriting=False).sizes
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)
    assert set(threads) == {1}


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
    certified = certify_slowly(monkeypatch, {0})
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


LIMITED = Request(NET, "tiny", Budget(max_params=3_000, max_latency_seconds=1.0))


def certify_slowly(monkeypatch: pytest.MonkeyPatch, places: set[int]) -> list[Certificate]:
    """Let some certificates of a job say nine seconds, and return all that it gets."""
    certified: list[Certificate] = []

    def slow(*arguments: Any, **options: Any) -> Certificate:
        seconds = 9.0 if len(certified) in places else 1e-4
        found = certify(*arguments, **options)
        certified.append(replace(found, latency=replace(found.latency, median_seconds=seconds)))
        return certified[-1]

    monkeypatch.setattr(delivery, "certify", slow)
    monkeypatch.setattr(latency_budget, "calibrate", lambda _: FittedLatency(1e-5, 8, {}, 0.0))
    return certified


def test_a_next_candidate_that_diverges_leaves_the_slow_result(
    compressed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverging(*_: object) -> None:
        raise CompressionError(Reason.TRAINING_DIVERGED, "all 1 candidates diverged in training")

    certify_slowly(monkeypatch, {0})
    monkeypatch.setattr(steps, "retrain", diverging)
    recorder = Recorder()
    with pytest.raises(CompressionError) as error:
        compressed(LIMITED, recorder)
    assert error.value.reason is Reason.BUDGET_UNREACHABLE
    best = error.value.best
    assert best is not None
    assert error.value.nearest_budget == replace(LIMITED.budget, max_latency_seconds=9.0)
    assert any("is left out: all 1 candidates diverged" in text for text in recorder.warnings)
    (chosen,) = (candidate for candidate in recorder.candidates if candidate.chosen)
    assert (chosen.architecture, chosen.validation_accuracy) == (
        best.architecture,
        best.validation_accuracy,
    )


@pytest.mark.parametrize("searched", [1, 2])
def test_what_was_trained_in_full_is_not_trained_again(
    compressed: Any, monkeypatch: pytest.MonkeyPatch, searched: int
) -> None:
    certified, recorder = certify_slowly(monkeypatch, {0}), Recorder()
    longer = replace(SHORT.final_recipe, epochs=10)
    effort = replace(SHORT, trained_candidates=searched, teaches=True, final_recipe=longer)
    result = compressed(LIMITED, recorder, effort)
    assert result.certificate == certified[1]
    trained = [c for c in recorder.candidates if c.validation_accuracy is not None]
    (chosen,) = (candidate for candidate in trained if candidate.chosen)
    assert chosen.architecture == result.architecture
    # The heir and the winner of the others: one is chosen, the other was too slow.
    assert any(c.inherits for c in trained)
    names = [p.message.rpartition(", epoch ")[0] for p in recorder.seen]
    in_full = [name for name, _ in groupby(names) if name.endswith("10 epochs (final)")]
    assert len(in_full) == len(set(in_full)) == 2
    assert not any("next candidate" in text for text in recorder.warnings)


@pytest.mark.parametrize("slow", [{0}, {0, 2, 3}], ids=["the-best", "all-but-the-next"])
def test_a_front_with_another_first_model_falls_in_size_and_accuracy(
    compressed: Any, monkeypatch: pytest.MonkeyPatch, slow: set[int]
) -> None:
    certify_slowly(monkeypatch, slow)
    recorder, again = Recorder(), []

    def poorly(
        candidates: Sequence[Candidate], conditions: Conditions, legacy: Legacy | None
    ) -> Trained:
        idle = replace(conditions.effort.final_recipe, epochs=1, learning_rate=1e-9)
        effort = replace(conditions.effort, final_recipe=idle)
        again.append(retrain(candidates, replace(conditions, effort=effort), legacy))
        return again[-1]

    monkeypatch.setattr(steps, "retrain", poorly)
    effort = replace(SHORT, final_recipe=replace(SHORT.final_recipe, epochs=10))
    result = compressed(replace(LIMITED, pareto_models=3), recorder, effort)
    assert len(again) == 1
    assert result.certificate.latency.median_seconds <= 1.0
    assert result.model == result.front[0].model
    for larger, smaller in pairwise(result.front):
        assert larger.costs.params > smaller.costs.params
        assert larger.validation_accuracy > smaller.validation_accuracy
    chosen = [candidate for candidate in recorder.candidates if candidate.chosen]
    assert [m.architecture for m in result.front] == [c.architecture for c in chosen]
    left_out = 3 - len(result.front)
    assert any(f"{left_out} of 3" in text for text in recorder.warnings) == bool(left_out)


def test_the_next_candidate_is_trained_on_the_same_copy_of_the_data(
    tiny_embedding: Path, tiny_sources: DataSources, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def untrained(
        candidates: Sequence[Candidate], conditions: Conditions, _: Legacy | None
    ) -> Trained:
        seen.append(conditions.data.train.images)
        first = candidates[0]
        network = build(first.architecture, torch.Generator()).eval()
        return Trained(replace(first, validation_accuracy=0.5), network, tried=frozenset({1}))

    certify_slowly(monkeypatch, {0})
    monkeypatch.setattr(front, "retrain", untrained)
    monkeypatch.setattr(steps, "retrain", untrained)
    # A device to which every move is a copy, as to a GPU.
    device = Compute(torch.device("meta"), bfloat16=False)
    compress(
        LIMITED,
        load(tiny_embedding),
        tiny_sources.load("tiny"),
        Recorder(),
        threads=1,
        effort=SHORT,
        compute=device,
    )
    first, again = seen
    assert first.device.type == "meta"
    assert again is first

"""Several sizes from one request: what is left of them, and one count of progress."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from archpress_server.compress import front
from archpress_server.compress.conditions import Conditions
from archpress_server.compress.effort import EffortPlan
from archpress_server.compress.front import retrain_sizes, training_shares, undominated
from archpress_server.compress.input_net import train_input
from archpress_server.compress.ladder import plan_sizes, size_of
from archpress_server.compress.pipeline import compress
from archpress_server.compress.retrain import Trained
from archpress_server.compress.types import (
    Budget,
    Candidate,
    Compression,
    CompressionError,
    Phase,
    Progress,
    Reason,
    Request,
)
from archpress_trainer.data.registry import DataSources
from archpress_trainer.embedding.artifact import load
from archpress_trainer.embedding.interface import Embedding
from archpress_trainer.embedding.prediction import Prediction
from archpress_trainer.space.build import build
from archpress_trainer.space.costs import count
from archpress_trainer.training.device import Compute
from archpress_trainer.training.recipe import Recipe
from tests.server.compress.recorder import Recorder
from tests.trainer.nets import small_net

NET = small_net(32, second=32)
SHORT = EffortPlan(
    trained_candidates=2,
    round_recipe=Recipe("round", 1, batch_size=32, learning_rate=0.1),
    round_images=200,
    final_recipe=Recipe("final", 3, batch_size=16, learning_rate=0.1, average_decay=0.9),
)
BUDGET = Budget(max_params=6_000)


@pytest.fixture(scope="module")
def embedding(tiny_embedding: Path) -> Embedding:
    return load(tiny_embedding)


@pytest.fixture(scope="module")
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture(scope="module")
def result(
    embedding: Embedding, tiny_sources: DataSources, cpu: Compute, recorder: Recorder
) -> Compression:
    """What a request for four sizes and INT8 gives."""
    request = Request(NET, "tiny", BUDGET, pareto_models=4, int8=True)
    return compress(
        request,
        embedding,
        tiny_sources.load("tiny"),
        recorder,
        threads=1,
        effort=SHORT,
        compute=cpu,
    )


def test_the_result_is_the_first_of_the_front(result: Compression, recorder: Recorder) -> None:
    chosen = [c for c in recorder.candidates if c.chosen]
    assert [c.architecture for c in chosen] == [m.architecture for m in result.front]
    assert 1 <= len(result.front) <= 4
    left_out = 4 - len(result.front)
    assert any(f"{left_out} of 4" in text for text in recorder.warnings) == bool(left_out)
    first = result.front[0]
    assert (first.model, first.certificate) == (result.model, result.certificate)
    assert first.validation_accuracy == max(c.validation_accuracy or 0.0 for c in chosen)


def test_every_model_is_certified(result: Compression) -> None:
    for model in result.front:
        assert model.certificate.costs == model.costs == count(model.architecture)
        assert model.certificate.test_images == 200
        assert model.costs.params <= 6_000
        onnx.checker.check_model(onnx.load_from_string(model.model))
    assert len({model.certificate.sha256 for model in result.front}) == len(result.front)


def test_int8_is_of_the_result(result: Compression) -> None:
    assert result.int8 is not None
    assert result.int8.model != result.model
    assert result.int8.argmax_agreement > 0.9


def test_progress_is_one_count(result: Compression, recorder: Recorder) -> None:
    training = counted_as_one(recorder)
    for size in range(1, 5):
        assert any(p.message.startswith(f"size {size} of 4") for p in training)


@pytest.mark.parametrize("given", [False, True], ids=["trained", "given"])
def test_the_input_networks_training_is_part_of_that_count(
    embedding: Embedding, tiny_sources: DataSources, cpu: Compute, given: bool
) -> None:
    dataset, recorder = tiny_sources.load("tiny"), Recorder()
    effort = replace(SHORT, teaches=True)
    source = train_input(NET, Conditions(dataset.split(), effort, 0, cpu, Recorder()))
    compress(
        Request(NET, "tiny", BUDGET, pareto_models=2),
        embedding,
        dataset,
        recorder,
        threads=1,
        effort=effort,
        compute=cpu,
        input_network=source if given else None,
    )
    training = counted_as_one(recorder)
    of_input = [p for p in training if p.message.startswith("input network")]
    assert bool(of_input) is not given
    assert training[: len(of_input)] == of_input
    assert given or 0 < of_input[-1].step < 1000
    assert all(p.eta_seconds is not None for p in training if p.step > training[0].step)


def counted_as_one(recorder: Recorder) -> list[Progress]:
    """Return the progress of the trainings of a job, which is checked."""
    assert list(dict.fromkeys(p.phase for p in recorder.seen)) == list(Phase)
    order = list(Phase)
    places = [(order.index(p.phase), p.step) for p in recorder.seen]
    assert places == sorted(places)
    training = [p for p in recorder.seen if p.phase is Phase.RETRAIN]
    assert {p.total_steps for p in training} == {1000}
    assert training[-1].step == 1000
    return training


def test_ranks_and_networks_are_of_one_size_each(recorder: Recorder, result: Compression) -> None:
    planned = [c for c in recorder.candidates if c.validation_accuracy is None]
    assert len(planned) > 4 * SHORT.trained_candidates
    assert [c.rank for c in planned] == list(range(1, len(planned) + 1))
    assert len({c.architecture.digest for c in planned}) == len(planned)


def test_a_size_that_diverges_is_left_out(
    embedding: Embedding,
    tiny_sources: DataSources,
    cpu: Compute,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    request = Request(NET, "tiny", BUDGET, pareto_models=2)
    ladder = plan_sizes(request, embedding, 2, inheriting=False, on_progress=lambda _: None)
    data = tiny_sources.load("tiny").split()
    broken = {ladder.sizes[0]}

    def retrain(candidates: tuple[Candidate, ...], *_: object) -> Trained:
        if candidates in broken:
            raise CompressionError(Reason.TRAINING_DIVERGED, "all diverged")
        return Trained(candidates[0], build(candidates[0].architecture, torch.Generator()))

    monkeypatch.setattr(front, "retrain", retrain)
    recorder = Recorder()
    conditions = Conditions(data, SHORT, 0, cpu, recorder)
    shares = training_shares(ladder, conditions)
    trained = retrain_sizes(ladder, conditions, None, shares)
    assert [t.candidate for t in trained] == recorder.candidates == [ladder.sizes[1][0]]
    assert recorder.warnings == ["size 1 of 2 is left out: all diverged"]
    broken.add(ladder.sizes[1])
    with pytest.raises(CompressionError, match="diverged"):
        retrain_sizes(ladder, conditions, None, shares)


NETWORK = build(NET, torch.Generator())


def model(params: int, accuracy: float) -> Trained:
    costs = replace(count(NET), params=params)
    return Trained(Candidate(NET, costs, Prediction(0.9, 0.8, 0.95), 1, accuracy), NETWORK)


@given(st.lists(st.tuples(st.integers(1, 20), st.sampled_from([0.1, 0.2, 0.5, 0.9])), max_size=8))
def test_a_front_has_all_that_nothing_smaller_matches(points: list[tuple[int, float]]) -> None:
    models = [model(*point) for point in points]
    kept = undominated(models, size_of(BUDGET))
    found = [(m.candidate.costs.params, m.candidate.validation_accuracy or 0.0) for m in kept]
    # Strictly falling in both, and each point is matched by one that is kept.
    for (larger, better), (smaller, worse) in pairwise(found):
        assert larger > smaller
        assert better > worse
    assert set(found) <= set(points)
    for params, accuracy in points:
        assert any(p <= params and a >= accuracy for p, a in found)


@given(st.lists(st.tuples(st.integers(1, 20), st.sampled_from([0.1, 0.2, 0.5, 0.9])), max_size=8))
def test_what_is_not_sound_is_no_better_than_anything(points: list[tuple[int, float]]) -> None:
    asked = []

    def sound(one: Trained) -> bool:
        asked.append(one)
        return one.candidate.costs.params % 3 > 0

    models = [model(*point) for point in points]
    kept = undominated(models, size_of(BUDGET), sound)
    assert kept == undominated([m for m in models if m.candidate.costs.params % 3], size_of(BUDGET))
    # Nobody is asked who would not be kept.
    assert {id(one) for one in asked if one.candidate.costs.params % 3} == {id(m) for m in kept}

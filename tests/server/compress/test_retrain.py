"""Trainings of candidates and of the heir, on a small real data set."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from archpress_server.compress.conditions import Conditions
from archpress_server.compress.effort import EffortPlan
from archpress_server.compress.export import to_onnx
from archpress_server.compress.input_net import TrainedInput, given_input, train_input
from archpress_server.compress.legacy import Legacy
from archpress_server.compress.retrain import Trained, retrain
from archpress_server.compress.training_run import TrainingRun
from archpress_server.compress.types import Candidate, CompressionError, Reason
from archpress_server.onnx_import.network import imported_network
from archpress_server.onnx_import.read import read_onnx
from archpress_trainer.data.dataset import LabelledImages, Normalisation, TrainingData
from archpress_trainer.data.registry import DataSources
from archpress_trainer.embedding.prediction import Prediction
from archpress_trainer.space.batch_norms import with_batch_norms
from archpress_trainer.space.build import Network, build
from archpress_trainer.space.costs import count
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.layer import Layer
from archpress_trainer.space.layers import (
    average_pool,
    batch_norm,
    concat,
    conv,
    dropout,
    global_average_pool,
    linear,
    max_pool,
    relu,
)
from archpress_trainer.training.device import Compute
from archpress_trainer.training.inheritance import narrowed
from archpress_trainer.training.loop import Status, TrainResult, accuracy
from archpress_trainer.training.recipe import Recipe
from tests.server.compress.recorder import Recorder
from tests.trainer.nets import without_norms

SOON = Recipe("final", 3, batch_size=32, learning_rate=0.05)
# So slow that a network stays what it began as.
IDLE = replace(SOON, epochs=1, learning_rate=1e-9)
WILD = replace(SOON, epochs=1, learning_rate=1e30)


class Unwarned(Recorder):
    def warning(self, text: str) -> None:
        raise AssertionError(text)


def net(width: int) -> Architecture:
    """Return a network whose classifier reads places, as the tiny images need it."""
    layers = (conv(width, 3), batch_norm(), relu(), max_pool(), linear(4))
    return Architecture((1, 12, 12), 4, layers)


def blind() -> Architecture:
    """Return a network that loses the places, so that it learns nothing."""
    layers = (conv(1, 3), batch_norm(), relu(), global_average_pool(), linear(4))
    return Architecture((1, 12, 12), 4, layers)


def candidate(width: int, rank: int, *, inherits: bool = False) -> Candidate:
    return candidate_of(net(width), rank, inherits=inherits)


def candidate_of(architecture: Architecture, rank: int, *, inherits: bool = False) -> Candidate:
    prediction = Prediction(0.8, 0.7, 0.9)
    return Candidate(architecture, count(architecture), prediction, rank, inherits=inherits)


CANDIDATES = (candidate(6, 1), candidate(5, 2), candidate(8, 3, inherits=True))


def effort(final: Recipe, rounds: Recipe = IDLE) -> EffortPlan:
    return EffortPlan(2, rounds, 200, final, training_seeds=2)


@pytest.fixture(scope="module")
def data(tiny_sources: DataSources) -> TrainingData:
    return tiny_sources.load("tiny").split()


@pytest.fixture(scope="module")
def source(data: TrainingData, cpu: Compute) -> TrainedInput:
    return train_input(net(16), Conditions(data, effort(SOON), 0, cpu, Unwarned()))


def run(
    data: TrainingData,
    cpu: Compute,
    plan: EffortPlan,
    source: TrainedInput | None,
    candidates: tuple[Candidate, ...] = CANDIDATES,
) -> tuple[Trained, Unwarned]:
    recorder = Unwarned()
    legacy = None if source is None else Legacy(source, data, cpu)
    return retrain(candidates, Conditions(data, plan, 0, cpu, recorder), legacy), recorder


def test_the_heir_starts_from_the_inputs_weights(
    data: TrainingData, source: TrainedInput, cpu: Compute
) -> None:
    trained, recorder = run(data, cpu, effort(IDLE), source)
    assert trained.candidate.inherits
    start = narrowed(source.network, net(8))
    expected = accuracy(start, data.validation, data.normalisation, cpu)
    assert trained.candidate.validation_accuracy == pytest.approx(expected, abs=0.05)
    assert expected > 0.5
    assert len(trained.seed_accuracies) == 2
    # Rounds train those that start from nothing.
    assert {c.rank for c in trained.first_round} == {1, 2}
    (loser,) = trained.others
    assert not loser.candidate.inherits
    assert loser.accuracy < trained.accuracy
    assert trained.tried == {loser.candidate.rank, 3}
    # The better one is told by who chooses.
    assert recorder.candidates[-1] == loser.candidate
    assert not any(c.inherits or c.chosen for c in recorder.candidates)
    assert recorder.seen[-1].step == recorder.seen[-1].total_steps


def test_the_better_one_on_validation_images_is_returned(
    data: TrainingData, source: TrainedInput, cpu: Compute
) -> None:
    # One channel knows little, and learns little.
    heir = candidate(1, 3, inherits=True)
    trained, recorder = run(data, cpu, effort(SOON), source, (*CANDIDATES[:2], heir))
    assert not trained.candidate.inherits
    (loser,) = trained.others
    assert loser.candidate.rank == 3
    assert trained.accuracy > loser.accuracy > 0
    assert recorder.candidates[-1] == loser.candidate
    assert trained.first_round == loser.first_round != ()


def test_without_the_inputs_weights_the_heir_starts_from_nothing_like_the_others(
    data: TrainingData, cpu: Compute
) -> None:
    trained, recorder = run(data, cpu, effort(SOON), None)
    assert {c.rank for c in trained.first_round} == {1, 2, 3}
    assert not any(c.inherits for c in recorder.candidates)
    candidates = (candidate_of(blind(), 1), candidate_of(blind(), 2), CANDIDATES[2])
    trained, _ = run(data, cpu, effort(SOON, rounds=SOON), None, candidates)
    assert trained.candidate.rank == 3


def test_the_heir_is_there_where_all_others_diverge(
    data: TrainingData, source: TrainedInput, cpu: Compute
) -> None:
    trained, _ = run(data, cpu, effort(SOON, rounds=WILD), source)
    assert trained.candidate.inherits
    with pytest.raises(CompressionError, match="all 3 candidates diverged") as error:
        run(data, cpu, effort(WILD, rounds=WILD), source)
    assert error.value.reason is Reason.TRAINING_DIVERGED


def test_a_round_in_which_all_diverge_leaves_who_got_into_it(
    data: TrainingData, cpu: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, done = effort(SOON, rounds=replace(IDLE, name="round")), []

    def run_training(run: TrainingRun, *_: object) -> tuple[Network, TrainResult]:
        # By width; the narrower ones are the better ones, and the best never trains in full.
        width = run.architecture.layers[0].out_channels
        in_full = run.recipe.name == SOON.name
        done.append((width, run.recipe.epochs, in_full))
        fails = run.recipe.epochs == 2 or (in_full and width == 3)
        status = Status.DIVERGED if fails else Status.FINISHED
        return build(run.architecture), TrainResult(status, 1, 1.0 - width / 100, 1.0, (), 0.0)

    monkeypatch.setattr("archpress_server.compress.retrain.run_training", run_training)
    searched = tuple(candidate(width, rank) for rank, width in enumerate((6, 5, 4, 3), start=1))
    trained, _ = run(data, cpu, plan, None, searched)
    assert done[:6] == [(width, 1, False) for width in (6, 5, 4, 3)] + [
        (width, 2, False) for width in (3, 4)
    ]
    assert [width for width, _, in_full in done if in_full] == [3, 3, 4, 4]
    assert trained.candidate.rank == 3
    assert trained.tried == {3, 4}
    assert [c.rank for c in trained.first_round] == [4, 3, 2, 1]


def test_the_heir_of_a_network_without_normalisations_gets_them(
    data: TrainingData, source: TrainedInput, cpu: Compute
) -> None:
    model = to_onnx(source.network, source.normalisation)
    folded = imported_network(read_onnx(model))
    assert len(folded.architecture.layers) < len(source.network.architecture.layers)
    given = given_input(folded, source.normalisation, data, cpu)
    assert given.validation_accuracy == pytest.approx(source.validation_accuracy, abs=0.01)
    assert given.bequeathed(data).architecture == source.network.architecture
    trained, _ = run(data, cpu, effort(IDLE), given, CANDIDATES[2:])
    assert (trained.candidate.validation_accuracy or 0.0) > 0.5


def test_an_input_network_is_trained_with_normalisations(data: TrainingData, cpu: Compute) -> None:
    conditions = Conditions(data, effort(IDLE), 0, cpu, Unwarned())
    trained = train_input(without_norms(net(8)), conditions)
    assert trained.network.architecture == net(8)


def test_a_heir_alone_is_trained(data: TrainingData, source: TrainedInput, cpu: Compute) -> None:
    trained, _ = run(data, cpu, effort(SOON), source, CANDIDATES[2:])
    assert trained.candidate.rank == 3
    assert trained.first_round == ()


def test_all_full_trainings_share_what_the_input_says_of_an_image(
    data: TrainingData, source: TrainedInput, cpu: Compute
) -> None:
    asked = []
    # A function, unlike the network that it hooks, has no copies.
    hook = source.network.register_forward_hook(lambda _, given, out: asked.append(len(given[0])))
    trained, _ = run(data, cpu, effort(SOON), source)
    hook.remove()
    assert len(trained.seed_accuracies) == 2
    assert len(data.train) < sum(asked) <= 2 * len(data.train)


@pytest.mark.parametrize(
    "layers",
    [
        (conv(6, 3), batch_norm(), relu(), max_pool(), linear(4)),
        (max_pool(), average_pool(), conv(6, 3), batch_norm(), relu(), linear(4)),
        (conv(4, 3, groups=2), batch_norm(), relu(), linear(4)),
        (linear(8), relu(), linear(4)),
        (global_average_pool(), linear(4)),
        (dropout(), linear(4)),
        (max_pool(), replace(average_pool(), inputs=(-1,)), concat(0, 1), linear(4)),
        (conv(6, 3), concat(-1, 0), conv(8, 3), batch_norm(), relu(), linear(4)),
    ],
    ids=["convolution", "pools", "groups", "linear", "average", "dropout", "images", "mixed"],
)
def test_weights_are_bequeathed_for_images_of_another_scale(
    data: TrainingData, layers: tuple[Layer, ...]
) -> None:
    network = build(Architecture((2, 12, 12), 4, layers), torch.Generator().manual_seed(0)).eval()
    coloured = LabelledImages(data.train.images.expand(-1, 2, -1, -1), data.train.labels)
    own = Normalisation((0.2, 0.3), (0.5, 0.4))
    of_own = replace(data, train=coloured, normalisation=own)
    source = TrainedInput(network, own, 0.9)
    assert source.bequeathed(of_own).architecture == with_batch_norms(network.architecture)
    # Of the same mean, so that nothing is shifted.
    wanted = Normalisation((0.2, 0.3), (0.1, 0.25))
    images = torch.rand(3, 2, 12, 12)
    alike, heir = (
        source.bequeathed(replace(of_own, normalisation=normalisation)).eval()
        for normalisation in (own, wanted)
    )
    torch.testing.assert_close(heir(wanted(images)), alike(own(images)))

"""The training loop on a small real data set."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import nn

from archpress_trainer.data.dataset import Normalisation, TrainingData
from archpress_trainer.data.registry import DataSources
from archpress_trainer.space.build import Network, build
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.layers import (
    batch_norm,
    conv,
    dropout,
    global_average_pool,
    linear,
    max_pool,
    relu,
)
from archpress_trainer.training.device import Compute
from archpress_trainer.training.loop import Status, Step, TrainResult, accuracy, predict, train
from archpress_trainer.training.recipe import Optimizer, Recipe, Schedule
from archpress_trainer.training.teaching import Teacher
from tests.trainer.nets import CLASSES, INPUT_SHAPE

RECIPE = Recipe("test", 3, batch_size=64, learning_rate=0.1, flip=False, clip_norm=1.0)


# The tiny images differ in where they are light, so the classifier reads places.
NET = Architecture(
    INPUT_SHAPE, CLASSES, (conv(8, 3), batch_norm(), relu(), max_pool(), linear(CLASSES))
)


@pytest.fixture(scope="module")
def data(tiny_sources: DataSources) -> TrainingData:
    return tiny_sources.load("tiny").split()


def network(seed: int = 0) -> Network:
    return build(NET, torch.Generator().manual_seed(seed))


def run(
    data: TrainingData, recipe: Recipe, cpu: Compute, seed: int = 0
) -> tuple[TrainResult, Network]:
    net = network(seed)
    return train(net, data, recipe, torch.Generator().manual_seed(seed), cpu), net


def test_a_small_net_learns(data: TrainingData, cpu: Compute) -> None:
    before = accuracy(network(), data.validation, data.normalisation, cpu)
    result, net = run(data, RECIPE, cpu)
    assert result.status is Status.FINISHED
    assert before < 0.6
    assert result.accuracy > 0.9
    assert result.curve == (result.accuracy,)
    assert result.steps == 3 * (880 // 64)
    assert not net.training
    # What is reported is what the network that was trained in place does.
    assert accuracy(net, data.validation, data.normalisation, cpu) == result.accuracy


def test_adam_learns_too(data: TrainingData, cpu: Compute) -> None:
    recipe = replace(RECIPE, optimizer=Optimizer.ADAM, learning_rate=0.01)
    result, _ = run(data, recipe, cpu)
    assert result.accuracy > 0.9


def test_the_seed_decides_everything(data: TrainingData, cpu: Compute) -> None:
    recipe = replace(RECIPE, epochs=1, flip=True, crop_padding=1)
    (first, one), (second, two), (third, other) = (
        run(data, recipe, cpu, seed) for seed in (5, 5, 6)
    )
    assert (first.accuracy, first.loss_sum, first.curve) == (
        second.accuracy,
        second.loss_sum,
        second.curve,
    )
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert first.loss_sum != third.loss_sum
    assert not torch.equal(next(one.parameters()), next(other.parameters()))


def test_the_seed_decides_dropout_too(data: TrainingData, cpu: Compute) -> None:
    layers = (conv(8, 3), relu(), dropout(0.5), linear(CLASSES))
    net = Architecture(INPUT_SHAPE, CLASSES, layers)
    sums = []
    for world, seed in ((0, 5), (1, 5), (2, 6)):
        torch.manual_seed(world)
        expected = torch.rand(1)
        torch.manual_seed(world)
        network = build(net, torch.Generator().manual_seed(seed))
        draws = torch.Generator().manual_seed(seed)
        torch.manual_seed(world)
        sums.append(train(network, data, replace(RECIPE, epochs=1), draws, cpu).loss_sum)
        # And the global generator is left as it was.
        assert torch.equal(torch.rand(1), expected)
    assert sums[0] == sums[1] != sums[2]


def test_divergence_is_a_status(data: TrainingData, cpu: Compute) -> None:
    recipe = replace(RECIPE, learning_rate=1e12, clip_norm=0.0, warmup_fraction=0.0)
    result, net = run(data, recipe, cpu)
    assert result.status is Status.DIVERGED
    assert result.accuracy == 0.0
    assert "epoch" in result.message
    assert not net.training


class _Observer:
    def __init__(self, stop_at: int) -> None:
        self.steps: list[Step] = []
        self._stop_at = stop_at

    def __call__(self, step: Step) -> bool:
        self.steps.append(step)
        return step.step < self._stop_at


def test_the_observer_sees_steps_and_epochs(data: TrainingData, cpu: Compute) -> None:
    observer = _Observer(stop_at=10**9)
    result = train(
        network(),
        data,
        RECIPE,
        torch.Generator().manual_seed(0),
        cpu,
        observer=observer,
        evaluate_every=2,
        report_every=5,
    )
    total = 3 * 13
    assert {s.total_steps for s in observer.steps} == {total}
    inner = [s for s in observer.steps if s.step % 5 == 0 and s.step % 13]
    assert [s.step for s in inner] == [s for s in range(5, total + 1, 5) if s % 13]
    assert all(s.accuracy is None for s in inner)
    ends = [s for s in observer.steps if s.step % 13 == 0]
    assert [(s.epoch, s.accuracy is None) for s in ends] == [(1, True), (2, False), (3, False)]
    assert result.curve == tuple(s.accuracy for s in ends if s.accuracy is not None)
    assert result.loss_sum == pytest.approx(sum(s.loss for s in ends))


@pytest.mark.parametrize("stop_at", [5, 13])
def test_the_observer_stops(stop_at: int, data: TrainingData, cpu: Compute) -> None:
    observer = _Observer(stop_at)
    generator = torch.Generator().manual_seed(0)
    result = train(network(), data, RECIPE, generator, cpu, observer=observer, report_every=5)
    assert result.status is Status.STOPPED
    assert stop_at <= result.steps < stop_at + 5
    assert result.accuracy == 0.0
    assert len(observer.steps) == result.steps // 5 + result.steps // 13


def test_averaging_gives_the_averaged_weights(data: TrainingData, cpu: Compute) -> None:
    recipe = replace(RECIPE, epochs=20)
    result, averaged = run(data, replace(recipe, average_decay=0.999), cpu)
    _, plain = run(data, recipe, cpu)
    assert not all(
        torch.equal(a, b) for a, b in zip(averaged.parameters(), plain.parameters(), strict=True)
    )
    assert accuracy(averaged, data.validation, data.normalisation, cpu) == result.accuracy


@pytest.mark.parametrize("epochs", [3, 30])
def test_an_average_does_not_lag_behind_however_short_the_training(
    data: TrainingData, cpu: Compute, epochs: int
) -> None:
    recipe = replace(RECIPE, epochs=epochs)
    plain, _ = run(data, recipe, cpu)
    averaged, _ = run(data, replace(recipe, average_decay=0.999), cpu)
    assert averaged.accuracy >= plain.accuracy - 0.01


def test_a_mild_average_learns(data: TrainingData, cpu: Compute) -> None:
    result, _ = run(data, replace(RECIPE, average_decay=0.8), cpu)
    assert result.accuracy > 0.9


class _Swapped(nn.Module):
    """Takes each class for the next one."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.network(images)
        return logits.roll(1, dims=1)


def test_a_teacher_is_followed_by_its_weight(data: TrainingData, cpu: Compute) -> None:
    _, good = run(data, RECIPE, cpu)
    teacher = Teacher(_Swapped(good).eval(), cpu)
    before = [parameter.clone() for parameter in good.parameters()]
    found = {}
    for weight in (0.0, 0.2, 1.0):
        recipe = replace(RECIPE, distil_weight=weight, distil_temperature=2.0)
        student = network(1)
        draws = torch.Generator().manual_seed(1)
        result = train(student, data, recipe, draws, cpu, teacher=teacher)
        logits = predict(student, data.validation.images, data.normalisation, cpu)
        wrong = (logits.argmax(dim=1) == (data.validation.labels + 1) % CLASSES).float().mean()
        found[weight] = (result.accuracy, float(wrong))
    assert found[0.0][0] > 0.9
    assert found[1.0][1] > 0.9
    assert found[0.2][0] > found[1.0][0]
    assert all(torch.equal(a, b) for a, b in zip(good.parameters(), before, strict=True))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("optimizer", list(Optimizer))
def test_a_gpu_learns_the_same(data: TrainingData, cpu: Compute, optimizer: Optimizer) -> None:
    gpu = Compute(torch.device("cuda"), bfloat16=False)
    recipe = replace(
        RECIPE, optimizer=optimizer, learning_rate=0.01, average_decay=0.8, distil_weight=0.3
    )
    teacher = network(7).eval()
    on_cpu, on_gpu = (
        train(
            network(),
            data.to(compute.device),
            recipe,
            torch.Generator().manual_seed(0),
            compute,
            teacher=Teacher(deepcopy(teacher).to(compute.device), compute),
        )
        for compute in (cpu, gpu)
    )
    # Each device draws its own order of the images.
    assert on_gpu.loss_sum == pytest.approx(on_cpu.loss_sum, rel=0.1)
    assert on_gpu.accuracy == pytest.approx(on_cpu.accuracy, abs=0.1)
    assert on_gpu.steps == on_cpu.steps


class _Probe(nn.Module):
    """One weight per class with a loss of constant slope, so that each step shows its rate."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.seen: list[float] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.seen.append(self.weight.item())
        logits = torch.zeros(len(images), 4) + 0 * images.mean()
        # A large constant keeps the wrong class on top: the gradient is one for every image.
        logits[:, 3] = 50 + self.weight
        return logits


def rates(data: TrainingData, recipe: Recipe, cpu: Compute) -> list[float]:
    keep = data.train.labels != 3
    train_part = replace(
        data.train, images=data.train.images[keep][:640], labels=data.train.labels[keep][:640]
    )
    probe = _Probe()
    recipe = replace(recipe, batch_size=64, momentum=0.0, clip_norm=0.0, weight_decay=0.0)
    train(probe, replace(data, train=train_part), recipe, torch.Generator().manual_seed(0), cpu)
    places = [*probe.seen, probe.weight.item()]
    return [before - after for before, after in pairwise(places)]


def test_one_cycle_rises_then_falls(
    data: TrainingData, cpu: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nesterov without momentum does not exist; plain steps are what shows the rate.
    monkeypatch.setattr(torch.optim, "SGD", _plain_sgd)
    recipe = replace(RECIPE, epochs=5, learning_rate=0.02, warmup_fraction=0.2)
    seen = rates(data, recipe, cpu)
    assert len(seen) == 50
    peak = seen.index(max(seen))
    assert peak == 10
    assert max(seen) == pytest.approx(0.02, rel=1e-3)
    assert all(a < b for a, b in pairwise(seen[: peak + 1]))
    assert all(a > b for a, b in pairwise(seen[peak:]))
    assert seen[-1] == pytest.approx(0.02 / 40, rel=0.05)


def test_steps_divide_by_ten_at_milestones(
    data: TrainingData, cpu: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.optim, "SGD", _plain_sgd)
    recipe = replace(
        RECIPE, epochs=4, learning_rate=0.1, schedule=Schedule.STEPS, milestones=(1, 3)
    )
    seen = rates(data, recipe, cpu)
    assert seen == pytest.approx([0.1] * 10 + [0.01] * 20 + [0.001] * 10, rel=0.02)


_SGD = torch.optim.SGD


def _plain_sgd(
    groups: object, lr: float, momentum: float, nesterov: bool, fused: bool | None
) -> torch.optim.SGD:
    return _SGD(groups, lr=lr)  # type: ignore[arg-type]


def test_fewer_images_than_a_batch_are_one_batch(data: TrainingData, cpu: Compute) -> None:
    result, _ = run(data.subset(20), RECIPE, cpu)
    assert result.status is Status.FINISHED
    assert result.steps == 3


def test_decay_pulls_on_weights_only(data: TrainingData, cpu: Compute) -> None:
    # With a rate so small that gradients do nothing, a huge decay shrinks what it acts on.
    recipe = replace(RECIPE, epochs=1, learning_rate=1e-6, weight_decay=1e5, momentum=0.5)
    start = network()
    _, net = run(data, recipe, cpu)
    for (name, after), before in zip(net.named_parameters(), start.parameters(), strict=True):
        if after.ndim > 1:
            assert after.norm() < 0.5 * before.norm(), name
        else:
            assert torch.allclose(after, before, atol=1e-3), name


def test_predict_does_not_depend_on_its_batches(data: TrainingData, cpu: Compute) -> None:
    net = network()
    images = data.validation.images
    whole = predict(net, images, data.normalisation, cpu)
    parts = predict(net, images, data.normalisation, cpu, batch_size=7)
    assert torch.equal(whole, predict(nn.Sequential(net), images, data.normalisation, cpu))
    assert whole.shape == (len(images), 4)
    assert torch.allclose(whole, parts, atol=1e-5)
    assert not whole.requires_grad


def test_memory_bounds_the_images_that_are_predicted_at_once(cpu: Compute) -> None:
    wide = (conv(512, 1, padding=0), relu(), conv(4, 1, padding=0))
    large = Architecture((1, 128, 128), 4, (*wide, global_average_pool(), linear(4)))
    net = build(large, torch.Generator().manual_seed(0))
    sizes: list[int] = []
    net.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
    images = torch.randint(0, 256, (5, 1, 128, 128), dtype=torch.uint8)
    found = predict(net, images, Normalisation((0.0,), (1.0,)), cpu)
    assert sizes == [3, 2]
    one_by_one = predict(net, images, Normalisation((0.0,), (1.0,)), cpu, batch_size=1)
    assert torch.allclose(found, one_by_one, atol=1e-5)

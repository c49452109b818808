"""Trainings that go on from a snapshot end with the bits of those that never stopped."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pytest
import torch

from archpress_trainer.data.dataset import TrainingData
from archpress_trainer.data.registry import DataSources
from archpress_trainer.space.build import Network, build
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.layers import batch_norm, conv, dropout, linear, max_pool, relu
from archpress_trainer.training.device import Compute
from archpress_trainer.training.loop import Status, Step, TrainResult, train
from archpress_trainer.training.recipe import Optimizer, Recipe, Schedule
from archpress_trainer.training.snapshot import SnapshotError, pack, unpack
from archpress_trainer.training.teaching import Teacher
from tests.trainer.nets import CLASSES, INPUT_SHAPE

LAYERS = (
    *(conv(8, 3), batch_norm(), relu(), max_pool()),
    *(conv(8, 3), batch_norm(), relu(), dropout(0.3)),
    linear(CLASSES),
)
NET = Architecture(INPUT_SHAPE, CLASSES, LAYERS)
STEPS_PER_EPOCH = 880 // 64
PLAIN = Recipe("test", 3, batch_size=64, learning_rate=0.1, flip=False)
RICH = replace(
    PLAIN,
    flip=True,
    crop_padding=2,
    erase=3,
    average_decay=0.9,
    clip_norm=1.0,
    label_smoothing=0.1,
)
ADAM = replace(
    PLAIN,
    optimizer=Optimizer.ADAM,
    learning_rate=0.01,
    schedule=Schedule.STEPS,
    milestones=(2,),
)


@dataclass(frozen=True)
class Run:
    """A training that can be done again and again."""

    data: TrainingData
    compute: Compute
    recipe: Recipe
    taught: bool = False
    seed: int = 3

    def __call__(self, **options: Any) -> tuple[TrainResult, Network]:
        generator = torch.Generator().manual_seed(self.seed)
        network = build(NET, generator)
        teacher: Teacher | None = None
        if self.taught:
            teacher = Teacher(build(NET, torch.Generator().manual_seed(9)).eval(), self.compute)
        result = train(
            network,
            self.data,
            self.recipe,
            generator,
            self.compute,
            teacher=teacher,
            evaluate_every=1,
            **options,
        )
        return result, network

    def snapshots(self) -> list[bytes]:
        """Return one after each step."""
        taken: list[bytes] = []
        self(checkpoint=lambda take: taken.append(take()))
        return taken


@pytest.fixture(scope="module")
def new(tiny_sources: DataSources, cpu: Compute) -> Callable[..., Run]:
    return partial(Run, tiny_sources.load("tiny").split(), cpu)


def assert_equal(first: tuple[TrainResult, Network], second: tuple[TrainResult, Network]) -> None:
    one, two = (replace(result, seconds=0.0) for result, _ in (first, second))
    assert one == two
    states = [network.state_dict() for _, network in (first, second)]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


@pytest.mark.parametrize(
    ("recipe", "taught"),
    [
        (PLAIN, False),
        (RICH, False),
        (ADAM, False),
        (replace(RICH, distil_weight=0.6, distil_temperature=4.0), True),
        # Only flips: the teacher's answers are remembered.
        (replace(PLAIN, flip=True, average_decay=0.95, distil_weight=0.6), True),
    ],
    ids=["plain", "rich", "adam", "taught", "remembered"],
)
def test_going_on_gives_the_same_bits(
    new: Callable[..., Run], recipe: Recipe, taught: bool
) -> None:
    run = new(recipe, taught)
    undisturbed = run()
    taken = run.snapshots()
    assert len(taken) == 3 * STEPS_PER_EPOCH
    # The first step, within an epoch, both sides of its border, and the last one.
    for step in (1, 5, STEPS_PER_EPOCH, STEPS_PER_EPOCH + 1, 2 * STEPS_PER_EPOCH + 7, len(taken)):
        assert_equal(run(resume=taken[step - 1]), undisturbed)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("optimizer", list(Optimizer))
def test_a_gpu_goes_on_too(new: Callable[..., Run], optimizer: Optimizer) -> None:
    recipe = replace(RICH, optimizer=optimizer, learning_rate=0.01, distil_weight=0.3)
    run = new(recipe, True)
    device = torch.device("cuda")
    run = replace(run, data=run.data.to(device), compute=Compute(device, bfloat16=False))
    whole, _ = run()
    for snapshot in (run.snapshots()[step] for step in (0, 7, 20)):
        result, _ = run(resume=snapshot)
        assert (result.status, result.steps) == (Status.FINISHED, whole.steps)
        assert result.loss_sum == pytest.approx(whole.loss_sum, rel=0.05)


def test_taking_snapshots_does_not_disturb(new: Callable[..., Run]) -> None:
    run = new(RICH)
    assert_equal(run(checkpoint=lambda take: take() and None), run())


def test_a_training_can_be_interrupted_many_times(new: Callable[..., Run]) -> None:
    run = new(RICH)
    kept: list[bytes] = []
    left = 0

    def checkpoint(take: Callable[[], bytes]) -> None:
        nonlocal left
        left -= 1
        if left == 3:
            kept.append(take())

    def observe(_: Step) -> bool:
        return left > 0

    status = Status.STOPPED
    while status is Status.STOPPED:
        left = 6
        resume = kept[-1] if kept else None
        end = run(resume=resume, checkpoint=checkpoint, observer=observe, report_every=1)
        status = end[0].status
    assert len(kept) > 5
    assert_equal(end, run())


def test_the_seconds_add_up(new: Callable[..., Run]) -> None:
    run = new(PLAIN)
    tensors, record = unpack(run.snapshots()[-1])
    result, _ = run(resume=pack(tensors, {**record, "seconds": 1000.0}))
    assert result.seconds > 1000.0


@pytest.mark.parametrize(
    "change", [{"seed": 4}, {"recipe": replace(PLAIN, epochs=4)}, {"taught": True}], ids=str
)
def test_the_snapshot_of_another_training_is_refused(
    new: Callable[..., Run], change: dict[str, Any]
) -> None:
    snapshot = new(PLAIN).snapshots()[4]
    with pytest.raises(SnapshotError, match="another training"):
        replace(new(PLAIN), **change)(resume=snapshot)


def test_damaged_snapshots_are_refused(new: Callable[..., Run]) -> None:
    run = new(PLAIN)
    whole = run.snapshots()[4]
    tensors, record = unpack(whole)
    some = next(name for name in tensors if name.startswith("network."))
    damaged = [
        b"",
        b"\x80\x04N.",
        whole[:-7],
        whole[: len(whole) // 2],
        pack(tensors, {**record, "version": 99}),
        pack(tensors, {key: value for key, value in record.items() if key != "epoch"}),
        pack({k: v for k, v in tensors.items() if k != some}, record),
        pack({**tensors, "draws": torch.zeros(3, dtype=torch.uint8)}, record),
        pack({k: v[:1] if v.ndim else v for k, v in tensors.items()}, record),
    ]
    for snapshot in damaged:
        with pytest.raises(SnapshotError):
            run(resume=snapshot)


def test_nothing_in_a_snapshot_is_pickled(new: Callable[..., Run]) -> None:
    content = new(RICH).snapshots()[4]
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    kinds = {entry["dtype"] for name, entry in header.items() if name != "__metadata__"}
    assert kinds <= {"F32", "I64", "U8"}

"""Labelling one net: a measured accuracy, or a status that says why there is none."""

from __future__ import annotations

from dataclasses import replace
from statistics import mean

import pytest
import torch

from archpress_trainer.data.dataset import TrainingData
from archpress_trainer.data.registry import DataSources
from archpress_trainer.population import label as module
from archpress_trainer.population.label import label
from archpress_trainer.space.costs import count
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.layers import batch_norm, conv, global_average_pool, linear
from archpress_trainer.space.sampling import Sample
from archpress_trainer.training.device import Compute
from archpress_trainer.training.fidelity import Fidelity
from tests.trainer.nets import CLASSES, INPUT_SHAPE, small_net
from tests.trainer.population.helpers import tiny_spec

NET = small_net()
SAMPLE = Sample(NET, count(NET))


@pytest.fixture(scope="module")
def data(tiny_sources: DataSources) -> TrainingData:
    return tiny_sources.load("tiny").split().subset(256)


def test_a_label(tiny_sources: DataSources, data: TrainingData, cpu: Compute) -> None:
    spec = tiny_spec(tiny_sources)
    spec = replace(spec, recipe=replace(spec.recipe, epochs=3))
    record = label(7, SAMPLE, spec, data, cpu)
    assert record.is_labelled
    assert (record.index, record.architecture) == (7, NET)
    assert (record.params, record.macs) == (SAMPLE.costs.params, SAMPLE.costs.macs)
    assert len(record.curve) == 3
    assert record.accuracy == record.curve[-1]
    again = label(7, SAMPLE, spec, data, cpu)
    assert replace(again, seconds=record.seconds) == record
    assert label(8, SAMPLE, spec, data, cpu).loss_sum != record.loss_sum


def test_seeds_are_averaged(tiny_sources: DataSources, data: TrainingData, cpu: Compute) -> None:
    spec = tiny_spec(tiny_sources)
    three = label(0, SAMPLE, replace(spec, fidelity=Fidelity(128, 1, seeds=3)), data, cpu)
    each = [label(0, SAMPLE, spec, data, cpu, repeat=repeat) for repeat in range(3)]
    assert len({one.loss_sum for one in each}) == 3
    assert three.loss_sum == pytest.approx(mean(one.loss_sum for one in each), abs=1e-4)
    assert three.curve == pytest.approx([mean(one.accuracy for one in each)], abs=1e-5)


def test_divergence(tiny_sources: DataSources, data: TrainingData, cpu: Compute) -> None:
    spec = tiny_spec(tiny_sources)
    wild = replace(spec.recipe, learning_rate=1e15, clip_norm=0.0, warmup_fraction=0.0)
    record = label(0, SAMPLE, replace(spec, recipe=wild), data, cpu)
    assert record.status == "diverged"
    assert record.accuracy == 0.0
    assert "loss" in record.message


def test_a_net_that_cannot_train(
    tiny_sources: DataSources, data: TrainingData, cpu: Compute
) -> None:
    # A norm over one number per channel has no variance.
    layers = (conv(8, 3), global_average_pool(), batch_norm(), linear(CLASSES))
    net = Architecture(INPUT_SHAPE, CLASSES, layers)
    record = label(0, Sample(net, count(net)), tiny_spec(tiny_sources), data.subset(1), cpu)
    assert record.status == "failed"
    assert record.message
    assert "\n" not in record.message
    assert record.params == count(net).params


def test_a_device_that_failed_is_no_fault_of_the_net(
    tiny_sources: DataSources, data: TrainingData, cpu: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise torch.AcceleratorError("an illegal memory access was encountered")

    monkeypatch.setattr(module, "train", fail)
    with pytest.raises(torch.AcceleratorError):
        label(0, SAMPLE, tiny_spec(tiny_sources), data, cpu)


def test_full_memory_is_told(
    tiny_sources: DataSources, data: TrainingData, cpu: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise MemoryError

    monkeypatch.setattr(module, "train", fail)
    record = label(0, SAMPLE, tiny_spec(tiny_sources), data, cpu)
    assert (record.status, record.message) == ("out_of_memory", "MemoryError")

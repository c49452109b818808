"""The fit finds the rates behind times, and predicts networks it was not fitted to."""

from __future__ import annotations

from dataclasses import replace
from itertools import cycle
from random import Random

import numpy as np
import pytest
from scipy.stats import spearmanr

from archpress_server.compress import latency_model
from archpress_server.compress.latency_model import calibrate, fit_latency, measured_sample
from archpress_server.compress.layer_work import LayerWork, network_seconds
from archpress_trainer.space.architecture_space import ArchitectureSpace
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.practical_sampler import PracticalSampler
from archpress_trainer.space.sampling import draw
from archpress_trainer.space.vocab import LayerKind

SPACE = ArchitectureSpace((1, 12, 12), 4)


class _Machine:
    """Convolutions of channels that fill its vectors run four times as fast."""

    fixed_seconds = 1e-5

    def layer_seconds(self, work: LayerWork) -> float:
        fast = work.out_channels % 16 == 0
        is_conv = work.kind is LayerKind.CONVOLUTION
        return 1e-6 + 1e-9 * work.outputs + is_conv * work.macs * (1e-10 if fast else 4e-10)


def test_the_fit_finds_rates_and_alignment_in_spite_of_outliers() -> None:
    source = draw(PracticalSampler(SPACE), Random(3))
    networks = [next(source).architecture for _ in range(90)]
    true = [network_seconds(_Machine(), network) for network in networks]
    disturbed = [seconds * (3 if place % 15 == 0 else 1) for place, seconds in enumerate(true)]
    model = fit_latency(networks[:60], disturbed[:60])
    assert model.block == 16
    errors = [
        abs(network_seconds(model, network) / seconds - 1)
        for network, seconds in zip(networks[60:], true[60:], strict=True)
    ]
    assert np.median(errors) < 0.03


def test_a_kind_that_was_not_seen_is_free() -> None:
    source = draw(PracticalSampler(SPACE), Random(3))
    networks = [next(source).architecture for _ in range(3)]
    model = fit_latency(networks, [1e-5, 2e-5, 3e-5])
    assert model.layer_seconds(LayerWork(LayerKind.GELU, 0, 8, 8, 0, 100)) == 0.0


def test_a_convolution_of_a_class_that_was_not_seen_is_one_of_the_slowest() -> None:
    source = draw(PracticalSampler(SPACE), Random(3))
    networks = [next(source).architecture for _ in range(60)]
    model = fit_latency(networks, [network_seconds(_Machine(), network) for network in networks])
    outputs = 64 * 144
    work = LayerWork(LayerKind.CONVOLUTION, 7, 64, 64, outputs * 49, outputs)
    assert work.is_depthwise
    slowest = _Machine().layer_seconds(replace(work, out_channels=8))
    assert model.layer_seconds(work) == pytest.approx(slowest, rel=0.2)


class _Disturbed:
    """Stands for the clock of that machine, where one timing of three meets no other work."""

    def __init__(self, network: Architecture) -> None:
        self._seconds = network_seconds(_Machine(), network)
        self._slower = cycle((5.0, 1.0, 3.0))

    @classmethod
    def untrained(cls, network: Architecture) -> _Disturbed:
        return cls(network)

    def median_seconds(self, runs: int) -> float:
        return self._seconds * next(self._slower)


def test_a_machine_with_other_work_is_predicted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency_model, "Timer", _Disturbed)
    model = calibrate(SPACE)
    networks, seconds = measured_sample(SPACE, 40, seed=9)
    assert seconds == [network_seconds(_Machine(), network) for network in networks]
    predicted = [network_seconds(model, network) for network in networks]
    assert spearmanr(predicted, seconds).statistic > 0.95
    assert np.median(np.abs(np.divide(predicted, seconds) - 1)) < 0.05


def test_this_machine_can_be_calibrated() -> None:
    networks, seconds = measured_sample(SPACE, 6, seed=9)
    assert min(seconds) > 0
    model = fit_latency(networks, seconds)
    assert model.fixed_seconds >= 0
    assert all(rate >= 0 for rates in model.rates.values() for rate in rates)
    assert all(network_seconds(model, network) > 0 for network in networks)

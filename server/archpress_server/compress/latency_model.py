"""`calibrate`: how long layers take in ONNX Runtime on this machine, fitted to measured networks.

Exporting and timing a network takes some ten milliseconds, predicting its time some ten
microseconds: the fit screens thousands of networks, the few that are proposed are measured.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random

import numpy as np
from numpy.typing import NDArray

from archpress_server.compress.latency import Timer
from archpress_server.compress.layer_work import LayerWork, works
from archpress_trainer.space.architecture_space import ArchitectureSpace
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.practical_sampler import Window
from archpress_trainer.space.prior import prior
from archpress_trainer.space.sampling import draw
from archpress_trainer.space.vocab import LayerKind

_NETS = 64
_PASSES = 3
_RUNS = 15
_BLOCKS = (8, 16)
"""Channels that one vector instruction takes, on machines without and with AVX-512."""
_RIDGE = 0.02
_ROBUST_ERROR = 0.1
"""Relative error from which on a network counts less: other work on the machine disturbs a few."""
_ROUNDS = 4

LayerClass = tuple[Hashable, ...]
"""What layers have one set of rates: their kind and, of convolutions, more."""

Rates = tuple[float, float, float]
"""Seconds per layer, per MAC and per output."""


@dataclass(frozen=True)
class FittedLatency:
    """Seconds of layers on one machine: per layer, MAC and output, by kind and alignment.

    ONNX Runtime takes a faster way through convolutions whose channels fill its vectors of `block`
    numbers, so that those have rates of their own.
    """

    fixed_seconds: float
    block: int
    rates: dict[LayerClass, Rates]
    median_error: float
    """Median relative error on the networks that it was fitted to."""

    def layer_seconds(self, work: LayerWork) -> float:
        """Return the seconds of one layer.

        A convolution of a class that no sampled network has takes as long as one of the slowest
        class; another kind that none has takes no time.
        """
        rates = self.rates.get(_class(work, self.block))
        if rates is not None:
            return _seconds(rates, work)
        if work.kind is not LayerKind.CONVOLUTION:
            return 0.0
        return max((_seconds(known, work) for known in self._convolutions), default=0.0)

    @cached_property
    def _convolutions(self) -> list[Rates]:
        return [r for name, r in self.rates.items() if name[0] is LayerKind.CONVOLUTION]


def calibrate(space: ArchitectureSpace) -> FittedLatency:
    """Return a latency model of this machine for the networks of a space, in about a second.

    Sampled networks are timed untrained in several passes, of which the fastest counts: other work
    on the machine only ever slows a run down.
    """
    return fit_latency(*measured_sample(space, _NETS, seed=0))


def measured_sample(
    space: ArchitectureSpace, number: int, seed: int
) -> tuple[list[Architecture], list[float]]:
    """Return sampled networks and their measured seconds in ONNX Runtime, one thread."""
    sampler = prior(space, Window(max_params=space.max_params // 4))
    source = draw(sampler, Random(seed))
    networks = [next(source).architecture for _ in range(number)]
    timers = [Timer.untrained(network) for network in networks]
    passes = [[timer.median_seconds(_RUNS) for timer in timers] for _ in range(_PASSES)]
    return networks, np.min(passes, axis=0).tolist()


def fit_latency(networks: Sequence[Architecture], seconds: Sequence[float]) -> FittedLatency:
    """Return the model that comes closest to measured seconds, in relative terms.

    Args:
        networks: at least one.
        seconds: of each network, positive.
    """
    fits = [_fit([works(network) for network in networks], seconds, b) for b in _BLOCKS]
    return min(fits, key=lambda fit: fit.median_error)


def _fit(
    networks: Sequence[Sequence[LayerWork]], seconds: Sequence[float], block: int
) -> FittedLatency:
    """Fit non-negative rates by least squares on relative errors, reweighted against outliers."""
    # Here, since it takes a second, and every job's process loads this module.
    from scipy.optimize import nnls

    classes = sorted({_class(work, block) for layers in networks for work in layers}, key=repr)
    rows = np.array([_features(layers, classes, block) for layers in networks])
    relative = rows / np.array(seconds)[:, None]
    # Columns of one norm, so that the ridge is alike for all of them.
    scale = np.maximum(np.linalg.norm(relative, axis=0), 1e-12)
    relative /= scale
    ridge = _RIDGE * np.eye(len(scale))
    weight = np.ones(len(rows))
    found: NDArray[np.float64] = np.zeros(len(scale))
    errors = weight
    for _ in range(_ROUNDS):
        matrix = np.vstack([relative * weight[:, None], ridge])
        found, _norm = nnls(matrix, np.concatenate([weight, np.zeros(len(scale))]))
        errors = np.abs(relative @ found - 1)
        weight = np.sqrt(_ROBUST_ERROR / np.maximum(errors, _ROBUST_ERROR))
    solved = (found / scale).tolist()
    rates: dict[LayerClass, Rates] = {
        name: (solved[1 + 3 * i], solved[2 + 3 * i], solved[3 + 3 * i])
        for i, name in enumerate(classes)
    }
    return FittedLatency(solved[0], block, rates, float(np.median(errors)))


def _seconds(rates: Rates, work: LayerWork) -> float:
    return rates[0] + rates[1] * work.macs + rates[2] * work.outputs


def _features(
    layers: Sequence[LayerWork], classes: Sequence[LayerClass], block: int
) -> list[float]:
    """Return 1, then for each class how many layers, MACs and outputs there are."""
    numbers: Counter[LayerClass] = Counter()
    macs: Counter[LayerClass] = Counter()
    outputs: Counter[LayerClass] = Counter()
    for work in layers:
        name = _class(work, block)
        numbers[name] += 1
        macs[name] += work.macs
        outputs[name] += work.outputs
    triples = ((numbers[name], macs[name], outputs[name]) for name in classes)
    return [1.0, *(float(value) for triple in triples for value in triple)]


def _class(work: LayerWork, block: int) -> LayerClass:
    if work.kind is not LayerKind.CONVOLUTION:
        return (work.kind,)
    if work.is_depthwise:
        return work.kind, "depthwise", work.out_channels % block == 0
    return work.kind, work.out_channels % block == 0, work.in_channels < block

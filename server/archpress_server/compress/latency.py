"""Latency of an ONNX model in ONNX Runtime on this machine's CPU."""

from __future__ import annotations

import platform
import time
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from archpress_server.compress.export import to_onnx
from archpress_server.compress.types import Latency
from archpress_trainer.data.dataset import Normalisation
from archpress_trainer.space.build import build
from archpress_trainer.space.graph import Architecture

_THREADS = 1
_BATCH_SIZE = 1
_WARM_UP = 20
_RUNS = 200
_MOST_SECONDS = 5.0
_TRIES = 3


def session(model: bytes, threads: int) -> onnxruntime.InferenceSession:
    """Return an ONNX Runtime session on the CPU with so many threads."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


class Timer:
    """Times one image through a model with one thread, again and again."""

    def __init__(self, model: bytes, input_shape: tuple[int, int, int]) -> None:
        """Open the model and warm it up."""
        self._runner = session(model, _THREADS)
        images = np.random.default_rng(0).random((_BATCH_SIZE, *input_shape), dtype=np.float32)
        self._feed = {self._runner.get_inputs()[0].name: images}
        started = time.perf_counter()
        for _ in range(_WARM_UP):
            self._runner.run(None, self._feed)
            if time.perf_counter() - started > _MOST_SECONDS / 2:
                break

    @classmethod
    def untrained(cls, architecture: Architecture) -> Timer:
        """Return the timer of a network without training: weights do not change its time."""
        network = build(architecture, torch.Generator().manual_seed(0)).eval()
        channels = architecture.input_shape[0]
        model = to_onnx(network, Normalisation((0.0,) * channels, (1.0,) * channels))
        return cls(model, architecture.input_shape)

    def seconds(self, runs: int) -> list[float]:
        """Return the times of so many runs, or of as many as fit into five seconds."""
        times: list[float] = []
        started = time.perf_counter()
        while len(times) < runs and time.perf_counter() - started < _MOST_SECONDS:
            before = time.perf_counter()
            self._runner.run(None, self._feed)
            times.append(time.perf_counter() - before)
        return times

    def median_seconds(self, runs: int = _RUNS) -> float:
        """Return the median over so many runs."""
        return float(np.median(self.seconds(runs)))


def untrained_seconds(architecture: Architecture, limit_seconds: float) -> float:
    """Return the median time of one image, measured once more where it is over the limit.

    Other work on the machine slows a network down, nothing speeds it up.
    """
    timer = Timer.untrained(architecture)
    seconds = timer.median_seconds()
    return seconds if seconds <= limit_seconds else min(seconds, timer.median_seconds())


def measure_latency(
    model: bytes,
    input_shape: tuple[int, int, int],
    *,
    limit_seconds: float | None = None,
) -> Latency:
    """Return the time of one image: median and 10th, 90th percentile after a warm-up.

    There are 200 timed runs, or as many as fit into five seconds. A median over `limit_seconds` is
    measured again, up to three times, and the lowest counts: other work on the machine slows a
    model down, nothing speeds it up.
    """
    timer = Timer(model, input_shape)
    tries: list[Latency] = []
    while not tries or (limit_seconds is not None and len(tries) < _TRIES):
        seconds = timer.seconds(_RUNS)
        p10, median, p90 = np.percentile(seconds, [10, 50, 90]).tolist()
        tries.append(Latency(median, p10, p90, _THREADS, _BATCH_SIZE, len(seconds), cpu_name()))
        if limit_seconds is None or median <= limit_seconds:
            break
    return min(tries, key=lambda latency: latency.median_seconds)


def cpu_name() -> str:
    """Return the CPU's name as the operating system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()

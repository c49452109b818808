"""Latency of an ONNX model in ONNX Runtime on this machine's CPU."""

from __future__ import annotations

import platform
import time
from pathlib import Path

import numpy as np
import onnxruntime

from archpress_server.compress.types import Latency

_WARM_UP = 20
_RUNS = 200
_MOST_SECONDS = 5.0


def session(model: bytes, threads: int) -> onnxruntime.InferenceSession:
    """Return an ONNX Runtime session on the CPU with so many threads."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def measure_latency(
    model: bytes, input_shape: tuple[int, int, int], *, threads: int = 1, batch_size: int = 1
) -> Latency:
    """Return the time of one batch: median and 10th, 90th percentile after a warm-up.

    There are 200 timed runs, or as many as fit into five seconds.
    """
    runner = session(model, threads)
    name = runner.get_inputs()[0].name
    images = np.random.default_rng(0).random((batch_size, *input_shape), dtype=np.float32)
    feed = {name: images}
    started = time.perf_counter()
    for _ in range(_WARM_UP):
        runner.run(None, feed)
        if time.perf_counter() - started > _MOST_SECONDS / 2:
            break
    seconds: list[float] = []
    started = time.perf_counter()
    while len(seconds) < _RUNS and time.perf_counter() - started < _MOST_SECONDS:
        before = time.perf_counter()
        runner.run(None, feed)
        seconds.append(time.perf_counter() - before)
    p10, median, p90 = np.percentile(seconds, [10, 50, 90]).tolist()
    return Latency(median, p10, p90, threads, batch_size, len(seconds), cpu_name())


def cpu_name() -> str:
    """Return the CPU's name as the operating system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()

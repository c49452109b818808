"""How soon a running server answers: first event of `Compress`, and `Plan` for new budgets.

Prediction: the first event costs one database commit and one poll on top of a round trip, so tens
of milliseconds; a plan costs about a second, most of it decoding and scoring. The floor of both is
the round trip of `GetServerInfo`, measured in the same run; figures are given in seconds and as
multiples of it.

    python benchmarks/service.py --target 127.0.0.1:50051 --output benchmarks/results/service.json
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import statistics
import time
import uuid
from collections.abc import Callable
from typing import Any

import grpc
from arguments import output_file, positive

from archpress_proto.v1.compression_service_pb2 import (
    CancelJobRequest,
    CompressRequest,
    PlanRequest,
)
from archpress_proto.v1.compression_service_pb2_grpc import CompressionServiceStub
from archpress_proto.v1.info_service_pb2 import GetServerInfoRequest
from archpress_proto.v1.info_service_pb2_grpc import InfoServiceStub
from archpress_proto.v1.jobs_pb2 import Budget, JobSpec


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--target", default="127.0.0.1:50051")
    parser.add_argument("--network", default="conv-7")
    parser.add_argument("--dataset", default="fashion-mnist")
    parser.add_argument("--runs", type=positive, default=20)
    parser.add_argument("--output", type=output_file)
    options = parser.parse_args()
    try:
        with grpc.insecure_channel(options.target) as channel:
            report = measure(channel, options.network, options.dataset, options.runs)
    except grpc.RpcError as error:
        parser.error(f"{options.target}: {error.details()}")
    text = json.dumps(report, indent=1)
    print(text)
    if options.output is not None:
        options.output.write_text(text + "\n")


def measure(channel: grpc.Channel, network: str, dataset: str, runs: int) -> dict[str, Any]:
    """Return the figures of each call, after one warm-up of each."""
    compression = CompressionServiceStub(channel)
    info = InfoServiceStub(channel)
    budgets = random.Random(0)

    def spec() -> JobSpec:
        limit = int(10 ** budgets.uniform(3.7, 5.3))
        return JobSpec(network=network, dataset=dataset, budget=Budget(max_params=limit))

    def round_trip() -> None:
        info.GetServerInfo(GetServerInfoRequest())

    def first_event() -> Callable[[], None]:
        request = CompressRequest(spec=spec(), request_id=str(uuid.uuid4()))
        stream = compression.Compress(request)
        job = next(stream).job

        def clean_up() -> None:
            stream.cancel()
            compression.CancelJob(CancelJobRequest(name=job))

        return clean_up

    def plan() -> None:
        compression.Plan(PlanRequest(spec=spec()))

    floor = times(round_trip, runs)
    figures = {
        "GetServerInfo": floor,
        "Compress, first event": times(first_event, runs),
        "Plan": times(plan, runs),
    }
    least = statistics.median(floor)
    return {
        "machine": {
            "processor": platform.machine(),
            "python": platform.python_version(),
            "grpcio": grpc.__version__,
        },
        "network": network,
        "dataset": dataset,
        "calls": {name: summary(values, least) for name, values in figures.items()},
    }


def times(call: Callable[[], Callable[[], None] | None], runs: int) -> list[float]:
    """Return the seconds of each of `runs` calls; what a call returns is run untimed after it."""
    seconds = []
    for index in range(runs + 1):
        started = time.perf_counter()
        clean_up = call()
        elapsed = time.perf_counter() - started
        if clean_up is not None:
            clean_up()
        if index:
            seconds.append(elapsed)
    return seconds


def summary(seconds: list[float], floor: float) -> dict[str, float | None]:
    """Return count, mean, spread (None of one call) and the multiple of the floor."""
    ordered = sorted(seconds)
    spread = round(statistics.stdev(seconds), 4) if len(seconds) > 1 else None
    return {
        "n": len(seconds),
        "mean_seconds": round(statistics.mean(seconds), 4),
        "stdev_seconds": spread,
        "median_seconds": round(statistics.median(seconds), 4),
        "max_seconds": round(ordered[-1], 4),
        "median_in_round_trips": round(statistics.median(seconds) / floor, 1),
    }


if __name__ == "__main__":
    main()

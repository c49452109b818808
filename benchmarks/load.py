"""One server under load: many watchers of jobs that emit events, then as many `GetJob` as it can.

The delay of an event is from the moment at which its writer begins to store it to its receipt, so
it includes the commit. Server, writer, watchers and callers are processes of their own on one
machine, so they take the cores from one another. The floor of `GetJob` is a bare grpc.aio server
that answers every call with the same bytes, under the same callers, in the same run.

Prediction: a delay of half a poll in the median and of a poll or two at worst, since one look at
the database serves all jobs; `GetJob` at a third of the floor. Outcome on two cores: as predicted.
One call at a time to the database gave 0.22 of the floor, most of it the way to a thread and back;
now one read serves all calls that wait. What is left is gRPC's own work and, on the same cores,
that of the callers: the server's event loop is idle for two fifths of the time.

    python benchmarks/load.py --watchers 500
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from statistics import quantiles
from typing import Any

import grpc
from json_lines import RESULTS, JsonLines
from load_clients import call, processes, start, watch, write
from load_servers import ECHO, Sample, Served, serve_archpress, serve_echo, settings

from archpress_proto.v1.compression_service_pb2 import CreateJobRequest, GetJobRequest
from archpress_proto.v1.compression_service_pb2_grpc import CompressionServiceStub
from archpress_proto.v1.jobs_pb2 import JobSpec
from archpress_server.state import prepare_state

GET_JOB = "/archpress.v1.CompressionService/GetJob"
_WATCHING_PROCESSES = 2
_CALLING_PROCESSES = 2
_CALLS_AT_ONCE = 16


def main() -> None:
    """Measure, print and append to the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--watchers", type=int, default=500)
    parser.add_argument("--jobs", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=30, help="events of each job")
    parser.add_argument("--pause-seconds", type=float, default=1.0, help="between two of a job")
    parser.add_argument("--call-seconds", type=float, default=5.0)
    parser.add_argument("--output", type=Path, default=RESULTS / "load.jsonl")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder)
        prepare_state(settings(state))
        with Served(serve_archpress, state) as server:
            jobs, answer = _create(server.port, options.jobs)
            events = _watched(server, state, jobs, options)
            calls = _called(server, jobs, options.call_seconds)
    with Served(serve_echo, answer) as echo:
        floor = _call_echo(echo, options.call_seconds)
    record = {
        "command": shlex.join(["python", "benchmarks/load.py", *sys.argv[1:]]),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "cores": len(os.sched_getaffinity(0)),
        "load_average": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "grpcio": version("grpcio"),
        "events": events,
        "get_job": {
            **calls,
            "floor": floor,
            "of_floor": round(calls["per_second"] / floor["per_second"], 2),
        },
    }
    for name, value in record.items():
        print(f"{name}: {value}")
    JsonLines(options.output).add(record)


def _create(port: int, count: int) -> tuple[list[str], bytes]:
    """Create jobs and return their ids, and a job's message as it is sent."""
    spec = JobSpec(network="conv-7", dataset="fashion-mnist")
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = CompressionServiceStub(channel)
        jobs = [stub.CreateJob(CreateJobRequest(spec=spec)) for _ in range(count)]
    return [job.name.removeprefix("jobs/") for job in jobs], jobs[0].SerializeToString()


def _watched(
    server: Served, state: Path, jobs: list[str], options: argparse.Namespace
) -> dict[str, Any]:
    watched = [jobs[index % len(jobs)] for index in range(options.watchers)]
    idle = server.sample()
    with processes(_WATCHING_PROCESSES + 1) as pool:
        watching = [
            start(pool, watch, server.port, watched[part::_WATCHING_PROCESSES], options.rounds)
            for part in range(_WATCHING_PROCESSES)
        ]
        # Time for processes and streams to open.
        time.sleep(5.0 + options.watchers / 100)
        opened = server.sample()
        writing = start(pool, write, state, jobs, options.rounds, options.pause_seconds)
        time.sleep(options.rounds * options.pause_seconds / 2)
        middle = server.sample()
        received = [future.result() for future in watching]
        end = server.sample()
        commit = writing.result()
    delays = [delay for part in received for delay in part.delays]
    return {
        "watchers": options.watchers,
        "jobs": len(jobs),
        "written_per_second": round(len(jobs) / options.pause_seconds, 1),
        "sent_per_second": round(options.watchers / options.pause_seconds, 1),
        "received": len(delays),
        "whole_streams": sum(part.whole_streams for part in received),
        "delay_seconds": _spread(delays),
        "median_commit_seconds": round(commit, 4),
        "longest_block_seconds": round(
            max(middle.longest_block_seconds, end.longest_block_seconds), 4
        ),
        "longest_block_at_opening_seconds": round(opened.longest_block_seconds, 4),
        "server_cores": round(
            (end.cpu_seconds - opened.cpu_seconds) / (options.rounds * options.pause_seconds), 2
        ),
        "resident_mib": {
            "idle": _mib(idle),
            "streams open": _mib(opened),
            "half way": _mib(middle),
            "end": _mib(end),
        },
    }


def _called(server: Served, jobs: list[str], seconds: float) -> dict[str, Any]:
    requests = [GetJobRequest(name=f"jobs/{job}").SerializeToString() for job in jobs]
    return _calls(server, GET_JOB, requests, seconds)


def _call_echo(server: Served, seconds: float) -> dict[str, Any]:
    return _calls(server, ECHO, [GetJobRequest(name="jobs/x").SerializeToString()], seconds)


def _calls(server: Served, method: str, requests: list[bytes], seconds: float) -> dict[str, Any]:
    with processes(_CALLING_PROCESSES) as pool:
        server.sample()
        calling = [
            start(pool, call, server.port, method, requests, seconds, _CALLS_AT_ONCE)
            for _ in range(_CALLING_PROCESSES)
        ]
        rate = sum(future.result() for future in calling)
        block = server.sample().longest_block_seconds
    return {"per_second": round(rate), "longest_block_seconds": round(block, 4)}


def _spread(delays: list[float]) -> dict[str, float]:
    cuts = quantiles(delays, n=100)
    named = {"p50": cuts[49], "p90": cuts[89], "p99": cuts[98], "longest": max(delays)}
    return {name: round(value, 4) for name, value in named.items()}


def _mib(sample: Sample) -> float:
    return round(sample.resident_bytes / 2**20, 1)


if __name__ == "__main__":
    main()

"""The processes of `load.py` that make the load: workers that write, watchers, callers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import grpc
from load_servers import settings

from archpress_proto.v1.compression_service_pb2 import WatchJobRequest
from archpress_proto.v1.jobs_pb2 import JobEvent
from archpress_server.compress.types import Phase, Progress
from archpress_server.state import open_leases

WATCH = "/archpress.v1.CompressionService/WatchJob"
_STREAMS_PER_CHANNEL = 25


@dataclass(frozen=True)
class Received:
    """What some watchers got: delays in seconds, and whether each stream was whole."""

    delays: list[float]
    whole_streams: int


def processes(count: int) -> ProcessPoolExecutor:
    """Return a pool of processes that share nothing with this one."""
    return ProcessPoolExecutor(count, mp_context=get_context("spawn"))


def start(pool: ProcessPoolExecutor, work: Callable[..., Any], *arguments: Any) -> Future[Any]:
    """Run `work` in a process of the pool."""
    return pool.submit(work, *arguments)


def write(state: Path, jobs: Sequence[str], rounds: int, pause_seconds: float) -> float:
    """Write one event of each job, again and again, as workers do; return the median commit.

    The jobs are left RUNNING. The writes are spread evenly over each round.
    """
    leases = open_leases(settings(state))
    commits = []
    for _ in jobs:
        leases.lease_next("load")
    begin = time.monotonic()
    for number in range(rounds * len(jobs)):
        due = begin + number * pause_seconds / len(jobs)
        time.sleep(max(0.0, due - time.monotonic()))
        progress = Progress(Phase.RETRAIN, number // len(jobs), rounds, loss=0.5, accuracy=0.9)
        started = time.perf_counter()
        leases.append(jobs[number % len(jobs)], 1, progress)
        commits.append(time.perf_counter() - started)
    leases.store.database.close()
    return median(commits)


def watch(port: int, jobs: Sequence[str], events: int) -> Received:
    """Watch jobs, one stream each, up to the event that is `events` after the second.

    The first events are the snapshots of a job that is queued and then runs.
    """
    return asyncio.run(_watch(port, jobs, events + 2))


async def _watch(port: int, jobs: Sequence[str], last_seq: int) -> Received:
    channels = [_channel(port) for _ in range(-(-len(jobs) // _STREAMS_PER_CHANNEL))]

    async def follow(index: int, job: str) -> list[tuple[float, JobEvent]]:
        call = channels[index // _STREAMS_PER_CHANNEL].unary_stream(
            WATCH,
            request_serializer=WatchJobRequest.SerializeToString,
            # The clock first: reading the message is the client's own time.
            response_deserializer=lambda raw: (time.time(), JobEvent.FromString(raw)),
        )(WatchJobRequest(name=f"jobs/{job}"))
        got = []
        async for received, event in call:
            if event.seq > 2:
                got.append((received, event))
            if event.seq == last_seq:
                break
        call.cancel()
        return got

    streams = await asyncio.gather(*(follow(index, job) for index, job in enumerate(jobs)))
    for channel in channels:
        await channel.close()
    delays = [
        received - (event.time.seconds + event.time.nanos * 1e-9)
        for stream in streams
        for received, event in stream
    ]
    whole = sum([e.seq for _, e in stream] == list(range(3, last_seq + 1)) for stream in streams)
    return Received(delays, whole)


def call(port: int, method: str, requests: Sequence[bytes], seconds: float, at_once: int) -> float:
    """Call a method with these requests in turn and return the calls a second."""
    return asyncio.run(_call(port, method, requests, seconds, at_once))


async def _call(
    port: int, method: str, requests: Sequence[bytes], seconds: float, at_once: int
) -> float:
    async with _channel(port) as channel:
        ask: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method)
        await ask(requests[0])
        done, begin = 0, time.monotonic()
        end = begin + seconds

        async def keep_asking(number: int) -> None:
            nonlocal done
            while time.monotonic() < end:
                await ask(requests[number % len(requests)])
                number += at_once
                done += 1

        await asyncio.gather(*(keep_asking(number) for number in range(at_once)))
        return done / (time.monotonic() - begin)


def _channel(port: int) -> grpc.aio.Channel:
    options = [("grpc.use_local_subchannel_pool", 1)]
    return grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options)

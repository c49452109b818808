"""The three kinds of chaos: kill -9 at random, the loss of a replica, SIGTERM in full swing."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from threading import Timer

import sqlalchemy as sa

from archpress_server.config import ServerConfig
from tests.chaos.audit import audit
from tests.chaos.clients import JobClient, Seen
from tests.chaos.replicas import Replicas, signal_process


@dataclass
class Summary:
    """What was done, and what went wrong: no faults is a pass."""

    scenario: str
    database: str
    replicas: int
    jobs: int
    seed: int
    server_kills: int = 0
    worker_kills: int = 0
    worker_freezes: int = 0
    restarts: int = 0
    attempts: int = 0
    streams: int = 0
    reconnects: int = 0
    stop_seconds: float | None = None
    seconds: float = 0.0
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """Say it in one line."""
        verdict = f"{len(self.faults)} FAULTS" if self.faults else "no fault"
        stop = "" if self.stop_seconds is None else f"stopped in {self.stop_seconds:.1f} s, "
        return (
            f"{self.scenario} on {self.database} ({self.replicas}): {self.jobs} jobs, "
            f"{self.server_kills} servers and {self.worker_kills} workers killed, "
            f"{self.worker_freezes} frozen, {self.restarts} restarts, {self.attempts} attempts, "
            f"{self.streams} streams, {self.reconnects} reconnects, {stop}{self.seconds:.0f} s: "
            f"{verdict}"
        )


def settings(state: Path, database_url: str = "") -> ServerConfig:
    """Return the settings of a server that notices losses soon and gives no job up."""
    return ServerConfig(
        metrics_port=0,
        state_dir=state,
        database_url=database_url,
        workers=4,
        threads_per_worker=1,
        lease_seconds=4.0,
        heartbeat_seconds=0.5,
        max_attempts=100,
        poll_seconds=0.1,
        drain_grace_seconds=10.0,
        log_level="warning",
    )


def kills(
    config: ServerConfig, *, jobs: int, clients: int, seed: int, replicas: int = 1
) -> Summary:
    """Kill servers and workers at random, and freeze workers beyond their lease."""
    summary = Summary("kill -9", _kind(config), replicas, jobs, seed)
    with _running(summary, config) as servers, ThreadPoolExecutor(clients) as pool:
        rng = Random(seed)
        asked = [
            pool.submit(
                JobClient(servers.target(number % replicas), leaves=1).run,
                Random(rng.random()),
                2.0,
            )
            for number in range(jobs)
        ]
        _torment(servers, asked, summary, rng)
        _judge(summary, config, asked)
    return summary


def failover(config: ServerConfig, *, jobs: int, seed: int) -> Summary:
    """Kill one of two replicas for good, while clients of either watch each job."""
    summary = Summary("failover", _kind(config), 2, jobs, seed)
    with _running(summary, config) as servers, ThreadPoolExecutor(2 * jobs) as pool:
        asked = _watched_jobs(servers, pool, summary, watchers=2)
        _wait_for(asked, len(asked) // 4)
        servers.kill(0)
        _judge(summary, config, asked)
    return summary


def drain(config: ServerConfig, *, jobs: int, watchers: int, seed: int) -> Summary:
    """Ask the server to stop in the middle of jobs and streams, and start it again."""
    # A job that is given back in order does not count as lost, so one lost attempt may fail it.
    config = config.model_copy(update={"max_attempts": 1})
    summary = Summary("SIGTERM", _kind(config), 1, jobs, seed)
    with _running(summary, config) as servers, ThreadPoolExecutor(watchers * jobs) as pool:
        asked = _watched_jobs(servers, pool, summary, watchers)
        _wait_for(asked, len(asked) // 5)
        code, summary.stop_seconds = servers.stop(0, timeout_seconds=60.0)
        if code != 0 or summary.stop_seconds > config.drain_grace_seconds:
            summary.faults.append(f"exit code {code} after {summary.stop_seconds:.1f} s")
        if left := servers.workers():
            summary.faults.append(f"{len(left)} workers outlived their server")
        servers.start(0)
        _judge(summary, config, asked)
    return summary


@contextmanager
def _running(summary: Summary, config: ServerConfig) -> Iterator[Replicas]:
    """Run the servers, and count what can be counted from outside."""
    reconnects = _Reconnects()
    logger = logging.getLogger("archpress_client")
    logger.addHandler(reconnects)
    logger.setLevel(logging.INFO)
    try:
        with Replicas(config, summary.replicas) as servers:
            started = time.monotonic()
            yield servers
            summary.seconds = round(time.monotonic() - started, 1)
            summary.server_kills = servers.kills
            summary.restarts = servers.starts - summary.replicas
    finally:
        logger.removeHandler(reconnects)
    summary.reconnects = reconnects.count


class _Reconnects(logging.Handler):
    """Counts the streams that the SDK had to open again."""

    count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += "watching again" in record.getMessage()


def _watched_jobs(
    servers: Replicas, pool: ThreadPoolExecutor, summary: Summary, watchers: int
) -> list[Future[Seen]]:
    """Create jobs and follow each by several clients, each through another replica first."""
    rng = Random(summary.seed)
    clients = [JobClient(servers.target(index)) for index in range(summary.replicas)]
    names = [clients[0].create(rng, 3.0) for _ in range(summary.jobs)]
    return [
        pool.submit(clients[index % summary.replicas].follow, name, Random(rng.random()))
        for name in names
        for index in range(watchers)
    ]


def _torment(
    servers: Replicas, asked: Sequence[Future[Seen]], summary: Summary, rng: Random
) -> None:
    """Do harm until all clients have their jobs."""
    harms = _harms(rng)
    while not all(future.done() for future in asked):
        wait(asked, rng.uniform(0.5, 1.5), FIRST_EXCEPTION)
        harm, workers = next(harms), servers.workers()
        if harm == "server":
            index = rng.randrange(summary.replicas)
            servers.kill(index)
            time.sleep(rng.uniform(0.0, 1.0))
            servers.start(index)
        elif workers and harm == "worker":
            summary.worker_kills += signal_process(rng.choice(workers), signal.SIGKILL)
        elif workers:
            pid = rng.choice(workers)
            summary.worker_freezes += signal_process(pid, signal.SIGSTOP)
            # By a clock of its own: a worker that is frozen in a transaction on SQLite keeps all
            # others from writing, and a server from starting.
            thaw_seconds = servers.configs[0].lease_seconds + 2.0
            Timer(thaw_seconds, signal_process, (pid, signal.SIGCONT)).start()


def _harms(rng: Random) -> Iterator[str]:
    """Yield what to harm: one of each at first, so that a short run has all."""
    yield from ("worker", "server", "freeze")
    while True:
        yield from rng.choices(("worker", "server", "freeze"), (5, 3, 2))


def _wait_for(asked: Sequence[Future[Seen]], count: int) -> None:
    while sum(future.done() for future in asked) < count:
        time.sleep(0.05)


def _judge(summary: Summary, config: ServerConfig, asked: Sequence[Future[Seen]]) -> None:
    seen = [future.result() for future in asked]
    attempts = {client.job: client.attempt for client in seen}
    summary.attempts = sum(attempts.values())
    summary.streams = sum(client.streams for client in seen)
    summary.faults += audit(config, summary.jobs, seen)


def _kind(config: ServerConfig) -> str:
    return sa.make_url(config.url).get_backend_name()

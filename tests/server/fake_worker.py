"""A worker that does what its job's label `mode` says, through the real store and heart."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass

from archpress_server.compress.types import (
    Candidate,
    Certificate,
    Compression,
    Latency,
    Phase,
    Progress,
    Request,
)
from archpress_server.config import ServerConfig
from archpress_server.jobs.leases import Leases
from archpress_server.jobs.model import JobError
from archpress_server.logs import configure_logs
from archpress_server.state import open_leases
from archpress_server.worker.heart import Heart, block_sigterm
from archpress_server.worker.observer import JobObserver
from archpress_trainer.embedding.prediction import Prediction
from archpress_trainer.space.costs import count


@dataclass(frozen=True)
class Attempt:
    """What a worker was started for, by its arguments and its standard input."""

    config: ServerConfig
    leases: Leases
    job: str
    number: int

    @classmethod
    def given(cls) -> Attempt:
        """Read it; before any thread is started."""
        block_sigterm()
        parser = argparse.ArgumentParser()
        parser.add_argument("--job", required=True)
        parser.add_argument("--attempt", type=int, required=True)
        arguments = parser.parse_args()
        config = ServerConfig.model_validate_json(sys.stdin.read())
        configure_logs("error")
        return cls(config, open_leases(config), arguments.job, arguments.attempt)

    def begin(self) -> JobObserver:
        """Start the heart."""
        heart = Heart(
            self.leases,
            self.job,
            self.number,
            heartbeat_seconds=self.config.heartbeat_seconds,
            cancel_grace_seconds=self.config.cancel_grace_seconds,
        )
        heart.start()
        return JobObserver(self.leases, self.job, self.number, heart.stop)


def main() -> None:
    given = Attempt.given()
    leases, job, attempt = given.leases, given.job, given.number
    spec = leases.store.get(job).spec
    mode = spec.labels.get("mode", "succeed")
    if mode in ("parent", "greedy"):
        # An argument to find it by.
        child = "import sys, time; held = b'x' * int(sys.argv[1]); time.sleep(60)"
        size = 2**28 if mode == "greedy" else 0
        subprocess.Popen([sys.executable, "-c", child, str(size), "child", job])
        time.sleep(0.5)
    if mode in ("die", "parent") or (mode == "die-once" and attempt == 1):
        os.kill(os.getpid(), signal.SIGKILL)
    if mode in ("silent", "greedy"):
        time.sleep(60)
    observer = given.begin()
    for phase in Phase:
        observer.progress(Progress(phase, 1, 2, message="half"))
        observer.progress(Progress(phase, 2, 2, message="all"))
    request = spec.request
    observer.candidate(candidate(request))
    while mode in ("wait", "stubborn") or (mode == "wait-once" and attempt == 1):
        time.sleep(0.02)
        if mode != "stubborn" and observer.should_stop():
            leases.cancelled(job, attempt)
            return
    result = compression(request, budget_met=mode != "unreachable")
    if mode == "unreachable":
        error = JobError("BUDGET_UNREACHABLE", "reached 0.91 only")
        leases.fail(job, attempt, error, best=result, nearest_budget=request.budget)
    else:
        leases.succeed(job, attempt, result)


def candidate(request: Request) -> Candidate:
    """Return the input network itself as a candidate."""
    costs = count(request.architecture)
    return Candidate(request.architecture, costs, Prediction(0.9, 0.8, 0.95), 1, chosen=True)


def compression(
    request: Request, content: bytes = bytes(range(250)) * 2400, *, budget_met: bool = True
) -> Compression:
    """Return a made-up result that delivers these bytes."""
    costs, prediction = count(request.architecture), Prediction(0.9, 0.8, 0.95)
    latency = Latency(0.001, 0.0009, 0.002, 1, 1, 50, "a cpu")
    certificate = Certificate(
        "0" * 64, 600_000, 1, costs, 100, 0.91, 0.9, 0.92, 1.0, 0.0, latency, latency, 17, "1", "2"
    )
    return Compression(
        content,
        request.architecture,
        costs,
        costs,
        prediction,
        0.92,
        certificate,
        "fashion-mnist-default-1",
        budget_met,
        1.5,
    )


if __name__ == "__main__":
    main()

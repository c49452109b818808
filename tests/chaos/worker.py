"""A worker that takes the time of its job's label `seconds`, through the real store and heart."""

from __future__ import annotations

import argparse
import hashlib
import sys
import time

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
from archpress_server.jobs.errors import JobNotFoundError, StaleAttemptError
from archpress_server.jobs.leases import Leases
from archpress_server.logs import configure_logs
from archpress_server.state import open_leases
from archpress_server.worker.heart import Heart, block_sigterm
from archpress_server.worker.observer import JobObserver, patiently
from archpress_trainer.embedding.prediction import Prediction
from archpress_trainer.space.costs import count
from tests.chaos.work import STEPS, line, model


def main() -> None:
    block_sigterm()
    parser = argparse.ArgumentParser()
    parser.add_argument("--job", required=True)
    parser.add_argument("--attempt", type=int, required=True)
    arguments = parser.parse_args()
    job, attempt = arguments.job, arguments.attempt
    config = ServerConfig.model_validate_json(sys.stdin.read())
    configure_logs("error")
    leases = open_leases(config)
    heart = Heart(
        leases,
        job,
        attempt,
        heartbeat_seconds=config.heartbeat_seconds,
        cancel_grace_seconds=config.cancel_grace_seconds,
    )
    heart.start()
    try:
        work(leases, JobObserver(leases, job, attempt, heart.stop), job, attempt)
    except (StaleAttemptError, JobNotFoundError):
        return


def work(leases: Leases, observer: JobObserver, job: str, attempt: int) -> None:
    spec = patiently(lambda: leases.store.get(job), leases.lease_seconds).spec
    request, costs = spec.request, count(spec.request.architecture)
    pause_seconds = float(spec.labels["seconds"]) / STEPS
    for step in range(STEPS):
        time.sleep(pause_seconds)
        observer.progress(Progress(Phase.DESCEND, step + 1, STEPS))
        observer.warning(line(attempt, step))
    candidate = Candidate(request.architecture, costs, Prediction(0.9, 0.8, 0.95), 1, chosen=True)
    observer.candidate(candidate)
    result = compression(request, model(job, attempt))
    patiently(lambda: leases.succeed(job, attempt, result), leases.lease_seconds)


def compression(request: Request, content: bytes) -> Compression:
    costs = count(request.architecture)
    latency = Latency(0.001, 0.0009, 0.002, 1, 1, 50, "a cpu")
    certificate = Certificate(
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
        params_on_bytes=costs.deployed_params,
        costs=costs,
        test_images=100,
        accuracy=0.91,
        accuracy_lower=0.9,
        accuracy_upper=0.92,
        argmax_agreement=1.0,
        max_abs_logit_difference=0.0,
        latency=latency,
        input_latency=latency,
        opset=17,
        onnxruntime_version="1",
        torch_version="2",
    )
    return Compression(
        model=content,
        architecture=request.architecture,
        costs_before=costs,
        costs_after=costs,
        prediction=Prediction(0.9, 0.8, 0.95),
        validation_accuracy=0.92,
        certificate=certificate,
        embedding="",
        budget_met=True,
        seconds=1.0,
    )


if __name__ == "__main__":
    main()

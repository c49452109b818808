"""A worker that takes the time of its job's label `seconds`, through the real store and heart."""

from __future__ import annotations

import hashlib
import time
from dataclasses import replace

from archpress_server.compress.types import Compression, Phase, Progress, Request
from archpress_server.jobs.errors import JobNotFoundError, StaleAttemptError
from archpress_server.worker.observer import JobObserver
from archpress_server.worker.patience import patiently
from tests.chaos.work import STEPS, line, model
from tests.server.fake_worker import Attempt, candidate, compression


def main() -> None:
    given = Attempt.given()
    try:
        work(given, given.begin())
    except (StaleAttemptError, JobNotFoundError):
        return


def work(given: Attempt, observer: JobObserver) -> None:
    leases, job, attempt = given.leases, given.job, given.number
    spec = patiently(lambda: leases.store.get(job), leases.lease_seconds).spec
    pause_seconds = float(spec.labels["seconds"]) / STEPS
    for step in range(STEPS):
        time.sleep(pause_seconds)
        observer.progress(Progress(Phase.DESCEND, step + 1, STEPS))
        observer.warning(line(attempt, step))
    observer.candidate(candidate(spec.request))
    result = delivered(spec.request, model(job, attempt))
    patiently(lambda: leases.succeed(job, attempt, result), leases.lease_seconds)


def delivered(request: Request, content: bytes) -> Compression:
    """Return a result whose certificate is of these bytes."""
    made = compression(request, content)
    sha256 = hashlib.sha256(content).hexdigest()
    certificate = replace(made.certificate, sha256=sha256, size_bytes=len(content))
    return replace(made, certificate=certificate)


if __name__ == "__main__":
    main()

"""`WorkerOrder`: what an executor needs to know to start a worker."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from archpress_server.config import ServerConfig
from archpress_trainer.waiting import waiting

_GPUS = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class WorkerOrder:
    """One worker, and what it may use."""

    job: str
    attempt: int
    settings: str = field(repr=False)
    """JSON for the worker's standard input: what is on a command line, everybody may read."""
    command: Sequence[str] = ()
    """Takes `--job ID --attempt N`; empty is the worker of the machine where it is started."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables beside those of the process that starts it."""
    memory_bytes: int = 0
    """Resident memory of the worker and its children together; 0 is no limit."""
    nice: int = 0
    """How far its priority is below that of the process that starts it."""

    def with_gpus(self, gpus: str) -> WorkerOrder:
        """Return the order of a worker that sees these GPUs only, "" being none."""
        return replace(self, environment={**self.environment, _GPUS: gpus})


def worker_order(
    config: ServerConfig, job: str, attempt: int, command: Sequence[str]
) -> WorkerOrder:
    """Return the order that a server's settings mean."""
    return WorkerOrder(
        job=job,
        attempt=attempt,
        settings=config.model_dump_json(),
        command=tuple(command),
        environment={"OMP_NUM_THREADS": str(config.threads_per_worker), **waiting(os.environ)},
        memory_bytes=config.worker_memory_bytes,
        nice=config.worker_nice,
    )

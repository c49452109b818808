"""The executor that a user names."""

from __future__ import annotations

from enum import StrEnum

from archpress_trainer.data.registry import DataSources
from archpress_trainer.population.executor import Executor
from archpress_trainer.population.local_executor import LocalExecutor
from archpress_trainer.population.spec import PopulationError
from archpress_trainer.processes import usable_cores


class ExecutorKind(StrEnum):
    """Where nets are trained."""

    LOCAL = "local"
    RAY = "ray"


def make_executor(
    kind: ExecutorKind,
    sources: DataSources,
    *,
    workers: int | None = None,
    ray_address: str | None = None,
) -> Executor:
    """Return an executor.

    Args:
        kind: which one.
        sources: where the data set comes from, on this machine.
        workers: None is one per core that this process may use, or what the Ray cluster has room
            for.
        ray_address: a Ray cluster; None starts one on this machine.

    Raises:
        PopulationError: an address without Ray.
    """
    if kind is ExecutorKind.RAY:
        from archpress_trainer.population.ray_executor import RayExecutor

        return RayExecutor(sources, ray_address, workers)
    if ray_address is not None:
        raise PopulationError(f"--ray-address {ray_address} needs --executor ray")
    return LocalExecutor(sources, workers or usable_cores())

"""The executor that the settings name."""

from __future__ import annotations

from collections.abc import Sequence

from archpress_server.config import ServerConfig
from archpress_server.executors.executor import Executor
from archpress_server.executors.local_executor import LocalExecutor


def make_executor(config: ServerConfig, command: Sequence[str] = ()) -> Executor:
    """Return an executor that is not open yet; `command` as in `WorkerOrder.command`."""
    if config.executor == "ray":
        # Late: few servers need what it imports.
        from archpress_server.executors.ray_executor import RayExecutor

        return RayExecutor(config, command)
    return LocalExecutor(config, command)

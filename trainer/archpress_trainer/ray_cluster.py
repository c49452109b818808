"""The way to a Ray cluster: the only module that imports ray.

Ray is set up here and nowhere else: no dashboard, no usage statistics, no logging of its own.
Whoever can reach a cluster without authentication can run any program on it, so authentication is
by token unless `RAY_AUTH_MODE` says `disabled`. The token is that of `RAY_AUTH_TOKEN`, else the
content of the file `RAY_AUTH_TOKEN_PATH`, else of `~/.ray/auth_token`. A cluster that is started
here without any of the three gets a new token, which is in the environment of its processes and in
no file: Ray listens on every interface of a machine, so that the token is all that protects it. Ray
reads mode and token once per process, when it is first imported.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from archpress_trainer.error_text import first_line

MIN_STORE_BYTES = 100 * 2**20
"""The smallest object store that Ray starts with."""

_TOKEN_SETTINGS = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
_TOKEN_FILE = Path("~/.ray/auth_token")
_CONNECT_SECONDS = 10.0


class RayClusterError(Exception):
    """There is no way to a cluster; the message says what to do."""


@contextmanager
def connected(address: str | None, cpus: float, store_bytes: int) -> Iterator[ModuleType]:
    """Connect to a cluster, or start one and stop it in the end; yield ray.

    Args:
        address: HOST:PORT of a cluster, or "auto" on one of its nodes; None starts one here.
        cpus: what a cluster of our own has.
        store_bytes: size of the object store of a cluster of our own.

    Raises:
        RayClusterError: there is no way to the cluster; says why.
    """
    if address is not None and address.startswith("ray://"):
        raise RayClusterError(
            f"{address} is an address of Ray Client; run on a node of the cluster with its "
            "HOST:PORT or auto"
        )
    if address is not None:
        _check_reachable(address)
    ray = _import_ray(new_cluster=address is None)
    if ray.is_initialized():
        raise RayClusterError("this process is connected to a Ray cluster already")
    # Sockets lie in here, and their paths must be short.
    parent = "/tmp" if os.name == "posix" else None
    folder = tempfile.mkdtemp(prefix="archpress-", dir=parent) if address is None else None
    try:
        try:
            if folder is None:
                ray.init(address=address, configure_logging=False, log_to_driver=False)
            else:
                ray.init(
                    address="local",
                    num_cpus=max(1, round(cpus)),
                    object_store_memory=store_bytes,
                    include_dashboard=False,
                    configure_logging=False,
                    log_to_driver=False,
                    # Ray lets everybody write to its folder; to the one around it, nobody.
                    _temp_dir=f"{folder}/r",
                )
        except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            where = "start Ray" if address is None else f"connect to Ray at {address}"
            raise RayClusterError(f"cannot {where}: {first_line(error)}") from error
        yield ray
    finally:
        ray.shutdown()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def _check_reachable(address: str) -> None:
    """Try the port of a HOST:PORT: Ray itself would try it for minutes, then end the process."""
    host, colon, port = address.rpartition(":")
    if not colon:
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
    except (OSError, ValueError, OverflowError) as error:
        raise RayClusterError(f"cannot connect to Ray at {address}: {error}") from error


def _import_ray(*, new_cluster: bool) -> ModuleType:
    """Import ray with its authentication and usage statistics set."""
    mode = os.environ.setdefault("RAY_AUTH_MODE", "token").lower()
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    has_token = any(os.environ.get(name) for name in _TOKEN_SETTINGS)
    if mode == "token" and not has_token and not _TOKEN_FILE.expanduser().exists():
        if not new_cluster:
            raise RayClusterError(
                f"no token for the Ray cluster: set {' or '.join(_TOKEN_SETTINGS)} or write "
                f"{_TOKEN_FILE}; for a cluster without authentication set RAY_AUTH_MODE=disabled"
            )
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    try:
        import ray
        import ray.exceptions
        from ray._private.authentication.authentication_utils import is_token_auth_enabled
    except ImportError as error:
        text = f"ray is not here: install archpress-trainer[ray] ({error})"
        raise RayClusterError(text) from error
    logging.getLogger("ray").setLevel(logging.ERROR)
    if is_token_auth_enabled() != (mode == "token"):
        raise RayClusterError(
            f"ray was imported before RAY_AUTH_MODE was {mode}; set it before this process starts"
        )
    return ray


def how_it_ended(error: Exception) -> str:
    """Return the telling part of Ray's paragraph about a worker's death."""
    text = str(error)
    _, found, detail = text.partition("Worker exit detail: ")
    return (detail if found else text).split(". Some common causes")[0].splitlines()[0][:200]

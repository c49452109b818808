"""Opens what a process needs of the server's state: database, artifacts, store and leases."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from archpress_server.config import ServerConfig
from archpress_server.jobs.database import Database
from archpress_server.jobs.errors import StoreSetupError
from archpress_server.jobs.files import Files
from archpress_server.jobs.leases import Leases
from archpress_server.jobs.model import JobRecord
from archpress_server.jobs.store import JobStore


def open_leases(
    config: ServerConfig, observe_cache: Callable[[JobRecord], None] = lambda job: None
) -> Leases:
    """Return the leases, and in them the store, of a state that is prepared.

    Raises:
        StoreSetupError: a driver that the settings ask for is not installed.
    """
    database = Database(config.url)
    store = JobStore(
        database,
        Files(config.files_url),
        max_queued_jobs=config.max_queued_jobs,
        max_queued_jobs_per_principal=config.max_queued_jobs_per_principal,
        retention_seconds=config.retention_seconds,
        clock=database.clock,
        observe_cache=observe_cache,
    )
    return Leases(
        store,
        lease_seconds=config.lease_seconds,
        max_attempts=config.max_attempts,
        max_running_jobs_per_principal=config.max_running_jobs_per_principal,
    )


def prepare_state(config: ServerConfig) -> None:
    """Create the state folder, create or upgrade the tables, and make sure all can be written.

    Raises:
        StoreSetupError: the folder, the artifacts' or the database cannot be used; says which and
            why.
    """
    # Here, since it takes a while, and every job's process loads this module.
    from archpress_server.jobs.migrate import upgrade

    folder = config.state_dir
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _probe(folder)
    except OSError as error:
        reason = error.strerror or str(error)
        raise StoreSetupError(f"the state folder {folder} cannot be written: {reason}") from error
    Files(config.files_url).prepare()
    database = Database(config.url)
    try:
        upgrade(database)
    finally:
        database.close()


def _probe(folder: Path) -> None:
    """Write some real bytes: permissions alone do not show a full or read-only disk."""
    path = folder / f".probe-{os.getpid()}"
    try:
        with path.open("wb") as file:
            file.write(bytes(65_536))
            file.flush()
            os.fsync(file.fileno())
    finally:
        path.unlink(missing_ok=True)

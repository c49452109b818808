"""`archpress-server jobs`: show the jobs of every principal and stop them, in the database."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING

import sqlalchemy as sa

from archpress_server.admin.tables import print_table
from archpress_server.config import ServerConfig, add_flags
from archpress_server.jobs.errors import StoreSetupError
from archpress_server.jobs.model import JobRecord, State
from archpress_trainer.error_text import first_line

if TYPE_CHECKING:
    from archpress_server.admin import Commands
    from archpress_server.jobs.store import JobStore

_PAGE = 100


def add_jobs_commands(commands: Commands) -> None:
    """Add `list` and `cancel`."""
    shown = commands.add_parser("list", help="show jobs, newest first")
    shown.add_argument("--principal", help="of this principal only")
    shown.add_argument("--state", choices=list(State), help="in this state only")
    shown.add_argument("--limit", type=int, default=50, help="most jobs (default 50)")
    shown.set_defaults(run=_list)
    cancel = commands.add_parser("cancel", help="ask a job to stop")
    cancel.add_argument("job", help="its id, or jobs/{id}")
    cancel.set_defaults(run=_cancel)
    for command in (shown, cancel):
        add_flags(command)


def _list(config: ServerConfig, arguments: argparse.Namespace) -> int:
    states = [State(arguments.state)] if arguments.state else []
    with _store(config) as store:
        found = islice(all_jobs(store, states, arguments.principal), max(0, arguments.limit))
        rows = [
            (
                job.id,
                job.state.value,
                job.principal or "-",
                job.spec.request.dataset,
                f"{datetime.fromtimestamp(job.create_time, UTC):%Y-%m-%d %H:%M:%S}",
                str(job.attempt),
            )
            for job in found
        ]
    print_table(("id", "state", "principal", "data set", "created (UTC)", "attempt"), rows)
    return 0


def _cancel(config: ServerConfig, arguments: argparse.Namespace) -> int:
    with _store(config) as store:
        record = store.request_cancel(arguments.job.removeprefix("jobs/"))
    print(record.state.value)
    return 0


def all_jobs(
    store: JobStore, states: Sequence[State] = (), principal: str | None = None
) -> Iterator[JobRecord]:
    """Yield the jobs of a store in these states, of one principal if given, newest first."""
    token = ""
    while True:
        page = store.list(size=_PAGE, token=token, states=states, principal=principal)
        yield from page.jobs
        token = page.next_token
        if not token:
            return


@contextmanager
def _store(config: ServerConfig) -> Iterator[JobStore]:
    from archpress_server.state import open_leases

    store = open_leases(config).store
    try:
        yield store
    except sa.exc.ProgrammingError as error:
        reason = f"the database is not that of a server that has run: {first_line(error)}"
        raise StoreSetupError(reason) from error
    finally:
        store.database.close()

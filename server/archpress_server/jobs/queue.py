"""The order of the queue: principals take turns, each with its most urgent and oldest job first.

The next turn is that of the principal with the fewest running jobs, of several that of the one
whose last job began longest ago.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from archpress_server.jobs.model import HELD, State
from archpress_server.jobs.schema import jobs


def next_in_queue(max_running_jobs_per_principal: int = 0) -> sa.Select[Any]:
    """Return the query for the job to run next, of a principal below the limit (0 is none)."""
    running = _running()
    count = sa.func.coalesce(running.c.count, 0)
    query = (
        sa.select(jobs)
        .outerjoin(running, running.c.principal == jobs.c.principal)
        .where(jobs.c.state == State.QUEUED)
        .order_by(count, _last_start(), *_own_order(jobs))
        .limit(1)
    )
    if max_running_jobs_per_principal:
        query = query.where(count < max_running_jobs_per_principal)
    return query


def queue_positions(connection: sa.Connection, wanted: Sequence[str]) -> dict[str, int]:
    """Return the places of those of these jobs that are queued, 1 being next.

    They are what would come if no running job ended: each job of a principal that is leased puts
    its next one behind those of principals with fewer.
    """
    return {job: place for job, place in connection.execute(_PLACES, {"wanted": wanted})}


def _running() -> sa.Subquery:
    return (
        sa.select(jobs.c.principal, sa.func.count().label("count"))
        .where(jobs.c.state.in_(HELD))
        .group_by(jobs.c.principal)
        .subquery()
    )


def _last_start() -> sa.ColumnElement[float]:
    """Return when the last job of a job's principal began, 0 where none did."""
    others = jobs.alias()
    last = sa.select(sa.func.max(others.c.start_time)).where(others.c.principal == jobs.c.principal)
    return sa.func.coalesce(last.scalar_subquery(), 0.0)


def _own_order(table: sa.FromClause) -> tuple[Any, ...]:
    return table.c.priority.desc(), table.c.create_time, table.c.id


def _places() -> sa.Select[Any]:
    running = _running()
    own = sa.func.row_number().over(partition_by=jobs.c.principal, order_by=_own_order(jobs))
    turns = (
        sa.select(
            jobs.c.id,
            jobs.c.priority,
            jobs.c.create_time,
            (sa.func.coalesce(running.c.count, 0) + own).label("turn"),
            _last_start().label("last_start"),
        )
        .outerjoin(running, running.c.principal == jobs.c.principal)
        .where(jobs.c.state == State.QUEUED)
        .subquery()
    )
    place = sa.func.row_number().over(
        order_by=(turns.c.turn, turns.c.last_start, *_own_order(turns))
    )
    places = sa.select(turns.c.id, place.label("place")).subquery()
    return sa.select(places.c.id, places.c.place).where(
        places.c.id.in_(sa.bindparam("wanted", expanding=True))
    )


# Made once: building it takes longer than answering it.
_PLACES = _places()

"""What the database says after the chaos: whether a job was lost, finished twice, or mixed up."""

from __future__ import annotations

from collections.abc import Iterable

from archpress_server.admin.jobs import all_jobs
from archpress_server.config import ServerConfig
from archpress_server.jobs.leases import Leases
from archpress_server.jobs.model import Event, EventKind, JobRecord, State
from archpress_server.state import open_leases
from tests.chaos.clients import Seen


def audit(config: ServerConfig, jobs: int, seen: Iterable[Seen]) -> list[str]:
    """Return what is wrong with the stored jobs, and with what clients saw of them."""
    leases = open_leases(config)
    try:
        stored = list(all_jobs(leases.store))
        faults = [] if len(stored) == jobs else [f"{len(stored)} jobs instead of {jobs}"]
        logs = {record.id: _log(leases, record.id) for record in stored}
    finally:
        leases.store.database.close()
    for record in stored:
        faults += [f"jobs/{record.id}: {fault}" for fault in _faults(record, logs[record.id])]
    for client in seen:
        faults += [f"{client.job}: {fault}" for fault in client.faults]
        log = logs.get(client.job.removeprefix("jobs/"), [])
        kept = {event.seq for event in log if event.kind is not EventKind.PROGRESS}
        if missed := kept - set(client.seqs):
            faults.append(f"{client.job}: a client missed {sorted(missed)}")
    return faults


def _faults(record: JobRecord, log: list[Event]) -> list[str]:
    found = []
    if record.state is not State.SUCCEEDED:
        found.append(f"is {record.state}: {record.error}")
    if [event.seq for event in log] != list(range(1, record.last_seq + 1)):
        found.append("its log has holes")
    ends = [event.seq for event in log if event.kind is EventKind.COMPLETED]
    if ends != [record.last_seq]:
        found.append(f"completed is at {ends} of {record.last_seq}")
    attempts = [
        event.payload.attempt
        for event in log
        if isinstance(event.payload, JobRecord) and event.payload.state is State.RUNNING
    ]
    if attempts != list(range(1, record.attempt + 1)):
        found.append(f"its attempts are {attempts}")
    return found


def _log(leases: Leases, job: str) -> list[Event]:
    found: list[Event] = []
    while more := leases.store.events_after(job, found[-1].seq if found else 0):
        found += more
    return found

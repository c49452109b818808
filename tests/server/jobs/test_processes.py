"""Several processes on one database."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from archpress_server.config import ServerConfig
from archpress_server.jobs.leases import Leases
from archpress_server.jobs.model import Submission

pytestmark = pytest.mark.both_databases

PROLOGUE = """
import sys
from archpress_server.compress.types import Phase, Progress
from archpress_server.config import ServerConfig
from archpress_server.state import open_leases
leases = open_leases(ServerConfig.model_validate_json(sys.stdin.read()))
"""


def run_twice(code: str, config: ServerConfig, *arguments: str) -> list[str]:
    script = PROLOGUE + textwrap.dedent(code)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(config.model_dump_json())
        process.stdin.close()
    outputs = []
    for process in processes:
        assert process.stdout is not None
        outputs.append(process.stdout.read())
        process.stdout.close()
        assert process.wait() == 0
    return outputs


def test_appends_of_two_processes_leave_no_hole(
    leases: Leases, config: ServerConfig, submission: Submission
) -> None:
    job = leases.store.create(submission).id
    leases.lease_next("w")
    code = """
    for step in range(100):
        print(leases.append(sys.argv[1], 1, Progress(Phase.DESCEND, step)))
    """
    outputs = run_twice(code, config, job)
    numbers = sorted(int(line) for output in outputs for line in output.split())
    assert numbers == list(range(3, 203))
    assert [event.seq for event in leases.store.events_after(job, 0)] == list(range(1, 203))


def test_no_job_is_leased_twice(
    leases: Leases, config: ServerConfig, submission: Submission
) -> None:
    ids = {leases.store.create(submission).id for _ in range(40)}
    code = """
    while (record := leases.lease_next("w")) is not None:
        print(record.id)
    """
    got = [job for output in run_twice(code, config) for job in output.split()]
    assert len(got) == 40
    assert set(got) == ids

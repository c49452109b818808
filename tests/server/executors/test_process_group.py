"""What a process group uses, and when it is gone."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from archpress_server.executors.process_group import group_is_running, group_memory_bytes

HOLDS = """
import subprocess, sys
held = b"x" * int(sys.argv[1])
child = None
if len(sys.argv) > 2:
    child = subprocess.Popen([sys.executable, "-c", sys.argv[2], sys.argv[1]], stdout=1)
else:
    print("ready", flush=True)
sys.stdin.read()
"""
MIB = 2**20


@contextmanager
def ready(*program: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program in a group of its own, which says when it is ready."""
    with subprocess.Popen(
        [sys.executable, "-c", *program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield process


def test_children_are_counted_and_other_groups_are_not() -> None:
    with ready(HOLDS, str(64 * MIB), HOLDS) as process:
        used = group_memory_bytes(process.pid)
        assert 128 * MIB < used < 256 * MIB
        assert os.getpgid(0) != process.pid
        assert group_is_running(process.pid)
        process.kill()
        os.killpg(process.pid, 9)
    while group_is_running(process.pid):
        time.sleep(0.01)
    assert group_memory_bytes(process.pid) == 0


def test_a_process_that_nobody_waited_for_has_ended() -> None:
    with subprocess.Popen(["true"], start_new_session=True) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert not group_is_running(process.pid)
    assert not group_is_running(process.pid)


NAMELESS = """
import ctypes, sys
ctypes.CDLL(None).prctl(15, b"\\xfc)")
print("ready", flush=True)
sys.stdin.read()
"""


def test_a_process_whose_name_is_no_text_hides_no_other() -> None:
    with ready(NAMELESS) as process:
        assert group_is_running(process.pid)
        assert group_memory_bytes(process.pid) > MIB
        process.kill()

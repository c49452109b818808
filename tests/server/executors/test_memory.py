"""What a process group uses."""

from __future__ import annotations

import os
import subprocess
import sys

from archpress_server.executors.memory import group_memory_bytes

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


def test_children_are_counted_and_other_groups_are_not() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(64 * MIB), HOLDS],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        used = group_memory_bytes(process.pid)
        assert 128 * MIB < used < 256 * MIB
        assert os.getpgid(0) != process.pid
        process.kill()
        os.killpg(process.pid, 9)
    assert group_memory_bytes(process.pid) == 0

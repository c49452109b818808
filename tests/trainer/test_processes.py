"""Worker processes end with the process that started them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from archpress_trainer.processes import Worker, WorkerDiedError, WorkerFailedError

PROGRAM = """
import os, sys, time
from archpress_trainer.processes import worker_pool

if __name__ == "__main__":
    with worker_pool(1) as pool:
        print(pool.submit(os.getpid).result(), flush=True)
        pool.submit(time.sleep, 600)
        time.sleep(600)
"""


def test_a_worker_does_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    assert alive(worker)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 20
    while alive(worker) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not alive(worker)


def test_a_worker_answers_and_outlives_an_exception() -> None:
    worker = Worker(partial, divmod, 7)
    assert worker.answer() is None
    worker.send(2)
    assert worker.answer() == (3, 1)
    worker.send(0)
    with pytest.raises(WorkerFailedError, match="by zero"):
        worker.answer()
    worker.send(7)
    assert worker.answer() == (1, 0)
    worker.kill()


def test_a_worker_says_how_it_ended() -> None:
    unready, leaving = Worker(partial(divmod, 7), 0), Worker(partial, os._exit)
    with pytest.raises(WorkerFailedError, match="by zero"):
        unready.answer()
    assert leaving.answer() is None
    leaving.send(5)
    with pytest.raises(WorkerDiedError, match="exit status 5"):
        leaving.answer()
    leaving.send(6)
    with pytest.raises(WorkerDiedError, match="exit status 5"):
        leaving.answer()
    unready.kill()
    leaving.kill()


def alive(pid: int) -> bool:
    """Return whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False

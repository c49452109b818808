"""A build that is killed at any point goes on: the real command, real kills."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from archpress_trainer.embedding.manifest import read_manifest
from archpress_trainer.embedding.record import Record
from archpress_trainer.population.records import PopulationStore
from tests.trainer.population.helpers import is_alive, wait_until, worker_pids

NETS = 20
_COMMAND = (sys.executable, "-m", "archpress_trainer", "build")
_OPTIONS = {
    "--nets": str(NETS),
    "--repeats": "4",
    "--images": "128",
    "--epochs": "1",
    "--workers": "2",
    "--autoencoder-nets": "300",
    "--autoencoder-iterations": "10",
    "--autoencoder-batch": "64",
}
_SECONDS = 300.0
"""Most that one start may take, on a machine that does other work too."""


class Build:
    """One build in a folder, as a subprocess that can be killed."""

    def __init__(self, dataset: Path, folder: Path) -> None:
        folder.mkdir()
        self.output, self.work = folder / "embedding", folder / "embedding.work"
        self.store = PopulationStore(self.work / "population")
        options = {"--data": str(dataset), "--output": str(self.output), **_OPTIONS}
        self.command = [*_COMMAND, *(part for option in options.items() for part in option)]
        self.log = folder / "log"

    def lines(self) -> int:
        path = self.store.records_path
        return path.read_bytes().count(b"\n") if path.exists() else 0

    def start(self) -> subprocess.Popen[bytes]:
        # One thread: the last bits of a fit depend on how many there are.
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        with self.log.open("ab") as log:
            return subprocess.Popen(self.command, stdout=log, stderr=log, env=environment)

    def kill_when(self, happens: Callable[[], bool]) -> None:
        """Start and kill the process alone; its workers must see for themselves."""
        process = self.start()
        try:
            assert wait_until(lambda: happens() or process.poll() is not None, _SECONDS)
            assert process.poll() is None, self.log.read_text()
            workers = worker_pids(process.pid)
        finally:
            process.kill()
            process.wait()
        assert wait_until(lambda: not any(is_alive(pid) for pid in workers), _SECONDS)

    def finish(self) -> None:
        process = self.start()
        try:
            assert process.wait(_SECONDS) == 0, self.log.read_text()
        finally:
            process.kill()
            process.wait()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_thrice_and_the_same_as_never_killed(tiny_dataset: Path, tmp_path: Path) -> None:
    whole, killed = (
        Build(tiny_dataset, tmp_path / "whole"),
        Build(tiny_dataset, tmp_path / "killed"),
    )
    whole.finish()
    kept: list[Record] = []
    fitted = killed.work / "autoencoder.safetensors"
    for happens in (
        lambda: killed.lines() >= 5,
        # Within the fit, whose inputs take a while to be sampled.
        lambda: killed.lines() == NETS,
        fitted.exists,
    ):
        killed.kill_when(happens)
        assert not killed.output.exists()
        records = {record.index: record for record in killed.store.records()}
        # No label is lost and none is measured again: its seconds would differ.
        assert [records[record.index] for record in kept] == kept
        kept = list(records.values())
    assert len(kept) == NETS
    killed.finish()
    assert killed.store.records() == kept
    assert [record.index for record in kept] == list(range(NETS))
    # Everything but the seconds that a training took follows from the seed.
    assert [replace(r, seconds=0.0) for r in kept] == [
        replace(r, seconds=0.0) for r in whole.store.records()
    ]
    assert read_manifest(killed.output) == read_manifest(whole.output)
    weights = [(b.output / "weights.safetensors").read_bytes() for b in (whole, killed)]
    assert weights[0] == weights[1]
    assert sorted(os.listdir(killed.output)) == sorted(os.listdir(whole.output))

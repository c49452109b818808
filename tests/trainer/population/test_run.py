"""Collecting: the same nets in the same order, none trained twice, whatever interrupts it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from archpress_trainer.data.registry import DataSources
from archpress_trainer.population.records import PopulationStore
from archpress_trainer.population.run import Tally, collect
from archpress_trainer.population.spec import PopulationError
from archpress_trainer.space.sampling import Rejections
from tests.trainer.population import collecting
from tests.trainer.population.helpers import (
    CountingExecutor,
    Stopped,
    is_alive,
    tiny_spec,
    wait_until,
    worker_pids,
)


def test_all_nets_in_order(tiny_sources: DataSources, tmp_path: Path) -> None:
    spec, executor = tiny_spec(tiny_sources), CountingExecutor()
    records = collect(spec, 12, PopulationStore(tmp_path), executor)
    assert [record.index for record in records] == list(range(12))
    assert [r.architecture for r in records] == [s.architecture for s in spec.samples(12)]
    # The largest first: the last worker to finish is not left with one of them.
    macs = {record.index: record.macs for record in records}
    order = [macs[index] for index in executor.done]
    assert order == sorted(order, reverse=True)


def test_resuming_trains_nothing_twice(tiny_sources: DataSources, tmp_path: Path) -> None:
    spec, store = tiny_spec(tiny_sources), PopulationStore(tmp_path / "a")
    first, second, third = CountingExecutor(stop_after=5), CountingExecutor(), CountingExecutor()
    with pytest.raises(Stopped):
        collect(spec, 12, store, first)
    records = collect(spec, 12, store, second)
    assert len(first.done) == 5
    assert sorted(first.done + second.given) == list(range(12))
    assert collect(spec, 12, store, third) == records
    assert third.given == []
    assert collect(spec, 12, PopulationStore(tmp_path / "b"), CountingExecutor()) == records


def test_a_larger_count_goes_on_and_a_smaller_one_takes_the_first(
    tiny_sources: DataSources, tmp_path: Path
) -> None:
    spec, store = tiny_spec(tiny_sources), PopulationStore(tmp_path)
    few = collect(spec, 4, store, CountingExecutor())
    more = CountingExecutor()
    many = collect(spec, 9, store, more)
    assert sorted(more.given) == [4, 5, 6, 7, 8]
    assert many[:4] == few
    assert collect(spec, 2, store, CountingExecutor()) == few[:2]


def test_another_spec_is_refused_before_any_work(tiny_sources: DataSources, tmp_path: Path) -> None:
    spec, store = tiny_spec(tiny_sources), PopulationStore(tmp_path)
    collect(spec, 2, store, CountingExecutor())
    executor = CountingExecutor()
    with pytest.raises(PopulationError, match="seed"):
        collect(replace(spec, seed=5), 2, store, executor)
    assert executor.given == []


def test_progress(tiny_sources: DataSources, tmp_path: Path) -> None:
    spec, store = tiny_spec(tiny_sources), PopulationStore(tmp_path)
    tallies: list[Tally] = []
    rejections = Rejections()
    records = collect(
        spec,
        6,
        store,
        CountingExecutor(),
        on_record=tallies.append,
        rejections=rejections,
    )
    assert [tally.done for tally in tallies] == list(range(7))
    assert {tally.total for tally in tallies} == {6}
    assert tallies[-1].best_accuracy == max(record.accuracy for record in records)
    assert tallies[-1].failed == 0
    assert rejections.proposals >= 6


@pytest.mark.slow
def test_a_killed_collection_goes_on(
    tiny_dataset: Path, tiny_sources: DataSources, tmp_path: Path
) -> None:
    nets = 12
    store = PopulationStore(tmp_path / "population")
    program = [sys.executable, collecting.__file__, str(tiny_dataset), str(store.folder)]
    program += [str(nets), "local"]
    root = Path(collecting.__file__).parents[3]
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}

    def lines() -> int:
        return store.records_path.read_bytes().count(b"\n") if store.records_path.exists() else 0

    process = subprocess.Popen(program, env=environment)
    try:
        assert wait_until(lambda: lines() >= 2 or process.poll() is not None, 120)
        workers = worker_pids(process.pid)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    before = store.records()
    assert 2 <= len(before) < nets
    assert workers
    assert wait_until(lambda: not any(is_alive(pid) for pid in workers), 30)
    # Half a line, as a crash of the machine leaves it.
    with store.records_path.open("ab") as file:
        file.write(before[0].to_line().encode()[:50])
    subprocess.run(program, env=environment, check=True, timeout=200)
    records = store.records()
    assert lines() == nets
    assert [record.index for record in records] == list(range(nets))
    spec = tiny_spec(tiny_sources, images=880)
    assert [r.architecture for r in records] == [s.architecture for s in spec.samples(nets)]
    assert all(record.is_labelled for record in records)
    kept = {record.index: record for record in records}
    assert all(kept[record.index] == record for record in before)

"""`LocalExecutor` with real worker processes: labels, and workers that die."""

from __future__ import annotations

import os
import signal
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from archpress_trainer.data.registry import DataSources
from archpress_trainer.population.executor import Executor, LocalExecutor, Task
from archpress_trainer.population.label import label
from archpress_trainer.population.spec import PopulationSpec
from archpress_trainer.training.device import best_compute
from tests.trainer.population.helpers import CountingExecutor, tiny_spec, worker_pids

pytestmark = pytest.mark.slow


def tasks_of(spec: PopulationSpec, count: int) -> list[Task]:
    return [Task(index, sample) for index, sample in enumerate(spec.samples(count))]


def kill_workers() -> int:
    """Kill this process's workers and return how many there were."""
    pids = worker_pids(os.getpid())
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    return len(pids)


@pytest.mark.parametrize("kind", ["local", "counting"])
def test_each_task_gives_one_record(kind: str, tiny_sources: DataSources) -> None:
    spec = tiny_spec(tiny_sources)
    executor: Executor = LocalExecutor(tiny_sources, 2) if kind == "local" else CountingExecutor()
    tasks = tasks_of(spec, 6)
    records = list(executor.run(spec, tasks))
    assert sorted(record.index for record in records) == list(range(6))
    for record in records:
        sample = tasks[record.index].sample
        assert record.architecture == sample.architecture
        assert (record.params, record.macs) == (sample.costs.params, sample.costs.macs)
        assert record.is_labelled
        assert 0 <= record.accuracy <= 1
    assert list(executor.run(spec, [])) == []


def test_labels_are_those_of_this_process(tiny_sources: DataSources) -> None:
    spec = tiny_spec(tiny_sources)
    tasks = tasks_of(spec, 2)
    compute = best_compute()
    data = tiny_sources.load("tiny").split().first(spec.fidelity.train_images)
    data = data.to(compute.device)
    for record in LocalExecutor(tiny_sources, 1).run(spec, tasks):
        here = label(record.index, tasks[record.index].sample, spec, data, compute)
        assert record.accuracy == pytest.approx(here.accuracy, abs=0.05)
        assert record.loss_sum == pytest.approx(here.loss_sum, rel=0.01)


def test_killed_workers_cost_no_net(tiny_sources: DataSources) -> None:
    spec = tiny_spec(tiny_sources)
    tasks = tasks_of(spec, 8)
    found: Counter[int] = Counter()
    statuses = set()
    killed = 0
    for record in LocalExecutor(tiny_sources, 2).run(spec, tasks):
        found[record.index] += 1
        statuses.add(record.status)
        if not killed:
            killed = kill_workers()
    assert killed >= 1
    assert found == Counter(range(8))
    assert statuses == {"finished"}


def test_a_net_whose_workers_keep_dying_is_a_record(tiny_sources: DataSources) -> None:
    spec = tiny_spec(tiny_sources)
    # Long enough to be under way when the other one's record arrives.
    spec = replace(spec, recipe=replace(spec.recipe, epochs=10))
    tasks = tasks_of(spec, 5)
    records = []
    killed = 0
    for record in LocalExecutor(tiny_sources, 2, attempts=1).run(spec, tasks):
        records.append(record)
        if not killed:
            killed = kill_workers()
    assert sorted(record.index for record in records) == list(range(5))
    crashed = [record for record in records if record.status == "crashed"]
    assert 1 <= len(crashed) <= 2
    assert all(not record.is_labelled for record in crashed)
    assert all("died 1 times" in record.message for record in crashed)


def test_workers_that_cannot_start_end_as_records(
    tiny_sources: DataSources, tmp_path: Path
) -> None:
    spec = tiny_spec(tiny_sources)
    nowhere = replace(tiny_sources, files={"tiny": tmp_path / "gone.npz"})
    records = list(LocalExecutor(nowhere, 1, attempts=1).run(spec, tasks_of(spec, 1)))
    assert [record.status for record in records] == ["crashed"]

"""`RayExecutor` with a cluster of its own, and what it refuses before it asks Ray."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from archpress_trainer.data.registry import DataSources
from archpress_trainer.population.executor import Task
from archpress_trainer.population.local_executor import LocalExecutor
from archpress_trainer.population.ray_executor import RayExecutor
from archpress_trainer.population.records import PopulationStore
from archpress_trainer.population.run import collect
from archpress_trainer.population.spec import PopulationError
from tests.trainer.population import collecting
from tests.trainer.population.helpers import descendants, is_alive, tiny_spec, wait_until


@pytest.mark.slow
@pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed")
def test_interrupted_it_stops_its_cluster_and_its_population_goes_on(
    tiny_dataset: Path, tiny_sources: DataSources, tmp_path: Path
) -> None:
    store, nets = PopulationStore(tmp_path / "population"), 1000
    program = [sys.executable, collecting.__file__, str(tiny_dataset), str(store.folder)]
    home = tmp_path / "home"
    home.mkdir()
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("RAY_")
    } | {"PYTHONPATH": str(Path(collecting.__file__).parents[3]), "HOME": str(home)}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [*program, str(nets), "ray"], env=environment, stdout=log, stderr=log
        )
    try:
        path = store.records_path
        begun = wait_until(lambda: path.exists() or process.poll() is not None, 120)
        assert begun, (tmp_path / "log").read_text()
        processes = descendants(process.pid)
        os.kill(process.pid, signal.SIGINT)
        process.wait(60)
    finally:
        process.kill()
        process.wait()
    assert any(b"raylet" in command for _, command in processes), (tmp_path / "log").read_text()
    assert wait_until(lambda: not any(is_alive(pid) for pid, _ in processes), 30)
    folders = {found for _, line in processes for found in re.findall(rb"/tmp/archpress-\w+", line)}
    assert len(folders) == 1
    assert not Path(os.fsdecode(folders.pop())).exists()
    assert list(home.rglob("*token*")) == []
    before = store.records()
    assert 1 <= len(before) < nets
    spec = tiny_spec(tiny_sources, images=880)
    count = len(before) + 2
    records = collect(spec, count, store, LocalExecutor(tiny_sources, 1))
    assert len(records) == count
    assert all(record.is_labelled for record in records)
    assert {record.index: record for record in store.records()}.items() >= {
        record.index: record for record in before
    }.items()


def refusal(sources: DataSources, address: str) -> str:
    spec = tiny_spec(sources)
    tasks = [Task(index, sample) for index, sample in enumerate(spec.samples(1))]
    with pytest.raises(PopulationError) as refused:
        next(RayExecutor(sources, address).run(spec, tasks))
    return str(refused.value)


def test_addresses_that_cannot_work(tiny_sources: DataSources) -> None:
    assert "address of Ray Client" in refusal(tiny_sources, "ray://localhost:10001")
    assert "cannot connect to Ray at 127.0.0.1:1: " in refusal(tiny_sources, "127.0.0.1:1")
    assert "cannot connect to Ray at localhost:x: " in refusal(tiny_sources, "localhost:x")


def test_a_cluster_needs_a_token(
    tiny_sources: DataSources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    message = refusal(tiny_sources, "auto")
    assert message.startswith("no token for the Ray cluster: set RAY_AUTH_TOKEN or ")


def test_without_ray_it_says_what_to_install(
    tiny_sources: DataSources, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setitem(sys.modules, "ray", None)
    assert "install archpress-trainer[ray]" in refusal(tiny_sources, "auto")


def test_the_population_does_not_import_ray() -> None:
    program = (
        "import sys, archpress_trainer.population.executors, archpress_trainer.cli\n"
        "sys.exit('ray' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0

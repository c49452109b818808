"""The uploaded model as a worker gets it: right, damaged, or out of reach for a while."""

from __future__ import annotations

import shutil
import threading

import pytest
import torch

from archpress_server.compress.types import StoppedError
from archpress_server.config import ServerConfig
from archpress_server.jobs.errors import ArtifactCorruptError, DatabaseUnavailableError
from archpress_server.jobs.leases import Leases
from archpress_server.jobs.model import ArtifactRecord, Submission
from archpress_server.jobs.store import JobStore
from archpress_server.jobs.uploads import Uploads
from archpress_server.worker import upload as upload_module
from archpress_server.worker.observer import JobObserver
from archpress_server.worker.upload import uploaded_input
from archpress_trainer.data.dataset import TrainingData
from archpress_trainer.data.registry import DataSources
from archpress_trainer.space.build import build
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.layers import conv, linear, max_pool, relu
from archpress_trainer.training.device import Compute
from archpress_trainer.training.loop import train
from archpress_trainer.training.recipe import Recipe
from tests.server.onnx_import.files import exported


@pytest.fixture(scope="module")
def data(tiny_sources: DataSources) -> TrainingData:
    return tiny_sources.load("tiny").split()


@pytest.fixture
def observer(leases: Leases, submission: Submission) -> JobObserver:
    job = leases.store.create(submission).id
    leases.lease_next("w")
    return JobObserver(leases, job, 1, threading.Event())


@pytest.fixture
def artifact(leases: Leases, data: TrainingData, cpu: Compute) -> ArtifactRecord:
    """A network that was trained on normalised images and does not say so."""
    channels, height, width = data.train.images.shape[1:]
    shape = (channels, height, width)
    layers = (conv(8, 3), relu(), max_pool(), linear(data.classes))
    network = build(Architecture(shape, data.classes, layers), torch.Generator().manual_seed(0))
    recipe = Recipe("test", 6, batch_size=32, learning_rate=0.05, flip=False)
    train(network, data, recipe, torch.Generator().manual_seed(0), cpu)
    content = exported(network, shape)
    return Uploads(leases.store).add("", content, network.architecture, "")


def test_the_weights_are_those_that_were_uploaded(
    leases: Leases,
    artifact: ArtifactRecord,
    data: TrainingData,
    cpu: Compute,
    observer: JobObserver,
) -> None:
    found = uploaded_input(leases.store, artifact.id, data, cpu, observer)
    assert found.network.architecture == artifact.architecture
    assert found.normalisation == data.normalisation
    assert found.validation_accuracy > 0.5


@pytest.mark.parametrize("fault", ["is missing", "another SHA-256"])
def test_a_damaged_file_is_no_model(
    leases: Leases,
    artifact: ArtifactRecord,
    data: TrainingData,
    cpu: Compute,
    observer: JobObserver,
    config: ServerConfig,
    fault: str,
) -> None:
    path = config.state_dir / "artifacts" / artifact.sha256[:2] / artifact.sha256
    if fault == "is missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ArtifactCorruptError, match=fault):
        uploaded_input(leases.store, artifact.id, data, cpu, observer)


def test_a_store_that_is_away_is_waited_for(
    leases: Leases,
    artifact: ArtifactRecord,
    data: TrainingData,
    cpu: Compute,
    observer: JobObserver,
    config: ServerConfig,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, elsewhere = config.state_dir / "artifacts", config.state_dir / "elsewhere"
    monkeypatch.setattr(upload_module, "_STORE_SECONDS", 0.05)
    shutil.move(folder, elsewhere)
    timer = threading.Timer(0.5, shutil.move, (elsewhere, folder))
    timer.start()
    found = uploaded_input(leases.store, artifact.id, data, cpu, observer)
    timer.join()
    assert found.validation_accuracy > 0.5


def test_a_database_that_is_away_is_waited_for(
    leases: Leases,
    artifact: ArtifactRecord,
    data: TrainingData,
    cpu: Compute,
    observer: JobObserver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(upload_module, "_STORE_SECONDS", 0.05)
    failures = [DatabaseUnavailableError("away")] * 2
    read = JobStore.artifact

    def failing(store: JobStore, name: str) -> ArtifactRecord:
        if failures:
            raise failures.pop()
        return read(store, name)

    monkeypatch.setattr(JobStore, "artifact", failing)
    found = uploaded_input(leases.store, artifact.id, data, cpu, observer)
    assert found.validation_accuracy > 0.5


def test_a_wait_ends_when_the_job_is_stopped(
    leases: Leases,
    artifact: ArtifactRecord,
    data: TrainingData,
    cpu: Compute,
    observer: JobObserver,
    config: ServerConfig,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.move(config.state_dir / "artifacts", config.state_dir / "elsewhere")
    monkeypatch.setattr(observer, "should_stop", lambda: True)
    with pytest.raises(StoppedError):
        uploaded_input(leases.store, artifact.id, data, cpu, observer)

"""Small real fixtures that many tests share: a data set file and an embedding built on it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock
from hypothesis import HealthCheck, settings

from archpress_trainer.build import build_embedding
from archpress_trainer.data.registry import DataSources
from archpress_trainer.embedding.fit_autoencoder import AutoencoderSettings
from archpress_trainer.embedding.heads import HeadSettings
from archpress_trainer.population.local_executor import LocalExecutor
from archpress_trainer.population.spec import SamplerName, default_spec
from archpress_trainer.stages.settings import BuildSettings
from archpress_trainer.training.device import Compute
from archpress_trainer.training.fidelity import Fidelity
from tests.client.driven import Connect, Kind, LoopThread

pytest_plugins = ["tests.processes"]

# Threads that wait for one another crawl on a machine that has other work; the variable is for
# what tests start.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"

# The same examples in every run, so that a failure can be repeated; `--hypothesis-profile explore`
# draws many new ones, `make fuzz` very many for the API.
_BASE = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("repeatable", _BASE, derandomize=True)
settings.register_profile("explore", _BASE, max_examples=2_000, print_blob=True)
settings.register_profile("fuzz", _BASE, print_blob=True)
settings.load_profile("repeatable")

TINY_CLASSES = 4


def make_tiny_arrays(seed: int = 0) -> dict[str, Any]:
    """Return 12x12 images of four noisy patterns that a small net learns in seconds."""
    rng = np.random.default_rng(seed)
    patterns = rng.integers(0, 255, (TINY_CLASSES, 12, 12))
    arrays = {}
    for part, count in (("train", 960), ("test", 200)):
        labels = rng.integers(0, TINY_CLASSES, count)
        noise = rng.normal(0, 60, (count, 12, 12))
        images = np.clip(patterns[labels] * 0.7 + noise + 40, 0, 255)
        arrays[f"x_{part}"] = images.astype(np.uint8)
        arrays[f"y_{part}"] = labels.astype(np.int64)
    return arrays


@pytest.fixture(scope="session")
def tiny_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An `.npz` data set of 960 + 200 images, 12x12, four classes."""
    path = tmp_path_factory.mktemp("data") / "tiny.npz"
    np.savez_compressed(path, **make_tiny_arrays())
    return path


@pytest.fixture(scope="session")
def tiny_sources(tiny_dataset: Path) -> DataSources:
    """Data sources that know the tiny data set as "tiny" and download nothing."""
    return DataSources(root=tiny_dataset.parent, files={"tiny": tiny_dataset}, download=False)


@pytest.fixture(scope="session")
def cpu() -> Compute:
    """The CPU in float32: the same everywhere."""
    return Compute(torch.device("cpu"), bfloat16=False)


@pytest.fixture(scope="session")
def tiny_embedding(
    tiny_sources: DataSources, cpu: Compute, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder of an embedding of the tiny data set, built for real with small settings."""
    return made_once(tmp_path_factory, "tiny", lambda folder: _build(tiny_sources, cpu, folder))


@pytest.fixture(scope="session")
def tiny_residual_embedding(
    tiny_embedding: Path,
    tiny_sources: DataSources,
    cpu: Compute,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The folder of one of nets with joins, which has learned from the labels of `tiny_embedding`
    too."""
    also = (str(tiny_embedding),)
    return made_once(
        tmp_path_factory,
        "tiny-residual",
        lambda folder: _build(tiny_sources, cpu, folder, sampler=SamplerName.RESIDUAL, also=also),
    )


def made_once(
    tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]
) -> Path:
    """Return a folder that one of the processes of a test run makes, and all read."""
    base = tmp_path_factory.getbasetemp()
    run = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = run / name
    with FileLock(run / f"{name}.lock"):
        if not folder.exists():
            unfinished = tmp_path_factory.mktemp(name) / name
            make(unfinished)
            unfinished.rename(folder)
    return folder


def _build(
    sources: DataSources,
    cpu: Compute,
    output: Path,
    *,
    sampler: SamplerName = SamplerName.PRACTICAL,
    also: tuple[str, ...] = (),
) -> None:
    dataset = sources.load("tiny")
    spec = default_spec(
        "tiny",
        dataset.fingerprint,
        dataset.input_shape,
        dataset.classes,
        Fidelity(256, 1),
        sampler=sampler,
    )
    settings = BuildSettings(
        nets=24,
        autoencoder=AutoencoderSettings(nets=800, iterations=40, batch_size=64),
        heads=HeadSettings(iterations=30, folds=3),
        also=also,
        sampling_workers=1,
        unseen_nets=200,
    )
    work = output.with_name("work")
    build_embedding(spec, settings, LocalExecutor(sources, 2), work, output, cpu)


@pytest.fixture(scope="session")
def loop_thread() -> Iterator[LoopThread]:
    thread = LoopThread()
    yield thread
    thread.close()


@pytest.fixture(params=list(Kind))
def connect(request: pytest.FixtureRequest, loop_thread: LoopThread) -> Connect:
    """Makes clients; a test that takes it is run for `Client` and for `AsyncClient`."""
    return Connect(request.param, loop_thread)

"""The autoencoder of a build: kept, started from another one, or refused."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from archpress_trainer.embedding.fit_autoencoder import AutoencoderSettings
from archpress_trainer.embedding.fit_default import FittedAutoencoder
from archpress_trainer.embedding.manifest import ArtifactError
from archpress_trainer.population.records import PopulationStore
from archpress_trainer.population.spec import PopulationSpec
from archpress_trainer.stages.autoencoder import fitted_autoencoder
from archpress_trainer.stages.settings import BuildObserver, BuildSettings
from archpress_trainer.training.device import Compute

SETTINGS = AutoencoderSettings(nets=300, iterations=4, batch_size=64)


def fit(
    spec: PopulationSpec, settings: AutoencoderSettings, work: Path, cpu: Compute
) -> FittedAutoencoder:
    work.mkdir(exist_ok=True)
    chosen = BuildSettings(nets=20, autoencoder=settings, sampling_workers=1)
    return fitted_autoencoder(spec, chosen, work, cpu, BuildObserver())


def test_a_start_from_another_is_a_head_start(
    tiny_embedding: Path, cpu: Compute, tmp_path: Path
) -> None:
    spec = PopulationStore(tiny_embedding).spec()
    fresh = fit(spec, SETTINGS, tmp_path / "fresh", cpu)
    settings = replace(SETTINGS, start=str(tiny_embedding), learning_rate=1e-5)
    started = fit(spec, settings, tmp_path / "started", cpu)
    assert started.curve[-1].reconstruction < fresh.curve[-1].reconstruction


def test_a_finished_one_is_not_fitted_again(
    tiny_embedding: Path, cpu: Compute, tmp_path: Path
) -> None:
    spec = PopulationStore(tiny_embedding).spec()
    first = fit(spec, SETTINGS, tmp_path / "work", cpu)
    written = (tmp_path / "work" / "autoencoder.safetensors").stat().st_mtime_ns
    again = fit(spec, SETTINGS, tmp_path / "work", cpu)
    assert (tmp_path / "work" / "autoencoder.safetensors").stat().st_mtime_ns == written
    assert again.curve == first.curve
    fit(spec, replace(SETTINGS, iterations=5), tmp_path / "work", cpu)
    assert (tmp_path / "work" / "autoencoder.safetensors").stat().st_mtime_ns != written


def test_a_start_from_another_space_is_refused(
    tiny_embedding: Path, cpu: Compute, tmp_path: Path
) -> None:
    spec = PopulationStore(tiny_embedding).spec()
    other = replace(spec, space=replace(spec.space, kernels=(1, 3)))
    settings = replace(SETTINGS, start=str(tiny_embedding))
    with pytest.raises(ArtifactError, match="its space has other layers or values"):
        fit(other, settings, tmp_path / "work", cpu)


def test_a_start_of_other_dimensions_is_refused(
    tiny_embedding: Path, cpu: Compute, tmp_path: Path
) -> None:
    spec = PopulationStore(tiny_embedding).spec()
    settings = replace(SETTINGS, start=str(tiny_embedding), dimensions=SETTINGS.dimensions + 1)
    with pytest.raises(ArtifactError, match=f"add --dimensions {SETTINGS.dimensions}$"):
        fit(spec, settings, tmp_path / "work", cpu)


def test_a_start_from_nowhere_is_refused(
    tiny_embedding: Path, cpu: Compute, tmp_path: Path
) -> None:
    spec = PopulationStore(tiny_embedding).spec()
    settings = replace(SETTINGS, start="no-such-embedding")
    with pytest.raises(ArtifactError, match="no-such-embedding is no folder"):
        fit(spec, settings, tmp_path / "work", cpu)


def test_one_that_came_to_no_numbers_is_not_kept(
    tiny_embedding: Path, cpu: Compute, tmp_path: Path
) -> None:
    spec = PopulationStore(tiny_embedding).spec()
    wild = replace(SETTINGS, learning_rate=math.inf)
    for _ in range(2):
        with pytest.raises(ArtifactError, match="came to values that are no numbers"):
            fit(spec, wild, tmp_path / "work", cpu)
    assert list((tmp_path / "work").iterdir()) == []

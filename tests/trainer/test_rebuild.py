"""Building again: settings from the artifact's own files, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from archpress_trainer.build import build_embedding
from archpress_trainer.data.dataset import DatasetError
from archpress_trainer.data.registry import DataSources
from archpress_trainer.embedding.bundled import bundled_folders
from archpress_trainer.embedding.fit_autoencoder import AutoencoderSettings
from archpress_trainer.embedding.heads import HeadSettings
from archpress_trainer.embedding.manifest import ArtifactError, read_manifest
from archpress_trainer.population.records import PopulationStore
from archpress_trainer.population.spec import PopulationError, PopulationSpec
from archpress_trainer.rebuild import read_origin
from archpress_trainer.stages.settings import BuildSettings
from archpress_trainer.training.device import Compute
from tests.trainer.population.helpers import CountingExecutor, tiny_spec

SETTINGS = BuildSettings(
    nets=24,
    autoencoder=AutoencoderSettings(nets=300, iterations=10, batch_size=32, dimensions=16),
    heads=HeadSettings(iterations=10, folds=2),
    sampling_workers=1,
    unseen_nets=50,
)


@pytest.fixture(scope="module")
def spec(tiny_sources: DataSources) -> PopulationSpec:
    return tiny_spec(tiny_sources, seed=2)


@pytest.fixture(scope="module")
def built(spec: PopulationSpec, cpu: Compute, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifact of a finished build."""
    folder = tmp_path_factory.mktemp("built")
    build_embedding(spec, SETTINGS, CountingExecutor(), folder / "work", folder / "tiny", cpu)
    return folder / "tiny"


@pytest.fixture
def folder(built: Path, tmp_path: Path) -> Path:
    shutil.copytree(built, tmp_path / "copy")
    return tmp_path / "copy"


def test_an_artifact_says_all_that_it_was_built_with(built: Path, spec: PopulationSpec) -> None:
    origin = read_origin(str(built))
    assert origin.spec == spec
    assert origin.settings == SETTINGS


def test_the_bundled_ones_have_a_name_and_a_population() -> None:
    for folder in bundled_folders():
        origin = read_origin(folder.name)
        assert origin.folder == folder
        assert origin.settings.nets >= origin.manifest.population_size


def test_bundled_populations_are_what_their_specs_draw() -> None:
    for folder in bundled_folders():
        store = PopulationStore(folder)
        labelled = {record.index: record.architecture for record in store.records()}
        for index, sample in enumerate(store.spec().samples(15)):
            assert labelled[index] == sample.architecture, (folder.name, index)


def test_bundled_labels_are_those_of_the_manifest(tmp_path: Path) -> None:
    for folder in bundled_folders():
        store = PopulationStore(tmp_path / folder.name)
        origin = read_origin(folder.name)
        origin.reuse_labels(store)
        assert store.records() == PopulationStore(folder).records()


def test_reused_labels_give_the_same_artifact(built: Path, cpu: Compute, tmp_path: Path) -> None:
    origin = read_origin(str(built))
    executor = CountingExecutor()
    for _ in range(2):
        # The second time as after a kill: what was copied is no obstacle.
        origin.reuse_labels(PopulationStore(tmp_path / "work" / "population"))
    again = tmp_path / "again"
    build_embedding(origin.spec, origin.settings, executor, tmp_path / "work", again, cpu)
    assert executor.given == []
    assert read_manifest(again) == read_manifest(built)
    for name in ("weights.safetensors", "population.json", "population.jsonl"):
        assert (again / name).read_bytes() == (built / name).read_bytes()


def test_labels_are_not_reused_beside_others_than_were_borrowed(tmp_path: Path) -> None:
    origin = read_origin("fashion-mnist-residual")
    settings = {**origin.manifest.settings, "borrowed_digest": "0" * 64}
    other = replace(origin, manifest=replace(origin.manifest, settings=settings))
    with pytest.raises(ArtifactError, match=r"fashion-mnist have other labels than .* borrowed"):
        other.reuse_labels(PopulationStore(tmp_path))


def test_other_labels_in_the_work_folder(built: Path, tmp_path: Path) -> None:
    origin = read_origin(str(built))
    store = PopulationStore(tmp_path)
    origin.reuse_labels(store)
    lines = store.records_path.read_bytes().splitlines(keepends=True)
    store.records_path.write_bytes(b"".join(lines[:5]))
    with pytest.raises(PopulationError, match="holds other labels than"):
        origin.reuse_labels(store)
    other = PopulationStore(tmp_path / "other")
    other.open(replace(origin.spec, seed=9))
    with pytest.raises(PopulationError, match="it differs in seed"):
        origin.reuse_labels(other)


def test_another_data_set(built: Path, tiny_sources: DataSources) -> None:
    origin = read_origin(str(built))
    dataset = tiny_sources.load("tiny")
    origin.check_dataset(dataset)
    other = replace(dataset, test_images=255 - dataset.test_images)
    with pytest.raises(DatasetError, match="was built on a 'tiny' with fingerprint") as caught:
        origin.check_dataset(other)
    assert dataset.fingerprint[:12] in str(caught.value)
    assert other.fingerprint[:12] in str(caught.value)


def edit(name: str, change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    """Return a damage that edits a JSON file."""

    def damage(folder: Path) -> None:
        record = json.loads((folder / name).read_text())
        change(record)
        (folder / name).write_text(json.dumps(record))

    return damage


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (edit("population.json", lambda r: r.update(seed=3)), "differ in seed"),
        (edit("population.json", lambda r: r.update(dataset="x")), "differ in dataset"),
        (edit("population.json", lambda r: r["fidelity"].update(epochs=9)), "differ in fidelity"),
        (edit("population.json", lambda r: r["space"].update(max_layers=9)), "differ in space"),
        (edit("population.json", lambda r: r.pop("recipe")), "population.json is damaged"),
        (lambda folder: (folder / "population.json").unlink(), "holds no population"),
        (edit("manifest.json", lambda r: r["settings"].update(colour=1)), "does not have"),
        (
            edit("manifest.json", lambda r: r["settings"]["heads"].update(depth=3)),
            "settings that this archpress does not have",
        ),
        (edit("manifest.json", lambda r: r["settings"].pop("nets")), "does not have"),
        (lambda folder: (folder / "manifest.json").unlink(), "holds no embedding"),
    ],
)
def test_files_that_do_not_fit_together(
    damage: Callable[[Path], None], words: str, folder: Path
) -> None:
    damage(folder)
    with pytest.raises((ArtifactError, PopulationError)) as caught:
        read_origin(str(folder))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_changed_labels_are_not_reused(folder: Path, tmp_path: Path) -> None:
    path = folder / "population.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    with pytest.raises(ArtifactError, match="build without its labels"):
        read_origin(str(folder)).reuse_labels(PopulationStore(tmp_path / "population"))
    assert not (tmp_path / "population").exists()

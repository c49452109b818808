"""Artifacts: equal predictions after a round trip, one line for whatever is wrong with one."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from archpress_trainer.embedding.artifact import load, save
from archpress_trainer.embedding.default import DefaultEmbedding
from archpress_trainer.embedding.manifest import (
    FORMAT_VERSION,
    ArtifactError,
    EmbeddingMethod,
    read_manifest,
)
from archpress_trainer.embedding.paper import PaperEmbedding
from archpress_trainer.training.recipe import population_recipe
from tests.trainer.embedding.fitted import paper_embedding
from tests.trainer.nets import chains

NETS = chains(6, seed=11)
WEIGHTS = "weights.safetensors"


@pytest.fixture
def folder(tiny_embedding: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "artifact"
    shutil.copytree(tiny_embedding, copy)
    return copy


def test_a_round_trip_predicts_the_same(folder: Path, tmp_path: Path) -> None:
    embedding = load(folder)
    again_folder = tmp_path / "again"
    save(embedding, again_folder, [folder / "population.jsonl"])
    again = load(again_folder)
    assert again.manifest == embedding.manifest
    assert again.exemplars == embedding.exemplars
    assert len(again.exemplars) == embedding.manifest.population_size
    assert again.predict(NETS) == embedding.predict(NETS)
    assert torch.equal(again.encode(NETS), embedding.encode(NETS))


def test_the_papers_embedding_round_trips(tmp_path: Path) -> None:
    embedding = paper_embedding(iterations=5, nets=20)
    save(embedding, tmp_path / "paper")
    again = load(tmp_path / "paper")
    assert isinstance(again, PaperEmbedding)
    assert again.manifest.method is EmbeddingMethod.PAPER
    assert again.manifest == embedding.manifest
    assert again.predict(NETS) == embedding.predict(NETS)
    assert again.exemplars == ()


def test_saving_replaces_the_whole_folder(folder: Path) -> None:
    embedding = load(folder)
    (folder / "stale").write_text("x")
    save(embedding, folder)
    assert sorted(path.name for path in folder.iterdir()) == ["manifest.json", WEIGHTS]
    assert sorted(path.name for path in folder.parent.iterdir()) == [folder.name]
    assert load(folder).predict(NETS) == embedding.predict(NETS)


def test_nothing_but_an_artifact_is_replaced(folder: Path, tmp_path: Path) -> None:
    embedding = load(folder)
    precious = tmp_path / "photos" / "mine.jpg"
    precious.parent.mkdir()
    precious.write_text("x")
    with pytest.raises(ArtifactError, match="photos holds files but no embedding"):
        save(embedding, precious.parent)
    (precious.parent / "manifest.json").write_text("{}")
    with pytest.raises(ArtifactError, match="photos holds files but no embedding"):
        save(embedding, precious.parent)
    with pytest.raises(ArtifactError, match="is a file: choose a folder"):
        save(embedding, precious)
    with pytest.raises(ArtifactError, match="cannot be replaced by an embedding"):
        save(embedding, Path("/"))
    assert precious.read_text() == "x"
    (tmp_path / "empty").mkdir()
    save(embedding, tmp_path / "empty")
    load(tmp_path / "empty")


def test_nets_of_a_larger_population_are_no_exemplars(folder: Path) -> None:
    path = folder / "population.jsonl"
    more = json.loads(path.read_text().splitlines()[0]) | {"index": 24}
    path.write_text(path.read_text() + json.dumps(more) + "\n")
    assert len(load(folder).exemplars) == 24


def test_large_variances_of_a_batch_norm_are_kept(folder: Path) -> None:
    embedding = load(folder)
    assert isinstance(embedding, DefaultEmbedding)
    statistics = {n: b for n, b in embedding.autoencoder.named_buffers() if "running_var" in n}
    for buffer in statistics.values():
        buffer.fill_(1e6)
    save(embedding, folder)
    again = load(folder)
    assert isinstance(again, DefaultEmbedding)
    found = dict(again.autoencoder.named_buffers())
    assert statistics
    assert all(torch.equal(found[name], buffer) for name, buffer in statistics.items())


def test_what_could_not_be_loaded_is_not_saved(folder: Path) -> None:
    embedding = load(folder)
    assert isinstance(embedding, DefaultEmbedding)
    before = (folder / WEIGHTS).read_bytes()
    embedding.heads.scores[0] = torch.nan
    with pytest.raises(ArtifactError, match=r"heads\.scores holds a number"):
        save(embedding, folder)
    assert (folder / WEIGHTS).read_bytes() == before
    assert load(folder).manifest == embedding.manifest


@pytest.mark.parametrize("full_at", [WEIGHTS, "population.json", "population.jsonl"])
def test_a_full_disk_leaves_the_artifact_that_was_there(
    full_at: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    companions = []
    for name in ("population.json", "population.jsonl"):
        companions.append(shutil.copyfile(folder / name, tmp_path / name))
    before = load(folder)
    write, copy = Path.write_bytes, shutil.copyfile

    def full(path: Path) -> None:
        if path.name == full_at:
            with path.open("wb") as file:
                file.write(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def write_bytes(path: Path, content: bytes) -> int:
        full(path)
        return write(path, content)

    def copyfile(source: Path, target: Path) -> Path:
        full(target)
        return copy(source, target)

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    monkeypatch.setattr(shutil, "copyfile", copyfile)
    with pytest.raises(OSError, match="No space left"):
        save(before, folder, companions)
    assert load(folder).predict(NETS) == before.predict(NETS)
    assert [path.name for path in folder.parent.iterdir() if path.is_dir()] == [folder.name]


def test_what_a_killed_save_left_is_never_loaded(folder: Path) -> None:
    fresh = folder.with_name(f".{folder.name}.new")
    shutil.copytree(folder, fresh)
    (fresh / "manifest.json").unlink()
    with pytest.raises(ArtifactError, match=r"manifest\.json is missing"):
        load(fresh)
    (fresh / WEIGHTS).write_bytes(b"half")
    save(load(folder), folder)
    assert not fresh.exists()
    load(folder)


def test_what_a_save_set_aside_comes_back(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = load(folder)
    renamed = Path.rename

    def rename(path: Path, target: Path) -> Path:
        if path.name.endswith(".new"):
            raise OSError(28, "No space left on device")
        return renamed(path, target)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(OSError, match="No space left"):
        save(before, folder)
    assert load(folder).predict(NETS) == before.predict(NETS)
    monkeypatch.undo()
    # As a process that ended between the two renames leaves it.
    folder.rename(folder.with_name(f".{folder.name}.old"))
    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(OSError, match="No space left"):
        save(before, folder)
    assert load(folder).predict(NETS) == before.predict(NETS)


def test_who_may_read_one_file_may_read_all(folder: Path, tmp_path: Path) -> None:
    save(load(folder), tmp_path / "again")
    modes = {path.stat().st_mode for path in (tmp_path / "again").iterdir()}
    assert len(modes) == 1


def test_the_manifest_says_where_it_came_from(folder: Path) -> None:
    manifest = read_manifest(folder)
    assert manifest.dataset == "tiny"
    assert manifest.method is EmbeddingMethod.DEFAULT
    assert manifest.format_version == FORMAT_VERSION == 1
    assert manifest.versions["torch"] == str(torch.__version__)
    assert json.loads((folder / "manifest.json").read_text())["space_digest"] == (
        manifest.space.digest
    )


def test_a_manifest_tells_the_recipe_of_labels_where_it_is_not_the_usual(folder: Path) -> None:
    # An archpress that knows nothing of it can read it.
    assert "label_recipe" not in json.loads((folder / "manifest.json").read_text())
    embedding = load(folder)
    assert embedding.manifest.label_recipe is None
    other = replace(population_recipe(1), batch_size=64)
    told = replace(embedding.manifest, label_recipe=other)
    assert told.to_json()["label_recipe"] == other.to_json()
    edit(lambda m: m.update(label_recipe=other.to_json()))(folder)
    assert read_manifest(folder) == told


def test_nothing_in_an_artifact_is_pickled(folder: Path) -> None:
    names = sorted(path.name for path in folder.iterdir())
    assert names == [
        "figures.json",
        "manifest.json",
        "population.json",
        "population.jsonl",
        WEIGHTS,
    ]
    for name in names:
        content = (folder / name).read_bytes()
        # A pickle starts with its protocol, a zip (torch's container) with PK.
        assert not content.startswith((b"\x80", b"PK"))
    json.loads((folder / "manifest.json").read_text())
    size = int.from_bytes((folder / WEIGHTS).read_bytes()[:8], "little")
    json.loads((folder / WEIGHTS).read_bytes()[8 : 8 + size])


def test_a_pickle_in_place_of_the_weights_is_not_run(folder: Path) -> None:
    torch.save({"x": torch.zeros(1)}, folder / WEIGHTS)
    with pytest.raises(ArtifactError, match="cannot be read"):
        load(folder)


def edit(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    """Return a damage that edits the manifest."""

    def damage(folder: Path) -> None:
        path = folder / "manifest.json"
        record = json.loads(path.read_text())
        change(record)
        path.write_text(json.dumps(record))

    return damage


def reweigh(change: Callable[[dict[str, torch.Tensor]], None]) -> Callable[[Path], None]:
    """Return a damage that edits the weights."""

    def damage(folder: Path) -> None:
        state = load_file(folder / WEIGHTS)
        change(state)
        save_file(state, folder / WEIGHTS)

    return damage


def _truncate(name: str, keep: int) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        (folder / name).write_bytes((folder / name).read_bytes()[:keep])

    return damage


def _write(name: str, content: bytes) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        (folder / name).write_bytes(content)

    return damage


def _drop(name: str) -> Callable[[dict[str, torch.Tensor]], None]:
    def change(state: dict[str, torch.Tensor]) -> None:
        del state[name]

    return change


def _remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def _set(name: str, value: torch.Tensor | float) -> Callable[[dict[str, torch.Tensor]], None]:
    def change(state: dict[str, torch.Tensor]) -> None:
        new = value if isinstance(value, torch.Tensor) else torch.full_like(state[name], value)
        state[name] = new

    return change


def relabel(field: str, value: float | None) -> Callable[[Path], None]:
    """Return a damage that edits the first record of the population."""

    def damage(folder: Path) -> None:
        path = folder / "population.jsonl"
        first, *rest = path.read_text().splitlines(keepends=True)
        path.write_text(json.dumps({**json.loads(first), field: value}) + "\n" + "".join(rest))

    return damage


def _nan(state: dict[str, torch.Tensor]) -> None:
    state["heads.scores"][0] = float("nan")


def _infinite(state: dict[str, torch.Tensor]) -> None:
    state["autoencoder.encoder.0.weight"][0, 0, 0] = float("inf")


def _reshape(state: dict[str, torch.Tensor]) -> None:
    state["heads.seen"] = state["heads.seen"][:, :-1].contiguous()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (shutil.rmtree, "holds no embedding (manifest.json is missing)"),
        (_remove("manifest.json"), "holds no embedding (manifest.json is missing)"),
        (_write("manifest.json", b""), "manifest.json cannot be read"),
        (_write("manifest.json", b"\xff\xfe{}"), "manifest.json cannot be read"),
        (_write("manifest.json", b"[]"), "has format version None, this archpress reads 1"),
        (edit(lambda m: m.update(format_version=2)), "has format version 2, this archpress"),
        (edit(lambda m: m.pop("format_version")), "has format version None"),
        (edit(lambda m: m["space"].update(max_layers=99)), "the file was changed by hand"),
        (edit(lambda m: m.update(space_digest="0" * 64)), "is for space 000000000000"),
        (edit(lambda m: m["space"].update(kinds=["CONV"])), "is damaged: 'CONV'"),
        (edit(lambda m: m.update(space=None)), "is damaged"),
        (edit(lambda m: m.update(fidelity=7)), "is damaged"),
        (edit(lambda m: m.update(method="magic")), "is damaged: 'magic'"),
        (edit(lambda m: m.update(label_recipe=7)), "is damaged"),
        (edit(lambda m: m.update(label_recipe={"name": "mine"})), "is damaged"),
        (edit(lambda m: m.pop("metrics")), "is damaged"),
        (edit(lambda m: m.update(colour="red")), "is damaged"),
        (edit(lambda m: m["settings"].pop("heads")), "does not fit its manifest"),
        (edit(lambda m: m["settings"]["autoencoder"].update(dimensions=64)), "does not fit"),
        (edit(lambda m: m.update(method="paper")), "does not fit its manifest"),
        (_remove(WEIGHTS), f"has no {WEIGHTS}"),
        (_truncate(WEIGHTS, 100_000), f"{WEIGHTS} cannot be read"),
        (_truncate(WEIGHTS, 4), f"{WEIGHTS} cannot be read"),
        (_write(WEIGHTS, b""), f"{WEIGHTS} cannot be read"),
        (reweigh(_drop("heads.seen")), "does not fit its manifest"),
        (reweigh(_drop("feature_mean")), "does not fit its manifest"),
        (reweigh(_reshape), "does not fit its manifest"),
        (reweigh(_set("feature_mean", torch.zeros(3))), "feature_mean and feature_std must hold"),
        (reweigh(_set("heads.seen", torch.zeros(24, 5))), "does not fit its manifest"),
        (reweigh(_set("heads.seen", torch.zeros(24))), "does not fit its manifest"),
        (reweigh(_set("heads.width", torch.tensor(-1.0))), "width must be above 0"),
        (reweigh(_set("feature_std", 0.0)), "feature_std must be above 0"),
        (edit(lambda m: m["metrics"].update(interval_coverage="x")), "is 'x', not a number"),
        (edit(lambda m: m.update(metrics=None)), "is damaged"),
        (edit(lambda m: m["settings"].update(nets="x")), "settings.nets is 'x', not a number"),
        (reweigh(_nan), "heads.scores holds a number that is not finite"),
        (reweigh(_infinite), "autoencoder.encoder.0.weight holds a number that is not finite"),
        (_write("population.jsonl", b"{}\n"), "population.jsonl line 1 is damaged"),
        (_truncate("population.jsonl", 700), "population.jsonl line"),
        (relabel("accuracy", 7.0), "has other nets or labels than manifest.json says"),
        (relabel("accuracy", None), "has other nets or labels than manifest.json says"),
        (relabel("index", 900), "has other nets or labels than manifest.json says"),
    ],
)
def test_whatever_is_wrong_is_one_line(
    damage: Callable[[Path], None], words: str, folder: Path
) -> None:
    damage(folder)
    with pytest.raises(ArtifactError) as caught:
        load(folder)
    message = str(caught.value)
    assert words in message
    assert str(folder) in message
    assert "\n" not in message

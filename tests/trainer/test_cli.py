"""The `archpress-trainer` command."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from archpress_trainer.cli import app
from archpress_trainer.cli.progress import plan_line
from archpress_trainer.data.npz import load_npz
from archpress_trainer.data.registry import DataSources
from archpress_trainer.embedding.artifact import load
from archpress_trainer.embedding.manifest import EmbeddingMethod, read_manifest
from archpress_trainer.embedding.paper import PaperEmbedding
from archpress_trainer.population.records import PopulationStore
from archpress_trainer.stages.settings import BuildSettings
from archpress_trainer.training.device import Compute
from tests.disks import mounted_disk
from tests.trainer.population.helpers import tiny_spec

runner = CliRunner()

SMALL_PAPER = {
    "--nets": "20",
    "--repeats": "4",
    "--images": "64",
    "--epochs": "1",
    "--workers": "1",
    "--method": "paper",
    "--paper-iterations": "20",
}
"""Options of a build that takes seconds."""


def one_error_line(*arguments: str) -> str:
    """Run a command that fails; return the single line that it says."""
    result = runner.invoke(app, list(arguments))
    assert result.exit_code == 1
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    assert len(lines) == 1
    assert lines[0].startswith("archpress-trainer: ")
    return lines[0]


def arguments(options: dict[str, str]) -> list[str]:
    return [part for option in options.items() for part in option]


def run_build(options: dict[str, str], *more: str) -> str:
    """Run a build that works; return what it says."""
    result = runner.invoke(app, ["build", *arguments(options), *more])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_help_names_the_commands() -> None:
    result = runner.invoke(app, ["--help"])
    assert result.exit_code == 0
    assert "build" in result.stdout
    assert "show" in result.stdout


def test_an_unknown_data_set(tmp_path: Path) -> None:
    output = tmp_path / "out"
    line = one_error_line("build", "--dataset", "mnist", "--output", str(output))
    assert "unknown data set 'mnist'; known are fashion-mnist, cifar10" in line
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "none.npz"
    line = one_error_line("build", "--dataset", "own", "--data", str(path))
    assert f"{path}: there is no such file" in line


def test_images_too_small_for_any_net(tmp_path: Path) -> None:
    path = tmp_path / "flat.npz"
    images, labels = np.zeros((8, 1, 60), np.uint8), np.arange(8) % 2
    np.savez(path, x_train=images, y_train=labels, x_test=images, y_test=labels)
    line = one_error_line("build", "--data", str(path), "--output", str(tmp_path / "out"))
    assert "images of 1x1x60 (channels, height, width) are too small" in line


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--from", "x", "--dataset", "svhn"], "leave out --dataset"),
        (["--from", "x", "--preset", "quick", "--nets", "50"], "leave out --nets, --preset"),
        (["--from", "x", "--seed", "0"], "leave out --seed"),
        (["--from", "x", "--autoencoder-nets", "500"], "leave out --autoencoder-nets"),
        (["--from", "no-such-place"], "no-such-place is no folder, nor one of the embeddings"),
        (["--from", "no-such-place"], "fashion-mnist"),
        (["--from", "."], "holds no embedding (manifest.json is missing)"),
        (["--reuse-labels"], "--reuse-labels needs --from"),
        (["--image-size", "16"], "--image-size needs --data with a folder"),
    ],
)
def test_options_that_do_not_go_together(
    options: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert words in one_error_line("build", *options)
    assert list(tmp_path.iterdir()) == []


def test_the_papers_sampler_with_the_default_method(tiny_dataset: Path) -> None:
    line = one_error_line("build", "--data", str(tiny_dataset), "--sampler", "paper")
    assert "the paper's sampler needs the paper's method" in line


def test_the_plan_in_one_line(tiny_sources: DataSources, cpu: Compute) -> None:
    spec = tiny_spec(tiny_sources)
    assert plan_line(spec, BuildSettings(nets=1_000), 2, cpu) == (
        "tiny: 1,000 nets x 128 images x 1 epochs x 1 seeds, 2 workers on cpu (float32), "
        "then 5,000 steps on 600,000 unlabelled nets"
    )
    paper = BuildSettings(nets=30, method=EmbeddingMethod.PAPER)
    assert plan_line(spec, paper, 2, cpu).endswith("then 80,000 steps of the paper's fit")


def test_what_is_there_is_not_replaced(tiny_dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "mine.jpg").write_text("x")
    places = {
        tmp_path / "photos": "holds files but no embedding",
        Path("/"): "name a folder below it",
        tiny_dataset.parent: f"{tiny_dataset} would be removed",
    }
    for output, words in places.items():
        line = one_error_line("build", "--data", str(tiny_dataset), "--output", str(output))
        assert words in line
    assert (tmp_path / "photos" / "mine.jpg").read_text() == "x"
    assert tiny_dataset.exists()


@pytest.mark.parametrize("option", ["--also", "--start"])
def test_the_papers_method_borrows_nothing(tiny_dataset: Path, option: str) -> None:
    options = ["--method", "paper", option, "fashion-mnist"]
    line = one_error_line("build", "--data", str(tiny_dataset), *options)
    assert f"leave out {option}" in line


@pytest.mark.parametrize(
    "option",
    [
        ("--dimensions", "1"),
        ("--seed", str(2**32)),
        ("--nets", "3"),
        ("--epochs", "0"),
        ("--method", "magic"),
    ],
)
def test_options_out_of_range(option: tuple[str, str]) -> None:
    result = runner.invoke(app, ["build", *option])
    assert result.exit_code == 2
    assert option[0] in result.stderr


def test_show_prints_provenance_and_metrics(
    tiny_embedding: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    result = runner.invoke(app, ["show", str(tiny_embedding)])
    assert result.exit_code == 0
    manifest = read_manifest(tiny_embedding)
    assert manifest.name in result.stdout
    assert str(manifest.fidelity) in result.stdout
    assert "tau of predicted and measured accuracy" in result.stdout
    assert f"{manifest.metrics['mean_absolute_error']:g}" in result.stdout
    assert f"{manifest.metrics['interval_coverage']:g}" in result.stdout


def test_show_without_an_artifact(tmp_path: Path) -> None:
    line = one_error_line("show", str(tmp_path))
    assert "holds no embedding (manifest.json is missing)" in line


@pytest.mark.slow
def test_build_goes_on_where_it_was(tiny_dataset: Path, tmp_path: Path) -> None:
    output = tmp_path / "embedding"

    options = {"--dataset": "tiny", "--data": str(tiny_dataset), "--output": str(output)}
    said = run_build({**options, **SMALL_PAPER})
    assert "tiny: 20 nets x 64 images x 1 epochs x 1 seeds, 1 workers on " in said
    assert "The embedding is in" in said
    records = tmp_path / "embedding.work" / "population" / "population.jsonl"
    first, manifest = records.read_bytes(), read_manifest(output)
    assert first.count(b"\n") == 20
    run_build({**options, **SMALL_PAPER})
    # A label holds its seconds: were one measured again, its line would differ.
    assert records.read_bytes() == first
    assert read_manifest(output) == manifest
    line = one_error_line("build", *arguments(options))
    assert "holds another population (it differs in fidelity, recipe)" in line


@pytest.mark.slow
def test_the_papers_preset(tiny_dataset: Path, tmp_path: Path) -> None:
    output = tmp_path / "paper"
    options = {
        "--preset": "paper",
        "--data": str(tiny_dataset),
        "--output": str(output),
        "--nets": "40",
        "--images": "64",
        "--epochs": "1",
        "--seeds": "2",
        "--paper-iterations": "30",
        "--max-macs": "2000000",
        "--workers": "2",
    }
    run_build(options)
    embedding = load(output)
    assert isinstance(embedding, PaperEmbedding)
    assert embedding.manifest.name.startswith("tiny-paper-")
    assert embedding.manifest.space.channels[-1] == 4096
    assert embedding.manifest.fidelity.seeds == 2
    spec = PopulationStore(output).spec()
    assert spec.sampler == "paper"
    assert spec.recipe.name == "paper-svhn"
    records = PopulationStore(output).records()
    assert len(records) == 40
    assert max(record.macs for record in records) <= 2_000_000


def write_images(root: Path, *, seed: int = 0) -> None:
    """Write a folder of images of two sizes in three classes."""
    rng = np.random.default_rng(seed)
    for part, count in (("train", 60), ("test", 6)):
        for index in range(count):
            path = root / part / f"class-{index % 3}" / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(0, 256, (14 + index % 2, 20), dtype=np.uint8)
            Image.fromarray(pixels).save(path)


@pytest.mark.slow
def test_a_folder_of_images(tmp_path: Path) -> None:
    write_images(tmp_path / "pets")
    output = tmp_path / "out"
    options = {"--data": str(tmp_path / "pets"), "--output": str(output)}
    assert "--image-size N" in one_error_line("build", *arguments(options))
    run_build({**options, **SMALL_PAPER, "--image-size": "12"})
    manifest = read_manifest(output)
    assert manifest.dataset == "pets"
    assert manifest.space.input_shape == (1, 12, 12)
    assert manifest.fidelity.train_images == 55
    # What the server can be given, which knows of no other size.
    name = f"dataset-{manifest.dataset_fingerprint[:12]}.npz"
    packed = load_npz("pets", tmp_path / "out.work" / name)
    assert packed.fingerprint == manifest.dataset_fingerprint


def test_a_refused_build_leaves_the_data_of_the_running_one(tmp_path: Path) -> None:
    write_images(tmp_path / "one", seed=1)
    write_images(tmp_path / "other", seed=2)
    work = tmp_path / "work"
    options = {"--dataset": "pets", "--image-size": "12", "--work": str(work), **SMALL_PAPER}

    def refused(images: str) -> None:
        line = one_error_line("build", *arguments({**options, "--data": str(tmp_path / images)}))
        assert "another build is at work in" in line

    with PopulationStore(work / "population").alone():
        refused("one")
        (packed,) = work.glob("*.npz")
        content, written = packed.read_bytes(), packed.stat().st_mtime_ns
        for images in ("other", "one"):
            refused(images)
            assert packed.read_bytes() == content
            assert packed.stat().st_mtime_ns == written


@pytest.mark.slow
def test_built_again_from_its_own_settings(tiny_dataset: Path, tmp_path: Path) -> None:
    first = tmp_path / "first"
    data = {"--data": str(tiny_dataset)}
    run_build({**data, **SMALL_PAPER, "--output": str(first), "--seed": "3"})
    weights = (first / "weights.safetensors").read_bytes()
    for name, more in (("fitted", ["--reuse-labels"]), ("from-nothing", [])):
        again = tmp_path / name
        run_build({**data, "--from": str(first), "--output": str(again)}, *more)
        assert (again / "weights.safetensors").read_bytes() == weights
        assert read_manifest(again) == read_manifest(first)
    for name in ("population.jsonl", "repeats.jsonl"):
        # The same seconds: nothing was trained for it.
        assert (tmp_path / "fitted" / name).read_bytes() == (first / name).read_bytes()
        assert (tmp_path / "from-nothing" / name).read_bytes() != (first / name).read_bytes()
    line = one_error_line("build", "--from", str(first), "--output", str(tmp_path / "out"))
    assert "was built on 'tiny': give that data set as --data" in line
    other = tmp_path / "other.npz"
    arrays = dict(np.load(tiny_dataset))
    arrays["x_test"][0] += 1
    np.savez(other, **arrays)
    line = one_error_line("build", "--from", str(first), "--data", str(other))
    assert "was built on a 'tiny' with fingerprint" in line


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 kB."""
    with mounted_disk(tmp_path / "disk", "256k") as folder:
        yield folder


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_costs_no_label(
    tiny_dataset: Path, small_disk: Path, tmp_path: Path
) -> None:
    output = small_disk / "embedding"
    work = tmp_path / "work"
    options = {"--data": str(tiny_dataset), **SMALL_PAPER, "--work": str(work)}
    line = one_error_line("build", *arguments(options), "--output", str(output))
    assert "no space left on the disk: free some" in line
    assert list(small_disk.iterdir()) == []
    records = PopulationStore(work / "population").records()
    run_build(options, "--output", str(tmp_path / "elsewhere"))
    assert PopulationStore(work / "population").records() == records
    full = small_disk / "work"
    full.mkdir()
    (full / "filler").write_bytes(b"x" * 240_000)
    line = one_error_line("build", *arguments({**options, "--work": str(full)}))
    assert "no space left on the disk: free some" in line
    kept = PopulationStore(full / "population").records()
    (full / "filler").unlink()
    run_build({**options, "--work": str(full)}, "--output", str(tmp_path / "freed"))
    after = PopulationStore(full / "population").records()
    assert [record.index for record in after] == list(range(20))
    assert [after[record.index] for record in kept] == kept

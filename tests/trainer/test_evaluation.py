"""The quality of an embedding, measured on held-out nets."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from archpress_trainer.cli import app
from archpress_trainer.embedding.artifact import load
from archpress_trainer.embedding.manifest import ArtifactError
from archpress_trainer.embedding.paper import PaperSettings
from archpress_trainer.evaluation import (
    HEADS,
    PAPER,
    REPEAT,
    Evaluation,
    Spread,
    evaluate,
    latent_quality,
    noise_ceiling,
)
from archpress_trainer.population.records import PopulationStore
from archpress_trainer.population.spec import PopulationError


@pytest.fixture(scope="module")
def found(tiny_embedding: Path) -> Evaluation:
    return evaluate(tiny_embedding, seeds=2, paper=PaperSettings(iterations=20), points=60)


def test_every_predictor_has_a_row(found: Evaluation) -> None:
    names = [row.name for row in found.rows]
    assert names[0] == HEADS
    assert f"{PAPER} after 20 steps" in names
    assert REPEAT not in names
    assert len(names) == 6
    assert found.nets == 24
    for row in found.rows:
        assert -1 <= row.tau.mean <= 1
        assert row.tau.n == (1 if row.name.startswith(PAPER) else 2)
        assert (row.error is None) == (row.name == "log(parameters)")
    assert found.noise is None


def test_the_latent_space_decodes(found: Evaluation, tiny_embedding: Path) -> None:
    assert found.latent.points == 60
    assert found.latent.valid == 1.0
    assert 0 <= found.latent.drift <= 1
    again = latent_quality(load(tiny_embedding), 60, seed=0)
    assert again == found.latent


def test_repeats_tell_the_noise(tiny_embedding: Path, tmp_path: Path) -> None:
    folder = tmp_path / "embedding"
    shutil.copytree(tiny_embedding, folder)
    store = PopulationStore(folder)
    same = "".join(record.to_line() for record in store.records()[:12])
    PopulationStore(folder, repeat=1).records_path.write_text(same)
    found = evaluate(folder, seeds=1, points=4)
    assert found.rows[-1].name == REPEAT
    assert found.rows[-1].tau.mean == pytest.approx(1, abs=0.1)
    assert found.noise is not None
    assert found.noise.nets == 12
    assert found.noise.deviation == 0


def test_two_repeats_tell_nothing(tiny_embedding: Path, tmp_path: Path) -> None:
    folder = tmp_path / "embedding"
    shutil.copytree(tiny_embedding, folder)
    records = PopulationStore(folder).records()
    failed = [replace(record, status="diverged") for record in records[2:12]]
    lines = "".join(record.to_line() for record in (*records[:2], *failed))
    PopulationStore(folder, repeat=1).records_path.write_text(lines)
    found = evaluate(folder, seeds=1, points=4)
    assert found.noise is None
    assert found.rows[-1].name != REPEAT


def test_a_perfect_predictor_beats_a_repeated_label() -> None:
    assert noise_ceiling(1.0) == pytest.approx(1.0)
    assert noise_ceiling(0.0) == 0.0
    assert noise_ceiling(-0.1) == 0.0
    for tau in (0.3, 0.6, 0.9):
        assert tau < noise_ceiling(tau) < 1


def test_a_spread_of_one() -> None:
    assert Spread.of([0.5]) == Spread(0.5, 0.0, 1)
    assert Spread.of([0.2, 0.4]).mean == pytest.approx(0.3)


def test_a_population_too_small(tiny_embedding: Path, tmp_path: Path) -> None:
    folder = tmp_path / "embedding"
    shutil.copytree(tiny_embedding, folder)
    (folder / "population.jsonl").unlink()
    with pytest.raises(PopulationError, match="has 0 labelled nets, at least 20 are needed"):
        evaluate(folder)


def test_no_artifact(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="holds no embedding"):
        evaluate(tmp_path)


def test_the_command_prints_and_writes(tiny_embedding: Path, tmp_path: Path) -> None:
    output = tmp_path / "numbers.json"
    arguments = ["evaluate", str(tiny_embedding), "--seeds", "1", "--paper-iterations", "0"]
    result = CliRunner().invoke(app, [*arguments, "--output", str(output)])
    assert result.exit_code == 0, result.output
    assert "boosted trees" in result.stdout
    assert "valid decodes of 1000 points" in result.stdout
    numbers = json.loads(output.read_text())
    assert numbers["rows"][0]["name"] == HEADS


def test_the_command_knows_no_such_embedding() -> None:
    result = CliRunner().invoke(app, ["evaluate", "fashion-mist"])
    assert result.exit_code == 1
    assert "fashion-mist is no folder, nor one of the embeddings" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1

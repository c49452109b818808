"""Artifacts that the report's tests share."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from archpress_trainer.embedding.figures import write_figures
from archpress_trainer.population.records import PopulationStore
from tests.trainer.report.made_up import made_up_figures, write_paper_artifact


@pytest.fixture(scope="session")
def bare_paper_artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The paper's embedding without the data of figures, as an old artifact is."""
    return write_paper_artifact(tmp_path_factory.mktemp("paper"))


@pytest.fixture(scope="session")
def paper_artifact(bare_paper_artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The paper's embedding with the data of figures."""
    return _with_figures(bare_paper_artifact, tmp_path_factory.mktemp("with") / "paper")


@pytest.fixture(scope="session")
def default_artifact(tiny_embedding: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny default embedding with the data of figures."""
    return _with_figures(tiny_embedding, tmp_path_factory.mktemp("with") / "default")


def _with_figures(artifact: Path, copy: Path) -> Path:
    shutil.copytree(artifact, copy)
    records = [record for record in PopulationStore(copy).records() if record.is_labelled]
    write_figures(copy, made_up_figures(records))
    return copy

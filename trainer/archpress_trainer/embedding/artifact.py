"""Saving and loading an embedding: manifest, safetensors and the population that it came from.

Loading never unpickles. An artifact is written to a folder beside its place and renamed, so that
a half-written one is never loaded.
"""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as serialised

from archpress_trainer.embedding.default import DefaultEmbedding
from archpress_trainer.embedding.interface import Embedding, Exemplar
from archpress_trainer.embedding.manifest import (
    MANIFEST_FILE,
    ArtifactError,
    EmbeddingMethod,
    Manifest,
    read_manifest,
)
from archpress_trainer.embedding.paper import PaperEmbedding
from archpress_trainer.embedding.record import RECORDS_FILE, Record, fitted_on, population_digest
from archpress_trainer.error_text import first_line

WEIGHTS_FILE = "weights.safetensors"
BORROWED_FILE = "borrowed.jsonl"
"""Labelled nets of other embeddings that this one has learned from too."""


def versions() -> dict[str, str]:
    """Return the versions that an embedding is made with, for its manifest."""
    return {"python": platform.python_version(), "torch": str(torch.__version__)}


def check_output(folder: Path, apart: Sequence[Path] = ()) -> None:
    """Refuse to write an artifact where that would remove something else.

    Args:
        folder: where to; as a whole it is replaced.
        apart: what may not be it or lie in it.

    Raises:
        ArtifactError: it has no name, is a file, or holds something that is no artifact.
    """
    place = folder.resolve()
    if not place.name:
        raise ArtifactError(f"{folder} cannot be replaced by an embedding: name a folder below it")
    for path in apart:
        if path.resolve().is_relative_to(place):
            raise ArtifactError(
                f"{path} would be removed when the embedding is written to {folder}: "
                "choose a folder outside it"
            )
    if place.exists() and not place.is_dir():
        raise ArtifactError(f"{folder} is a file: choose a folder for the embedding")
    names = {path.name for path in place.iterdir()} if place.is_dir() else set()
    if names and not names >= {MANIFEST_FILE, WEIGHTS_FILE}:
        raise ArtifactError(
            f"{folder} holds files but no embedding, which would replace them: choose another "
            "folder, or empty it"
        )


def save(embedding: Embedding, folder: Path, companions: Sequence[Path] = ()) -> None:
    """Write an artifact; one that is there is replaced as a whole.

    Args:
        embedding: what to write.
        folder: where to.
        companions: files to copy beside it, such as the population.

    Raises:
        ArtifactError: the embedding holds a number that is not finite, and could not be loaded; or
            there is something else at its place.
        OSError: it cannot be written; what was there before still is.
    """
    check_output(folder)
    folder = folder.resolve()
    state = {name: value.contiguous() for name, value in embedding.state().items()}
    _check_finite(folder, state)
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = folder.with_name(f".{folder.name}.new")
    old = folder.with_name(f".{folder.name}.old")
    if old.exists() and not folder.exists():
        # Who was to replace it ended in between.
        old.rename(folder)
    for leftover in (fresh, old):
        shutil.rmtree(leftover, ignore_errors=True)
    fresh.mkdir()
    try:
        # safetensors' own writer has an error of its own, and makes files for the owner alone.
        (fresh / WEIGHTS_FILE).write_bytes(serialised(state))
        for companion in companions:
            shutil.copyfile(companion, fresh / companion.name)
        text = json.dumps(embedding.manifest.to_json(), indent=1)
        (fresh / MANIFEST_FILE).write_text(text + "\n")
    except OSError:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    if folder.exists():
        folder.rename(old)
    try:
        fresh.rename(folder)
    except OSError:
        if old.exists():
            old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def load(folder: Path) -> Embedding:
    """Return the embedding of an artifact.

    Raises:
        ArtifactError: it is missing, damaged, foreign or from a later version.
    """
    manifest = read_manifest(folder)
    path = folder / WEIGHTS_FILE
    try:
        state = load_file(path)
        _check_finite(path, state)
        exemplars = _exemplars(folder, manifest)
        if manifest.method is EmbeddingMethod.PAPER:
            return PaperEmbedding.from_state(manifest, state, exemplars)
        return DefaultEmbedding.from_state(manifest, state, exemplars)
    except FileNotFoundError:
        raise ArtifactError(f"{folder} has no {WEIGHTS_FILE}; build the embedding again") from None
    except (SafetensorError, OSError) as error:
        raise ArtifactError(
            f"{path} cannot be read ({error}); build the embedding again"
        ) from error
    except ArtifactError:
        raise
    except (RuntimeError, KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"{path} does not fit its manifest: {first_line(error)}") from error


def _check_finite(path: Path, state: Mapping[str, torch.Tensor]) -> None:
    for name, value in state.items():
        if not value.isfinite().all():
            raise ArtifactError(
                f"{path}: {name} holds a number that is not finite; build the embedding again"
            )


def _exemplars(folder: Path, manifest: Manifest) -> list[Exemplar]:
    """Return the nets that an embedding was fitted on; none where the artifact has none."""
    own = fitted_on(read_records(folder / RECORDS_FILE), manifest.nets)
    borrowed = read_records(folder / BORROWED_FILE)
    checks = (
        (RECORDS_FILE, own, manifest.population_digest),
        (BORROWED_FILE, borrowed, manifest.settings.get("borrowed_digest")),
    )
    for name, records, digest in checks:
        if (folder / name).exists() and population_digest(records) != digest:
            raise ArtifactError(
                f"{folder / name} has other nets or labels than {MANIFEST_FILE} says: it was "
                "changed by hand, or is of another embedding; build the embedding again"
            )
    return [Exemplar(record.architecture, record.accuracy) for record in (*own, *borrowed)]


def read_records(path: Path) -> list[Record]:
    """Return the labelled nets in a file of an artifact, none if it has no such file.

    Raises:
        ArtifactError: a line is damaged.
    """
    if not path.exists():
        return []
    records = []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        try:
            records.append(Record.from_json(json.loads(line)))
        except (ValueError, TypeError, KeyError) as error:
            raise ArtifactError(f"{path} line {number} is damaged: {error}") from error
    return records

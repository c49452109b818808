"""Labelled nets of other embeddings that a build learns from too."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from archpress_trainer.embedding.artifact import BORROWED_FILE
from archpress_trainer.embedding.bundled import artifact_folder
from archpress_trainer.embedding.record import Record
from archpress_trainer.population.records import PopulationStore
from archpress_trainer.population.spec import PopulationError, PopulationSpec
from archpress_trainer.whole_file import write_atomically


def borrowed_records(places: Sequence[str], spec: PopulationSpec) -> list[Record]:
    """Return the labelled nets of embeddings that lie in a population's space, each net once.

    Args:
        places: names of embeddings that come with archpress, or folders.
        spec: whose data, fidelity and recipe the labels must share.

    Raises:
        ArtifactError: there is no such embedding.
        PopulationError: its labels cannot be read, were made otherwise, or none is of the space.
    """
    found: dict[str, Record] = {}
    for place in places:
        store = PopulationStore(artifact_folder(place))
        _check_alike(place, store.spec(), spec)
        for record in store.records():
            if record.is_labelled and spec.space.contains(record.architecture):
                found.setdefault(record.architecture.digest, record)
    if places and not found:
        raise PopulationError(
            f"no net of {', '.join(places)} lies in this embedding's space: leave out --also"
        )
    return list(found.values())


def without_own(borrowed: Sequence[Record], own: Sequence[Record]) -> list[Record]:
    """Return the borrowed records of nets that are none of the own, labelled or not.

    A copy of an own net would tell held-out fits its label.
    """
    digests = {record.architecture.digest for record in own}
    return [record for record in borrowed if record.architecture.digest not in digests]


def _check_alike(place: str, theirs: PopulationSpec, ours: PopulationSpec) -> None:
    names = ("dataset_fingerprint", "fidelity", "recipe")
    differing = [name for name in names if getattr(theirs, name) != getattr(ours, name)]
    if differing:
        raise PopulationError(
            f"the labels of {place} were made otherwise (they differ in {', '.join(differing)}): "
            "borrow from an embedding of the same data, images, epochs and recipe"
        )


def write_borrowed(work: Path, records: Sequence[Record]) -> Path:
    """Write borrowed records to the work folder, for the artifact, and return the file."""
    path = work / BORROWED_FILE
    write_atomically(path, "".join(record.to_line() for record in records).encode())
    return path

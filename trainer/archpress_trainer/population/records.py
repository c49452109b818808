"""The population on disk: a spec and append-only JSON lines, one per labelled net."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from archpress_trainer.population.spec import PopulationError, PopulationSpec
from archpress_trainer.space.graph import Architecture

SPEC_FILE = "population.json"
RECORDS_FILE = "population.jsonl"
REPEATS_FILE = "repeats.jsonl"


@dataclass(frozen=True)
class Record:
    """One net and its label; `status` other than "finished" says why there is none.

    `accuracy` (validation, in [0, 1]), `loss_sum` and `seconds` are means over the seeds.
    """

    index: int
    architecture: Architecture
    params: int
    macs: int
    status: str
    accuracy: float
    loss_sum: float
    curve: tuple[float, ...]
    seconds: float
    message: str = ""

    @property
    def is_labelled(self) -> bool:
        """Whether the net was trained to the end."""
        return self.status == "finished"

    def to_line(self) -> str:
        """Return the JSON line of this record, with its line feed."""
        values = {**asdict(self), "architecture": self.architecture.to_json()}
        return json.dumps(values, separators=(",", ":")) + "\n"

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Record:
        """Inverse of `to_line`, from the parsed line."""
        return cls(
            **{
                **values,
                "architecture": Architecture.from_json(values["architecture"]),
                "curve": tuple(values["curve"]),
            }
        )


class PopulationStore:
    """A folder with a population: `population.json`, `population.jsonl`, perhaps `repeats.jsonl`.

    The repeats are second labels of some of its nets, from trainings with other seeds.
    """

    def __init__(self, folder: Path, *, repeat: int = 0) -> None:
        """Use a folder, which need not exist yet; with `repeat` 1 its file of repeats."""
        self.folder = folder
        self.repeat = repeat

    @property
    def records_path(self) -> Path:
        """The file of records."""
        return self.folder / (REPEATS_FILE if self.repeat else RECORDS_FILE)

    def open(self, spec: PopulationSpec) -> None:
        """Write the spec, or check that the folder's population has the same one.

        Raises:
            PopulationError: the folder holds another population.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / SPEC_FILE
        if not path.exists():
            write_atomically(path, json.dumps(spec.to_json(), indent=1).encode())
        elif self.spec() != spec:
            theirs, ours = self.spec().to_json(), spec.to_json()
            differing = ", ".join(key for key in ours if ours[key] != theirs.get(key))
            raise PopulationError(
                f"{self.folder} holds another population (it differs in {differing}); "
                "use another folder or the same settings"
            )
        self._drop_torn_line()

    def spec(self) -> PopulationSpec:
        """Return the folder's spec.

        Raises:
            PopulationError: there is none, or it cannot be read.
        """
        path = self.folder / SPEC_FILE
        try:
            return PopulationSpec.from_json(json.loads(path.read_text()))
        except FileNotFoundError:
            raise PopulationError(f"{self.folder} holds no population ({SPEC_FILE})") from None
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise PopulationError(f"{path} is damaged: {error}") from error

    def records(self) -> list[Record]:
        """Return the records by index; a torn last line is passed over.

        Raises:
            PopulationError: a line in the middle is damaged, or an index occurs twice.
        """
        if not self.records_path.exists():
            return []
        found: dict[int, Record] = {}
        lines = self.records_path.read_bytes().split(b"\n")
        for number, line in enumerate(lines[:-1], start=1):
            try:
                record = Record.from_json(json.loads(line))
            except (ValueError, TypeError, KeyError) as error:
                raise PopulationError(
                    f"{self.records_path} line {number} is damaged: {error}"
                ) from error
            if record.index in found:
                raise PopulationError(
                    f"{self.records_path} line {number}: net {record.index} occurs twice"
                )
            found[record.index] = record
        return [found[index] for index in sorted(found)]

    def append(self, record: Record) -> None:
        """Add a record and flush it to the disk."""
        with self.records_path.open("ab") as file:
            file.write(record.to_line().encode())
            file.flush()
            os.fsync(file.fileno())

    def _drop_torn_line(self) -> None:
        if not self.records_path.exists():
            return
        content = self.records_path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) != len(content):
            write_atomically(self.records_path, whole)


def population_digest(records: list[Record]) -> str:
    """Return SHA-256 (hex) over the nets and labels, whatever the order in the file."""
    digest = hashlib.sha256()
    for record in sorted(records, key=lambda record: record.index):
        label = f"{record.index} {record.architecture.digest} {record.status} {record.accuracy!r}"
        digest.update(label.encode())
    return digest.hexdigest()


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that it is either old or new, never half."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)

"""The population on disk: a spec and append-only JSON lines, one per labelled net."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from archpress_trainer.embedding.record import RECORDS_FILE, Record
from archpress_trainer.file_lock import lock_at_once
from archpress_trainer.population.spec import PopulationError, PopulationSpec
from archpress_trainer.whole_file import write_atomically

SPEC_FILE = "population.json"
REPEATS_FILE = "repeats.jsonl"
_LOCK_FILE = ".lock"


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

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other builds out of the folder; the lock goes with the process, however it ends.

        Where the file system has no locks, nobody is kept out.

        Raises:
            PopulationError: another one is at work there.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / _LOCK_FILE).open("w") as file:
            try:
                lock_at_once(file)
            except BlockingIOError:
                raise PopulationError(
                    f"another build is at work in {self.folder}: wait for it, or use another folder"
                ) from None
            yield

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

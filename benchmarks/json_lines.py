"""Result files of JSON lines: written as the work goes on, so that a killed benchmark resumes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Record = dict[str, Any]

RESULTS = Path(__file__).resolve().parent / "results"
"""Where result files are committed."""


class LinesError(ValueError):
    """A file that is no file of JSON lines; the message names the file and the line."""


def read_lines(path: Path) -> list[Record]:
    """Return the records of a file, none if there is no file; half a last line does not count.

    Raises:
        LinesError: a line is no record.
    """
    if not path.exists():
        return []
    whole = path.read_bytes().split(b"\n")[:-1]
    return [_record(path, number, line) for number, line in enumerate(whole, 1) if line]


def _record(path: Path, number: int, line: bytes) -> Record:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise LinesError(f"{path}, line {number}, is no JSON: {error}") from None
    if not isinstance(record, dict):
        raise LinesError(f"{path}, line {number}, is no record but {record!r:.40}")
    return record


def differences(begun: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Return in words what settings differ from those that are wanted, within mappings too."""
    found = []
    for name, value in wanted.items():
        old = begun.get(name)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            every = {**dict.fromkeys(old), **value}
            found += [f"{name} {words}" for words in differences(old, every)]
        elif old != value:
            found.append(f"{name} {old!r}, not {value!r}")
    return found


class JsonLines:
    """An append-only file with one record per line."""

    def __init__(self, path: Path) -> None:
        """Use a file, which need not exist yet; half a last line of a killed run is removed."""
        self.path = path
        self.records = read_lines(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            _remove_half_a_line(path)

    def require(self, settings: Mapping[str, Any]) -> None:
        """Refuse to go on with a file whose records were made with other settings.

        Raises:
            SystemExit: names the first setting that differs.
        """
        for record in self.records:
            for words in differences(record, settings):
                raise SystemExit(f"{self.path} was begun with {words}: choose another output")

    def holds(self, key: Mapping[str, Any]) -> bool:
        """Return whether there is a record with these values."""
        return any(key.items() <= record.items() for record in self.records)

    def add(self, record: Record) -> None:
        """Append a record; it is on the disk when this returns."""
        self.records.append(record)
        with self.path.open("a") as file:
            file.write(json.dumps(record) + "\n")


def _remove_half_a_line(path: Path) -> None:
    with path.open("r+b") as file:
        content = file.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            file.truncate(whole)

"""Result files of JSON lines: written as the work goes on, so that a killed benchmark resumes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Record = dict[str, Any]

RESULTS = Path(__file__).resolve().parent / "results"
"""Where result files are committed."""


def read_lines(path: Path) -> list[Record]:
    """Return the records of a file, none if there is no file; half a last line does not count."""
    if not path.exists():
        return []
    whole = path.read_text().split("\n")[:-1]
    return [json.loads(line) for line in whole if line]


class JsonLines:
    """An append-only file with one record per line."""

    def __init__(self, path: Path) -> None:
        """Use a file, which need not exist yet; half a last line of a killed run is removed."""
        self.path = path
        self.records = read_lines(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            text = path.read_text()
            path.write_text(text[: text.rfind("\n") + 1])

    def require(self, settings: Mapping[str, Any]) -> None:
        """Refuse to go on with a file whose records were made with other settings.

        Raises:
            SystemExit: names the first setting that differs.
        """
        for record in self.records:
            for name, value in settings.items():
                if record.get(name) != value:
                    raise SystemExit(
                        f"{self.path} was begun with {name} {record.get(name)!r}, not {value!r}: "
                        "choose another output"
                    )

    def holds(self, key: Mapping[str, Any]) -> bool:
        """Return whether there is a record with these values."""
        return any(key.items() <= record.items() for record in self.records)

    def add(self, record: Record) -> None:
        """Append a record; it is on the disk when this returns."""
        self.records.append(record)
        with self.path.open("a") as file:
            file.write(json.dumps(record) + "\n")

"""`Record`: a labelled net, as populations and artifacts keep it, and digests over records."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from archpress_trainer.space.graph import Architecture

RECORDS_FILE = "population.jsonl"
"""Name of the file of records, a line each, in a population's folder and in an artifact."""


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


def fitted_on(records: Iterable[Record], nets: int) -> list[Record]:
    """Return those that an embedding of a population's first `nets` nets was fitted on.

    A population may have grown since, for a larger embedding.
    """
    return [record for record in records if record.index < nets and record.is_labelled]


def population_digest(records: Sequence[Record]) -> str:
    """Return SHA-256 (hex) over the nets and labels, whatever the order in the file."""
    digest = hashlib.sha256()
    for record in sorted(records, key=lambda record: record.index):
        label = f"{record.index} {record.architecture.digest} {record.status} {record.accuracy!r}"
        digest.update(label.encode())
    return digest.hexdigest()

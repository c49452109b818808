"""The frozen numbers of named networks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_FILE = Path(__file__).parent.parent / "data" / "named_networks.json"


def _load() -> dict[str, dict[str, Any]]:
    records: dict[str, dict[str, Any]] = json.loads(_FILE.read_text())
    return {
        name: {**record, "input_shape": tuple(record["input_shape"])}
        for name, record in records.items()
    }


FROZEN = _load()

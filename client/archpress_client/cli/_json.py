"""The client's types as plain JSON data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime
from enum import Enum, IntEnum

from archpress_client._network import Network


def to_plain(value: object) -> object:
    """Return `value` as dicts, lists, strings and numbers; private fields are left out."""
    match value:
        case Network():
            return value.to_json()
        case IntEnum():
            return value.name
        case Enum():
            return value.value
        case datetime():
            return value.isoformat()
        case str() | int() | float() | None:
            return value
        case Mapping():
            return {str(key): to_plain(item) for key, item in value.items()}
        case Sequence():
            return [to_plain(item) for item in value]
    if is_dataclass(value):
        names = [field.name for field in fields(value) if not field.name.startswith("_")]
        return {name: to_plain(getattr(value, name)) for name in names}
    raise TypeError(f"{type(value).__name__} has no JSON form")

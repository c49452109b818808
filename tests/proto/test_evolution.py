"""Within v1 the API only grows: what a caller may have compiled in stays as it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from tests.proto.test_stubs import FILES

PINNED = Path(__file__).with_name("v1.txt")
_TYPES = {
    number: name.removeprefix("TYPE_").lower()
    for name, number in vars(FieldDescriptor).items()
    if name.startswith("TYPE_")
}


def of_field(field: FieldDescriptor) -> str:
    label = "repeated " if field.is_repeated else "optional " if field.has_presence else ""
    referred = field.message_type or field.enum_type
    kind = _TYPES[field.type] if referred is None else referred.full_name
    oneof = field.containing_oneof
    inside = "" if oneof is None else f" in {oneof.name}"
    return f"{field.full_name} = {field.number}: {label}{kind}{inside}"


def of_enum(enum: EnumDescriptor) -> Iterator[str]:
    for value in enum.values:
        yield f"{enum.full_name}.{value.name} = {value.number}"


def of_message(message: Descriptor) -> Iterator[str]:
    yield from (of_field(field) for field in message.fields)
    for nested in message.nested_types:
        yield from of_message(nested)
    for enum in message.enum_types:
        yield from of_enum(enum)


def contract() -> set[str]:
    lines: set[str] = set()
    for file in FILES:
        for message in file.message_types_by_name.values():
            lines.update(of_message(message))
        for enum in file.enum_types_by_name.values():
            lines.update(of_enum(enum))
    return lines


def test_no_field_and_no_value_changes() -> None:
    gone = set(PINNED.read_text().splitlines()) - contract()
    assert not gone, "these are promised to callers of v1"


def test_what_is_new_is_pinned() -> None:
    new = contract() - set(PINNED.read_text().splitlines())
    assert not new, f"add these lines to {PINNED.name}; from then on they stay"

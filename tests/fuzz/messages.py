"""Strategies for requests that a server should not get: bytes, damaged and odd messages."""

from __future__ import annotations

import math
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st

NOISE = st.binary(max_size=300)
_DEPTH = 3

_INT32 = st.sampled_from((0, 1, -1, 2, 7, 64, 513, 16_385, 2**31 - 1, -(2**31)))
_INT64 = st.one_of(_INT32, st.sampled_from((2**63 - 1, -(2**63), 2**40)))
_UINT64 = st.sampled_from((0, 1, 2, 2**32, 2**63, 2**64 - 1))
_REAL = st.sampled_from(
    (0.0, -0.0, 1.0, -1.0, 0.5, 1e-300, 1e300, math.inf, -math.inf, math.nan, 5e-324)
)
_TEXT = st.one_of(
    st.sampled_from(
        (
            "",
            "jobs/",
            "jobs/../../etc/passwd",
            "artifacts/%00",
            "conv-7",
            "fashion-mnist",
            "\x00",
            "\u2028\ud7ff\U0010ffff",
            "x" * 5000,
            "6f5902ac-237f-4d2a-a1f5-0a0f3b8c7d11",
            "'; DROP TABLE jobs; --",
            "0" * 64,
        )
    ),
    st.text(max_size=40),
)
_SCALARS: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.CPPTYPE_INT32: _INT32,
    FieldDescriptor.CPPTYPE_INT64: _INT64,
    FieldDescriptor.CPPTYPE_UINT32: st.sampled_from((0, 1, 2**32 - 1)),
    FieldDescriptor.CPPTYPE_UINT64: _UINT64,
    FieldDescriptor.CPPTYPE_DOUBLE: _REAL,
    FieldDescriptor.CPPTYPE_FLOAT: _REAL,
    FieldDescriptor.CPPTYPE_BOOL: st.booleans(),
    FieldDescriptor.CPPTYPE_ENUM: st.sampled_from((0, 1, 2, 3, 5, 17, 99, -1, 2**31 - 1)),
    FieldDescriptor.CPPTYPE_STRING: _TEXT,
}


@st.composite
def damaged(draw: st.DrawFn, message: bytes) -> bytes:
    """Draw the bytes of a valid message with some of them changed, cut, doubled or put in."""
    content = bytearray(message)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(content)))
        end = draw(st.integers(start, min(len(content), start + 16)))
        kind = draw(st.sampled_from(("change", "cut", "double", "insert", "end")))
        if kind == "change" and start < len(content):
            content[start] = draw(st.integers(0, 255))
        elif kind == "cut":
            del content[start:end]
        elif kind == "double":
            content[start:start] = content[start:end]
        elif kind == "insert":
            content[start:start] = draw(st.binary(max_size=8))
        elif kind == "end":
            del content[start:]
    return bytes(content)


@st.composite
def odd(draw: st.DrawFn, message: Message) -> bytes:
    """Draw a well-formed message: a valid one, of which some fields have values at the edges."""
    changed = type(message)()
    changed.CopyFrom(message)
    _spoil(draw, changed, _DEPTH)
    content: bytes = changed.SerializeToString()
    return content


def _spoil(draw: st.DrawFn, message: Message, depth: int) -> None:
    fields = list(message.DESCRIPTOR.fields)
    if not fields:
        return
    for _ in range(draw(st.integers(1, 3))):
        field: Any = draw(st.sampled_from(fields))
        if draw(st.integers(0, 5)) == 0:
            message.ClearField(field.name)
        elif field.message_type is not None and field.message_type.GetOptions().map_entry:
            getattr(message, field.name)[draw(_TEXT)] = draw(_TEXT)
        elif field.is_repeated:
            _spoil_list(draw, getattr(message, field.name), field, depth)
        elif field.message_type is None:
            setattr(message, field.name, draw(_scalar(field)))
        elif depth:
            inner = getattr(message, field.name)
            inner.SetInParent()
            _spoil(draw, inner, depth - 1)


def _spoil_list(draw: st.DrawFn, values: Any, field: Any, depth: int) -> None:
    if field.message_type is None:
        values.extend(draw(st.lists(_scalar(field), max_size=5)))
    elif depth:
        if values and draw(st.booleans()):
            inner = values[draw(st.integers(0, len(values) - 1))]
        else:
            inner = values.add()
        _spoil(draw, inner, depth - 1)


def _scalar(field: Any) -> st.SearchStrategy[Any]:
    if field.type == FieldDescriptor.TYPE_BYTES:
        return st.binary(max_size=20)
    return _SCALARS[field.cpp_type]


def message_of(descriptor: Descriptor) -> Message:
    """Return an empty message of a type."""
    return GetMessageClass(descriptor)()

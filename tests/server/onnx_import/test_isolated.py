"""The process that reads a stranger's file: what it finds, and that it cannot take much."""

from __future__ import annotations

import resource

import pytest

from archpress_server.compress.types import Reason, RequestError
from archpress_server.onnx_import import isolated
from archpress_server.onnx_import.isolated import inspect_onnx
from archpress_server.onnx_import.read import read_onnx
from tests.server.onnx_import.files import plain


async def test_it_finds_what_is_there() -> None:
    content = plain().SerializeToString()
    assert await inspect_onnx(content) == read_onnx(content).architecture


async def test_a_refusal_comes_through() -> None:
    model = plain()
    model.graph.node[1].op_type = "Selu"
    with pytest.raises(RequestError) as caught:
        await inspect_onnx(model.SerializeToString())
    assert caught.value.reason is Reason.INVALID_ARCHITECTURE
    assert caught.value.metadata["op"] == "Selu"


async def test_a_file_that_swells_is_refused() -> None:
    # Two bytes each for 12 million empty tensors, of which each takes a hundred once it is read:
    # more than a file of this size gets.
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    graph = b"\x2a\x00" * (12 * 2**20)
    size = len(graph)
    length = bytes(
        [size & 0x7F | 0x80, size >> 7 & 0x7F | 0x80, size >> 14 & 0x7F | 0x80, size >> 21]
    )
    with pytest.raises(RequestError, match=r"within the limits of memory|is not an ONNX file$"):
        await inspect_onnx(b"\x3a" + length + graph)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 512 * 1024


async def test_a_file_that_takes_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolated, "_WAIT_SECONDS", 0.01)
    with pytest.raises(RequestError, match="too long"):
        await inspect_onnx(plain().SerializeToString())

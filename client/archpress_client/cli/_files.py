"""The files of a result, and their names."""

from __future__ import annotations

from pathlib import Path

from archpress_client._download import PartFile
from archpress_client._types import Result


def save_all(result: Result, out: Path) -> list[Path]:
    """Write a result to `out` and what came with it beside, and return the paths, `out` first.

    The smaller models of a front are `NAME-PARAMETERS.onnx`, the quantized one `NAME-int8.onnx`.
    """
    result.save(out)
    written = [out]
    for model in result.front:
        if model.artifact == result.artifact:
            continue
        path = _beside(out, str(model.costs.params))
        if path in written:
            path = _beside(out, f"{model.costs.params}-{model.costs.macs}")
        model.save(path)
        written.append(path)
    if result.int8 is not None:
        path = _beside(out, "int8")
        result.int8.save(path)
        written.append(path)
    return written


def write_text(text: str, out: Path) -> None:
    """Write a text file, whole or not at all."""
    part = PartFile(out)
    try:
        part.open().write(text.encode())
        part.finish()
    except BaseException:
        part.abandon()
        raise


def _beside(out: Path, mark: str) -> Path:
    return out.with_name(f"{out.stem}-{mark}{out.suffix}")

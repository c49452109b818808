"""`archpress-trainer report`: one HTML page about an embedding."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from archpress_trainer.cli.console import console, one_line_errors
from archpress_trainer.embedding.bundled import artifact_folder
from archpress_trainer.report.errors import ReportError

_LIBRARIES = frozenset({"jinja2", "markupsafe", "matplotlib"})


def report(
    embedding: Annotated[
        str, typer.Argument(help="Name of a bundled embedding, or folder of an artifact.")
    ],
    output: Annotated[Path, typer.Option(help="The HTML file to write.")] = Path("report.html"),
) -> None:
    """Write one self-contained page of figures that tell how far an embedding can be trusted."""
    with one_line_errors():
        size = _write(artifact_folder(embedding), output)
        console.print(f"The report is in {output} ({size / 1e6:.1f} MB)", markup=False)


def _write(artifact: Path, output: Path) -> int:
    try:
        from archpress_trainer.report.page import write_report
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in _LIBRARIES:
            raise
        raise ReportError(
            f"a report needs {error.name}: pip install 'archpress-trainer[report]'"
        ) from error
    return write_report(artifact, output)

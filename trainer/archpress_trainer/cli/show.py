"""`archpress-trainer show`: an embedding's provenance and metrics."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from archpress_trainer.cli.console import console, one_line_errors
from archpress_trainer.embedding.bundled import artifact_folder
from archpress_trainer.embedding.manifest import Manifest, read_manifest
from archpress_trainer.embedding.metrics import METRIC_MEANINGS


def show(
    embedding: Annotated[
        str, typer.Argument(help="Name of a bundled embedding, or folder of an artifact.")
    ],
) -> None:
    """Print an embedding's provenance and metrics."""
    with one_line_errors():
        print_manifest(read_manifest(artifact_folder(embedding)))


def print_manifest(manifest: Manifest) -> None:
    """Print provenance and metrics as a table."""
    table = Table(title=f"{manifest.name}", title_justify="left", show_header=False)
    table.add_row("data set", manifest.dataset)
    table.add_row("labelled nets", str(manifest.population_size))
    table.add_row("fidelity of a label", str(manifest.fidelity))
    for name, meaning in METRIC_MEANINGS:
        if name in manifest.metrics:
            table.add_row(meaning, f"{manifest.metrics[name]:g}")
    console.print(table)

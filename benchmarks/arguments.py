"""What command lines of the benchmarks have in common: values that are checked, short errors."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from tempfile import TemporaryFile

from json_lines import LinesError

from archpress_server.compress.types import RequestError
from archpress_trainer.data.dataset import DatasetError
from archpress_trainer.data.registry import BUILT_IN
from archpress_trainer.embedding.manifest import ArtifactError
from archpress_trainer.space.errors import ArchitectureError
from archpress_trainer.space.named import NAMED

DATASETS = BUILT_IN
"""Choices of a data set."""

NETWORKS = tuple(NAMED)
"""Choices of an input network."""


def positive(text: str) -> int:
    """Return a whole number above 0, as an argument's type."""
    try:
        number = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number") from None
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is below 1")
    return number


def positive_number(text: str) -> float:
    """Return a finite number above 0, as an argument's type."""
    try:
        number = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number") from None
    if not (isfinite(number) and number > 0):
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return number


def existing(text: str) -> Path:
    """Return the path of a file or folder that is there, as an argument's type."""
    path = Path(text)
    if not path.exists():
        raise argparse.ArgumentTypeError(f"there is no {path}")
    return path


def named_value(text: str) -> tuple[str, str]:
    """Return both sides of NAME=VALUE, as an argument's type."""
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME=VALUE")
    return name, value


def named_path(text: str) -> tuple[str, Path]:
    """Return the name and the path, which is there, of NAME=PATH, as an argument's type."""
    name, path = named_value(text)
    return name, existing(path)


def output_file(text: str) -> Path:
    """Return the path of a file that can be written, as an argument's type; its folder is made."""
    path = Path(text)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") if path.exists() else TemporaryFile(dir=path.parent):
            return path
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{path} cannot be written: {error.strerror}") from None


@contextmanager
def usage_errors(parser: argparse.ArgumentParser) -> Iterator[None]:
    """End with one line where what the command line asks for is missing or cannot be.

    It is for what is prepared: faults of the work that follows keep their tracebacks.
    """
    try:
        yield
    except (
        ArchitectureError,
        ArtifactError,
        DatasetError,
        LinesError,
        OSError,
        RequestError,
    ) as error:
        parser.error(str(error))

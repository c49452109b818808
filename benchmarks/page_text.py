"""Parts of the results page: sections, Markdown tables, numbers as they are printed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from json_lines import Record, read_lines

from archpress_trainer.training.recipe import Recipe

Table = Sequence[Sequence[str]]


@dataclass(frozen=True)
class Section:
    """A part of the page in Markdown, and its figures: SVG by file name without suffix."""

    title: str
    text: str
    figures: dict[str, str] = field(default_factory=dict)


def section_of_lines(
    title: str, folder: Path, name: str, make: Callable[[list[Record]], Section]
) -> Section:
    """Return the section that `make` makes of a file of JSON lines, or one that says it is missing.

    Args:
        title: of the section.
        folder: of the results.
        name: of the file.
        make: gets the records, at least one.
    """
    records = read_lines(folder / name)
    return make(records) if records else Section(title, missing(name))


def missing(name: str) -> str:
    """Return the line that stands for a result file that is not there."""
    return f"Not measured yet: there is no `benchmarks/results/{name}`.\n"


def read_json(path: Path) -> dict[str, Any]:
    """Return a result file of one JSON object."""
    values: dict[str, Any] = json.loads(path.read_text())
    return values


def table(head: Sequence[str], rows: Table) -> str:
    """Return a Markdown table; all columns but the first are set to the right."""
    marks = ["---", *["---:"] * (len(head) - 1)]
    return "".join(f"| {' | '.join(row)} |\n" for row in (head, marks, *rows))


def image(name: str, description: str) -> str:
    """Return the Markdown of a figure."""
    return f"![{description}](figures/{name}.svg)\n"


def percent_of(values: Sequence[float]) -> str:
    """Return mean and standard deviation of shares in percent: 93.49 ± 0.12."""
    return spread([100 * value for value in values])


def spread(values: Sequence[float]) -> str:
    """Return mean and standard deviation; the mean alone of one value."""
    deviation = f" ± {stdev(values):.2f}" if len(values) > 1 else ""
    return f"{mean(values):.2f}{deviation}"


def of_spread(values: dict[str, Any] | None, digits: int = 3) -> str:
    """Return a stored spread, a dash for none."""
    if values is None:
        return "-"
    deviation = f" ± {values['deviation']:,.{digits}f}" if values["n"] > 1 else ""
    return f"{values['mean']:,.{digits}f}{deviation}"


def recipe_before(recipes: Iterable[Mapping[str, Any]]) -> str:
    """Say of results what their recipes do not know yet that today's do."""
    unknown = {field.name for field in fields(Recipe)}.difference(*recipes)
    if not unknown:
        return ""
    return f"By the recipe of an earlier program, without `{'`, `'.join(sorted(unknown))}`.\n\n"


def work(macs: float) -> str:
    """Return multiply-accumulates in units of 10^12."""
    return f"{macs / 1e12:,.2f}" if macs else "0"

"""Writes docs/results.md and its figures from the result files that are committed.

The page says of a result file that is missing that it is. A test holds that the committed page is
what this program makes of the committed files, so after new results it must be run again.

    python benchmarks/results_page.py
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from arguments import usage_errors
from json_lines import RESULTS
from page_ablations import ablations
from page_compression import certificates, paper_tables, peers
from page_embedding import embeddings, heads, speed
from page_inheritance import inheritance
from page_search import plans, search
from page_training import branches, folding, recipes

DOCS = Path(__file__).resolve().parent.parent / "docs"

_RESULT_FILES = (".json", ".jsonl")

_HEAD = """\
# Results

Made by `python benchmarks/results_page.py` from the files in
[benchmarks/results](../benchmarks/results); the programs that measured them are in
[benchmarks](../benchmarks), each with its command. Some were run for fewer seeds or sizes than the
command asks for, some by an earlier program; sections and programs say so. Numbers with ± are mean
and standard deviation.
"""


@dataclass(frozen=True)
class Page:
    """The page in Markdown, and its figures: SVG by file name without suffix."""

    text: str
    figures: Mapping[str, str]


def render(results: Path) -> Page:
    """Return the page that a folder of result files gives."""
    sections = (
        *certificates(results),
        search(results),
        ablations(results),
        plans(results),
        *peers(results),
        inheritance(results),
        folding(results),
        recipes(results),
        branches(results),
        paper_tables(results),
        embeddings(results),
        heads(results),
        speed(results),
    )
    text = _HEAD + "".join(f"\n## {part.title}\n\n{part.text.rstrip()}\n" for part in sections)
    return Page(text, {name: svg for part in sections for name, svg in part.figures.items()})


def write(page: Page, docs: Path) -> None:
    """Write the page below a folder; figures that it no longer has are removed."""
    figures = docs / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    (docs / "results.md").write_text(page.text)
    for path in figures.glob("*.svg"):
        if path.stem not in page.figures:
            path.unlink()
    for name, svg in page.figures.items():
        (figures / f"{name}.svg").write_text(svg)


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--docs", type=Path, default=DOCS)
    options = parser.parse_args()
    if not any(path.suffix in _RESULT_FILES for path in options.results.glob("*")):
        parser.error(f"{options.results} is no folder with result files")
    with usage_errors(parser):
        write(render(options.results), options.docs)


if __name__ == "__main__":
    main()

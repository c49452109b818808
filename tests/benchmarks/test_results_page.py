"""The committed page of results is what its program makes of the committed result files."""

from __future__ import annotations

from json_lines import RESULTS
from results_page import DOCS, render


def test_the_page_is_up_to_date() -> None:
    page = render(RESULTS)
    assert (DOCS / "results.md").read_text() == page.text
    figures = {path.stem: path.read_text() for path in (DOCS / "figures").glob("*.svg")}
    assert figures == dict(page.figures)

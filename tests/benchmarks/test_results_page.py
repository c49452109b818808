"""The committed page of results is what its program makes of the committed result files."""

from __future__ import annotations

import json
from pathlib import Path

from json_lines import RESULTS
from page_compression import certificates, paper_tables
from results_page import DOCS, render


def test_the_page_is_up_to_date() -> None:
    page = render(RESULTS)
    assert (DOCS / "results.md").read_text() == page.text
    figures = {path.stem: path.read_text() for path in (DOCS / "figures").glob("*.svg")}
    assert figures == dict(page.figures)


def test_a_job_that_failed_is_named_and_counts_in_no_mean(tmp_path: Path) -> None:
    (tmp_path / "certificates.jsonl").write_text(
        _certificate(
            seed=0,
            params=70_000,
            macs=5_000_000,
            accuracy=0.94,
            accuracy_before=0.9425,
            searched_validation=0.944,
            narrowed_validation=0.949,
        )
        + _certificate(seed=1, failed="every training diverged")
    )
    [section] = certificates(tmp_path)
    row = "70,000 | 10.1 | 5.0M | 1 | 94.00 | 93.6 reached | 94.0 reached | 0.25 | 0.50 | 60 (cpu)"
    assert f"| {row} |" in section.text
    assert "- at most 93,000, seed 1, failed: every training diverged" in section.text
    assert "94.25 (1) @ 709K | 94.00 (1) @ 70K" in paper_tables(tmp_path).text


def test_a_recipe_that_has_changed_since_is_apart(tmp_path: Path) -> None:
    costs = {"params": 70_000, "macs": 5_000_000, "accuracy_before": None}
    (tmp_path / "certificates-20-epochs.jsonl").write_text(
        _certificate(seed=0, epochs=20, accuracy=0.92, **costs)
    )
    (tmp_path / "certificates.jsonl").write_text(_certificate(seed=0, accuracy=0.94, **costs))
    titles = [section.title.rpartition(", ")[2] for section in certificates(tmp_path)]
    assert titles == ["40 epochs", "20 epochs"]
    assert "| - | 94.00 (1) @ 70K |" in paper_tables(tmp_path).text


def _certificate(**values: float | str | None) -> str:
    line = {"dataset": "fashion-mnist", "target_params": 93_000, "effort": "standard", "epochs": 40}
    line |= {"taught": True, "device": "cpu", "seconds": 60.0}
    return json.dumps(line | values) + "\n"

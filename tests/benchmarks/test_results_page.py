"""The committed page of results is what its program makes of the committed result files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from json_lines import RESULTS, Record
from page_compression import certificates, paper_tables, peers
from page_search import search
from results_page import DOCS, main, render

from archpress_trainer.training.recipe import Recipe


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
    marks = "93.6 above so far (1 of 1) | 94.0 above so far (1 of 1)"
    row = f"70,000 | 10.1 | 5.0M | 1 | 94.00 | {marks} | 0.25 | 0.50 | 60 (cpu)"
    assert f"| {row} |" in section.text
    assert "- at most 93,000, seed 1, failed: every training diverged" in section.text
    assert "94.25 (1) @ 709K | 94.00 (1) @ 70K" in paper_tables(tmp_path).text


def test_a_recipe_that_was_changed_is_named_or_of_before(tmp_path: Path) -> None:
    costs = {"params": 70_000, "macs": 5_000_000, "accuracy_before": None}
    (tmp_path / "certificates-20-epochs.jsonl").write_text(
        _certificate(seed=0, epochs=20, accuracy=0.92, change="teacher, half the rate", **costs)
    )
    (tmp_path / "certificates-changed.jsonl").write_text(
        _certificate(seed=0, epochs=10, accuracy=0.93, change="half the rate", **costs)
    )
    (tmp_path / "certificates.jsonl").write_text(_certificate(seed=0, accuracy=0.94, **costs))
    sections = certificates(tmp_path)
    titles = [section.title.rpartition(", ")[2] for section in sections]
    assert titles == ["40 epochs", "20 epochs", "10 epochs"]
    of_before, changed = ", by an earlier program;", ', with the change "half the rate";'
    assert [of_before in section.text for section in sections] == [False, True, False]
    assert [changed in section.text for section in sections] == [False, False, True]
    assert "| - | 94.00 (1) @ 70K |" in paper_tables(tmp_path).text


def test_a_row_of_the_paper_without_a_goal_of_ours_is_shown(tmp_path: Path) -> None:
    row = {"target_params": 2_785_000, "params": 2_700_000, "macs": 5_000_000, "accuracy": 0.95}
    (tmp_path / "certificates-svhn.jsonl").write_text(
        _certificate(dataset="svhn", seed=0, accuracy_before=0.96, **row)
    )
    [section] = certificates(tmp_path)
    assert section.text.startswith("CONV-10 (24,425,098 parameters)")
    told = (
        "| svhn, standard, 40 epochs | CONV-10 | 96.02 @ 24.4M | 95.39 @ 2.8M | 96.00 (1) @ 24.4M |"
    )
    assert f"{told} 95.00 (1) @ 2.7M |" in paper_tables(tmp_path).text


def test_methods_that_made_the_same_network_are_named(tmp_path: Path) -> None:
    recipe = Recipe("final", 0).to_json()
    del recipe["erase"]
    settings = {"network": "conv-7", "dataset": "fashion-mnist", "images": 12_000, "work": 1e12}
    settings |= {"recipe": recipe}
    made = {"params": 19_000, "macs": 1_000_000, "validation": 0.9, "test": 0.89}
    spent = {"work": 1e12, "search_work": 0.0, "teacher_work": 0.0, "once_work": 0.0}
    line = {"settings": settings, "target": 20_000, "seed": 0, **made, **spent}
    lines = [
        {"settings": settings, "method": "input", "params": 700_000, "test": 0.91},
        *({**line, "method": name, "networks_trained": 1} for name in ("heir", "pruning")),
        {
            **line,
            "method": "layer-removal",
            "networks_trained": 11,
            "search_work": 9e11,
            "test": 0.8,
        },
    ]
    (tmp_path / "peers.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    [section] = peers(tmp_path)
    assert (
        "they are one method here: ours: the input network narrowed; Torch-Pruning, the same share "
        "of every layer." in section.text
    )
    assert section.text.count("one method here") == 1
    assert "| 80.00 (1) | 11 | 90% |" in section.text
    assert "N2N: layer removal by policy gradient took 90% of the work" in section.text
    assert "By the recipe of an earlier program, without `erase`." in section.text


def test_a_mark_is_reached_by_five_seeds(tmp_path: Path) -> None:
    costs = {"params": 70_000, "macs": 5_000_000, "accuracy_before": None}
    found = [0.93, 0.94, 0.94, 0.94, 0.94]
    lines = [_certificate(seed=s, accuracy=one, **costs) for s, one in enumerate(found)]
    (tmp_path / "certificates.jsonl").write_text("".join(lines))
    [section] = certificates(tmp_path)
    assert "| 93.6 reached (4 of 5) | 94.0 missed (4 of 5) |" in section.text


def test_leads_are_told_by_seed(tmp_path: Path) -> None:
    lines: list[Record] = [
        {
            "method": method,
            "seed": seed,
            "device": "cpu",
            "ours": {"starts": 24, "steps": 25},
            "trained": [{}],
            "target": {"name": name},
            "final": {"params": params, "test": [0.9 + lead * seed / 100]},
        }
        for method, lead in (("latent descent", 1), ("screening", 0))
        for seed in (0, 1)
        for name, params in (("6K", 5_900), ("9K", 8_900))
    ]
    (tmp_path / "search.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    text = search(tmp_path).text
    assert "Ours had 24 starts and 25 steps of descent" in text
    assert "| screening | +0.00 | +1.00 | 0.25 | 1 |" in text


@pytest.mark.parametrize("seed", [0, 1])
def test_devices_are_told_from_seeds_where_both_had_one(seed: int, tmp_path: Path) -> None:
    line = {"method": "screening", "target": {"name": "6K"}, "trained": [{}]}
    line |= {"final": {"params": 6_000, "test": [0.9]}}
    lines = [line | {"device": "cpu", "seed": 0}, line | {"device": "cuda", "seed": seed}]
    (tmp_path / "search.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    text = search(tmp_path).text
    assert f"- Trained on cuda: screening (seed {seed})" in text
    assert ("No search was run on both with the same seed" in text) == (seed == 1)


@pytest.mark.parametrize("name", ["absent", "empty"])
def test_a_folder_without_result_files_makes_no_page(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "figures").mkdir()
    figure = tmp_path / "figures" / "search.svg"
    figure.touch()
    command = ["results_page.py", "--results", str(tmp_path / name), "--docs", str(tmp_path)]
    monkeypatch.setattr("sys.argv", command)
    with pytest.raises(SystemExit):
        main()
    assert f"{name} is no folder with result files" in capsys.readouterr().err
    assert figure.exists()
    assert not (tmp_path / "results.md").exists()


def _certificate(**values: float | str | None) -> str:
    line = {"dataset": "fashion-mnist", "target_params": 93_000, "effort": "standard", "epochs": 40}
    line |= {"change": "as it is", "taught": True, "device": "cpu", "seconds": 60.0, "recipe": {}}
    return json.dumps(line | values) + "\n"

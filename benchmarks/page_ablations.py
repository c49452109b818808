"""What each ingredient of the search is worth by the predictor's own belief."""

from __future__ import annotations

from pathlib import Path
from statistics import mean, stdev

from json_lines import Record
from page_text import Section, section_of_lines, table
from rivals import ABLATED, OURS

_SINCE = {"with half the starts": "taken", "with half the starts and steps": "taken"}
"""What became of searches that can no longer be asked for, where they were not given up."""


def ablations(folder: Path) -> Section:
    """Return how much the search expects of its candidates with and without each ingredient."""
    title = "Each ingredient of the search, without training"
    return section_of_lines(title, folder, "ablations.jsonl", lambda lines: _made(title, lines))


def _made(title: str, lines: list[Record]) -> Section:
    groups: dict[str, dict[tuple[str, int], Record]] = {}
    for line in lines:
        groups.setdefault(line["search"], {})[line["target"], line["seed"]] = line
    ours = groups[OURS]
    rows = []
    for name, found in groups.items():
        if name == OURS:
            continue
        behind = [
            100 * (ours[key]["expected_best"] - line["expected_best"])
            for key, line in found.items()
            if key in ours
        ]
        seconds = [line["seconds"] for line in found.values() if line["seconds"] is not None]
        rows.append(
            [
                name if name in ABLATED else f"{name} ({_SINCE.get(name, 'removed')} since)",
                str(len(behind)),
                f"{mean(behind):+.3f} ± {stdev(behind):.3f}",
                str(sum(value > 0 for value in behind)),
                f"{mean(seconds):.1f}" if seconds else "-",
            ]
        )
    whole = mean(line["seconds"] for line in ours.values())
    text = (
        "Accuracy that the predictor's joint draws expect of the one of six candidates that short "
        "trainings would say is best, in points; no network was trained for it. The whole search "
        f"takes {whole:.1f} s; no seconds are given where the machine had other work.\n\n"
    )
    head = ("search", "searches", "ours is ahead by, points", "ours is ahead in", "seconds")
    return Section(title, text + table(head, rows))

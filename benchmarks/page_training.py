"""What parts of the final training are worth: changes of the recipe, branches in training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import mean

from branches import BRANCHED, LONGER, PLAIN
from json_lines import Record
from page_text import (
    Section,
    missing,
    percent_of,
    read_json,
    recipe_before,
    section_of_lines,
    spread,
    table,
)

_RECIPES = "recipes-fashion-mnist.json"


def recipes(folder: Path) -> Section:
    """Return what each change of the final recipe gave."""
    title = "Changes of the final recipe"
    if not (folder / _RECIPES).exists():
        return Section(title, missing(_RECIPES))
    found = read_json(folder / _RECIPES)
    sizes = sorted({int(size) for row in found.values() for size in row}, reverse=True)
    rows = [
        [change, *(_gain(row.get(str(size))) for size in sizes)] for change, row in found.items()
    ]
    text = (
        "Validation accuracy of networks that the server plans for so many parameters on "
        "fashion-mnist, in points above the recipe as it then was, without a teacher and at twice "
        "today's learning rate; in brackets the seeds. A teacher and half the rate were taken "
        "since.\n\n" + table(("change", *(f"{size:,}" for size in sizes)), rows)
    )
    return Section(title, text)


def _gain(cell: Record | None) -> str:
    if cell is None or cell["gain"] is None:
        return "-"
    return f"{cell['gain']:+.2f} ({cell.get('pairs', cell['n'])})"


def branches(folder: Path) -> Section:
    """Return what branches that are folded away after training gave."""
    title = "Branches in training, folded away afterwards"
    return section_of_lines(title, folder, "branches.jsonl", lambda lines: _branches(title, lines))


def _branches(title: str, lines: list[Record]) -> Section:
    rows = []
    for size in sorted({line["size"] for line in lines}, reverse=True):
        plain = _of(lines, size, PLAIN)
        for way in (PLAIN, BRANCHED, LONGER):
            own = _of(lines, size, way)
            pairs = [(one, own[seed]) for seed, one in plain.items() if seed in own]
            gains = [100 * (two["validation"] - one["validation"]) for one, two in pairs]
            if not pairs:
                continue
            times = mean(two["seconds"] / one["seconds"] for one, two in pairs)
            found = percent_of([two["validation"] for _, two in pairs])
            gain = "-" if way == PLAIN else f"{spread(gains)} ({len(gains)})"
            rows.append([f"{size:,}", way, found, gain, f"{times:.2f}"])
    text = (
        "Networks that the server plans for so many parameters, trained from the same seeds on "
        f"{lines[0]['images']:,} images for {_epochs(lines)} epochs without a teacher; validation "
        "accuracy of the folded network, its gain over plain training in points with the seeds in "
        "brackets, and the time of training as a multiple.\n\n"
        + table(("at most", "training", "accuracy, %", "gain", "time"), rows)
    )
    return Section(title, text)


def _of(lines: Sequence[Record], size: int, way: str) -> dict[int, Record]:
    return {line["seed"]: line for line in lines if (line["size"], line["way"]) == (size, way)}


def _epochs(lines: Sequence[Record]) -> int:
    return min(int(line["epochs"]) for line in lines)


def folding(folder: Path) -> Section:
    """Return what heirs of a network with folded normalisations reach."""
    title = "Heirs of a network whose normalisations were folded"
    return section_of_lines(title, folder, "folding.jsonl", lambda lines: _folding(title, lines))


def _folding(title: str, lines: list[Record]) -> Section:
    efforts = list(dict.fromkeys(line["effort"] for line in lines))
    rows = []
    for way in dict.fromkeys(line["way"] for line in lines):
        found = [
            [line["validation"] for line in lines if (line["way"], line["effort"]) == (way, effort)]
            for effort in efforts
        ]
        rows.append([way, *(f"{percent_of(cell)} ({len(cell)})" for cell in found)])
    first = lines[0]
    text = (
        f"CONV-7 narrowed to at most {first['target']:,} parameters and trained on for "
        f"{first['epochs']} epochs on {first['images']:,} images, taught by itself "
        f"({100 * first['input']:.2f}%); validation accuracy in percent, in brackets the seeds, by "
        f"the recipe of each effort.\n\n{recipe_before(first['recipes'].values())}"
        + table(("the input network", *efforts), rows)
    )
    return Section(title, text)

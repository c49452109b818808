"""What inherited weights say of the order in which narrower forms of a network end."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from statistics import mean

import numpy as np
from json_lines import Record
from page_text import Section, recipe_before, section_of_lines, spread, table

from archpress_trainer.embedding.metrics import kendall_tau

_TITLE = "Which narrower form of a network will end best"
_ITSELF = "the same training with another seed"


def inheritance(folder: Path) -> Section:
    """Return, for every ranker, how its order agrees with that of the trained forms."""
    return section_of_lines(_TITLE, folder, "inheritance.jsonl", _made)


def _made(lines: list[Record]) -> Section:
    groups: dict[tuple[str, int], list[Record]] = defaultdict(list)
    for line in lines:
        groups[line["settings"]["network"], line["target"]].append(line)
    first = lines[0]["settings"]
    text = (
        "The input network narrowed in many ways to equally many parameters; every form starts "
        f"from the weights that stay and is trained for {first['epochs']} epochs on "
        f"{first['images']:,} images, taught by the input network. A ranker's order by one seed is "
        "held against how the forms end with the other seeds, on validation images; the last line "
        "says what noise leaves to a perfect one.\n\n"
        f"{recipe_before([first['recipe']])}".rstrip("\n")
        + "\n"
    )
    tables = [_table(network, target, found) for (network, target), found in groups.items()]
    return Section(_TITLE, text + "".join(tables))


def _table(network: str, target: int, lines: list[Record]) -> str:
    seeds = sorted({line["seed"] for line in lines})
    by_form: dict[int, dict[int, Record]] = defaultdict(dict)
    for line in lines:
        by_form[line["form"]][line["seed"]] = line
    forms = [found for found in by_form.values() if len(found) == len(seeds)]
    ends = np.array([[found[seed]["final"] for seed in seeds] for found in forms])
    rows = []
    for name in (*lines[0]["scores"], _ITSELF):
        taus, behind = [], []
        for place, seed in enumerate(seeds):
            others = np.delete(ends, place, axis=1).mean(axis=1)
            scores = ends[:, place]
            if name != _ITSELF:
                scores = np.array([found[seed]["scores"][name] for found in forms])
            taus.append(kendall_tau(scores, others))
            behind.append(100 * (others.max() - others[scores.argmax()]))
        share = mean(line["seconds"].get(name, line["final_seconds"]) for line in lines)
        share /= mean(line["final_seconds"] for line in lines)
        # Of two seeds each is held against the other, and a training's tau is one number twice.
        tau = f"{taus[0]:.2f}" if len(set(taus)) == 1 else spread(taus)
        rows.append([name, tau, spread(behind), f"{100 * share:.1f}%"])
    head = ("ranker", "Kendall's tau", "its first is behind the best by, points", "time")
    title = f"{network.upper()} at most {target:,} parameters, {len(forms)} forms, "
    finals = f"which end at {spread(list(100 * ends.mean(axis=1)))}% (mean and spread of forms)"
    return f"\n{title}{len(seeds)} seeds, {finals}; time in shares of the final training:\n\n" + (
        table(head, rows)
    )

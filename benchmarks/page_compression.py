"""What compression reaches: certificates, the peers, the paper's tables."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from statistics import mean

from json_lines import Record, read_lines
from page_figures import sizes_figure
from page_text import (
    Section,
    image,
    percent_of,
    recipe_before,
    section_of_lines,
    table,
    work,
)
from paper_tables import REASONS_FILE, TABLE_1, TABLE_2
from recipes import CHANGES, NETWORKS

from archpress_trainer.space.costs import Costs, count
from archpress_trainer.space.named import named

_GOALS: Mapping[str, Mapping[int, tuple[float | None, float | None]]] = {
    "fashion-mnist": {93_000: (93.6, 94.0), 50_000: (92.9, 93.4), 20_000: (92.0, 92.5)},
    "cifar10": {400_000: (92.3, None), 100_000: (None, 92.3)},
}
"""Accuracies in percent that must be and that should be reached at a number of parameters."""

_MOST_SEARCH = 0.6
"""Of a network's work; the methods' shares are a half at the most."""

_SEEDS = 5
"""Of which a mark is said to be reached or missed."""

_METHODS: Mapping[str, str] = {
    "ours": "ours: the search",
    "heir": "ours: the input network narrowed",
    "progressive-heir": "the input network narrowed in two steps",
    "pruning": "Torch-Pruning, the same share of every layer",
    "global-pruning": "Torch-Pruning, where channels matter least",
    "distillation": "distillation into the scaled network",
    "layer-removal": "N2N: layer removal by policy gradient",
    "width-scaling": "scaled network from scratch",
}


def certificates(folder: Path) -> list[Section]:
    """Return accuracies of certificates at the sizes of the goals, a section for each file."""
    names = [path.name for path in _certificate_files(folder)]
    return [_certificates(folder, name) for name in names or ["certificates.jsonl"]]


def _certificate_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("certificates*.jsonl"), key=lambda path: path.stem)


def _certificates(folder: Path, file: str) -> Section:
    def make(records: list[Record]) -> Section:
        dataset, effort, epochs = (records[0][name] for name in ("dataset", "effort", "epochs"))
        network, before = NETWORKS[dataset], _input_costs(dataset)
        narrowed = any(line.get("narrowed_validation") for line in records)
        rows = []
        for target, lines in _by(_ended(records), "target_params").items():
            found = [line["accuracy"] for line in lines]
            must, goal = _GOALS.get(dataset, {}).get(target, (None, None))
            rows.append(
                [
                    f"{target:,}",
                    f"{max(line['params'] for line in lines):,}",
                    f"{before.params / max(line['params'] for line in lines):.1f}",
                    f"{max(line['macs'] for line in lines) / 1e6:.1f}M",
                    str(len(lines)),
                    percent_of(found),
                    _verdict(found, must),
                    _verdict(found, goal),
                    _losses(lines),
                    _narrowed(lines),
                    _seconds_by_device(lines),
                ]
            )
        head = (
            "at most",
            "parameters",
            "times fewer",
            "MACs",
            "seeds",
            "accuracy, %",
            "must",
            "goal",
            "behind its input network, points",
            "narrowed is better by, points",
            "seconds",
        )
        text = (
            f"{network.upper()} ({before.params:,} parameters) compressed by `compress` at "
            f"{effort} effort{_weights(records[0])}{_program(records[0])}; accuracy over the "
            "whole test split, as ONNX Runtime computes it from the delivered bytes. Marks are for "
            f"the mean of {_SEEDS} seeds, in brackets how many are above."
            f"{_COMPARED if narrowed else ''}"
            f"\n\n{table(head, rows)}{_failures(records)}"
        )
        return Section(f"Certified accuracy on {dataset}, {effort}, {epochs} epochs", text)

    return section_of_lines("Certified accuracy", folder, file, make)


_COMPARED = (
    " The narrowed input network is compared with the search's winner, both trained in full, on "
    "validation images."
)


def _weights(line: Record) -> str:
    """Return words for a draft whose input network came with the request."""
    return ", with its trained weights" if line["taught"] and line["effort"] == "draft" else ""


def _program(line: Record) -> str:
    """Return words for a line whose recipe was changed, or is of a program of before.

    A change that is gone was taken since; a line without its recipe is of before it was kept.
    """
    change = line["change"]
    if change == "as it is":
        return "" if "recipe" in line else ", by an earlier program"
    return f', with the change "{change}"' if change in CHANGES else ", by an earlier program"


def _ended(lines: Sequence[Record]) -> list[Record]:
    """Return the lines of jobs that ended with a network."""
    return [line for line in lines if "failed" not in line]


def _failures(lines: Sequence[Record]) -> str:
    """Return a list of the jobs that ended without a network, with their reasons."""
    failed = [line for line in lines if "failed" in line]
    reasons = "".join(
        f"- at most {line['target_params']:,}, seed {line['seed']}, failed: {line['failed']}\n"
        for line in failed
    )
    return f"\n{reasons}" if failed else ""


def _losses(lines: Sequence[Record]) -> str:
    """Return how far the networks are behind the input network by the same recipe, if known."""
    known = [line for line in lines if line["accuracy_before"] is not None]
    losses = [line["accuracy_before"] - line["accuracy"] for line in known]
    return percent_of(losses) if losses else "-"


def _narrowed(lines: Sequence[Record]) -> str:
    """Return how far the narrowed input network is ahead of the search's winner, where known."""
    pairs = [(line.get("narrowed_validation"), line.get("searched_validation")) for line in lines]
    ahead = [narrowed - searched for narrowed, searched in pairs if narrowed and searched]
    return percent_of(ahead) if ahead else "-"


def _seconds_by_device(lines: Sequence[Record]) -> str:
    """Return the mean seconds of the jobs that ran in one piece."""
    seconds: dict[str, list[float]] = defaultdict(list)
    for line in lines:
        if line["seconds"] is not None:
            seconds[line["device"]].append(line["seconds"])
    means = [f"{mean(found):,.0f} ({device})" for device, found in sorted(seconds.items())]
    return ", ".join(means) or "-"


def peers(folder: Path) -> list[Section]:
    """Return ours beside other ways at equal training compute, a section for each input network."""
    names = sorted(path.name for path in folder.glob("peers*.jsonl"))
    return [_peers(folder, name) for name in names or ["peers.jsonl"]]


def _peers(folder: Path, file: str) -> Section:
    title = "Beside other ways to a small network"
    figure = file.removesuffix(".jsonl")
    if figure != "peers":
        title += f": {figure.removeprefix('peers-')}"

    def make(records: list[Record]) -> Section:
        settings = records[0]["settings"]
        source = next(line for line in records if line["method"] == "input")
        cells = [line for line in records if line["method"] != "input"]
        targets = sorted({line["target"] for line in cells}, reverse=True)
        methods = [name for name in _METHODS if any(line["method"] == name for line in cells)]
        rows, series = [], {}
        for name in methods:
            own = [line for line in cells if line["method"] == name]
            done = [line for line in own if line["test"] is not None]
            by_target = _by(done, "target")
            rows.append(
                [
                    _METHODS[name],
                    *(_accuracies(by_target.get(target, ())) for target in targets),
                    _range([line["networks_trained"] for line in own]),
                    _range([100 * line["search_work"] / line["work"] for line in own]) + "%",
                    work(sum(line["teacher_work"] for line in own) / len(own)),
                    work(max(line["once_work"] for line in own)),
                ]
            )
            series[_METHODS[name]] = [(line["target"], 100 * line["test"]) for line in done]
        head = (
            "method",
            *(f"{target:,}" for target in targets),
            "networks trained",
            "of the work: search",
            "teacher",
            "once",
        )
        text = (
            f"{settings['network'].upper()} on {settings['dataset']}, "
            f"{settings['images']:,} training images. Test accuracy in percent by parameters "
            "allowed, in brackets the seeds. Every network was made with at most "
            f"{work(settings['work'])} x 10^12 multiply-accumulates of forward passes, short "
            "trainings of a search included, and one final recipe; the input network teaches all "
            "but the one from scratch. Not included, in the same unit: the teacher's passes for a "
            "network and what is done once for all networks (the input network's training, the "
            "labels of our embedding's population). The input "
            f"network has {source['params']:,} parameters and {100 * source['test']:.2f}%.\n\n"
            + recipe_before([settings["recipe"]])
            + _equals(cells)
            + _overran(cells)
            + table(head, rows)
            + "\n"
            + image(figure, "Test accuracy of each method against parameters allowed")
        )
        label = "Test accuracy against parameters allowed for every method"
        return Section(title, text, {figure: sizes_figure(figure, label, series)})

    return section_of_lines(title, folder, file, make)


def _equals(cells: Sequence[Record]) -> str:
    """Name the methods that came to the same network with the same weights wherever both ran."""
    made: dict[str, dict[tuple[int, int], tuple[float, ...]]] = defaultdict(dict)
    for line in cells:
        what = tuple(line[name] for name in ("params", "macs", "validation", "test"))
        made[line["method"]][line["target"], line["seed"]] = what
    return "".join(
        "With the same seed these two came to the same network with the same weights, so that "
        f"they are one method here: {_METHODS[one]}; {_METHODS[other]}.\n\n"
        for one, other in combinations(made, 2)
        if (both := made[one].keys() & made[other].keys())
        and all(made[one][key] == made[other][key] for key in both)
    )


def _overran(cells: Sequence[Record]) -> str:
    """Name the searches that took more than their share of the work."""
    over = [line for line in cells if line["search_work"] > _MOST_SEARCH * line["work"]]
    return "".join(
        f"No fair rival until it is run anew: the search of {_METHODS[line['method']]} took "
        f"{line['search_work'] / line['work']:.0%} of the work with seed {line['seed']}, though "
        "half is its share (mended since).\n\n"
        for line in over
    )


def _range(values: Sequence[float]) -> str:
    """Return the least and the greatest value, or the only one."""
    least, most = f"{min(values):.0f}", f"{max(values):.0f}"
    return least if least == most else f"{least}-{most}"


def paper_tables(folder: Path) -> Section:
    """Return the paper's tables with ours beside them."""
    certified = [line for file in _certificate_files(folder) for line in read_lines(file)]
    rows = {name: _at_the_papers_size(name, certified) for name in TABLE_1}
    head_1 = ("data set", "network", "paper: before", "paper: after", "ours: before", "ours: after")
    head_2 = ("on CIFAR-10", "accuracy, %", "parameters")
    first = [
        [name + fidelity, NETWORKS[name].upper(), *_printed(name), *_cells(lines)]
        for name, measured in rows.items()
        for fidelity, lines in (measured or {"": []}).items()
    ]
    second = [[who, f"{accuracy:.2f}", _short(params)] for who, accuracy, params in TABLE_2]
    second += [
        [f"ours{fidelity}", _accuracies(lines), _short(max(line["params"] for line in lines))]
        for fidelity, lines in rows["cifar10"].items()
    ] or [["ours", "-", "-"]]
    empty = [name for name, measured in rows.items() if not measured]
    text = (
        "Test accuracy in percent, in brackets the seeds, at parameters; the paper's as printed, "
        "ours with the largest of our limits within the paper's size.\n\n"
        f"{table(head_1, first)}\n{_reasons(read_lines(folder / REASONS_FILE), empty)}"
        f"Table 2:\n\n{table(head_2, second)}"
    )
    return Section("The paper's tables", text)


def _at_the_papers_size(name: str, certified: Sequence[Record]) -> dict[str, list[Record]]:
    """Return lines at the largest limit within the paper's size, by how they were made."""
    within = [
        line
        for line in _ended(certified)
        if line["dataset"] == name and line["target_params"] <= TABLE_1[name].params
    ]
    largest = max((line["target_params"] for line in within), default=0)
    found: dict[str, list[Record]] = defaultdict(list)
    for line in within:
        if line["target_params"] == largest:
            words = f", {line['effort']}, {line['epochs']} epochs{_weights(line)}{_program(line)}"
            found[words].append(line)
    return found


def _printed(name: str) -> list[str]:
    paper = TABLE_1[name]
    return [
        f"{paper.input_accuracy:.2f} @ {_short(paper.input_params)}",
        f"{paper.accuracy:.2f} @ {_short(paper.params)}",
    ]


def _cells(lines: Sequence[Record]) -> list[str]:
    """Return ours before and after; one input network teaches for all seeds."""
    if not lines:
        return ["-", "-"]
    after = f"{_accuracies(lines)} @ {_short(max(line['params'] for line in lines))}"
    taught = {line["accuracy_before"] for line in lines} - {None}
    if not taught:
        return ["-", after]
    params = _input_costs(lines[0]["dataset"]).params
    return [f"{percent_of(sorted(taught))} ({len(taught)}) @ {_short(params)}", after]


def _input_costs(dataset: str) -> Costs:
    images = TABLE_1[dataset]
    return count(named(NETWORKS[dataset], images.input_shape, images.classes))


def _by(records: Sequence[Record], field: str) -> dict[int, list[Record]]:
    groups: dict[int, list[Record]] = defaultdict(list)
    for record in records:
        groups[record[field]].append(record)
    return dict(sorted(groups.items(), reverse=True))


def _accuracies(lines: Sequence[Record]) -> str:
    found = [line["test"] if "test" in line else line["accuracy"] for line in lines]
    return f"{percent_of(found)} ({len(found)})" if found else "-"


def _reasons(lines: Sequence[Record], empty: Sequence[str]) -> str:
    """Return a list of the rows that are empty, with the last reason."""
    last = {line["row"]: line["reason"] for line in lines if line["row"] in empty}
    told = "".join(f"- {row} is empty: {reason}\n" for row, reason in last.items())
    return f"{told}\n" if told else ""


def _verdict(found: Sequence[float], mark: float | None) -> str:
    """Say whether the mean reaches a mark in percent, and how many seeds do."""
    if mark is None:
        return "-"
    reaches = 100 * mean(found) >= mark
    words = ("reached", "missed") if len(found) >= _SEEDS else ("above so far", "below so far")
    above = sum(100 * one >= mark for one in found)
    return f"{mark:.1f} {words[0] if reaches else words[1]} ({above} of {len(found)})"


def _short(params: float) -> str:
    return f"{params / 1e6:.1f}M" if params >= 1e6 else f"{params / 1e3:.0f}K"

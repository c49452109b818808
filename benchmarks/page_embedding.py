"""How far embeddings can be trusted, and how fast things are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from page_text import Section, missing, of_spread, read_json, table


def embeddings(folder: Path) -> Section:
    """Return the quality of every evaluated embedding."""
    title = "The embeddings"
    found = sorted(folder.glob("evaluation-*.json"))
    if not found:
        return Section(title, missing("evaluation-*.json"))
    return Section(title, "\n".join(_evaluation(path) for path in found))


def _evaluation(path: Path) -> str:
    values = read_json(path)
    rows = [
        [
            row["name"],
            of_spread(row["tau"]),
            of_spread(row["tau_in_band"]),
            of_spread(row["error"], 4),
        ]
        for row in values["rows"]
    ]
    head = ("predictor", "Kendall's tau", "within 10% of parameters", "mean absolute error")
    metrics, latent = values["metrics"], values["latent"]
    text = (
        f"`{values['embedding']}`, {values['nets']:,} labelled networks; every number comes from "
        f"networks that the predictor had not seen.\n\n{table(head, rows)}\n"
        f"- unseen networks that decode to themselves exactly: "
        f"{metrics['exact_reconstruction']:.1%}\n"
        f"- measured accuracies inside the 90% interval: {metrics['interval_coverage']:.1%}\n"
        f"- valid decodes of {latent['points']:,} points between and beside networks: "
        f"{latent['valid']:.1%}; the prediction drifts by {100 * latent['drift']:.2f} points in "
        f"the median\n"
    )
    noise = values.get("noise")
    if noise:
        text += (
            f"- deviation of a label: {100 * noise['deviation']:.2f} points, so that nothing can "
            f"predict labels with more than tau {noise['ceiling']:.3f} "
            f"({noise['nets']} networks trained twice)\n"
        )
    return text


def heads(folder: Path) -> Section:
    """Return what predicts accuracies best."""
    title = "What predicts accuracies best"
    path = folder / "heads.json"
    if not path.exists():
        return Section(title, missing(path.name))
    values = read_json(path)
    rows = [
        [name, of_spread(row["tau"]), of_spread(row["tau within 10%"])]
        for name, row in values.items()
        if isinstance(row, dict)
    ]
    head = ("predictor", "Kendall's tau", "within 10% of parameters")
    text = f"On the labels of `{values['embedding']}`, over several splits.\n\n{table(head, rows)}"
    return Section(title, text)


def speed(folder: Path) -> Section:
    """Return the speed of labelling populations and of a server's answers."""
    populations = [_population(path) for path in sorted(folder.glob("population*.json"))]
    service, waiting = folder / "service.json", folder / "waiting.json"
    planning = folder / "planning-threads.json"
    return Section(
        "Speed",
        "\n".join(
            (
                *(populations or [missing("population.json")]),
                _service(service) if service.exists() else missing(service.name),
                _waiting(waiting) if waiting.exists() else missing(waiting.name),
                _planning(planning) if planning.exists() else missing(planning.name),
            )
        ),
    )


def _waiting(path: Path) -> str:
    values = read_json(path)
    return (
        "A training step of a narrowed CONV-7 with as many threads as CPUs "
        f"({values['cpus']}), by the rounds that a thread spins for the others; threads of a "
        f"worker and of the trainer's command spin 100,000:\n\n{_settings(values, 'rounds')}"
    )


def _planning(path: Path) -> str:
    values = read_json(path)
    return (
        f"A plan for CONV-7, alone and beside a busy program for each of {values['cpus']} CPUs; a "
        f"search has one thread:\n\n{_settings(values, 'threads of a plan')}"
    )


def _settings(values: Mapping[str, Any], name: str) -> str:
    """Return a table of what `neighbours.compare` wrote."""
    rows = []
    for row in values["settings"]:
        deviation = row["ratio_stdev"]
        ratio = f"{row['ratio_mean']:.2f}" + ("" if deviation is None else f" ± {deviation:.2f}")
        mean = f"{1000 * row['mean_seconds']:,.1f}"
        rows.append([row["setting"], row["place"], str(row["n"]), mean, ratio])
    return table((name, "where", "n", "mean, ms", "of the first's time"), rows)


def _population(path: Path) -> str:
    values = read_json(path)
    rows = [
        ["labels an hour, ours", of_spread(values["ours_labels_per_hour"], 0)],
        ["labels an hour, plain loop", of_spread(values["plain_labels_per_hour"], 0)],
        ["ours is faster by", of_spread(values["ratio"], 2)],
        ["mean accuracy of labels, ours", of_spread(values["ours_mean_accuracy"])],
        ["mean accuracy of labels, plain loop", of_spread(values["plain_mean_accuracy"])],
        ["ours takes times the floor", of_spread(values["ours_over_floor"], 1)],
    ]
    head = (f"{values['nets']} networks, {values['images']:,} images", values["machine"])
    return f"Labelling a population, against a plain PyTorch loop:\n\n{table(head, rows)}"


def _service(path: Path) -> str:
    values = read_json(path)
    rows = [
        [
            name,
            str(call["n"]),
            *(
                f"{1000 * call[f'{figure}_seconds']:,.1f}"
                for figure in ("median", "mean", "stdev", "max")
            ),
        ]
        for name, call in values["calls"].items()
    ]
    head = ("call, milliseconds", "n", "median", "mean", "deviation", "longest")
    return (
        f"Answers of a running server, for {values['network'].upper()} on {values['dataset']} "
        f"({values['machine']['processor']}):\n\n{table(head, rows)}"
    )

"""Artifacts with made-up labels and figures' data, for the report's tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from archpress_trainer.embedding.artifact import save
from archpress_trainer.embedding.figures import FigureData, FitCurves, HeldOutNets
from archpress_trainer.embedding.record import RECORDS_FILE, Record, population_digest
from archpress_trainer.population.records import PopulationStore
from archpress_trainer.space.costs import count
from archpress_trainer.space.graph import Architecture
from tests.trainer.embedding.fitted import made_up_accuracy, paper_embedding
from tests.trainer.nets import chains


def made_up_figures(records: list[Record], seed: int = 0) -> FigureData:
    """Return plausible data: intervals that hold about nine of ten, losses that fall."""
    rng = np.random.default_rng(seed)
    measured = np.array([record.accuracy for record in records]).clip(0.02, 0.98)
    error = rng.normal(0, 0.3, len(measured))
    logits = np.log(measured / (1 - measured)) + error
    iterations = tuple(range(50, 2001, 50))
    falling = np.exp(-np.array(iterations) / 500)
    losses = {"reconstruction": 8 * falling + 0.1, "features": falling + 0.02}
    losses["total"] = losses["reconstruction"] + losses["features"]
    return FigureData(
        FitCurves(iterations, {name: tuple(map(float, v)) for name, v in losses.items()}),
        HeldOutNets(
            tuple(record.index for record in records),
            tuple(measured.tolist()),
            tuple((1 / (1 + np.exp(-logits))).tolist()),
            tuple((0.3 * 1.645 * rng.uniform(0.9, 1.1, len(measured))).tolist()),
        ),
        {"kind": 0.998, "kernel": 0.997, "channels": 0.98, "stride": 0.999, "padding": 1.0},
        {"outside the space: macs": 41_231, "output vanishes": 9_312, "duplicate": 12},
    )


def made_up_records(architectures: list[Architecture]) -> list[Record]:
    """Return finished records whose accuracy grows with the parameters."""
    accuracies = made_up_accuracy(architectures).tolist()
    records = []
    for index, (net, accuracy) in enumerate(zip(architectures, accuracies, strict=True)):
        costs = count(net)
        label = round(accuracy, 4)
        records.append(
            Record(index, net, costs.params, costs.macs, "finished", label, 1.0, (label,), 1.0)
        )
    return records


def write_paper_artifact(folder: Path, nets: int = 40) -> Path:
    """Write the paper's embedding with its population, fitted for a moment; return its folder."""
    store = PopulationStore(folder / "population")
    store.folder.mkdir(parents=True)
    records = made_up_records(chains(nets))
    for record in records:
        store.append(record)
    output = folder / "paper"
    embedding = paper_embedding(iterations=30, nets=nets, digest=population_digest(records))
    save(embedding, output, [store.folder / RECORDS_FILE])
    return output

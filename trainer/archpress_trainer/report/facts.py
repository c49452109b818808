"""`ReportFacts`: all that a report is drawn from, read from an artifact's folder once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from archpress_trainer.embedding.artifact import load
from archpress_trainer.embedding.figures import FIGURES_FILE, FigureData, read_figures
from archpress_trainer.embedding.interface import Embedding
from archpress_trainer.embedding.manifest import Manifest
from archpress_trainer.embedding.record import RECORDS_FILE, Record, fitted_on
from archpress_trainer.population.records import PopulationStore
from archpress_trainer.report.plane import Plane
from archpress_trainer.report.scales import Floats

FEWEST_NETS = 3
"""Fewest labelled nets that a figure of the population is drawn of."""


@dataclass(frozen=True)
class ReportFacts:
    """An embedding, its labelled nets and the data that the fit left for figures."""

    embedding: Embedding
    records: tuple[Record, ...]
    figures: FigureData
    has_figures_file: bool

    @property
    def manifest(self) -> Manifest:
        """Provenance and quality."""
        return self.embedding.manifest

    @cached_property
    def params(self) -> Floats:
        """Parameter counts of the labelled nets, `(nets,)`."""
        return np.array([record.params for record in self.records], dtype=np.float64)

    @cached_property
    def accuracy(self) -> Floats:
        """Their measured accuracies in [0, 1], `(nets,)`."""
        return np.array([record.accuracy for record in self.records], dtype=np.float64)

    @cached_property
    def points(self) -> Floats:
        """Their points in the embedding, `(nets, dimensions)`."""
        encoded = self.embedding.encode([record.architecture for record in self.records])
        return encoded.double().numpy()

    @cached_property
    def plane(self) -> Plane:
        """Their two principal axes."""
        return Plane.of(self.points)

    def missing_part(self, what: str) -> str:
        """Return the line that stands for a figure whose data the fit has not left."""
        if self.has_figures_file:
            return f"Left out: this artifact's {FIGURES_FILE} has no {what}."
        return f"Left out: this artifact has no {FIGURES_FILE}, which would hold the {what}."

    def missing_population(self) -> str:
        """Return the line that stands for a figure of too few nets, empty for enough."""
        if len(self.records) >= FEWEST_NETS:
            return ""
        return (
            f"Left out: this artifact's {RECORDS_FILE} has {len(self.records)} labelled nets, "
            f"at least {FEWEST_NETS} are needed."
        )


def read_facts(folder: Path) -> ReportFacts:
    """Return the facts of an artifact.

    Raises:
        ArtifactError: the artifact or its figures' data cannot be used.
        PopulationError: its population is damaged.
    """
    embedding = load(folder)
    figures = read_figures(folder)
    records = fitted_on(PopulationStore(folder).records(), embedding.manifest.nets)
    return ReportFacts(embedding, tuple(records), figures or FigureData(), figures is not None)

"""How good an embedding is: predictions on held-out nets beside simple predictors, and the latent.

Every number comes from nets that the predictor had not seen. The noise ceiling comes from nets that
were trained twice: nothing can predict a label better than the label's own noise allows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import asin, pi, sin, sqrt
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from archpress_trainer.embedding.artifact import BORROWED_FILE, load, read_records
from archpress_trainer.embedding.features import feature_matrix
from archpress_trainer.embedding.fit_paper import paper_predictions
from archpress_trainer.embedding.heads import HeadSettings, fit_heads
from archpress_trainer.embedding.interface import Embedding
from archpress_trainer.embedding.manifest import EmbeddingMethod, Manifest
from archpress_trainer.embedding.metrics import (
    baseline_predictions,
    kendall_tau,
    tau_within_band,
)
from archpress_trainer.embedding.paper import PaperSettings
from archpress_trainer.embedding.record import Record, fitted_on
from archpress_trainer.population.records import PopulationStore
from archpress_trainer.population.spec import PopulationError
from archpress_trainer.space.architecture_space import ArchitectureSpace

Floats = NDArray[np.float64]
_MIN_NETS = 20
_MIN_REPEATS = 3

HEADS = "accuracy heads of this embedding"
PAPER = "the paper's model"
REPEAT = "the same nets trained again"
_BASELINES = {
    "boosted_trees_all": "boosted trees on all hand features",
    "boosted_trees": "boosted trees on features of the whole net",
    "ridge": "ridge on features of the whole net",
    "log_params": "log(parameters)",
}


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation over `n` repetitions."""

    mean: float
    deviation: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the spread of values; the deviation of a single one is 0."""
        deviation = stdev(values) if len(values) > 1 else 0.0
        return cls(round(mean(values), 4), round(deviation, 4), len(values))


@dataclass(frozen=True)
class Row:
    """A predictor: Kendall's tau on held-out nets, over all pairs and within 10% of parameters."""

    name: str
    tau: Spread
    tau_in_band: Spread
    error: Spread | None = None
    """Mean absolute error of the accuracy, None where accuracy is not what is predicted."""


@dataclass(frozen=True)
class Latent:
    """What becomes of points between and beside nets of the population.

    `drift` is the median change of the predicted accuracy from a point to its decoded and encoded
    net, `gap` that from the point to the net's own prediction, both in [0, 1].
    """

    points: int
    valid: float
    drift: float
    gap: float


@dataclass(frozen=True)
class Noise:
    """What training the same nets again says of the labels.

    `deviation` is that of one label in [0, 1], `ceiling` the tau of a predictor that knew every
    net's mean accuracy.
    """

    nets: int
    deviation: float
    ceiling: float


@dataclass(frozen=True)
class Evaluation:
    """All that is known of an embedding's quality."""

    embedding: str
    nets: int
    rows: tuple[Row, ...]
    latent: Latent
    metrics: Mapping[str, float]
    noise: Noise | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return asdict(self)


def evaluate(
    folder: Path,
    *,
    seeds: int = 3,
    paper: PaperSettings | None = None,
    points: int = 1_000,
    on_stage: Callable[[str], None] | None = None,
) -> Evaluation:
    """Return the quality of an artifact.

    Args:
        folder: of the artifact, with its population.
        seeds: how often nets are split into folds anew.
        paper: how to fit the paper's model beside it, None for not at all.
        points: how many points of the latent space to decode.
        on_stage: told what is being measured.

    Raises:
        ArtifactError: the artifact cannot be loaded.
        PopulationError: its population is missing, damaged or too small.
    """
    tell = on_stage or (lambda stage: None)
    embedding = load(folder)
    records = fitted_on(PopulationStore(folder).records(), embedding.manifest.nets)
    if len(records) < _MIN_NETS:
        raise PopulationError(
            f"{folder} has {len(records)} labelled nets, at least {_MIN_NETS} are needed"
        )
    nets = _Nets(records, read_records(folder / BORROWED_FILE), embedding.manifest.space)
    rows = []
    if embedding.manifest.method is EmbeddingMethod.DEFAULT:
        tell("accuracy heads")
        settings = HeadSettings(**embedding.manifest.settings["heads"])
        rows.append(_heads(nets, settings, seeds))
        if nets.has_borrowed:
            rows.append(_heads(nets, settings, seeds, alone=True))
    tell("simple predictors")
    rows += _baselines(nets, seeds)
    if paper is not None and not embedding.manifest.space.has_joins:
        tell("the paper's model")
        rows.append(_paper(nets, embedding.manifest, paper))
    noise = None
    again = nets.twice(PopulationStore(folder, repeat=1).records())
    if len(again) >= _MIN_REPEATS:
        row, noise = _repeats(nets, again)
        rows.append(row)
    tell("latent space")
    return Evaluation(
        embedding=embedding.manifest.name,
        nets=len(records),
        rows=tuple(rows),
        latent=latent_quality(embedding, points, seed=embedding.manifest.settings["seed"]),
        metrics=embedding.manifest.metrics,
        noise=noise,
    )


class _Nets:
    """An embedding's own nets, which predictors are measured on, and those that it borrowed."""

    def __init__(
        self, records: Sequence[Record], borrowed: Sequence[Record], space: ArchitectureSpace
    ) -> None:
        self.architectures = [record.architecture for record in records]
        self.accuracy: Floats = np.array([record.accuracy for record in records])
        self.params: Floats = np.array([record.params for record in records], dtype=np.float64)
        seen = [*records, *borrowed]
        self.seen_features = feature_matrix([record.architecture for record in seen], space)
        self.seen_accuracy: Floats = np.array([record.accuracy for record in seen])
        self.by_index = {record.index: place for place, record in enumerate(records)}

    @property
    def has_borrowed(self) -> bool:
        """Whether there are nets beside the own ones."""
        return len(self.seen_accuracy) > len(self.accuracy)

    def twice(self, repeats: Sequence[Record]) -> list[Record]:
        """Return the second labels of own nets."""
        return [r for r in repeats if r.is_labelled and r.index in self.by_index]

    def row(self, name: str, predictions: Sequence[Floats], *, scaled: bool = True) -> Row:
        """Return the quality of held-out predictions, one array of all nets per repetition."""
        accuracy, params = self.accuracy, self.params
        errors = [float(np.abs(predicted - accuracy).mean()) for predicted in predictions]
        return Row(
            name,
            Spread.of([kendall_tau(predicted, accuracy) for predicted in predictions]),
            Spread.of([tau_within_band(p, accuracy, params) for p in predictions]),
            Spread.of(errors) if scaled else None,
        )


def _heads(nets: _Nets, settings: HeadSettings, seeds: int, *, alone: bool = False) -> Row:
    own = len(nets.accuracy)
    seen = own if alone else len(nets.seen_accuracy)
    inputs = torch.from_numpy(nets.seen_features[:seen])
    accuracy = torch.from_numpy(nets.seen_accuracy[:seen]).float()
    predictions = [
        fit_heads(inputs, accuracy, settings, torch.Generator().manual_seed(seed), own=own)[
            1
        ].predicted
        for seed in range(seeds)
    ]
    return nets.row(f"{HEADS}, without borrowed labels" if alone else HEADS, predictions)


def _baselines(nets: _Nets, seeds: int) -> list[Row]:
    own = len(nets.accuracy)
    found = [
        baseline_predictions(nets.seen_features, nets.seen_accuracy, seed=seed)
        for seed in range(seeds)
    ]
    return [
        nets.row(meaning, [one[name][:own] for one in found], scaled=name != "log_params")
        for name, meaning in _BASELINES.items()
    ]


def _paper(nets: _Nets, manifest: Manifest, settings: PaperSettings) -> Row:
    accuracy = torch.from_numpy(nets.accuracy).float()
    held, predicted = paper_predictions(
        nets.architectures,
        accuracy,
        settings,
        manifest.space,
        seed=manifest.settings["seed"],
    )
    measured, params = nets.accuracy[held], nets.params[held]
    return Row(
        f"{PAPER} after {settings.iterations:,} steps",
        Spread.of([kendall_tau(predicted, measured)]),
        Spread.of([tau_within_band(predicted, measured, params)]),
        Spread.of([float(np.abs(predicted - measured).mean())]),
    )


def _repeats(nets: _Nets, again: Sequence[Record]) -> tuple[Row, Noise]:
    places = [nets.by_index[record.index] for record in again]
    first, params = nets.accuracy[places], nets.params[places]
    second = np.array([record.accuracy for record in again])
    tau = kendall_tau(first, second)
    row = Row(
        REPEAT,
        Spread.of([tau]),
        Spread.of([tau_within_band(first, second, params)]),
        Spread.of([float(np.abs(first - second).mean())]),
    )
    # The median bears with the few nets that learn in one training and not in the other.
    deviation = float(np.median(np.abs(first - second))) / 0.6745 / sqrt(2)
    return row, Noise(len(again), round(deviation, 5), round(noise_ceiling(tau), 4))


def noise_ceiling(tau: float) -> float:
    """Return the tau of a perfect predictor, from that of two labels of the same nets.

    For normal variables tau = 2/pi asin(correlation) (Greiner's relation); two labels correlate by
    the labels' reliability, a label with the true mean by its root.
    """
    return 2 / pi * asin(sqrt(max(0.0, sin(pi / 2 * tau))))


@torch.no_grad()
def latent_quality(embedding: Embedding, points: int, *, seed: int) -> Latent:
    """Return what decoding does to points between pairs of the embedding's nets, and beside nets.

    One half lies evenly on lines between random pairs, the other is a net's point with normal noise
    of a tenth of the space's spread in each dimension.
    """
    generator = torch.Generator().manual_seed(seed)
    encoded = embedding.encode([exemplar.architecture for exemplar in embedding.exemplars])
    ends = torch.randint(len(encoded), (2, points), generator=generator)
    share = torch.rand(points, 1, generator=generator)
    between = encoded[ends[0]].lerp(encoded[ends[1]], share)
    noise = torch.randn(encoded[ends[0]].shape, generator=generator)
    beside = encoded[ends[0]] + 0.1 * encoded.std(dim=0) * noise
    chosen = torch.where(torch.arange(points)[:, None] % 2 == 0, between, beside)
    decoded = embedding.decode(chosen)
    valid = [place for place, net in enumerate(decoded) if net is not None]
    found = [net for net in decoded if net is not None]
    if not found:
        return Latent(points, 0.0, 1.0, 1.0)
    at_point = embedding.at(chosen[valid]).accuracy.sigmoid()
    at_decoded = embedding.at(embedding.encode(found)).accuracy.sigmoid()
    own = torch.tensor([prediction.accuracy for prediction in embedding.predict(found)])
    return Latent(
        points,
        round(len(found) / points, 4),
        round(float((at_point - at_decoded).abs().median()), 5),
        round(float((at_point - own).abs().median()), 5),
    )

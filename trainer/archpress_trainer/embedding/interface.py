"""`Embedding`: what descent and decoding need, whichever model stands behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from archpress_trainer.embedding.manifest import Manifest
from archpress_trainer.embedding.prediction import Prediction
from archpress_trainer.space.costs import Costs
from archpress_trainer.space.graph import Architecture


@dataclass(frozen=True)
class PointPrediction:
    """What is predicted at points of the embedding; each of shape `(batch,)`, with gradients.

    `accuracy` and its 90% half-width `uncertainty` are logits; `log_params` and `log_macs` are
    natural logarithms, `log_macs` None where the model knows nothing of MACs.
    """

    accuracy: torch.Tensor
    uncertainty: torch.Tensor
    log_params: torch.Tensor
    log_macs: torch.Tensor | None


@dataclass(frozen=True)
class Draws:
    """Accuracies that nets may have by what is known, each `(count, batch)`, in [0, 1].

    `label` is what a training as for a label would measure of a net with that `accuracy`.
    """

    accuracy: torch.Tensor
    label: torch.Tensor


def predictions(accuracy: torch.Tensor, uncertainty: torch.Tensor) -> list[Prediction]:
    """Return predicted accuracies with their intervals from logits and half-widths `(batch,)`."""
    ends = (accuracy, accuracy - uncertainty, accuracy + uncertainty)
    return [Prediction(*row) for row in torch.stack(ends, dim=1).sigmoid().tolist()]


@dataclass(frozen=True)
class Exemplar:
    """A net of the population with its measured accuracy in [0, 1]."""

    architecture: Architecture
    accuracy: float

    @property
    def costs(self) -> Costs:
        """Exact costs."""
        return self.architecture.costs


class Embedding(Protocol):
    """A fitted embedding of one data set's architectures.

    Points are `(batch, dimensions)`, standardised: each dimension has about unit variance over
    sampled nets.
    """

    @property
    def manifest(self) -> Manifest:
        """Provenance and quality."""
        ...

    @property
    def exemplars(self) -> Sequence[Exemplar]:
        """The labelled nets that it was fitted on."""
        ...

    @property
    def dimensions(self) -> int:
        """Size of a point."""
        ...

    def encode(self, architectures: Sequence[Architecture]) -> torch.Tensor:
        """Return the points of architectures.

        Raises:
            OutsideSpaceError: an architecture lies outside the embedding's space.
        """
        ...

    def at(self, points: torch.Tensor) -> PointPrediction:
        """Return what is predicted at points, differentiable with respect to them."""
        ...

    def decode(self, points: torch.Tensor) -> list[Architecture | None]:
        """Return the architecture of each point, None where it decodes to nothing valid."""
        ...

    def predict(self, architectures: Sequence[Architecture]) -> list[Prediction]:
        """Return the predicted accuracy of architectures themselves, not of points near them.

        Raises:
            OutsideSpaceError: an architecture lies outside the embedding's space.
        """
        ...

    def draw(
        self, architectures: Sequence[Architecture], count: int, generator: torch.Generator
    ) -> Draws:
        """Draw accuracies of architectures together: where nets are alike, so are their draws.

        Raises:
            OutsideSpaceError: an architecture lies outside the embedding's space.
        """
        ...

    def state(self) -> dict[str, torch.Tensor]:
        """Return every fitted number, for the artifact."""
        ...

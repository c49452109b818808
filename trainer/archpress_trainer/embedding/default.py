"""The default embedding: categorical autoencoder, exact soft costs, accuracy heads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from archpress_trainer.embedding.autoencoder import Autoencoder
from archpress_trainer.embedding.codec import Codec
from archpress_trainer.embedding.decode import decode_masked
from archpress_trainer.embedding.features import feature_matrix, feature_names
from archpress_trainer.embedding.heads import AccuracyHeads, HeadSettings
from archpress_trainer.embedding.interface import Draws, Exemplar, PointPrediction, predictions
from archpress_trainer.embedding.manifest import Manifest
from archpress_trainer.embedding.prediction import Prediction
from archpress_trainer.embedding.soft_costs import soft_costs
from archpress_trainer.embedding.unlabelled import encode_all, encode_points
from archpress_trainer.space.graph import Architecture


class DefaultEmbedding:
    """Implements `Embedding`; the accuracy heads read an architecture's hand features.

    For an architecture these are its own; at a point they are the ones that the reader says,
    which carries the gradient. Heads that also read the point itself predict
    worse: `benchmarks/heads.py`.
    """

    def __init__(
        self,
        manifest: Manifest,
        autoencoder: Autoencoder,
        heads: AccuracyHeads,
        feature_mean: torch.Tensor,
        feature_std: torch.Tensor,
        exemplars: Sequence[Exemplar] = (),
    ) -> None:
        """Put the fitted parts together."""
        self.manifest = manifest
        self.exemplars = tuple(exemplars)
        self.codec = Codec(manifest.space)
        self.autoencoder = autoencoder.eval().requires_grad_(False)
        self.heads = heads.eval().requires_grad_(False)
        self._feature_mean = feature_mean
        self._feature_std = feature_std

    @property
    def dimensions(self) -> int:
        """Size of a point."""
        return self.autoencoder.dimensions

    def encode(self, architectures: Sequence[Architecture]) -> torch.Tensor:
        """Return the points of architectures, `(batch, dimensions)`."""
        return encode_points(self.autoencoder, encode_all(self.codec, architectures))

    def at(self, points: torch.Tensor) -> PointPrediction:
        """Return what is predicted at points, differentiable with respect to them."""
        costs = soft_costs(self.codec, self.autoencoder.decode(points))
        facts = self.autoencoder.reader(points)
        accuracy, uncertainty = self.heads(facts)
        return PointPrediction(
            accuracy, uncertainty, costs.params.clamp_min(1).log(), costs.macs.clamp_min(1).log()
        )

    @torch.no_grad()
    def decode(self, points: torch.Tensor) -> list[Architecture | None]:
        """Return the likeliest valid architecture of each point."""
        fields = [f.log_softmax(dim=1).numpy() for f in self.autoencoder.decode(points)]
        return [
            decode_masked(self.codec, [field[index] for field in fields])
            for index in range(len(points))
        ]

    @torch.no_grad()
    def predict(self, architectures: Sequence[Architecture]) -> list[Prediction]:
        """Return the predicted accuracy of architectures."""
        if not architectures:
            return []
        return predictions(*self.heads(self._facts(architectures)))

    @torch.no_grad()
    def draw(
        self, architectures: Sequence[Architecture], count: int, generator: torch.Generator
    ) -> Draws:
        """Draw accuracies of architectures from the heads' process."""
        accuracy, label = self.heads.draw(self._facts(architectures), count, generator)
        return Draws(accuracy.sigmoid(), label.sigmoid())

    def _facts(self, architectures: Sequence[Architecture]) -> torch.Tensor:
        for architecture in architectures:
            self.codec.check(architecture)
        facts = torch.from_numpy(feature_matrix(architectures, self.codec.space))
        return (facts - self._feature_mean) / self._feature_std

    def state(self) -> dict[str, torch.Tensor]:
        """Return every fitted number; the autoencoder's weights in half precision."""
        stored = {
            f"autoencoder.{name}": _stored(name, value)
            for name, value in self.autoencoder.state_dict().items()
        }
        heads = {f"heads.{name}": value for name, value in self.heads.state_dict().items()}
        return {
            **stored,
            **heads,
            "feature_mean": self._feature_mean,
            "feature_std": self._feature_std,
        }

    @classmethod
    def from_state(
        cls,
        manifest: Manifest,
        state: Mapping[str, torch.Tensor],
        exemplars: Sequence[Exemplar] = (),
    ) -> DefaultEmbedding:
        """Inverse of `state`.

        Raises:
            RuntimeError, KeyError, TypeError, ValueError: the numbers do not fit the manifest.
        """
        codec = Codec(manifest.space)
        settings, facts = manifest.settings, len(feature_names(manifest.space))
        autoencoder = Autoencoder(
            codec.sizes,
            codec.length,
            facts,
            dimensions=settings["autoencoder"]["dimensions"],
            blur=settings["autoencoder"]["blur"],
        )
        autoencoder.load_state_dict(_part(state, "autoencoder."))
        heads_state = _part(state, "heads.")
        nets, _ = heads_state["seen"].shape
        heads = AccuracyHeads(nets, facts, HeadSettings(**settings["heads"]))
        heads.load_state_dict(heads_state)
        heads.condition()
        mean, std = state["feature_mean"], state["feature_std"]
        if not mean.shape == std.shape == (facts,):
            raise ValueError(f"feature_mean and feature_std must hold {facts} numbers each")
        positive = {"feature_std": std, "heads.input_std": heads.input_std, "width": heads.width}
        for name, values in positive.items():
            if not (values > 0).all():
                raise ValueError(f"{name} must be above 0")
        return cls(manifest, autoencoder, heads, mean, std, exemplars)


def as_stored(autoencoder: Autoencoder) -> Autoencoder:
    """Round an autoencoder to the precision that artifacts keep, and return it for use.

    Done before its quality is measured, so that the metrics are those of the stored numbers.
    """
    rounded = {
        name: _stored(name, value).to(value.dtype)
        for name, value in autoencoder.state_dict().items()
    }
    autoencoder.load_state_dict(rounded)
    return autoencoder.eval()


def _stored(name: str, value: torch.Tensor) -> torch.Tensor:
    # Variances of a batch norm's input outgrow half precision, and are few.
    if name.endswith(("running_mean", "running_var")) or not value.is_floating_point():
        return value
    return value.half()


def _part(state: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {
        name.removeprefix(prefix): value.float() if value.is_floating_point() else value
        for name, value in state.items()
        if name.startswith(prefix)
    }

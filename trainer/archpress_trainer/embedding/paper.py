"""The paper's model, literally: integers in, squared error out, two regressors (section 4).

Where the paper is silent: the five rows are standardised over the population (unscaled, its step
size diverges on channel counts), sequences are padded with zeros, and the embedding is the
flattened output of the last strided block.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from archpress_trainer.embedding.codec import OutsideSpaceError
from archpress_trainer.embedding.interface import Draws, Exemplar, PointPrediction, predictions
from archpress_trainer.embedding.manifest import Manifest
from archpress_trainer.embedding.prediction import Prediction
from archpress_trainer.space.costs import count
from archpress_trainer.space.errors import ArchitectureError
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.sequence import NotAChainError, from_sequence, to_sequence
from archpress_trainer.space.vocab import WINDOWED

_ROWS = 5
_WINDOW_ROWS = (1, 3, 4)
"""Kernel, stride and padding."""
_WIDTH = 64
_LATENT_CHANNELS = 16
_DEVIATIONS = 1.645
"""Standard deviations in the half-width of a 90% interval."""


@dataclass(frozen=True)
class PaperSettings:
    """Section 10.2: SGD with Nesterov momentum 0.5, rate 0.003, 80,000 iterations on FMNIST.

    "Learning rate decay with period 30 and multiplier 1/5" is read as epochs of a training that
    stops changing after a few periods; `decays` are spread over the iterations instead.
    """

    iterations: int = 80_000
    batch_size: int = 64
    learning_rate: float = 0.003
    momentum: float = 0.5
    decay: float = 0.2
    decays: int = 2
    accuracy_weight: float = 1.0
    params_weight: float = 1.0


class PaperModel(nn.Module):
    """1-D CNN encoder and decoder, accuracy and parameter regressors (sections 4.1, 4.2, 8).

    The parameter regressor ends in a ReLU and learns standardised counts, as section 4.2 has both:
    it never says fewer than the population's mean.
    """

    rows_mean: torch.Tensor
    rows_std: torch.Tensor
    params_mean: torch.Tensor
    params_std: torch.Tensor

    def __init__(self, length: int) -> None:
        """Build for sequences of `length` columns, a multiple of 4."""
        super().__init__()
        self.length = length
        self.encoder = nn.Sequential(
            _Block(_ROWS, _WIDTH),
            _Block(_WIDTH, _WIDTH),
            _Block(_WIDTH, _WIDTH, stride=2),
            _Block(_WIDTH, _WIDTH),
            _Block(_WIDTH, _LATENT_CHANNELS, stride=2),
            nn.Flatten(),
        )
        self.decoder = nn.Sequential(
            nn.Unflatten(1, (_LATENT_CHANNELS, length // 4)),
            _TransposedBlock(_LATENT_CHANNELS, _WIDTH, stride=2),
            _TransposedBlock(_WIDTH, _WIDTH),
            _TransposedBlock(_WIDTH, _WIDTH, stride=2),
            _TransposedBlock(_WIDTH, _WIDTH),
            nn.ConvTranspose1d(_WIDTH, _ROWS, 3, padding=1),
        )
        self.accuracy = _regressor(self.dimensions, nn.Identity())
        self.params = _regressor(self.dimensions, nn.ReLU())
        self.register_buffer("rows_mean", torch.zeros(_ROWS, 1))
        self.register_buffer("rows_std", torch.ones(_ROWS, 1))
        self.register_buffer("params_mean", torch.zeros(()))
        self.register_buffer("params_std", torch.ones(()))

    @property
    def dimensions(self) -> int:
        """Size of the embedding."""
        return _LATENT_CHANNELS * self.length // 4

    def encode(self, sequences: torch.Tensor) -> torch.Tensor:
        """Return embeddings of integer sequences `(batch, 5, length)` (eq. 8)."""
        points: torch.Tensor = self.encoder((sequences - self.rows_mean) / self.rows_std)
        return points

    def decode(self, points: torch.Tensor) -> torch.Tensor:
        """Return continuous sequences `(batch, 5, length)` in the units of the input (eq. 9)."""
        rows: torch.Tensor = self.decoder(points)
        return rows * self.rows_std + self.rows_mean


class PaperEmbedding:
    """Implements `Embedding` with the paper's model; most decodes far from its nets are None."""

    def __init__(
        self,
        manifest: Manifest,
        model: PaperModel,
        half_width: torch.Tensor,
        exemplars: Sequence[Exemplar] = (),
    ) -> None:
        """Put the model and its calibrated half-width (a logit, `()`) together."""
        self.manifest = manifest
        self.exemplars = tuple(exemplars)
        self.model = model.eval().requires_grad_(False)
        self._half_width = half_width

    @property
    def dimensions(self) -> int:
        """Size of a point."""
        return self.model.dimensions

    @torch.no_grad()
    def encode(self, architectures: Sequence[Architecture]) -> torch.Tensor:
        """Return the points of architectures, `(batch, dimensions)`."""
        space = self.manifest.space
        for net in architectures:
            if (net.input_shape, net.classes) != (space.input_shape, space.classes):
                raise OutsideSpaceError(
                    f"the net takes {list(net.input_shape)} to {net.classes} classes, the space "
                    f"has {list(space.input_shape)} and {space.classes}"
                )
        return self.model.encode(sequences(architectures, self.model.length))

    def at(self, points: torch.Tensor) -> PointPrediction:
        """Return what the regressors predict; the parameter count is their guess, not exact."""
        accuracy = self.model.accuracy(points).squeeze(1)
        params = self.model.params(points).squeeze(1) * self.model.params_std
        params = (params + self.model.params_mean).clamp_min(1)
        return PointPrediction(
            accuracy, self._half_width.expand_as(accuracy), params.log(), log_macs=None
        )

    @torch.no_grad()
    def decode(self, points: torch.Tensor) -> list[Architecture | None]:
        """Return each rounded sequence's architecture, None where it is invalid."""
        rounded = self.model.decode(points).round().long().clamp_min(0).numpy()
        return [self._architecture(rows) for rows in rounded]

    @torch.no_grad()
    def predict(self, architectures: Sequence[Architecture]) -> list[Prediction]:
        """Return the accuracy regressor's predictions."""
        if not architectures:
            return []
        point = self.at(self.encode(architectures))
        return predictions(point.accuracy, point.uncertainty)

    @torch.no_grad()
    def draw(
        self, architectures: Sequence[Architecture], count: int, generator: torch.Generator
    ) -> Draws:
        """Draw each accuracy on its own; the model tells the noise of a label from nothing else."""
        point = self.at(self.encode(architectures))
        noise = torch.randn(count, len(architectures), generator=generator)
        drawn = (point.accuracy + point.uncertainty / _DEVIATIONS * noise).sigmoid()
        return Draws(drawn, drawn)

    def state(self) -> dict[str, torch.Tensor]:
        """Return every fitted number."""
        return {**self.model.state_dict(), "half_width": self._half_width}

    @classmethod
    def from_state(
        cls,
        manifest: Manifest,
        state: Mapping[str, torch.Tensor],
        exemplars: Sequence[Exemplar] = (),
    ) -> PaperEmbedding:
        """Inverse of `state`.

        Raises:
            RuntimeError, KeyError: the numbers do not fit the manifest.
        """
        values = dict(state)
        half_width = values.pop("half_width")
        model = PaperModel(sequence_length(manifest.space.max_layers))
        model.load_state_dict(values)
        return cls(manifest, model, half_width, exemplars)

    def _architecture(self, rows: np.ndarray) -> Architecture | None:
        ends = np.flatnonzero(rows[0] == 0)
        columns = rows[:, : ends[0]] if len(ends) else rows
        space = self.manifest.space
        if columns.shape[1] == 0:
            return None
        # The last layer's width is the task's, whatever was decoded (section 9).
        columns[2, -1] = space.classes
        # Attributes that a kind does not have are 0, whatever was decoded (section 9).
        windowless = ~np.isin(columns[0], list(WINDOWED))
        for row in _WINDOW_ROWS:
            columns[row, windowless] = 0
        try:
            return from_sequence(
                columns, space.input_shape, space.classes, dropout_rate=space.dropout_rate
            )
        except (ArchitectureError, ValueError):
            return None


def sequence_length(max_layers: int) -> int:
    """Return the columns of a padded sequence."""
    return -(-max_layers // 4) * 4


def sequences(architectures: Sequence[Architecture], length: int) -> torch.Tensor:
    """Return padded integer sequences as floats, `(batch, 5, length)`.

    Raises:
        OutsideSpaceError: a net is no chain, has groups or is too long.
    """
    batch = torch.zeros(len(architectures), _ROWS, length)
    for index, architecture in enumerate(architectures):
        if any(layer.groups != 1 for layer in architecture.layers):
            raise OutsideSpaceError("the net has grouped convolutions, which no sequence tells")
        try:
            columns = torch.from_numpy(to_sequence(architecture))
        except NotAChainError as error:
            raise OutsideSpaceError(str(error)) from error
        if columns.shape[1] > length:
            raise OutsideSpaceError(f"the net has {columns.shape[1]} layers, at most {length}")
        batch[index, :, : columns.shape[1]] = columns
    return batch


def fit_paper_model(
    architectures: Sequence[Architecture],
    accuracy: torch.Tensor,
    max_layers: int,
    settings: PaperSettings,
    generator: torch.Generator,
    *,
    on_step: Callable[[int, float], None] | None = None,
) -> PaperModel:
    """Fit the joint loss L = Ld + w1 La + w2 Lp (eq. 12-15) on labelled nets."""
    length = sequence_length(max_layers)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator)))
        model = PaperModel(length)
    rows = sequences(architectures, length)
    params = torch.tensor([float(count(a).params) for a in architectures])
    model.rows_mean.copy_(rows.mean(dim=(0, 2)).unsqueeze(1))
    model.rows_std.copy_(rows.std(dim=(0, 2)).clamp_min(1e-3).unsqueeze(1))
    model.params_mean.copy_(params.mean())
    model.params_std.copy_(params.std().clamp_min(1.0))
    optimizer = torch.optim.SGD(
        model.parameters(), lr=settings.learning_rate, momentum=settings.momentum, nesterov=True
    )
    period = max(1, settings.iterations // (settings.decays + 1))
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, period, settings.decay)
    target_params = (params - model.params_mean) / model.params_std
    target_rows = (rows - model.rows_mean) / model.rows_std
    model.train()
    for iteration in range(1, settings.iterations + 1):
        chosen = torch.randint(len(rows), (settings.batch_size,), generator=generator)
        points = model.encode(rows[chosen])
        decoded = functional.mse_loss(model.decoder(points), target_rows[chosen])
        predicted = model.accuracy(points).squeeze(1).sigmoid()
        accuracy_loss = functional.l1_loss(predicted, accuracy[chosen])
        params_loss = functional.huber_loss(
            model.params(points).squeeze(1), target_params[chosen], delta=1.0
        )
        loss = (
            decoded
            + settings.accuracy_weight * accuracy_loss
            + settings.params_weight * params_loss
        )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        if on_step is not None and iteration % 200 == 0:
            on_step(iteration, loss.item())
    return model.eval()


class _Block(nn.Module):
    """Convolution, norm, rectifier plus residual; a strided residual is convolved (section 8)."""

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv1d(inputs, outputs, 3, stride=stride, padding=1), nn.BatchNorm1d(outputs)
        )
        same = stride == 1 and inputs == outputs
        self.shortcut: nn.Module = (
            nn.Identity() if same else nn.Conv1d(inputs, outputs, 3, stride=stride, padding=1)
        )

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        shortcut: torch.Tensor = self.shortcut(values)
        return functional.relu(self.main(values)) + shortcut


class _TransposedBlock(nn.Module):
    """The same with transposed convolutions."""

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1) -> None:
        super().__init__()
        kernel = 2 * stride if stride > 1 else 3
        self.main = nn.Sequential(
            nn.ConvTranspose1d(inputs, outputs, kernel, stride=stride, padding=1),
            nn.BatchNorm1d(outputs),
        )
        same = stride == 1 and inputs == outputs
        self.shortcut: nn.Module = (
            nn.Identity()
            if same
            else nn.ConvTranspose1d(inputs, outputs, kernel, stride=stride, padding=1)
        )

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        shortcut: torch.Tensor = self.shortcut(values)
        return functional.relu(self.main(values)) + shortcut


def _regressor(inputs: int, output: nn.Module) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, 128),
        nn.ReLU(),
        nn.Linear(128, 128),
        nn.ReLU(),
        nn.Linear(128, 64),
        nn.ReLU(),
        nn.Linear(64, 1),
        output,
    )

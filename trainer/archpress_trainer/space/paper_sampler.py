"""The paper's sampler, literally: every attribute uniform, degenerate nets rejected (section 9)."""

from __future__ import annotations

from random import Random

from archpress_trainer.space.architecture_space import ArchitectureSpace
from archpress_trainer.space.layer import Layer
from archpress_trainer.space.vocab import PAPER_KINDS, WEIGHTED, WINDOWED, LayerKind


class PaperSampler:
    """Length ~ U(2, 50), kind ~ U(1, 8), kernel, stride, padding ~ U(1, 10), outputs ~ U(16, 4096).

    The last layer is a LINEAR with the task's classes; attributes that a kind does not have are
    dropped. Nearly all proposals are invalid; count the reasons with `sampling.Rejections`.
    """

    def __init__(self, space: ArchitectureSpace) -> None:
        """Sample for `space`, usually `architecture_space.paper_space`."""
        self.space = space

    def propose(self, rng: Random) -> list[Layer]:
        """Draw one list of layers."""
        length = rng.randint(2, 50)
        layers = [self._layer(rng) for _ in range(length - 1)]
        return [*layers, Layer(LayerKind.LINEAR, out_channels=self.space.classes)]

    def _layer(self, rng: Random) -> Layer:
        kind = rng.choice(PAPER_KINDS)
        kernel, stride, padding = (rng.randint(1, 10) for _ in range(3))
        out_channels = rng.randint(16, 4096)
        windowed = kind in WINDOWED
        return Layer(
            kind,
            kernel=kernel if windowed else 0,
            out_channels=out_channels if kind in WEIGHTED else 0,
            stride=stride if windowed else 0,
            padding=padding if windowed else 0,
            rate=self.space.dropout_rate if kind is LayerKind.DROPOUT else 0.0,
        )

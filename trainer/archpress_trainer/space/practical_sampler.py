"""A prior over nets that somebody might keep: blocks that narrow the image and widen the channels.

Widths are scaled so that the parameter count is about log-uniform over a window, since uniform
draws of widths give almost only large nets.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import exp, log
from random import Random

from archpress_trainer.space.architecture_space import ArchitectureSpace
from archpress_trainer.space.layer import Layer
from archpress_trainer.space.vocab import LayerKind


@dataclass(frozen=True)
class Window:
    """The range of parameter counts aimed at."""

    min_params: int = 2_000
    max_params: int = 1_000_000


@dataclass
class _Block:
    width: float
    kernel: int
    stride: int
    padding: int
    pool: Layer | None


class PracticalSampler:
    """Chains of convolution blocks with pools or strides between stages and a short head."""

    def __init__(self, space: ArchitectureSpace, window: Window | None = None) -> None:
        """Sample for `space`; sizes are log-uniform in `window`."""
        self.space = space
        self._window = window or Window()

    def propose(self, rng: Random) -> list[Layer]:
        """Draw one list of layers."""
        blocks = self._blocks(rng)
        hidden = rng.choice((64.0, 128.0, 256.0)) if rng.random() < 0.15 else None
        self._scale(rng, blocks)
        activation = rng.choices(
            (LayerKind.RELU, LayerKind.LEAKY_RELU, LayerKind.SILU, LayerKind.SIGMOID),
            (0.80, 0.08, 0.08, 0.04),
        )[0]
        normalised = rng.random() < 0.88
        layers: list[Layer] = []
        for block in blocks:
            layers += self._block_layers(rng, block, activation, normalised)
        layers += self._head(rng, hidden, activation)
        return layers[: self.space.max_layers]

    def _blocks(self, rng: Random) -> list[_Block]:
        depth = rng.randint(2, 12)
        downsamplings = min(rng.choices((1, 2, 3, 4), (0.12, 0.40, 0.38, 0.10))[0], depth)
        places = set(rng.sample(range(depth), downsamplings))
        width = rng.uniform(0.5, 2.0)
        growth = rng.choice((1.0, 1.25, 1.5, 2.0))
        kernels = rng.choice(((3,), (3,), (3, 5), (1, 3), (1, 3, 5)))
        blocks = []
        for index in range(depth):
            kernel = rng.choice(kernels) if index else rng.choice((3, 3, 3, 5, 7))
            same = rng.random() < 0.94
            block = _Block(
                width=width * exp(rng.gauss(0, 0.15)),
                kernel=kernel,
                stride=1,
                padding=kernel // 2 if same else 0,
                pool=None,
            )
            if index in places:
                block = self._downsampled(rng, block)
                width *= growth
            blocks.append(block)
        return blocks

    @staticmethod
    def _downsampled(rng: Random, block: _Block) -> _Block:
        way = rng.random()
        if way < 0.30:
            return replace(block, stride=2)
        kind = LayerKind.MAX_POOL if way < 0.82 else LayerKind.AVERAGE_POOL
        kernel, stride, padding = rng.choice(
            ((2, 2, 0), (2, 2, 0), (3, 2, 1), (3, 2, 0), (3, 3, 0))
        )
        return replace(block, pool=Layer(kind, kernel=kernel, stride=stride, padding=padding))

    def _scale(self, rng: Random, blocks: list[_Block]) -> None:
        window = self._window
        target = exp(rng.uniform(log(window.min_params), log(window.max_params)))
        scale = 16.0
        for _ in range(12):
            scale *= (target / self._params(blocks, scale)) ** 0.55
        for block in blocks:
            block.width = self.space.rung(block.width * scale)

    def _params(self, blocks: list[_Block], scale: float) -> float:
        total, fan_in = 0.0, float(self.space.input_shape[0])
        for block in blocks:
            width = block.width * scale
            total += width * (fan_in * block.kernel**2 + 2)
            fan_in = width
        return total + fan_in * self.space.classes

    @staticmethod
    def _block_layers(
        rng: Random, block: _Block, activation: LayerKind, normalised: bool
    ) -> list[Layer]:
        layers = [
            Layer(
                LayerKind.CONVOLUTION,
                kernel=block.kernel,
                out_channels=int(block.width),
                stride=block.stride,
                padding=block.padding,
            )
        ]
        if normalised and rng.random() < 0.97:
            layers.append(Layer(LayerKind.BATCH_NORM))
        if rng.random() < 0.97:
            layers.append(Layer(activation))
        if block.pool is not None:
            layers.append(block.pool)
        return layers

    def _head(self, rng: Random, hidden: float | None, activation: LayerKind) -> list[Layer]:
        layers = []
        if rng.random() < 0.8:
            layers.append(Layer(LayerKind.GLOBAL_AVERAGE_POOL))
        if hidden is not None:
            layers += [
                Layer(LayerKind.LINEAR, out_channels=self.space.rung(hidden)),
                Layer(activation),
            ]
        if rng.random() < 0.15:
            layers.append(Layer(LayerKind.DROPOUT, rate=self.space.dropout_rate))
        return [*layers, Layer(LayerKind.LINEAR, out_channels=self.space.classes)]

"""A prior over nets with skips: the blocks of known families, in stages that narrow the image.

Structure is drawn first; then one scale of all widths is searched, so that the parameter count is
about log-uniform over a window.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import exp, log
from random import Random

from archpress_trainer.space.architecture_space import ArchitectureSpace
from archpress_trainer.space.blocks import Block, Builder, Family, append_block
from archpress_trainer.space.channel_flow import ChannelFlow
from archpress_trainer.space.costs import layer_params
from archpress_trainer.space.layer import Layer
from archpress_trainer.space.practical_sampler import Window
from archpress_trainer.space.vocab import WEIGHTED, LayerKind

_FAMILIES = {
    Family.BASIC: 0.26,
    Family.INVERTED: 0.20,
    Family.PLAIN: 0.16,
    Family.DENSE: 0.14,
    Family.BOTTLENECK: 0.10,
    Family.SEPARABLE: 0.08,
    Family.PRE_ACTIVATION: 0.06,
}
_ACTIVATIONS = {
    LayerKind.RELU: 0.70,
    LayerKind.SILU: 0.10,
    LayerKind.RELU6: 0.08,
    LayerKind.LEAKY_RELU: 0.06,
    LayerKind.HARD_SWISH: 0.06,
}
_OTHER_FAMILY = 0.12
"""Chance that a block is not of its net's family."""

_STEPS = 4
"""Parameters grow with about the square of the scale, so few steps come close."""


@dataclass(frozen=True)
class _Head:
    activated: bool
    pooled: bool
    hidden: float | None
    dropout: bool


class ResidualSampler:
    """Nets of a stem, stages of blocks and a short head."""

    def __init__(self, space: ArchitectureSpace, window: Window | None = None) -> None:
        """Sample for `space`; sizes are log-uniform in `window`."""
        self.space = space
        self._window = window or Window()

    def propose(self, rng: Random) -> list[Layer]:
        """Draw one list of layers."""
        stem, blocks = self._structure(rng)
        head = self._head(rng, blocks)
        target = exp(rng.uniform(log(self._window.min_params), log(self._window.max_params)))
        while len(blocks) > 1 and self._too_long(stem, blocks, head):
            del blocks[rng.randrange(len(blocks))]
        scale = 16.0
        for _ in range(_STEPS):
            layers = self._layers(stem, blocks, head, scale)
            scale *= (target / self._params(layers)) ** 0.5
        return self._layers(stem, blocks, head, scale)

    def _structure(self, rng: Random) -> tuple[Block, list[Block]]:
        family = rng.choices(list(_FAMILIES), list(_FAMILIES.values()))[0]
        activation = rng.choices(list(_ACTIVATIONS), list(_ACTIVATIONS.values()))[0]
        normalised = rng.random() < 0.95
        kernels = rng.choice(((3,), (3,), (3,), (3, 5), (3, 5, 7)))
        inner = self._inner(rng, family)
        width = rng.uniform(0.5, 2.0)
        growth = rng.choice((1.0, 1.25, 1.5, 2.0, 2.0))
        projection = rng.random() < 0.75
        stem = Block(
            Family.PLAIN,
            width * rng.choice((1.0, 1.0, 1.0, 0.5, 2.0)),
            kernel=rng.choice((3, 3, 3, 5, 7)),
            stride=rng.choice((1, 1, 1, 1, 2)),
            activation=activation,
            normalised=normalised,
        )
        blocks: list[Block] = []
        stages = rng.choices((2, 3, 4), (0.3, 0.5, 0.2))[0]
        for stage in range(stages):
            narrow = stage > 0 or rng.random() < 0.25
            for place in range(rng.choices((1, 2, 3, 4), (0.3, 0.35, 0.25, 0.1))[0]):
                other = rng.random() < _OTHER_FAMILY
                block = Block(
                    rng.choice(list(Family)) if other else family,
                    width,
                    kernel=rng.choice(kernels),
                    stride=1,
                    activation=activation,
                    inner=inner,
                    skip=rng.random() < 0.92,
                    projection=projection,
                    normalised=normalised,
                )
                blocks.append(self._narrowed(rng, block) if narrow and not place else block)
            width *= growth * exp(rng.gauss(0, 0.1))
        return stem, blocks

    @staticmethod
    def _inner(rng: Random, family: Family) -> float:
        if family is Family.BOTTLENECK:
            return rng.choice((0.25, 0.25, 0.5))
        if family is Family.INVERTED:
            return rng.choice((1.0, 2.0, 3.0, 4.0, 6.0, 6.0))
        if family is Family.DENSE:
            return rng.choice((1.0, 4.0, 2.0))
        return rng.choice((1.0, 1.0, 1.0, 0.5, 0.75, 1.5))

    @staticmethod
    def _narrowed(rng: Random, block: Block) -> Block:
        if rng.random() < (0.25 if block.family is Family.DENSE else 0.75):
            return replace(block, stride=2)
        kind = LayerKind.MAX_POOL if rng.random() < 0.5 else LayerKind.AVERAGE_POOL
        kernel, padding = rng.choice(((2, 0), (2, 0), (3, 1)))
        return replace(block, pool=Layer(kind, kernel=kernel, stride=2, padding=padding))

    @staticmethod
    def _head(rng: Random, blocks: list[Block]) -> _Head:
        open_end = blocks[-1].family in (Family.PRE_ACTIVATION, Family.DENSE)
        return _Head(
            activated=open_end,
            pooled=rng.random() < 0.9,
            hidden=rng.uniform(1.0, 4.0) if rng.random() < 0.1 else None,
            dropout=rng.random() < 0.15,
        )

    def _too_long(self, stem: Block, blocks: list[Block], head: _Head) -> bool:
        layers = self._layers(stem, blocks, head, 16.0)
        return len(layers) > self.space.max_layers

    def _layers(self, stem: Block, blocks: list[Block], head: _Head, scale: float) -> list[Layer]:
        builder = Builder(self.space.input_shape[0])
        for block in (stem, *blocks):
            dense = block.family is Family.DENSE and block.stride == 1 and block.pool is None
            width = self.space.rung(block.width * scale * (0.4 if dense else 1.0))
            inner = (
                builder.channels * block.inner
                if block.family is Family.INVERTED
                else width * block.inner
            )
            append_block(builder, block, width, self.space.rung(inner))
        if head.activated:
            builder.activated(stem)
        if head.pooled:
            builder.add(Layer(LayerKind.GLOBAL_AVERAGE_POOL))
        if head.hidden is not None:
            hidden = self.space.rung(builder.channels * head.hidden)
            builder.add(Layer(LayerKind.LINEAR, out_channels=hidden), Layer(stem.activation))
        if head.dropout:
            builder.add(Layer(LayerKind.DROPOUT, rate=self.space.dropout_rate))
        builder.add(Layer(LayerKind.LINEAR, out_channels=self.space.classes))
        return builder.layers

    def _params(self, layers: list[Layer]) -> int:
        """Return about how many parameters layers have, without shapes."""
        flow = ChannelFlow(self.space.input_shape[0])
        total = 0
        for index, layer in enumerate(layers):
            if layer.kind in WEIGHTED:
                source = layer.inputs[0] if layer.inputs else index - 1
                total += layer_params(layer, (flow.into(source),))
            flow.append(layer)
        return total

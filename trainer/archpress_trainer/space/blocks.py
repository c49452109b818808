"""Layers of the blocks that the residual prior is made of, for widths that are yet to be scaled."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from archpress_trainer.space.layer import Layer
from archpress_trainer.space.vocab import ACTIVATIONS, LayerKind


class Family(StrEnum):
    """A kind of block; the names are those of the architectures that made it known."""

    PLAIN = "plain"
    BASIC = "basic"
    BOTTLENECK = "bottleneck"
    PRE_ACTIVATION = "pre-activation"
    INVERTED = "inverted"
    SEPARABLE = "separable"
    DENSE = "dense"


@dataclass(frozen=True)
class Block:
    """One block as it was drawn, but for its widths, which follow from `width` and a scale.

    `inner` is the ratio of its inner width to `width`: the expansion of an inverted block, the
    share of a bottleneck. A `projection` stands on the skip where shapes differ; without one the
    skip is left out there, as it is where `skip` is false.
    """

    family: Family
    width: float
    kernel: int
    stride: int
    activation: LayerKind
    inner: float = 1.0
    skip: bool = True
    projection: bool = True
    normalised: bool = True
    pool: Layer | None = None


@dataclass
class Builder:
    """Layers in the making, with the channels that flow out of the last one."""

    channels: int
    layers: list[Layer] = field(default_factory=list)

    @property
    def last(self) -> int:
        """Index of the last layer; -1, the network's input, before there is one."""
        return len(self.layers) - 1

    @property
    def _last_kind(self) -> LayerKind | None:
        return self.layers[-1].kind if self.layers else None

    def add(self, *layers: Layer) -> None:
        """Append layers that keep the channels."""
        self.layers += layers

    def convolution(
        self,
        width: int,
        kernel: int,
        *,
        stride: int = 1,
        depthwise: bool = False,
        source: int | None = None,
    ) -> None:
        """Append a convolution that keeps the size at stride 1."""
        self.channels = self.channels if depthwise else width
        self.layers.append(
            Layer(
                LayerKind.CONVOLUTION,
                kernel=kernel,
                out_channels=self.channels,
                stride=stride,
                padding=kernel // 2,
                groups=self.channels if depthwise else 1,
                inputs=() if source is None else (source,),
            )
        )

    def activated(self, block: Block) -> None:
        """Append the block's norm and activation."""
        self.normalised(block)
        if self._last_kind not in ACTIVATIONS:
            self.add(Layer(block.activation))

    def normalised(self, block: Block) -> None:
        """Append the block's norm, if it has one."""
        if block.normalised and self._last_kind is not LayerKind.BATCH_NORM:
            self.add(Layer(LayerKind.BATCH_NORM))


def append_block(builder: Builder, block: Block, width: int, inner: int) -> None:
    """Append a block of this width, and of this one inside, to the layers."""
    entry, entry_channels = builder.last, builder.channels
    if block.family is Family.DENSE:
        _dense(builder, block, width, inner)
    else:
        _BODIES[block.family](builder, block, width, inner)
        if block.family not in (Family.PLAIN, Family.SEPARABLE) and block.skip:
            _close_skip(builder, block, entry, entry_channels)
        if block.family in (Family.BASIC, Family.BOTTLENECK):
            builder.add(Layer(block.activation))
    if block.pool is not None:
        builder.add(block.pool)


def _plain(builder: Builder, block: Block, width: int, inner: int) -> None:
    builder.convolution(width, block.kernel, stride=block.stride)
    builder.activated(block)


def _separable(builder: Builder, block: Block, width: int, inner: int) -> None:
    builder.convolution(0, block.kernel, stride=block.stride, depthwise=True)
    builder.activated(block)
    builder.convolution(width, 1)
    builder.activated(block)


def _basic(builder: Builder, block: Block, width: int, inner: int) -> None:
    builder.convolution(inner, block.kernel, stride=block.stride)
    builder.activated(block)
    builder.convolution(width, block.kernel)
    builder.normalised(block)


def _bottleneck(builder: Builder, block: Block, width: int, inner: int) -> None:
    builder.convolution(inner, 1)
    builder.activated(block)
    builder.convolution(inner, block.kernel, stride=block.stride)
    builder.activated(block)
    builder.convolution(width, 1)
    builder.normalised(block)


def _pre_activation(builder: Builder, block: Block, width: int, inner: int) -> None:
    builder.activated(block)
    builder.convolution(inner, block.kernel, stride=block.stride)
    builder.activated(block)
    builder.convolution(width, block.kernel)


def _inverted(builder: Builder, block: Block, width: int, inner: int) -> None:
    if inner > builder.channels:
        builder.convolution(inner, 1)
        builder.activated(block)
    builder.convolution(0, block.kernel, stride=block.stride, depthwise=True)
    builder.activated(block)
    builder.convolution(width, 1)
    builder.normalised(block)


_BODIES = {
    Family.PLAIN: _plain,
    Family.SEPARABLE: _separable,
    Family.BASIC: _basic,
    Family.BOTTLENECK: _bottleneck,
    Family.PRE_ACTIVATION: _pre_activation,
    Family.INVERTED: _inverted,
}


def _close_skip(builder: Builder, block: Block, entry: int, entry_channels: int) -> None:
    body = builder.last
    if block.stride == 1 and entry_channels == builder.channels:
        builder.add(Layer(LayerKind.ADD, inputs=(entry, body)))
    elif block.projection and block.family is not Family.INVERTED:
        builder.convolution(builder.channels, 1, stride=block.stride, source=entry)
        builder.normalised(block)
        builder.add(Layer(LayerKind.ADD, inputs=(body, builder.last)))


def _dense(builder: Builder, block: Block, width: int, inner: int) -> None:
    """Append a layer that adds `width` channels to those before it, or narrows them if strided."""
    entry, entry_channels = builder.last, builder.channels
    builder.activated(block)
    if block.stride > 1 or block.pool is not None:
        builder.convolution(width, 1, stride=block.stride)
        return
    if block.inner > 1:
        builder.convolution(inner, 1)
        builder.activated(block)
    builder.convolution(width, block.kernel)
    builder.add(Layer(LayerKind.CONCAT, inputs=(entry, builder.last)))
    builder.channels += entry_channels

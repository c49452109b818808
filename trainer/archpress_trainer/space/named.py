"""Named networks: the paper's CONV-7 and CONV-10, VGG-16-BN and ResNet-20."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.layer import Layer
from archpress_trainer.space.layers import (
    add,
    batch_norm,
    conv,
    dropout,
    global_average_pool,
    linear,
    max_pool,
    relu,
)

Shape3 = tuple[int, int, int]


def _stack(widths: tuple[int | None, ...]) -> list[Layer]:
    """Return conv-bn-relu blocks of these widths; None is a 2x2 max pool."""
    layers: list[Layer] = []
    for width in widths:
        layers += [max_pool()] if width is None else [conv(width, 3), batch_norm(), relu()]
    return layers


def conv_7(input_shape: Shape3, classes: int) -> Architecture:
    """Return seven conv-bn-relu blocks and a linear layer (708K parameters on 1x28x28)."""
    blocks = _stack((40, 64, None, 64, 128, None, 128, 128, None, 240))
    layers = (*blocks, global_average_pool(), linear(classes))
    return Architecture(input_shape, classes, layers)


def conv_10(input_shape: Shape3, classes: int) -> Architecture:
    """Return ten conv-bn-relu blocks and a linear layer (24.4M parameters on 3x32x32)."""
    blocks = _stack(
        (64, 128, None, 256, 512, None, 512, 512, 512, None, 512, 1024, 944),
    )
    layers = (*blocks, global_average_pool(), linear(classes))
    return Architecture(input_shape, classes, layers)


def vgg_16_bn(input_shape: Shape3, classes: int) -> Architecture:
    """Return VGG-16 with batch normalisation and one linear layer, as used on CIFAR."""
    blocks = _stack(
        (64, 64, None, 128, 128, None, 256, 256, 256, None, 512, 512, 512, None, 512, 512, 512)
    )
    layers = (*blocks, global_average_pool(), dropout(0.5), linear(classes))
    return Architecture(input_shape, classes, layers)


def resnet_20(input_shape: Shape3, classes: int) -> Architecture:
    """Return the CIFAR ResNet-20, with projections (convolution and norm) where widths change."""
    layers: list[Layer] = [conv(16, 3), batch_norm(), relu()]
    width = 16
    plan = ((16, 1),) * 3 + ((32, 2), (32, 1), (32, 1), (64, 2), (64, 1), (64, 1))
    for out, stride in plan:
        start = len(layers) - 1
        layers += [conv(out, 3, stride=stride), batch_norm(), relu(), conv(out, 3), batch_norm()]
        body = len(layers) - 1
        shortcut = start
        if out != width:
            layers += [conv(out, 1, stride=stride, inputs=(start,)), batch_norm()]
            shortcut = len(layers) - 1
        layers += [add(body, shortcut), relu()]
        width = out
    layers += [global_average_pool(), linear(classes)]
    return Architecture(input_shape, classes, tuple(layers))


NAMED: Mapping[str, Callable[[Shape3, int], Architecture]] = {
    "conv-7": conv_7,
    "conv-10": conv_10,
    "vgg-16-bn": vgg_16_bn,
    "resnet-20": resnet_20,
}


def named(name: str, input_shape: Shape3, classes: int) -> Architecture:
    """Return a named network for an input shape and class count.

    Raises:
        KeyError: there is no network of that name.
        ArchitectureError: the input is too small for it.
    """
    return NAMED[name](input_shape, classes)

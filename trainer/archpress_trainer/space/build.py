"""Architecture -> `nn.Module`: the one place of `space` that imports torch."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.layer import INPUT, Layer
from archpress_trainer.space.shapes import Shape, elements
from archpress_trainer.space.vocab import LayerKind


class Network(nn.Module):
    """The trainable network of an architecture; `layers[i]` is the module of its layer `i`.

    Maps images `(batch, channels, height, width)` to logits `(batch, classes)`.
    """

    def __init__(self, architecture: Architecture) -> None:
        """Build every layer with torch's default initialisation."""
        super().__init__()
        self.architecture = architecture
        self.layers = nn.ModuleList(
            _module(layer, architecture.in_shape(index))
            for index, layer in enumerate(architecture.layers)
        )
        self._last_use = _last_uses(architecture)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits of a batch of images."""
        alive: dict[int, torch.Tensor] = {INPUT: images}
        for index, (layer, module) in enumerate(
            zip(self.architecture.layers, self.layers, strict=True)
        ):
            inputs = [alive[source] for source in layer.inputs]
            for source in layer.inputs:
                if self._last_use[source] == index:
                    alive.pop(source, None)
            alive[index] = module(*inputs)
        return alive[len(self.layers) - 1]


def build(architecture: Architecture, generator: torch.Generator | None = None) -> Network:
    """Return the network of an architecture, initialised from `generator` if one is given.

    Convolutions and linear layers draw from He's normal distribution (fan out and fan in), the
    last layer from a small one, so that training starts near uniform class probabilities.
    """
    network = Network(architecture)
    if generator is not None:
        _initialise(network, generator)
    return network


def count_params(module: nn.Module) -> int:
    """Return the number of trainable numbers in a module."""
    return sum(parameter.numel() for parameter in module.parameters())


class _Sum(nn.Module):
    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        total = inputs[0]
        for value in inputs[1:]:
            total = total + value
        return total


class _UncastConvolution(nn.Conv2d):
    """A convolution that stays in float32 under autocast, for strides larger than the image.

    There oneDNN's bfloat16 weight gradient reads memory that nobody wrote: now and then it is NaN.
    """

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        with torch.autocast(images.device.type, enabled=False):
            return super().forward(images.float())


class _SubsampledConvolution(nn.Conv2d):
    """A 1x1 convolution with a stride, as one without it over the pixels that it reads.

    On CPUs with AVX2, oneDNN's gradient of such a one with fewer than 8 input channels writes past
    its buffer and ends the process (https://github.com/uxlfoundation/oneDNN/issues/6035).
    """

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        down, right = self.stride
        pixels = images[:, :, ::down, ::right]
        return functional.conv2d(pixels, self.weight, self.bias, groups=self.groups)


class _Concat(nn.Module):
    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return torch.cat(inputs, dim=1)


class _GlobalAveragePool(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean(dim=(2, 3))


def _module(layer: Layer, in_shape: Shape) -> nn.Module:
    match layer.kind:
        case LayerKind.CONVOLUTION:
            return _convolution(layer, in_shape)(
                in_shape[0],
                layer.out_channels,
                layer.kernel,
                stride=layer.stride,
                padding=layer.padding,
                groups=layer.groups,
                bias=bool(layer.bias),
            )
        case LayerKind.LINEAR:
            dense = nn.Linear(elements(in_shape), layer.out_channels, bias=bool(layer.bias))
            return nn.Sequential(nn.Flatten(), dense) if len(in_shape) == 3 else dense
        case LayerKind.BATCH_NORM:
            norm = nn.BatchNorm2d if len(in_shape) == 3 else nn.BatchNorm1d
            return norm(in_shape[0])
        case LayerKind.MAX_POOL:
            return nn.MaxPool2d(layer.kernel, layer.stride, layer.padding)
        case LayerKind.AVERAGE_POOL:
            return nn.AvgPool2d(layer.kernel, layer.stride, layer.padding)
        case LayerKind.GLOBAL_AVERAGE_POOL:
            return _GlobalAveragePool()
        case LayerKind.ADD:
            return _Sum()
        case LayerKind.CONCAT:
            return _Concat()
        case LayerKind.DROPOUT:
            return nn.Dropout(layer.rate)
        case LayerKind.RELU:
            return nn.ReLU()
        case LayerKind.SIGMOID:
            return nn.Sigmoid()
        case LayerKind.LEAKY_RELU:
            return nn.LeakyReLU(0.01)
        case LayerKind.RELU6:
            return nn.ReLU6()
        case LayerKind.SILU:
            return nn.SiLU()
        case LayerKind.HARD_SWISH:
            return nn.Hardswish()
        case LayerKind.GELU:
            return nn.GELU()
        case LayerKind.TANH:
            return nn.Tanh()


def _convolution(layer: Layer, in_shape: Shape) -> type[nn.Conv2d]:
    if layer.kernel == 1 and layer.stride > 1 and layer.padding == 0:
        return _SubsampledConvolution
    return _UncastConvolution if layer.stride > min(in_shape[1:]) else nn.Conv2d


def _last_uses(architecture: Architecture) -> dict[int, int]:
    last: dict[int, int] = {}
    for index, layer in enumerate(architecture.layers):
        for source in layer.inputs:
            last[source] = index
    return last


def _initialise(network: Network, generator: torch.Generator) -> None:
    weighted = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    for module in weighted:
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(
                module.weight, mode="fan_out", nonlinearity="relu", generator=generator
            )
        else:
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    last = weighted[-1]
    if isinstance(last, nn.Linear):
        nn.init.normal_(last.weight, std=0.01, generator=generator)

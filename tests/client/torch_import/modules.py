"""Modules as people write them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

SHAPE = (3, 8, 8)
CLASSES = 4


class Spelled(nn.Module):
    """A small network whose middle is spelled by a function."""

    def __init__(self, middle: Callable[[torch.Tensor], torch.Tensor], features: int = 128) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.middle = middle
        self.linear = nn.Linear(features, CLASSES)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        maps = self.norm(self.convolution(images))
        found: torch.Tensor = self.linear(self.middle(functional.max_pool2d(maps, 2)))
        return found


class Block(nn.Module):
    """A residual block: basic, or with a bottleneck."""

    def __init__(self, channels: int, out: int, *, stride: int = 1, middle: int | None = None):
        super().__init__()
        inner = middle or out
        self.first = nn.Conv2d(channels, inner, 1 if middle else 3, padding=0 if middle else 1)
        self.norm = nn.BatchNorm2d(inner)
        self.second = nn.Conv2d(inner, inner, 3, stride=stride, padding=1, bias=False)
        self.last = nn.Conv2d(inner, out, 1, bias=False)
        self.last_norm = nn.BatchNorm2d(out)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = (
            nn.Identity()
            if (stride, channels) == (1, out)
            else nn.Sequential(
                nn.Conv2d(channels, out, 1, stride=stride, bias=False), nn.BatchNorm2d(out)
            )
        )

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Return maps."""
        kept = self.shortcut(maps)
        out = self.relu(self.norm(self.first(maps)))
        out = self.last_norm(self.last(self.second(out)))
        out += kept
        return functional.relu_(out)


class Dense(nn.Module):
    """A dense block: each layer reads all before it."""

    def __init__(self, channels: int, growth: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.BatchNorm2d(channels + i * growth),
                nn.ReLU(),
                nn.Conv2d(channels + i * growth, growth, 3, padding="same", bias=False),
            )
            for i in range(layers)
        )

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Return all maps."""
        seen = [maps]
        for layer in self.layers:
            seen.append(layer(torch.cat(seen, 1)))
        return torch.cat(seen, dim=1)


def inverted(channels: int, expansion: int) -> nn.Sequential:
    """Return the body of MobileNetV2's block, without its sum."""
    inner = channels * expansion
    return nn.Sequential(
        nn.Conv2d(channels, inner, 1, bias=False),
        nn.BatchNorm2d(inner),
        nn.ReLU6(inplace=True),
        nn.Conv2d(inner, inner, 3, padding=1, groups=inner, bias=False),
        nn.BatchNorm2d(inner),
        nn.Hardswish(),
        nn.Conv2d(inner, channels, 1, bias=False),
        nn.BatchNorm2d(channels),
    )


class Inverted(nn.Module):
    """MobileNetV2's block."""

    def __init__(self, channels: int, expansion: int) -> None:
        super().__init__()
        self.body = inverted(channels, expansion)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Return maps."""
        changed: torch.Tensor = self.body(maps)
        return maps + changed


def head(channels: int) -> list[nn.Module]:
    """Return an end with a pool over the whole image."""
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES)]


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "chain": lambda: nn.Sequential(
        nn.Conv2d(3, 8, 5, stride=2, padding=2),
        nn.LeakyReLU(),
        nn.AvgPool2d(2),
        nn.Dropout2d(0.25),
        nn.Flatten(),
        nn.Linear(32, 16),
        nn.BatchNorm1d(16),
        nn.GELU(),
        nn.Dropout(0.5),
        nn.Linear(16, CLASSES, bias=False),
    ),
    "residual": lambda: nn.Sequential(Block(3, 8), Block(8, 8), Block(8, 12, stride=2), *head(12)),
    "bottleneck": lambda: nn.Sequential(
        Block(3, 16, middle=4), Block(16, 16, middle=4), Block(16, 8, stride=2, middle=4), *head(8)
    ),
    "dense": lambda: nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), Dense(6, 4, 3), nn.AvgPool2d(2), Dense(18, 4, 2), *head(26)
    ),
    "mobile": lambda: nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.SiLU(),
        Inverted(8, 3),
        Inverted(8, 2),
        *head(8),
    ),
    "all convolutions": lambda: nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.Tanh(),
        nn.AdaptiveAvgPool2d(1),
        nn.Conv2d(8, CLASSES, 1),
        nn.Flatten(),
    ),
    "averages at the end": lambda: nn.Sequential(
        nn.Conv2d(3, CLASSES, 3), nn.Sigmoid(), nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten(1)
    ),
    "adaptive": lambda: nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.MaxPool2d(3, 2, padding=1, ceil_mode=False),
        nn.AdaptiveAvgPool2d(2),
        nn.AdaptiveAvgPool2d((2, 2)),
        nn.Flatten(),
        nn.Linear(16, CLASSES),
        nn.LogSoftmax(dim=1),
    ),
}
"""Networks that can be expressed."""

"""Batched augmentation on the device: images mirrored, shifted and masked without a loop."""

from __future__ import annotations

import torch
from torch.nn import functional


def mirrored(count: int, generator: torch.Generator) -> torch.Tensor:
    """Draw which of some images to mirror, each with probability one half, `(count,)` booleans."""
    return torch.rand(count, generator=generator, device=generator.device) < 0.5


def flip(images: torch.Tensor, which: torch.Tensor) -> torch.Tensor:
    """Mirror those of the images `(batch, channels, height, width)` that `which` names."""
    return torch.where(which.view(-1, 1, 1, 1), images.flip(-1), images)


def move(images: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """Move images down and to the right, and fill with zeros; negative numbers move them back."""
    height, width = images.shape[-2:]
    side = max(abs(rows), abs(columns))
    padded = functional.pad(images, (side,) * 4)
    top, left = side - rows, side - columns
    return padded[..., top : top + height, left : left + width]


def random_crop(images: torch.Tensor, padding: int, generator: torch.Generator) -> torch.Tensor:
    """Pad each image by `padding` zeros and crop it back at a random place."""
    count, _, height, width = images.shape
    padded = functional.pad(images, (padding,) * 4)
    shifts = torch.randint(
        0, 2 * padding + 1, (2, count), generator=generator, device=images.device
    )
    rows = shifts[0, :, None] + torch.arange(height, device=images.device)
    columns = shifts[1, :, None] + torch.arange(width, device=images.device)
    batch = torch.arange(count, device=images.device)[:, None, None]
    # Advanced indices in front of and behind the channel slice put the channels last.
    return padded[batch, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def erase(images: torch.Tensor, side: int, generator: torch.Generator) -> torch.Tensor:
    """Blacken a square of each image around a random pixel (DeVries and Taylor 2017).

    The square has sides of `side` pixels and is cut off at the border.
    """
    count, _, height, width = images.shape
    centres = [
        torch.randint(size, (count, 1), generator=generator, device=images.device)
        for size in (height, width)
    ]
    inside = [
        (torch.arange(size, device=images.device) - centre + side // 2).div(side).floor() == 0
        for size, centre in zip((height, width), centres, strict=True)
    ]
    return images * ~(inside[0][:, None, :, None] & inside[1][:, None, None, :])

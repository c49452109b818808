"""Widths and sides that flow through layers of which only probabilities are known."""

from __future__ import annotations

from dataclasses import dataclass

import torch

_Column = tuple[torch.Tensor, ...]


@dataclass(frozen=True)
class Windows:
    """Expected windows, and the chances of having one and of ending the map: `(batch, length)`."""

    kernel: torch.Tensor
    stride: torch.Tensor
    padding: torch.Tensor
    is_windowed: torch.Tensor
    to_one: torch.Tensor

    def columns(self) -> list[_Column]:
        """Return scale, shift, window, kept and one at each place, each `(batch, 1)`."""
        inverse = 1 / self.stride.clamp_min(1.0)
        shift = (2 * self.padding - self.kernel) * inverse + 1
        keeps = 1 - self.is_windowed - self.to_one
        stacked = torch.stack([inverse, shift, self.is_windowed, keeps, self.to_one], dim=2)
        return [column.unbind(2) for column in stacked[:, None].unbind(2)]


@dataclass(frozen=True)
class Flow:
    """What flows into each layer from the one before it, and what it reads.

    `before` and `read` are widths `(batch, length)`, the same in a chain; `sides` are height and
    width before each layer and `windowed` behind it if it is windowed: `(batch, 2, length)`.
    """

    before: torch.Tensor
    read: torch.Tensor
    sides: torch.Tensor
    windowed: torch.Tensor


def chain_flow(
    own: torch.Tensor,
    keeps: torch.Tensor,
    windows: Windows,
    first_width: int,
    first_sides: torch.Tensor,
) -> Flow:
    """Return what flows through a chain.

    Args:
        own: expected width that each layer sets, `(batch, length)`.
        keeps: chance that it keeps the one before, `(batch, length)`.
        windows: of the layers.
        first_width: channels of the network's input.
        first_sides: height and width of the network's input, `(2,)`.
    """
    current = torch.full_like(own[:, 0], first_width)
    side = first_sides.expand(len(own), 2)
    before, sides, windowed = [], [], []
    for chosen, kept in zip(own.unbind(1), keeps.unbind(1), strict=True):
        before.append(current)
        current = torch.addcmul(chosen, kept, current)
    for column in windows.columns():
        sides.append(side)
        windowed.append(_through_window(column, side))
        side = _behind(column, side, windowed[-1])
    widths = torch.stack(before, dim=1)
    return Flow(widths, widths, torch.stack(sides, dim=2), torch.stack(windowed, dim=2))


def graph_flow(
    own: torch.Tensor,
    keeps: torch.Tensor,
    keeps_read: torch.Tensor,
    adds_read: torch.Tensor,
    windows: Windows,
    source: torch.Tensor,
    first_width: int,
    first_sides: torch.Tensor,
) -> Flow:
    """Return what flows through layers that may read earlier ones.

    Args:
        own: expected width that each layer sets, `(batch, length)`.
        keeps: chance that it keeps the one before, `(batch, length)`.
        keeps_read: chance that it keeps the one that it reads, `(batch, length)`.
        adds_read: chance that it adds the one that it reads, `(batch, length)`.
        windows: of the layers.
        source: chances of how far back a layer reads, `(batch, reach, length)`.
        first_width: channels of the network's input.
        first_sides: height and width of the network's input, `(2,)`.
    """
    batch, reach, length = source.shape
    start = torch.cat([torch.full_like(first_sides[:1], first_width), first_sides])
    history = start.expand(batch, reach, 3)
    columns = windows.columns()
    before, read, windowed = [], [], []
    for t in range(length):
        last = history[:, 0]
        seen = (source[:, :, t, None] * history).sum(dim=1)
        width = (
            own[:, t] + keeps[:, t] * last[:, 0] + (keeps_read[:, t] + adds_read[:, t]) * seen[:, 0]
        )
        through = _through_window(columns[t], seen[:, 1:])
        side = _behind(columns[t], last[:, 1:], through)
        before.append(last)
        read.append(seen[:, 0])
        windowed.append(through)
        now = torch.cat([width[:, None], side], dim=1)
        history = torch.cat([now[:, None], history[:, :-1]], dim=1)
    lasts = torch.stack(before, dim=2)
    return Flow(lasts[:, 0], torch.stack(read, dim=1), lasts[:, 1:], torch.stack(windowed, dim=2))


def read_later(source: torch.Tensor) -> torch.Tensor:
    """Return the chance that a layer behind the next one reads each layer, `(batch, length)`.

    Args:
        source: chances of how far back a layer reads, `(batch, reach, length)`.
    """
    _, reach, length = source.shape
    unread = torch.ones_like(source[:, 0])
    for back in range(2, min(reach, length - 1) + 1):
        reading = source[:, back - 1, back:]
        unread = unread * (1 - torch.nn.functional.pad(reading, (0, back)))
    return 1 - unread


def _through_window(column: _Column, side: torch.Tensor) -> torch.Tensor:
    scale, offset = column[:2]
    return _floored(torch.addcmul(offset, scale, side)).clamp_min(1.0)


def _behind(column: _Column, side: torch.Tensor, windowed: torch.Tensor) -> torch.Tensor:
    _, _, window, kept, one = column
    return torch.addcmul(torch.addcmul(one, kept, side), window, windowed)


class _Floor(torch.autograd.Function):
    """Rounds down; sides are whole numbers, and the gradient passes through."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, exact: torch.Tensor) -> torch.Tensor:
        return (exact + 1e-3).floor()

    @staticmethod
    def backward(
        ctx: torch.autograd.function.FunctionCtx, *gradients: torch.Tensor
    ) -> torch.Tensor:
        return gradients[0]


def _floored(exact: torch.Tensor) -> torch.Tensor:
    result: torch.Tensor = _Floor.apply(exact)
    return result

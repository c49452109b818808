"""`Warp`: the monotone way from normal scores to logits of accuracy."""

from __future__ import annotations

import torch
from torch import nn

_REACH = 2.2
"""Outermost knots, in standard deviations; a population of 100 has about one net beyond each."""
_LEAST_SLOPE = 0.02


def normal_scores(values: torch.Tensor) -> torch.Tensor:
    """Return each value's rank as a standard normal number (van der Waerden), shape kept."""
    _, place, count = values.unique(return_inverse=True, return_counts=True)
    # Equal values share the mean of their ranks.
    ranks = (count.cumsum(0) - (count - 1) / 2).double()[place]
    scores: torch.Tensor = torch.special.ndtri((ranks - 0.5) / values.numel())
    return scores.float()


class Warp(nn.Module):
    """A piecewise linear, strictly rising function; straight on beyond its outermost knots."""

    knots: torch.Tensor
    logits: torch.Tensor

    def __init__(self, knots: int) -> None:
        """Place the knots evenly; `fit` gives them their heights."""
        super().__init__()
        self.register_buffer("knots", torch.linspace(-_REACH, _REACH, knots))
        self.register_buffer("logits", torch.linspace(-_REACH, _REACH, knots))

    @torch.no_grad()
    def fit(self, logits: torch.Tensor) -> None:
        """Lead the normal scores of a population's ranks to its logits, `(nets,)`."""
        shares = torch.special.ndtr(self.knots.double())
        heights = torch.quantile(logits.double(), shares)
        rises = heights.diff().clamp_min(_LEAST_SLOPE * float(self.knots[1] - self.knots[0]))
        # Lifted so that the median stays where it is, whatever the least slope added below it.
        lifted = torch.cat([heights[:1], heights[0] + rises.cumsum(0)])
        middle = len(heights) // 2
        self.logits.copy_(lifted - lifted[middle] + heights[middle])

    def forward(self, scores: torch.Tensor) -> torch.Tensor:
        """Return the logits of normal scores, shape kept."""
        place = torch.searchsorted(self.knots, scores.detach().contiguous())
        right = place.clamp(1, len(self.knots) - 1)
        left = right - 1
        slope = (self.logits[right] - self.logits[left]) / (self.knots[right] - self.knots[left])
        risen = self.logits[left] + slope * (scores - self.knots[left])
        # Rounded, a segment may end above where the next one starts; the last one has no end.
        end = torch.where(right < len(self.knots) - 1, self.logits[right], torch.inf)
        return risen.clamp(max=end)

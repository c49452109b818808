"""Which networks to train together: those of which the best is expected to be best.

Each alone may be predicted a little worse than the top; but networks that are alike are right or
wrong together, and trainings tell little about which of them to take.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from archpress_server.compress.decode import Scored
from archpress_trainer.embedding.interface import Draws
from archpress_trainer.space.graph import Architecture

Draw = Callable[[Sequence[Architecture], int, torch.Generator], Draws]
"""Draws accuracies of architectures together, as `Embedding.draw` does."""

_SHORTLIST = 300
_DRAWS = 1024


def best_together(ranked: Sequence[Scored], number: int, draw: Draw, seed: int) -> list[Scored]:
    """Return `number` of the ranked networks, in that order, chosen for the best of them.

    The first is the top; each that follows adds most to the expected accuracy of the one that short
    trainings will say is best (greedy batch expected improvement, Ginsbourger et al. 2010, section
    4, by draws from the predictor).
    """
    shortlist = list(ranked[:_SHORTLIST])
    if number >= len(shortlist):
        return list(ranked[:number])
    draws = draw(
        [scored.architecture for scored in shortlist],
        _DRAWS,
        torch.Generator().manual_seed(seed % 2**63),
    )
    chosen = [0]
    measured, reached = draws.label[:, 0], draws.accuracy[:, 0]
    for _ in range(number - 1):
        expected = torch.where(
            draws.label > measured[:, None], draws.accuracy, reached[:, None]
        ).mean(dim=0)
        expected[chosen] = -1.0
        following = int(expected.argmax())
        chosen.append(following)
        better = draws.label[:, following] > measured
        reached = torch.where(better, draws.accuracy[:, following], reached)
        measured = torch.where(better, draws.label[:, following], measured)
    return [shortlist[index] for index in sorted(chosen)]

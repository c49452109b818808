"""Axes for accuracies and for parameter counts, which every figure draws the same way."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.axis import Axis
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_CLIP = 1e-3
_MOST_TICKS = 7
_ENOUGH_TICKS = 3
_WIDEST_GAP = 2.0


def logit(accuracy: Floats) -> Floats:
    """Return the logits of accuracies, kept finite."""
    inside = np.clip(accuracy, _CLIP, 1 - _CLIP)
    return np.asarray(np.log(inside / (1 - inside)), dtype=np.float64)


def sigmoid(values: Floats) -> Floats:
    """Inverse of `logit`."""
    return np.asarray(1 / (1 + np.exp(-values)), dtype=np.float64)


@dataclass(frozen=True)
class AccuracyScale:
    """A scale in logits, where 98% to 99% is as far as 50% to 67%; labelled in percent.

    A few nets that learned nothing would press all others together: what lies below `low` is
    placed at the edge.
    """

    low: float
    high: float

    @classmethod
    def around(cls, *accuracies: Floats, tail: float = 0.02, room: float = 0.4) -> AccuracyScale:
        """Return the scale for some accuracies in [0, 1].

        Args:
            accuracies: arrays of any length.
            tail: share of them that may stand at the lower edge.
            room: how far below the others' range the edge may be, as a share of that range.
        """
        values = logit(np.concatenate(accuracies))
        bottom, top = float(values.min()), float(values.max())
        usual = float(np.quantile(values, tail))
        low = max(bottom, usual - room * (top - usual))
        margin = 0.05 * max(top - low, 0.1)
        return cls(low - margin, top + margin)

    @property
    def limits(self) -> tuple[float, float]:
        """Ends of the axis; a mark at the lower edge is not cut in half."""
        return self.low - 0.02 * (self.high - self.low), self.high

    def place(self, accuracy: Floats) -> Floats:
        """Return positions on the axis."""
        return np.clip(logit(accuracy), self.low, self.high)

    def below(self, accuracy: Floats) -> int:
        """Return how many accuracies are placed at the lower edge."""
        return int((logit(accuracy) < self.low).sum())

    def at_edge(self, accuracy: Floats) -> str:
        """Return a sentence on those that are placed at the edge, to add to others, or nothing."""
        count = self.below(accuracy)
        if not count:
            return ""
        return f" {plural(count, 'net')} below {percent(_one(self.low), 0)} stand at the edge."

    def ticks(self) -> list[float]:
        """Return accuracies to label, from low to high."""
        kept: list[float] = []
        gap = (self.high - self.low) / _MOST_TICKS
        # Round ones first, finer ones between them where there is room.
        for step in (0.1, 0.05, 0.02, 0.01, 0.005, 0.002):
            for value in np.arange(step, 1 - step / 2, step).tolist():
                place = _one_logit(value)
                inside = self.low < place < self.high
                if inside and all(abs(place - _one_logit(other)) >= gap for other in kept):
                    kept.append(value)
            places = [self.low, *(_one_logit(value) for value in sorted(kept)), self.high]
            if len(kept) > _ENOUGH_TICKS and np.diff(places).max() < _WIDEST_GAP * gap:
                break
        return sorted(kept)

    def label(self, axis: Axis) -> None:
        """Put ticks in percent on an axis, and its limits."""
        ticks = self.ticks()
        axis.set_major_locator(FixedLocator(logit(np.array(ticks)).tolist()))
        axis.set_major_formatter(FuncFormatter(lambda value, _: percent(_one(value))))
        axis.set_minor_locator(NullLocator())


def label_counts(axis: Axis) -> None:
    """Put ticks such as 10k and 1M on a logarithmic axis of parameter counts."""
    axis.set_major_locator(LogLocator(10, subs=(1.0,), numticks=12))
    axis.set_major_formatter(FuncFormatter(lambda value, _: short_count(value)))
    axis.set_minor_locator(NullLocator())


def short_count(value: float, digits: int = 3) -> str:
    """Return a count in a few letters: 950, 12k, 1.5M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size * 0.9995:
            return f"{_significant(value / size, digits)}{letter}"
    return _significant(value, digits)


def percent(share: float, digits: int = 1) -> str:
    """Return a share as a percentage without needless zeros."""
    text = f"{100 * share:.{digits}f}"
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text}%"


def plural(count: int, word: str) -> str:
    """Return a count with its noun: 1 net, 2 nets."""
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"


def _significant(value: float, digits: int) -> str:
    return f"{float(f'{value:.{digits}g}'):g}"


def _one(value: float) -> float:
    return float(sigmoid(np.array([value]))[0])


def _one_logit(accuracy: float) -> float:
    return float(logit(np.array([accuracy]))[0])

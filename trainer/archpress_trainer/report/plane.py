"""The plane of a population: its two principal axes, in which the latent space is drawn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from archpress_trainer.report.scales import Floats


@dataclass(frozen=True)
class Plane:
    """The two principal axes of a population of points.

    `middle` `(dimensions,)`, `axes` `(2, dimensions)`, `shares` of the variance `(2,)`, `spread`
    the root mean squared distance of a point from the middle.
    """

    middle: Floats
    axes: Floats
    shares: Floats
    spread: float

    @classmethod
    def of(cls, points: Floats) -> Plane:
        """Return the plane of points `(nets, dimensions)`."""
        middle = points.mean(axis=0)
        _, sizes, directions = np.linalg.svd(points - middle, full_matrices=False)
        variance = np.square(sizes)
        total = max(float(variance.sum()), 1e-12)
        axes = directions[:2]
        # A direction and its opposite are as good; one sign, so that the picture stays the same.
        largest = np.abs(axes).argmax(axis=1)
        axes = axes * np.sign(axes[[0, 1], largest])[:, None]
        return cls(middle, axes, variance[:2] / total, (total / len(points)) ** 0.5)

    def project(self, points: Floats) -> Floats:
        """Return places in the plane, `(points, 2)`."""
        return np.asarray((points - self.middle) @ self.axes.T, dtype=np.float64)

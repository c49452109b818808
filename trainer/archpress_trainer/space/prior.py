"""The prior over useful nets of a space: what its embedding is fitted on."""

from __future__ import annotations

from archpress_trainer.space.architecture_space import ArchitectureSpace
from archpress_trainer.space.practical_sampler import PracticalSampler, Window
from archpress_trainer.space.residual_sampler import ResidualSampler
from archpress_trainer.space.sampling import Sampler


def prior(space: ArchitectureSpace, window: Window | None = None) -> Sampler:
    """Return the sampler of useful nets of a space, with sizes log-uniform in `window`."""
    return (ResidualSampler if space.has_joins else PracticalSampler)(space, window)

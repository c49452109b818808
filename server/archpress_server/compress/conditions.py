"""`Conditions`: what all trainings of one compression have in common."""

from __future__ import annotations

from dataclasses import dataclass

from archpress_server.compress.checkpoints import NO_CHECKPOINTS, CheckpointStore
from archpress_server.compress.effort import EffortPlan
from archpress_server.compress.types import Observer
from archpress_trainer.data.dataset import TrainingData
from archpress_trainer.training.device import Compute


@dataclass(frozen=True)
class Conditions:
    """On what, how long and where networks are trained, and who hears of it.

    `data` may be anywhere; a training takes it to the device of `compute`. The `seed` is the
    request's. What `checkpoints` has of an earlier attempt is not trained again.
    """

    data: TrainingData
    effort: EffortPlan
    seed: int
    compute: Compute
    observer: Observer
    checkpoints: CheckpointStore = NO_CHECKPOINTS

"""Recipes: everything that decides how a network is trained, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Optimizer(StrEnum):
    """Which optimizer: SGD with Nesterov momentum, or Adam."""

    SGD = "sgd"
    ADAM = "adam"


class Schedule(StrEnum):
    """How the learning rate moves: one rise and fall, or divided by ten at milestones."""

    ONE_CYCLE = "one_cycle"
    STEPS = "steps"


@dataclass(frozen=True)
class Recipe:
    """How to train one network.

    `learning_rate` is the peak. `milestones` are epochs, for `Schedule.STEPS`. `flip` mirrors half
    of the images, `crop_padding` pads by so many pixels and crops back at random, `erase` above 0
    blackens a square of such sides. `average_decay` above 0 evaluates an exponential moving average
    of the weights (a faster one where there are few steps), `clip_norm` above 0 bounds the norm of
    each step's gradient. Where there is a teacher, `distil_weight` of the loss is the divergence
    from it at `distil_temperature`; it says of an image what it says on average of its views: as it
    is, moved by `distil_shift` pixels up, down, left and right, and these mirrored if `flip`.
    """

    name: str
    epochs: int
    batch_size: int = 128
    optimizer: Optimizer = Optimizer.SGD
    learning_rate: float = 0.2
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: Schedule = Schedule.ONE_CYCLE
    warmup_fraction: float = 0.2
    milestones: tuple[int, ...] = ()
    label_smoothing: float = 0.0
    flip: bool = True
    crop_padding: int = 0
    erase: int = 0
    average_decay: float = 0.0
    clip_norm: float = 0.0
    distil_weight: float = 0.0
    distil_temperature: float = 1.0
    distil_shift: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return {**asdict(self), "milestones": list(self.milestones)}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Recipe:
        """Inverse of `to_json`."""
        values = dict(record)
        values["milestones"] = tuple(values["milestones"])
        values["optimizer"] = Optimizer(values["optimizer"])
        values["schedule"] = Schedule(values["schedule"])
        return cls(**values)


def suits_mirroring(dataset: str) -> bool:
    """Return whether mirrored images of a data set are of their class still: not so of digits."""
    return dataset != "svhn"


def population_recipe(epochs: int, *, crop_padding: int = 0, flip: bool = True) -> Recipe:
    """Return the annealed short recipe that labels of a population are measured with."""
    return Recipe(
        "population",
        epochs,
        batch_size=64,
        learning_rate=0.1,
        flip=flip,
        crop_padding=crop_padding,
        clip_norm=1.0,
    )


def paper_recipe(dataset: str) -> Recipe:
    """Return the paper's recipe for a data set (section 10.1): Adam with a stepped rate."""
    if dataset == "fashion-mnist":
        return Recipe(
            "paper-fashion-mnist",
            50,
            batch_size=64,
            optimizer=Optimizer.ADAM,
            learning_rate=0.01,
            weight_decay=0.0,
            schedule=Schedule.STEPS,
            milestones=(30,),
            flip=False,
        )
    augmented = dataset.startswith("cifar")
    return Recipe(
        "paper-cifar" if augmented else "paper-svhn",
        150,
        batch_size=128,
        optimizer=Optimizer.ADAM,
        learning_rate=0.001,
        weight_decay=0.0,
        schedule=Schedule.STEPS,
        milestones=(80, 120),
        flip=augmented,
        crop_padding=4 if augmented else 0,
    )

"""`PopulationSpec`: all that decides which nets a population holds and how they are labelled."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from random import Random
from typing import Any

from archpress_trainer.space.architecture_space import (
    ArchitectureSpace,
    paper_space,
    residual_space,
)
from archpress_trainer.space.paper_sampler import PaperSampler
from archpress_trainer.space.practical_sampler import Window
from archpress_trainer.space.prior import prior
from archpress_trainer.space.sampling import Rejections, Sample, Sampler, draw
from archpress_trainer.space.wellformed import header_violations
from archpress_trainer.training.fidelity import Fidelity
from archpress_trainer.training.recipe import Recipe, paper_recipe, population_recipe

MAX_SEED = 2**32 - 1
"""Largest seed that every library takes."""

MIN_IMAGE_SIDE = 8
"""Smallest image that nets are sampled for: they halve it up to four times."""

MIN_PARAMS = 2_000
MAX_MACS = 12_000_000
MAX_ACTIVATION_BYTES = 500_000

_PATIENCE = 5_000
"""Nets in a row that may be over the bounds before the sampler gives up."""

_FLOAT_BYTES = 4


class PopulationError(ValueError):
    """A population that cannot be built, read or continued; the message says what to do."""


class SamplerName(StrEnum):
    """Where nets come from: a prior over useful chains or nets with skips, or the paper's."""

    PRACTICAL = "practical"
    RESIDUAL = "residual"
    PAPER = "paper"


_SPACES: Mapping[SamplerName, Callable[[tuple[int, int, int], int], ArchitectureSpace]] = {
    SamplerName.PRACTICAL: ArchitectureSpace,
    SamplerName.RESIDUAL: residual_space,
    SamplerName.PAPER: paper_space,
}


class RecipeName(StrEnum):
    """How nets are trained: annealed to zero in the given epochs, or the paper's section 10.1."""

    POPULATION = "population"
    PAPER = "paper"


@dataclass(frozen=True)
class PopulationSpec:
    """The nets (space, sampler, cost window, seed) and their labels (data, fidelity, recipe).

    `max_activation_bytes` bounds the peak: wide layers on the full image cost more time than their
    MACs tell, and nobody would keep them.
    """

    dataset: str
    dataset_fingerprint: str
    space: ArchitectureSpace
    fidelity: Fidelity
    recipe: Recipe
    sampler: str = "practical"
    min_params: int = MIN_PARAMS
    max_params: int = 1_000_000
    max_macs: int = MAX_MACS
    max_activation_bytes: int = MAX_ACTIVATION_BYTES
    seed: int = 0

    def make_sampler(self) -> Sampler:
        """Return the sampler that the spec names."""
        if self.sampler in (SamplerName.PRACTICAL, SamplerName.RESIDUAL):
            return prior(self.space, Window(self.min_params, self.max_params))
        if self.sampler == SamplerName.PAPER:
            return PaperSampler(self.space)
        known = ", ".join(SamplerName)
        raise PopulationError(f"unknown sampler {self.sampler!r}; known are {known}")

    def samples(self, count: int, rejections: Rejections | None = None) -> Iterator[Sample]:
        """Yield the population's first `count` nets; always the same ones in the same order.

        Raises:
            PopulationError: hardly any net keeps to the bounds.
        """
        drawn = draw(self.make_sampler(), Random(self.seed), rejections=rejections)
        found = refused = 0
        while found < count:
            sample = next(drawn)
            if self._affordable(sample):
                found, refused = found + 1, 0
                yield sample
                continue
            refused += 1
            if rejections is not None:
                rejections.reasons["over the population's bounds"] += 1
            if refused == _PATIENCE:
                raise PopulationError(
                    f"none of {refused:,} sampled nets keeps to {self.max_macs:,} "
                    f"multiply-accumulates and {self.max_activation_bytes:,} bytes of activations: "
                    "raise max_macs and max_activation_bytes, or use smaller images"
                )

    def _affordable(self, sample: Sample) -> bool:
        costs = sample.costs
        return (
            costs.macs <= self.max_macs and costs.peak_activation_bytes <= self.max_activation_bytes
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return {
            "dataset": self.dataset,
            "dataset_fingerprint": self.dataset_fingerprint,
            "space": self.space.to_json(),
            "space_digest": self.space.digest,
            "fidelity": {
                "train_images": self.fidelity.train_images,
                "epochs": self.fidelity.epochs,
                "seeds": self.fidelity.seeds,
            },
            "recipe": self.recipe.to_json(),
            "sampler": self.sampler,
            "min_params": self.min_params,
            "max_params": self.max_params,
            "max_macs": self.max_macs,
            "max_activation_bytes": self.max_activation_bytes,
            "seed": self.seed,
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> PopulationSpec:
        """Inverse of `to_json`."""
        values = dict(record)
        values.pop("space_digest", None)
        values["space"] = ArchitectureSpace.from_json(values["space"])
        values["fidelity"] = Fidelity(**values["fidelity"])
        values["recipe"] = Recipe.from_json(values["recipe"])
        return cls(**values)


def default_spec(
    dataset: str,
    fingerprint: str,
    input_shape: tuple[int, int, int],
    classes: int,
    fidelity: Fidelity,
    *,
    sampler: SamplerName = SamplerName.PRACTICAL,
    recipe: RecipeName = RecipeName.POPULATION,
    flip: bool = True,
    min_params: int = MIN_PARAMS,
    max_macs: int = MAX_MACS,
    max_activation_bytes: int = MAX_ACTIVATION_BYTES,
    seed: int = 0,
) -> PopulationSpec:
    """Return the population of a data set at a fidelity.

    The paper bounds the cost of its nets without a number (section 9), so all samplers keep to
    `max_macs` and `max_activation_bytes`. Fewer epochs than the paper's recipe has are the start
    of its schedule, as in section 5. Its recipe also says whether images are mirrored; elsewhere
    that is `flip`.

    Raises:
        PopulationError: the images or classes are none that nets can be sampled for.
    """
    _check_data(input_shape, classes, max_activation_bytes)
    crop = 4 if input_shape[1] >= 32 else 0
    return PopulationSpec(
        dataset=dataset,
        dataset_fingerprint=fingerprint,
        space=_SPACES[sampler](input_shape, classes),
        fidelity=fidelity,
        recipe=(
            replace(paper_recipe(dataset), epochs=fidelity.epochs)
            if recipe is RecipeName.PAPER
            else population_recipe(fidelity.epochs, crop_padding=crop, flip=flip)
        ),
        sampler=sampler.value,
        min_params=min_params,
        max_macs=max_macs,
        max_activation_bytes=max_activation_bytes,
        seed=seed,
    )


def _check_data(input_shape: tuple[int, int, int], classes: int, max_activation_bytes: int) -> None:
    channels, height, width = input_shape
    size = f"images of {channels}x{height}x{width} (channels, height, width)"
    faults = header_violations(input_shape, classes, layers=1)
    if faults:
        raise PopulationError(f"the data set's {faults[0].field} {faults[0].reason}")
    if min(height, width) < MIN_IMAGE_SIDE:
        raise PopulationError(
            f"{size} are too small to sample nets for: each side must be at least "
            f"{MIN_IMAGE_SIDE}; scale the images up"
        )
    needed = channels * height * width * _FLOAT_BYTES
    if needed > max_activation_bytes:
        raise PopulationError(
            f"{size} take {needed:,} bytes as floats, a net's activations may take "
            f"{max_activation_bytes:,}: scale the images down (--image-size for a folder of "
            "images) or raise --max-activation-bytes"
        )

"""`PopulationSpec`: all that decides which nets a population holds and how they are labelled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from random import Random
from typing import Any

from archpress_trainer.space.chain import ChainSpace
from archpress_trainer.space.paper_sampler import PaperSampler
from archpress_trainer.space.practical_sampler import PracticalSampler, Window
from archpress_trainer.space.sampling import Rejections, Sample, Sampler, draw
from archpress_trainer.training.fidelity import Fidelity
from archpress_trainer.training.recipe import Recipe, population_recipe


class PopulationError(ValueError):
    """A population that cannot be built, read or continued; the message says what to do."""


@dataclass(frozen=True)
class PopulationSpec:
    """The nets (space, sampler, cost window, seed) and their labels (data, fidelity, recipe).

    `max_activation_bytes` bounds the peak: wide layers on the full image cost more time than their
    MACs tell, and nobody would keep them.
    """

    dataset: str
    dataset_fingerprint: str
    space: ChainSpace
    fidelity: Fidelity
    recipe: Recipe
    sampler: str = "practical"
    min_params: int = 2_000
    max_params: int = 1_000_000
    max_macs: int = 12_000_000
    max_activation_bytes: int = 500_000
    seed: int = 0

    def make_sampler(self) -> Sampler:
        """Return the sampler that the spec names."""
        if self.sampler == "practical":
            return PracticalSampler(self.space, Window(self.min_params, self.max_params))
        if self.sampler == "paper":
            return PaperSampler(self.space)
        raise PopulationError(f"unknown sampler {self.sampler!r}; known are practical, paper")

    def samples(self, count: int, rejections: Rejections | None = None) -> Iterator[Sample]:
        """Yield the population's first `count` nets; always the same ones in the same order."""
        drawn = draw(self.make_sampler(), Random(self.seed), rejections=rejections)
        return islice((sample for sample in drawn if self._affordable(sample)), count)

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
        values["space"] = ChainSpace.from_json(values["space"])
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
    seed: int = 0,
) -> PopulationSpec:
    """Return the practical population of a data set at a fidelity."""
    crop = 4 if input_shape[1] >= 32 else 0
    return PopulationSpec(
        dataset=dataset,
        dataset_fingerprint=fingerprint,
        space=ChainSpace(input_shape, classes),
        fidelity=fidelity,
        recipe=population_recipe(fidelity.epochs, crop_padding=crop),
        seed=seed,
    )

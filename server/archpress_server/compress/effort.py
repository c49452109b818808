"""What each effort spends: how wide the search is and how long the training."""

from __future__ import annotations

from dataclasses import dataclass, replace

from archpress_server.compress.types import Budget, Effort, Method
from archpress_trainer.embedding.manifest import Manifest
from archpress_trainer.training.recipe import (
    Recipe,
    paper_recipe,
    population_recipe,
    suits_mirroring,
)
from archpress_trainer.training.teaching import comes_back, views

_SHORT_EDGE = 32
_DRAFT_WORK_MACS = 9e12
_FEWEST_EPOCHS = 6
_MOST_TEACHING = 2
_PASSES_OF_A_STEP = 3
"""Forward passes that cost as much as a step of a training: one there, two back."""


@dataclass(frozen=True)
class EffortPlan:
    """How many candidates are trained, on how much, and with which recipe the winner.

    `final_work_macs` bounds the winner's training to so many multiply-accumulates of forward
    passes by fewer epochs, of which six are left at the least; None is no bound.
    `input_epochs` are those of the input network's training where they are not the winner's.
    Each round trains the remaining candidates by `round_recipe` on `round_images` images, twice as
    long as the round before, and keeps the better half (successive halving). With `teaches` the
    input network is trained by the same recipe first, where its weights are not given, and teaches
    the winner. The winner is trained from `training_seeds` seeds, and the best on validation images
    is kept.
    """

    trained_candidates: int
    round_recipe: Recipe
    round_images: int | None
    final_recipe: Recipe
    final_work_macs: float | None = None
    teaches: bool = False
    training_seeds: int = 1
    input_epochs: int | None = None

    def recipe_for(self, macs: int, images: int) -> Recipe:
        """Return the final recipe for a network of these MACs on so many training images."""
        return self._affordable(self.final_recipe, macs, images)

    def input_recipe_for(self, macs: int, images: int) -> Recipe:
        """Return the recipe of the input network, which has no teacher."""
        recipe = self.final_recipe
        alone = replace(recipe, epochs=self.input_epochs or recipe.epochs)
        return self._affordable(alone, macs, images)

    def affordable_macs(self, images: int) -> int | None:
        """Return the MACs up to which a network gets all epochs of the final recipe.

        None is without a bound.
        """
        if self.final_work_macs is None:
            return None
        return int(self.final_work_macs / (images * self.final_recipe.epochs))

    def full_work(self, macs: int, images: int, teacher_macs: int = 0) -> float:
        """Return the work of one full training of a network of these MACs, in the bound's measure.

        A teacher whose answers are remembered is left out, since all trainings share them.
        """
        if comes_back(self.final_recipe):
            teacher_macs = 0
        passes = images * self.recipe_for(macs, images).epochs
        return passes * (macs + teacher_macs / _PASSES_OF_A_STEP)

    def affords_teacher(self, macs: int, images: int) -> bool:
        """Return whether asking a teacher of these MACs takes at most twice what bounds a training.

        Without a bound it is affordable.
        """
        recipe = self.final_recipe
        times = views(recipe) if comes_back(recipe) else recipe.epochs
        work = macs * images * times / _PASSES_OF_A_STEP
        return self.final_work_macs is None or work <= _MOST_TEACHING * self.final_work_macs

    def trains_input(self, budget: Budget) -> bool:
        """Return whether the input network is trained first where its weights are not given."""
        return self.teaches or budget.max_accuracy_drop is not None

    def first_round_is_as_labels(self, manifest: Manifest, images: int) -> bool:
        """Return whether the first round trains as an embedding's labels were trained.

        There are so many training `images`, of which each took what it may.
        """
        recipe, fidelity = self.round_recipe, manifest.fidelity
        label = manifest.label_recipe or population_recipe(
            fidelity.epochs, crop_padding=recipe.crop_padding
        )
        own = images if self.round_images is None else min(self.round_images, images)
        return recipe == label and own == min(fidelity.train_images, images)

    def _affordable(self, recipe: Recipe, macs: int, images: int) -> Recipe:
        if self.final_work_macs is None:
            return recipe
        affordable = int(self.final_work_macs / (macs * images))
        return replace(recipe, epochs=max(_FEWEST_EPOCHS, min(recipe.epochs, affordable)))


def effort_plan(
    effort: Effort,
    method: Method,
    dataset: str,
    input_shape: tuple[int, int, int],
    *,
    flip: bool | None = None,
) -> EffortPlan:
    """Return what an effort means for a data set; the paper's method trains one candidate.

    With `flip` images are mirrored; None mirrors what `suits_mirroring`. The recipe of the paper's
    method says it itself.
    """
    if method is Method.PAPER:
        recipe = paper_recipe(dataset)
        if effort is Effort.DRAFT:
            scale = 5
            recipe = replace(
                recipe,
                name=f"{recipe.name}-draft",
                epochs=recipe.epochs // scale,
                milestones=tuple(m // scale for m in recipe.milestones),
            )
        return EffortPlan(1, recipe, None, recipe)
    flip = suits_mirroring(dataset) if flip is None else flip
    small = input_shape[1] < _SHORT_EDGE
    teaches = effort is not Effort.DRAFT
    final = Recipe(
        name=f"final-{effort.value}",
        epochs=_EPOCHS[effort][0 if small else 1],
        batch_size=128,
        learning_rate=0.1 if small and teaches else 0.2,
        weight_decay=2e-4,
        flip=flip,
        crop_padding=0 if small else 4,
        average_decay=0.995,
        clip_norm=2.0,
        distil_weight=0.9,
        distil_temperature=4.0,
        distil_shift=1 if small and teaches else 0,
    )
    # As labels are trained, so that predictions and rounds speak of the same accuracy.
    short = population_recipe(3, crop_padding=final.crop_padding, flip=flip)
    candidates, images = _ROUNDS[effort]
    work = _DRAFT_WORK_MACS if effort is Effort.DRAFT else None
    alone = _INPUT_EPOCHS.get(effort) if small else None
    return EffortPlan(candidates, short, images, final, work, teaches, input_epochs=alone)


_EPOCHS = {
    Effort.DRAFT: (16, 16),
    Effort.STANDARD: (40, 60),
    Effort.FULL: (80, 150),
}
_INPUT_EPOCHS = {Effort.STANDARD: 20, Effort.FULL: 50}
"""Of small images; who learns from labels alone overfits where others still learn."""
_ROUNDS: dict[Effort, tuple[int, int | None]] = {
    Effort.DRAFT: (4, 12_000),
    Effort.STANDARD: (8, 12_000),
    Effort.FULL: (12, None),
}

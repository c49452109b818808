"""What each effort spends, and whether its short trainings are as those of the labels."""

from __future__ import annotations

from dataclasses import replace

import pytest

from archpress_server.compress.effort import EffortPlan, effort_plan
from archpress_server.compress.types import Effort, Method
from archpress_trainer.embedding.bundled import artifact_folder
from archpress_trainer.embedding.manifest import Manifest, read_manifest
from archpress_trainer.training.fidelity import Fidelity
from archpress_trainer.training.recipe import Schedule, paper_recipe, population_recipe

IMAGES = 55_000


def planned(effort: Effort) -> EffortPlan:
    return effort_plan(effort, Method.DEFAULT, "fashion-mnist", (1, 28, 28))


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    return read_manifest(artifact_folder("fashion-mnist"))


def test_a_drafts_rounds_are_as_the_labels_of_fashion_mnist(manifest: Manifest) -> None:
    assert manifest.fidelity == Fidelity(12_000, 3)
    assert planned(Effort.DRAFT).first_round_is_as_labels(manifest, IMAGES)
    assert not planned(Effort.FULL).first_round_is_as_labels(manifest, IMAGES)
    fewer = replace(manifest, fidelity=Fidelity(6_000, 3))
    assert not planned(Effort.DRAFT).first_round_is_as_labels(fewer, IMAGES)


@pytest.mark.parametrize("effort", Effort)
@pytest.mark.parametrize("labelled", [5_500, 12_000])
def test_of_few_images_all_are_taken(manifest: Manifest, effort: Effort, labelled: int) -> None:
    few = replace(manifest, fidelity=Fidelity(labelled, 3))
    assert planned(effort).first_round_is_as_labels(few, 5_500)


def test_full_is_as_labels_of_all_images(manifest: Manifest) -> None:
    of_all = replace(manifest, fidelity=Fidelity(IMAGES, 3))
    assert planned(Effort.FULL).first_round_is_as_labels(of_all, IMAGES)
    assert not planned(Effort.DRAFT).first_round_is_as_labels(of_all, IMAGES)


def test_the_recipe_of_the_labels_counts(manifest: Manifest) -> None:
    told = replace(manifest, label_recipe=population_recipe(3))
    assert planned(Effort.DRAFT).first_round_is_as_labels(told, IMAGES)
    papers = replace(manifest, label_recipe=replace(paper_recipe("fashion-mnist"), epochs=3))
    assert not planned(Effort.DRAFT).first_round_is_as_labels(papers, IMAGES)


@pytest.mark.parametrize("effort", Effort)
def test_images_are_mirrored_where_those_of_the_labels_were(
    manifest: Manifest, effort: Effort
) -> None:
    mirrored = planned(effort)
    assert manifest.flip
    assert mirrored.final_recipe.flip
    assert mirrored.round_recipe.flip
    told = replace(manifest, label_recipe=population_recipe(3, flip=False))
    assert not told.flip
    plain = effort_plan(effort, Method.DEFAULT, "arrows", (1, 28, 28), flip=told.flip)
    assert not plain.final_recipe.flip
    assert not plain.input_recipe_for(10**6, IMAGES).flip
    assert plain.first_round_is_as_labels(told, 5_500)
    assert not mirrored.first_round_is_as_labels(told, 5_500)


def test_who_says_nothing_mirrors_what_suits_it() -> None:
    for dataset, suits in (("cifar10", True), ("svhn", False)):
        plan = effort_plan(Effort.DRAFT, Method.DEFAULT, dataset, (3, 32, 32))
        assert (plan.final_recipe.flip, plan.round_recipe.flip) == (suits, suits)


def test_a_draft_asks_no_teacher_that_takes_far_longer_than_the_training() -> None:
    small, large = (1, 28, 28), (3, 32, 32)
    draft = effort_plan(Effort.DRAFT, Method.DEFAULT, "fashion-mnist", small)
    # Remembered answers: two for each image, whatever the number of epochs.
    assert draft.affords_teacher(57_000_000, IMAGES)
    assert not draft.affords_teacher(1_160_000_000, IMAGES)
    # Cropped images never come back, so that they are asked for in every epoch.
    cropped = effort_plan(Effort.DRAFT, Method.DEFAULT, "cifar10", large)
    assert cropped.affords_teacher(41_000_000, 45_000)
    assert not cropped.affords_teacher(313_000_000, 45_000)
    unbounded = effort_plan(Effort.STANDARD, Method.DEFAULT, "cifar10", large)
    assert unbounded.affords_teacher(10**12, 45_000)


def test_work_counts_a_teacher_that_is_asked_every_time() -> None:
    cropped = effort_plan(Effort.STANDARD, Method.DEFAULT, "cifar10", (3, 32, 32))
    alone = 60 * 45_000 * 1_000_000
    assert cropped.full_work(1_000_000, 45_000) == alone
    assert cropped.full_work(1_000_000, 45_000, teacher_macs=6_000_000) == 3 * alone
    remembered = planned(Effort.STANDARD)
    assert remembered.full_work(10**6, IMAGES, 10**9) == remembered.full_work(10**6, IMAGES)


def test_efforts_spend_more_and_the_papers_method_trains_one() -> None:
    plans = [planned(effort) for effort in Effort]
    assert [plan.final_recipe.epochs for plan in plans] == sorted(
        plan.final_recipe.epochs for plan in plans
    )
    assert len({plan.trained_candidates for plan in plans}) == len(plans)
    paper = effort_plan(Effort.FULL, Method.PAPER, "fashion-mnist", (1, 28, 28))
    assert paper.trained_candidates == 1
    assert paper.final_recipe.schedule is Schedule.STEPS
    assert paper.final_recipe.epochs == 50


@pytest.mark.parametrize("effort", list(Effort))
def test_who_has_a_teacher_trains_no_shorter(effort: Effort) -> None:
    plan = planned(effort)
    alone = plan.input_recipe_for(10**5, IMAGES)
    taught = plan.recipe_for(10**5, IMAGES)
    assert (alone.epochs < taught.epochs) == plan.teaches
    assert replace(alone, epochs=taught.epochs) == taught


def test_a_draft_trains_large_networks_for_fewer_epochs() -> None:
    plan = planned(Effort.DRAFT)
    epochs = [plan.recipe_for(macs, IMAGES).epochs for macs in (10**5, 10**7, 10**9)]
    assert epochs[0] == plan.final_recipe.epochs
    assert epochs == sorted(epochs, reverse=True)
    assert epochs[2] >= 5
    full = planned(Effort.FULL)
    assert full.recipe_for(10**9, IMAGES) == full.final_recipe

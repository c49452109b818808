"""The methods that `peers.py` compares: each makes a trained network within a budget.

All of them may spend the same work on training for a target: multiply-accumulates of the forward
passes, of everything that a method trains for it, short trainings of a search included. In the
final training the input network teaches all but the one that is called from scratch. Counted apart
are the teacher's passes, one for each view of an image, and what is done once for all targets:
the training of the input network, the labels of the embedding's population.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from input_network import InputNetwork
from pruning import pruned
from quiet import Quiet
from removal_policy import PolicySettings, RemovalSearch

from archpress_server.compress.conditions import Conditions
from archpress_server.compress.effort import EffortPlan
from archpress_server.compress.heir import find_heir
from archpress_server.compress.legacy import Legacy
from archpress_server.compress.planning import plan
from archpress_server.compress.retrain import retrain
from archpress_server.compress.types import Budget, Candidate, Request
from archpress_trainer.data.dataset import TrainingData
from archpress_trainer.embedding.interface import Embedding
from archpress_trainer.space.build import Network, build
from archpress_trainer.space.costs import count
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.widths import SizeBudget, fit_widths
from archpress_trainer.training.device import Compute
from archpress_trainer.training.inheritance import narrowed
from archpress_trainer.training.loop import Status, train
from archpress_trainer.training.recipe import Recipe
from archpress_trainer.training.teaching import views


@dataclass(frozen=True)
class Comparison:
    """What all methods get.

    `recipe` trains every final network, for as many epochs as `work` allows, `round_recipe` what a
    search tries; `our_search_share` and `policy_search_share` of the work go into the short
    trainings of the two methods that search. Ours plans for `full_epochs` of its winner at least.
    """

    data: TrainingData
    compute: Compute
    recipe: Recipe
    round_recipe: Recipe
    work: float
    source: InputNetwork
    embedding: Embedding
    candidates: int = 4
    full_epochs: int = 16
    our_search_share: float = 1 / 3
    policy_search_share: float = 1 / 2
    student_images: int = 6_000
    student_validation: int = 2_000
    policies: PolicySettings = field(default_factory=PolicySettings)

    @cached_property
    def legacy(self) -> Legacy:
        """What the input network leaves to those that learn from it."""
        source = self.source.given(self.data.normalisation)
        return Legacy(source, self.data, self.compute)


@dataclass(frozen=True)
class Outcome:
    """A trained network and what it took; `validation` is None where the training diverged.

    `search_work` is the part of `work` that other networks were trained with.
    """

    network: Network
    epochs: int
    validation: float | None
    work: float
    search_work: float = 0.0
    teacher_work: float = 0.0
    once_work: float = 0.0
    networks_trained: int = 1


class OutOfReachError(ValueError):
    """A target or an amount of work in which a method can make no trained network."""


Method = Callable[[Comparison, int, int], Outcome]
"""Makes a network of at most so many parameters, with a seed; may raise `OutOfReachError`."""


def width_scaling(comparison: Comparison, max_params: int, seed: int) -> Outcome:
    """Train the input network, all widths scaled alike, from scratch and without a teacher."""
    network = build(_scaled(comparison, max_params), torch.Generator().manual_seed(seed))
    return _finished(comparison, network, comparison.work, seed, taught=False)


def distillation(comparison: Comparison, max_params: int, seed: int) -> Outcome:
    """Train the same scaled network with the input network's logits as a second target."""
    network = build(_scaled(comparison, max_params), torch.Generator().manual_seed(seed))
    return _finished(comparison, network, comparison.work, seed)


def pruning(comparison: Comparison, max_params: int, seed: int) -> Outcome:
    """Prune all layers of the input network by the same share and go on training."""
    return _pruning(comparison, max_params, seed, everywhere=False)


def global_pruning(comparison: Comparison, max_params: int, seed: int) -> Outcome:
    """Prune the input network where channels matter least and go on training."""
    return _pruning(comparison, max_params, seed, everywhere=True)


def layer_removal(comparison: Comparison, max_params: int, seed: int) -> Outcome:
    """Search by N2N's policies, then train the best student with the input network's logits."""
    source = comparison.source
    data = comparison.data.subset(comparison.student_images)
    data = replace(data, validation=data.validation.subset(comparison.student_validation))
    generator = torch.Generator().manual_seed(seed)
    recipe = replace(comparison.round_recipe, epochs=1)

    def measure(architecture: Architecture) -> float:
        network = build(architecture, generator)
        result = train(network, data, recipe, generator, comparison.compute)
        return result.accuracy

    search = RemovalSearch(
        source.network.architecture,
        source.validation,
        max_params,
        comparison.work * comparison.policy_search_share,
        len(data.train),
        measure,
        generator,
        comparison.policies,
    )
    student = search.run()
    if student is None:
        raise OutOfReachError(
            f"no student was trained: {search.invalid} were no network of at most {max_params:,} "
            f"parameters, {search.too_costly} needed more than {search.removal_work:.3g} of work"
        )
    network = build(student.architecture, generator)
    left = comparison.work - search.spent
    outcome = _finished(comparison, network, left, seed)
    return replace(
        outcome,
        work=outcome.work + search.spent,
        search_work=search.spent,
        networks_trained=1 + search.trained,
    )


def heir(comparison: Comparison, max_params: int, seed: int) -> Outcome:
    """Narrow the input network to its strongest channels, as a job does, and go on training."""
    network = _heir(comparison, comparison.source.network, max_params, seed)
    return _finished(comparison, network, comparison.work, seed)


def progressive_heir(comparison: Comparison, max_params: int, seed: int) -> Outcome:
    """Narrow in two steps of one ratio, and spend half of the work on each network."""
    wide = comparison.source.network
    between = round(math.sqrt(count(wide.architecture).params * max_params))
    first = _finished(comparison, _heir(comparison, wide, between, seed), comparison.work / 2, seed)
    network = _heir(comparison, first.network, max_params, seed)
    second = _finished(comparison, network, comparison.work - first.work, seed)
    return replace(second, work=first.work + second.work, networks_trained=2)


def ours(comparison: Comparison, max_params: int, seed: int) -> Outcome:
    """Plan in the embedding, halve the candidates by short trainings, train the winner.

    The plan is for networks whose final training fits into the work that is left.
    """
    request = _request(comparison, max_params, seed)
    found = plan(request, comparison.embedding, comparison.candidates)
    effort = _effort(comparison, found.candidates)
    images = len(comparison.data.subset(effort.round_images).train)
    rounds = _Trainings(images, effort.round_recipe.epochs)
    conditions = Conditions(comparison.data, effort, seed, comparison.compute, rounds)
    trained = retrain(found.candidates, conditions, comparison.legacy)
    macs_of_winner = trained.candidate.costs.macs
    epochs = effort.recipe_for(macs_of_winner, len(comparison.data.train)).epochs
    exemplars = comparison.embedding.exemplars
    fidelity = comparison.embedding.manifest.fidelity
    passes = fidelity.train_images * fidelity.epochs * fidelity.seeds
    labels = sum(exemplar.costs.macs for exemplar in exemplars) * passes
    return Outcome(
        trained.network,
        epochs,
        trained.candidate.validation_accuracy,
        rounds.work + float(macs_of_winner * len(comparison.data.train) * epochs),
        search_work=rounds.work,
        teacher_work=_teacher_work(comparison),
        once_work=comparison.source.work + float(labels),
        networks_trained=rounds.number + 1,
    )


METHODS: Mapping[str, Method] = {
    "ours": ours,
    "heir": heir,
    "progressive-heir": progressive_heir,
    "pruning": pruning,
    "global-pruning": global_pruning,
    "distillation": distillation,
    "layer-removal": layer_removal,
    "width-scaling": width_scaling,
}


class _Trainings(Quiet):
    """Counts what the rounds trained, in multiply-accumulates."""

    def __init__(self, images: int, epochs: int) -> None:
        self.work = 0.0
        self.number = 0
        self._passes = images * epochs
        self._rounds: Counter[int] = Counter()

    def candidate(self, candidate: Candidate) -> None:
        """Add one that was trained in a round, each of which is twice as long as the last."""
        if not candidate.chosen:
            self.work += float(
                candidate.costs.macs * self._passes * 2 ** self._rounds[candidate.rank]
            )
            self.number += 1
            self._rounds[candidate.rank] += 1


def _effort(comparison: Comparison, candidates: tuple[Candidate, ...]) -> EffortPlan:
    """Return rounds and a final training that spend the work between them at the most.

    Who gets on is not known before: the costliest do, at the most.

    Raises:
        OutOfReachError: the costliest cannot be trained with what is left.
    """
    short = comparison.round_recipe
    macs = sorted((candidate.costs.macs for candidate in candidates), reverse=True)
    per_image, alive, length = 0, len(candidates), 1
    while alive > 1:
        per_image += sum(macs[:alive]) * length * short.epochs
        alive, length = max(1, alive // 2), 2 * length
    images = len(comparison.data.train)
    if per_image:
        search = comparison.work * comparison.our_search_share
        images = min(images, max(short.batch_size, int(search / per_image)))
    left = comparison.work - per_image * images
    final = replace(comparison.recipe, epochs=_NO_BOUND)
    effort = EffortPlan(len(candidates), short, images, final, left)
    passes = len(comparison.data.train) * macs[0]
    least = float(passes * effort.recipe_for(macs[0], len(comparison.data.train)).epochs)
    if least > left:
        raise OutOfReachError(
            f"the winner takes {least:.3g} of work at least, and {left:.3g} is left"
        )
    return effort


_NO_BOUND = 10_000


def _scaled(comparison: Comparison, max_params: int) -> Architecture:
    architecture = comparison.source.network.architecture
    scaled = fit_widths(architecture, SizeBudget(max_params), multiple=1, smallest=1)
    if scaled is None:
        raise OutOfReachError(f"the input network cannot be scaled to {max_params} parameters")
    return scaled


def _heir(comparison: Comparison, wide: Network, max_params: int, seed: int) -> Network:
    request = replace(_request(comparison, max_params, seed), architecture=wide.architecture)
    found = find_heir(request, comparison.embedding, SizeBudget(max_params), None, 1)
    if found is None:
        raise OutOfReachError(f"the input network cannot be narrowed to {max_params} parameters")
    return narrowed(wide, found.architecture)


def _request(comparison: Comparison, max_params: int, seed: int) -> Request:
    final_work = comparison.work * (1 - comparison.our_search_share)
    most = int(final_work / (len(comparison.data.train) * comparison.full_epochs))
    return Request(
        comparison.source.network.architecture,
        comparison.embedding.manifest.dataset,
        Budget(max_params=max_params, max_macs=most),
        seed=seed,
    )


def _pruning(comparison: Comparison, max_params: int, seed: int, *, everywhere: bool) -> Outcome:
    try:
        network = pruned(comparison.source.network, max_params, everywhere=everywhere)
    except ValueError as error:
        raise OutOfReachError(str(error)) from error
    return _finished(comparison, network, comparison.work, seed)


def _finished(
    comparison: Comparison, network: Network, work: float, seed: int, *, taught: bool = True
) -> Outcome:
    """Train a network with what work is left; the recipe is the same for all."""
    macs = count(network.architecture).macs
    images = len(comparison.data.train)
    epochs = int(work / (macs * images))
    if not epochs:
        raise OutOfReachError(f"an epoch takes {macs * images:.3g} of work, and {work:.3g} is left")
    recipe = replace(comparison.recipe, epochs=epochs)
    generator = torch.Generator().manual_seed(seed)
    teacher = comparison.legacy.teacher if taught else None
    result = train(network, comparison.data, recipe, generator, comparison.compute, teacher=teacher)
    return Outcome(
        network.cpu(),
        epochs,
        result.accuracy if result.status is Status.FINISHED else None,
        float(macs * images * epochs),
        teacher_work=_teacher_work(comparison) if taught else 0.0,
        once_work=comparison.source.work if taught else 0.0,
    )


def _teacher_work(comparison: Comparison) -> float:
    macs = count(comparison.source.network.architecture).macs
    return float(macs * len(comparison.data.train) * views(comparison.recipe))

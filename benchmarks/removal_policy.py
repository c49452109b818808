"""N2N learning (Ashok et al. 2018): policies that remove layers, then shrink them, by REINFORCE.

A student's reward is R = C (2 - C) x accuracy / accuracy of the input network, where C is the share
of parameters that are gone. Two policies, each an LSTM that reads the layers in both directions:
the first keeps or removes each block and each pool, the second starts from the best student of the
first and chooses for each block what share of its width stays.

What differs from the paper, so that it keeps to a hard budget and to the compute that all methods
have: a student above the budget is scaled down to it in width (N2N would give it the reward -1 and
learn nothing else), students are trained on a few thousand images without the teacher, one that was
trained before is not trained again, and the second policy reads both directions too instead of its
own choices. A policy ends with the first student whose training would not fit into what is left of
its work; as long as it has none such a student is invalid. Of the students of the second policy the
most accurate is returned.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from archpress_trainer.space.costs import count
from archpress_trainer.space.errors import ArchitectureError
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.layer import Layer
from archpress_trainer.space.vocab import POOLS, WEIGHTED, LayerKind
from archpress_trainer.space.width_groups import WidthGroups
from archpress_trainer.space.widths import SizeBudget, fit_widths

FACTORS = tuple(step / 10 for step in range(1, 11))
"""What share of a width may stay."""

_INVALID_REWARD = -1.0

Measure = Callable[[Architecture], float]
"""Trains a student shortly and returns its validation accuracy."""


@dataclass(frozen=True)
class PolicySettings:
    """N2N's: hidden units, learning rates of the two policies, students per update.

    `updates` bounds each policy; `baseline_decay` is that of the moving average of rewards.
    """

    hidden: int = 30
    removal_rate: float = 0.003
    shrinkage_rate: float = 0.01
    students: int = 5
    updates: int = 100
    baseline_decay: float = 0.8


@dataclass(frozen=True)
class Student:
    """A student within the budget and its accuracy after the short training."""

    architecture: Architecture
    accuracy: float


class _TooCostlyError(Exception):
    """A student whose training does not fit into the work that is left."""


class Policy(nn.Module):
    """Reads features `(layers, features)` and gives logits of choices `(layers, choices)`."""

    def __init__(self, features: int, choices: int, hidden: int) -> None:
        """Build with torch's default initialisation."""
        super().__init__()
        self.reader = nn.LSTM(features, hidden, bidirectional=True)
        self.head = nn.Linear(2 * hidden, choices)

    def forward(self, layers: torch.Tensor) -> torch.Tensor:
        """Return the logits of each layer's choices."""
        return torch.as_tensor(self.head(self.reader(layers)[0]))


class RemovalSearch:
    """The two policies on one input network, within a budget of parameters and of compute.

    `spent` is the work of the `trained` students. Of those that were not trained, `invalid` were no
    network within the budget; `too_costly`, before there was any other, did not fit into a policy's
    work, which is `removal_work` for the first.
    """

    def __init__(
        self,
        architecture: Architecture,
        accuracy: float,
        max_params: int,
        work: float,
        images: int,
        measure: Measure,
        generator: torch.Generator,
        settings: PolicySettings,
    ) -> None:
        """Prepare.

        Args:
            architecture: the input network's, a chain.
            accuracy: the input network's on validation images.
            max_params: hard limit for students.
            work: multiply-accumulates of forward passes that the students' trainings may take.
            images: that a student's training passes forward.
            measure: trains a student.
            generator: draws the policies' weights and their choices.
            settings: of the policies.
        """
        self.spent = 0.0
        self.trained = 0
        self.invalid = 0
        self.too_costly = 0
        self.removal_work = work / 2
        self._input = architecture
        self._params = count(architecture).params
        self._accuracy = accuracy
        self._budget = SizeBudget(max_params)
        self._work = work
        self._images = images
        self._measure = measure
        self._generator = generator
        self._settings = settings
        self._known: dict[str, Student] = {}

    def run(self) -> Student | None:
        """Return the best student, None where none was within the budget and the work."""
        settings = self._settings
        units = removable_units(self._input)
        removed = self._search(
            [self._input.layers[unit[0]] for unit in units],
            2,
            settings.removal_rate,
            self.removal_work,
            lambda kept: without_units(self._input, units, [bool(keep) for keep in kept]),
            self._reward,
        )
        if removed is None:
            return None
        groups = WidthGroups(removed.architecture)

        def shrunk(choices: Sequence[int]) -> Architecture:
            chosen = [
                max(1, round(width * FACTORS[choice]))
                for width, choice in zip(groups.widths, choices, strict=True)
            ]
            return groups.with_widths(chosen)

        best = self._search(
            [removed.architecture.layers[places[0]] for places in groups.places],
            len(FACTORS),
            settings.shrinkage_rate,
            self._work,
            shrunk,
            lambda student: student.accuracy,
        )
        return max(best or removed, removed, key=lambda student: student.accuracy)

    def _search(
        self,
        layers: Sequence[Layer],
        choices: int,
        rate: float,
        work: float,
        student_of: Callable[[Sequence[int]], Architecture | None],
        value: Callable[[Student], float],
    ) -> Student | None:
        settings = self._settings
        with torch.random.fork_rng(devices=[]):
            # Modules can draw their weights from torch's global generator only.
            torch.manual_seed(int(torch.randint(2**31, (1,), generator=self._generator)))
            policy = Policy(_FEATURES, choices, settings.hidden)
        optimizer = torch.optim.Adam(policy.parameters(), lr=rate)
        features = torch.stack([_features(layer) for layer in layers])
        best: Student | None = None
        baseline: float | None = None
        for _ in range(settings.updates):
            scores = policy(features).log_softmax(dim=1)
            drawn = torch.multinomial(
                scores.detach().exp(), settings.students, True, generator=self._generator
            )
            rewards = []
            for choice in drawn.T:
                try:
                    student = self._student(student_of(choice.tolist()), work)
                    self.invalid += student is None
                except _TooCostlyError:
                    if best is not None:
                        return best
                    self.too_costly += 1
                    student = None
                rewards.append(self._reward(student))
                if student and (best is None or value(student) > value(best)):
                    best = student
            mean = sum(rewards) / len(rewards)
            baseline = mean if baseline is None else baseline
            advantages = torch.tensor([reward - baseline for reward in rewards])
            likelihood = scores.gather(1, drawn).sum(dim=0)
            optimizer.zero_grad()
            (-(advantages * likelihood).mean()).backward()
            optimizer.step()
            decay = settings.baseline_decay
            baseline = decay * baseline + (1 - decay) * mean
        return best

    def _student(self, architecture: Architecture | None, work: float) -> Student | None:
        """Return a student scaled to the budget and trained, None where there is none.

        Raises:
            _TooCostlyError: all that was spent would then be more than the work.
        """
        if architecture is None:
            return None
        if not self._budget.holds(count(architecture)):
            fitted = fit_widths(architecture, self._budget, multiple=1, smallest=1, max_scale=1.0)
            if fitted is None:
                return None
            architecture = fitted
        if architecture.digest not in self._known:
            cost = float(count(architecture).macs * self._images)
            if self.spent + cost > work:
                raise _TooCostlyError
            self.spent += cost
            self.trained += 1
            self._known[architecture.digest] = Student(architecture, self._measure(architecture))
        return self._known[architecture.digest]

    def _reward(self, student: Student | None) -> float:
        if student is None:
            return _INVALID_REWARD
        gone = 1 - count(student.architecture).params / self._params
        return gone * (2 - gone) * student.accuracy / self._accuracy


def removable_units(architecture: Architecture) -> list[tuple[int, ...]]:
    """Return the layers that can only go together: a weighted one with what follows it, a pool.

    The classifier and what is right before it stay.
    """
    units: list[tuple[int, ...]] = []
    for index, layer in enumerate(architecture.layers[:-1]):
        if layer.kind in WEIGHTED or layer.kind in POOLS:
            units.append((index,))
        elif layer.kind is LayerKind.GLOBAL_AVERAGE_POOL:
            break
        elif units:
            units[-1] = (*units[-1], index)
    return units


def without_units(
    architecture: Architecture, units: Sequence[tuple[int, ...]], kept: Sequence[bool]
) -> Architecture | None:
    """Return the chain without the units that are not kept, None if that is no network."""
    gone = {index for unit, keep in zip(units, kept, strict=True) if not keep for index in unit}
    layers = tuple(
        # Channel counts that a layer cannot choose follow from its new input.
        replace(layer, inputs=(), out_channels=layer.out_channels if layer.kind in WEIGHTED else 0)
        for index, layer in enumerate(architecture.layers)
        if index not in gone
    )
    if not any(layer.kind is LayerKind.CONVOLUTION for layer in layers):
        return None
    try:
        return Architecture(architecture.input_shape, architecture.classes, layers)
    except ArchitectureError:
        return None


_FEATURES = 5


def _features(layer: Layer) -> torch.Tensor:
    """Return what N2N's policies read of a layer: kind, kernel, stride, padding, channels."""
    return torch.tensor(
        [
            layer.kind / len(LayerKind),
            layer.kernel / 8,
            layer.stride / 4,
            layer.padding / 4,
            layer.out_channels / 256,
        ]
    )

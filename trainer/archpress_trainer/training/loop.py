"""The training loop: data resident on the device, batched augmentation, channels_last, bf16."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import nn

from archpress_trainer.data.dataset import LabelledImages, Normalisation, TrainingData
from archpress_trainer.training.batches import batches
from archpress_trainer.training.device import Compute
from archpress_trainer.training.memory import images_at_once
from archpress_trainer.training.optimizers import AveragedWeights, Rates
from archpress_trainer.training.recipe import Recipe
from archpress_trainer.training.snapshot import Place, TrainingState
from archpress_trainer.training.step import training_step
from archpress_trainer.training.teaching import Teacher


class Status(StrEnum):
    """How a training ended."""

    FINISHED = "finished"
    DIVERGED = "diverged"
    STOPPED = "stopped"


@dataclass(frozen=True)
class Step:
    """Where a training stands, after `step` of `total_steps` optimizer steps."""

    step: int
    total_steps: int
    epoch: int
    loss: float
    accuracy: float | None
    """Validation accuracy in [0, 1], at the end of an epoch that measured it."""


@dataclass(frozen=True)
class TrainResult:
    """What a training gave.

    `loss_sum` is the mean training loss of each epoch, added up over the epochs; `curve` the
    validation accuracies measured on the way, the last one being `accuracy`.
    """

    status: Status
    steps: int
    accuracy: float
    loss_sum: float
    curve: tuple[float, ...]
    seconds: float
    message: str = ""


Observer = Callable[[Step], bool]
"""Called after each step with loss and after each epoch; returning False stops the training."""

Checkpoint = Callable[[Callable[[], bytes]], None]
"""Called after each step with what takes a snapshot of the training, if there is to be one."""

_STOPPED = Status.STOPPED, "the observer stopped the training"


def train(
    network: nn.Module,
    data: TrainingData,
    recipe: Recipe,
    generator: torch.Generator,
    compute: Compute,
    *,
    teacher: Teacher | None = None,
    observer: Observer | None = None,
    evaluate_every: int = 0,
    report_every: int = 20,
    resume: bytes | None = None,
    checkpoint: Checkpoint | None = None,
) -> TrainResult:
    """Train a network in place and measure it on the validation images.

    A training that goes on from a snapshot ends, on a CPU, with the bits of one that never stopped.

    Args:
        network: maps images `(batch, channels, height, width)` to logits `(batch, classes)`.
        data: on `compute.device` already.
        recipe: how to train.
        generator: on the CPU; draws the order of images and the augmentation.
        compute: device and precision.
        teacher: gives logits of the same images that the network is to match too, by the recipe's
            `distil_weight`; on the device.
        observer: told every `report_every` steps and after each epoch.
        evaluate_every: epochs between validations; 0 for the end only.
        report_every: steps between calls of the observer.
        resume: a snapshot of a training with the same arguments to go on from.
        checkpoint: is offered a snapshot after each step.

    Raises:
        SnapshotError: `resume` is none of this training; the network may have been changed.
    """
    seed = int(torch.randint(2**31, (1,), generator=generator))
    devices = [compute.device] if compute.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        # Dropout can draw from torch's global generator only.
        torch.manual_seed(seed)
        training = _Training(network, data, recipe, seed, compute, teacher, evaluate_every)
        if resume is not None:
            training.restore(resume)
        status, message = training.run(observer, report_every, checkpoint)
        return training.result(status, message)


class _Training:
    """One training, and where it stands."""

    def __init__(
        self,
        network: nn.Module,
        data: TrainingData,
        recipe: Recipe,
        seed: int,
        compute: Compute,
        teacher: Teacher | None,
        evaluate_every: int,
    ) -> None:
        network.to(compute.device).to(memory_format=torch.channels_last).train()
        self._network, self._data, self._recipe, self._compute = network, data, recipe, compute
        self._evaluate_every = evaluate_every
        self._steps_per_epoch = max(1, len(data.train) // recipe.batch_size)
        self._total_steps = self._steps_per_epoch * recipe.epochs
        decay = recipe.average_decay
        self._averaged = AveragedWeights(network, decay, self._total_steps) if decay else None
        self._rates = Rates(network, recipe, compute.device)
        optimizer = self._rates.optimizer
        taught = None if teacher is None else teacher.lesson(data, recipe)
        self._advance = training_step(network, optimizer, recipe, compute, self._averaged, taught)
        self._normalise = data.normalisation.on(compute.device)
        self._draws = torch.Generator(compute.device).manual_seed(seed)
        key = {
            "recipe": recipe.to_json(),
            "seed": seed,
            "images": len(data.train),
            "evaluate_every": evaluate_every,
            "taught": teacher is not None,
            "compute": [compute.device.type, compute.bfloat16],
        }
        average = None if self._averaged is None else self._averaged.network
        self._state = TrainingState(key, network, average, optimizer, taught, self._draws)
        self._here = Place(self._draws.get_state())

    def restore(self, snapshot: bytes) -> None:
        self._here = self._state.restore(snapshot)

    def run(
        self, observer: Observer | None, report_every: int, checkpoint: Checkpoint | None
    ) -> tuple[Status, str]:
        """Take the epochs that are left; return how the training ended, and why."""
        here, epochs = self._here, self._recipe.epochs
        for epoch in range(here.epoch, epochs + 1):
            goes_on = self._run_epoch(epoch, observer, report_every, checkpoint)
            loss = torch.stack(here.losses).mean().item()
            here.loss_sum += loss
            if not goes_on:
                return _STOPPED
            if not math.isfinite(loss):
                return Status.DIVERGED, f"the loss was {loss} in epoch {epoch}"
            step = Step(here.step, self._total_steps, epoch, loss, self._measured(epoch))
            if observer is not None and not observer(step) and epoch < epochs:
                return _STOPPED
            here.draws, here.epoch, here.losses = self._draws.get_state(), epoch + 1, []
        return Status.FINISHED, ""

    def _run_epoch(
        self,
        epoch: int,
        observer: Observer | None,
        report_every: int,
        checkpoint: Checkpoint | None,
    ) -> bool:
        """Take the steps of an epoch that are left; return whether the observer goes on."""
        here = self._here
        drawn = batches(self._data.train, self._recipe, self._draws)
        # Those before the snapshot are drawn again, for the generator's sake.
        for batch in itertools.islice(drawn, len(here.losses), None):
            self._rates.set(here.step, self._total_steps, self._steps_per_epoch)
            images = self._normalise(batch.images).contiguous(memory_format=torch.channels_last)
            loss = self._advance(images, batch.labels, batch.places)
            here.step += 1
            here.losses.append(loss)
            if checkpoint is not None:
                checkpoint(self._snapshot)
            if observer is not None and here.step % report_every == 0:
                step = Step(here.step, self._total_steps, epoch, loss.item(), None)
                if not observer(step):
                    return False
        return True

    def _snapshot(self) -> bytes:
        return self._state.save(self._here)

    def _measured(self, epoch: int) -> float | None:
        """Return the validation accuracy after an epoch, None where it is not due."""
        every = self._evaluate_every
        if epoch != self._recipe.epochs and not (every and epoch % every == 0):
            return None
        model = self._network if self._averaged is None else self._averaged.network
        data = self._data
        measured = accuracy(model, data.validation, data.normalisation, self._compute)
        self._here.curve.append(measured)
        self._network.train()
        return measured

    def result(self, status: Status, message: str) -> TrainResult:
        """Leave the network as it is to be used, and say what the training gave."""
        here, finished = self._here, status is Status.FINISHED
        if self._averaged is not None and finished:
            self._network.load_state_dict(self._averaged.network.state_dict())
        self._network.eval()
        final = here.curve[-1] if here.curve and finished else 0.0
        seconds = time.perf_counter() - here.started
        curve = tuple(here.curve)
        return TrainResult(status, here.step, final, here.loss_sum, curve, seconds, message)


@torch.no_grad()
def predict(
    network: nn.Module,
    images: torch.Tensor,
    normalisation: Normalisation,
    compute: Compute,
    *,
    batch_size: int | None = None,
) -> torch.Tensor:
    """Return the logits `(count, classes)` of uint8 images `(count, channels, height, width)`.

    Without a `batch_size` batches are as large as memory allows for the network's activations.
    """
    if batch_size is None:
        batch_size = images_at_once(network)
    network.eval()
    parts = []
    for start in range(0, len(images), batch_size):
        batch = normalisation(images[start : start + batch_size])
        with compute.autocast():
            parts.append(network(batch.contiguous(memory_format=torch.channels_last)).float())
    return torch.cat(parts)


def accuracy(
    network: nn.Module, data: LabelledImages, normalisation: Normalisation, compute: Compute
) -> float:
    """Return the share of images that the network classifies rightly."""
    logits = predict(network, data.images, normalisation, compute)
    return float((logits.argmax(dim=1) == data.labels).float().mean())

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
        return _train(
            network,
            data,
            recipe,
            seed,
            compute,
            teacher,
            observer,
            evaluate_every,
            report_every,
            resume,
            checkpoint,
        )


def _train(
    network: nn.Module,
    data: TrainingData,
    recipe: Recipe,
    seed: int,
    compute: Compute,
    teacher: Teacher | None,
    observer: Observer | None,
    evaluate_every: int,
    report_every: int,
    resume: bytes | None,
    checkpoint: Checkpoint | None,
) -> TrainResult:
    network.to(compute.device).to(memory_format=torch.channels_last).train()
    steps_per_epoch = max(1, len(data.train) // recipe.batch_size)
    total_steps = steps_per_epoch * recipe.epochs
    averaged = (
        AveragedWeights(network, recipe.average_decay, total_steps)
        if recipe.average_decay
        else None
    )
    rates = Rates(network, recipe, compute.device)
    taught = None if teacher is None else teacher.lesson(data, recipe)
    advance = training_step(network, rates.optimizer, recipe, compute, averaged, taught)
    normalise = data.normalisation.on(compute.device)
    draws = torch.Generator(compute.device).manual_seed(seed)
    key = {
        "recipe": recipe.to_json(),
        "seed": seed,
        "images": len(data.train),
        "evaluate_every": evaluate_every,
        "taught": teacher is not None,
        "compute": [compute.device.type, compute.bfloat16],
    }
    average = None if averaged is None else averaged.network
    state = TrainingState(key, network, average, rates.optimizer, taught, draws)
    here = Place(draws.get_state()) if resume is None else state.restore(resume)
    curve = here.curve
    status, message = Status.FINISHED, ""

    def take() -> bytes:
        return state.save(here)

    for epoch in range(here.epoch, recipe.epochs + 1):
        # Those before the snapshot are drawn again, for the generator's sake.
        for batch in itertools.islice(batches(data.train, recipe, draws), len(here.losses), None):
            rates.set(here.step, total_steps, steps_per_epoch)
            images = normalise(batch.images).contiguous(memory_format=torch.channels_last)
            loss = advance(images, batch.labels, batch.places)
            here.step += 1
            here.losses.append(loss)
            if checkpoint is not None:
                checkpoint(take)
            if observer is not None and here.step % report_every == 0:
                value = loss.item()
                if not observer(Step(here.step, total_steps, epoch, value, None)):
                    status, message = Status.STOPPED, "the observer stopped the training"
                    break
        epoch_loss = torch.stack(here.losses).mean().item()
        here.loss_sum += epoch_loss
        if status is Status.STOPPED:
            break
        if not math.isfinite(epoch_loss):
            status, message = Status.DIVERGED, f"the loss was {epoch_loss} in epoch {epoch}"
            break
        due = epoch == recipe.epochs or (evaluate_every and epoch % evaluate_every == 0)
        if due:
            model = averaged.network if averaged is not None else network
            curve.append(accuracy(model, data.validation, data.normalisation, compute))
            network.train()
        if observer is not None:
            goes_on = observer(
                Step(here.step, total_steps, epoch, epoch_loss, curve[-1] if due else None)
            )
            if not goes_on and epoch < recipe.epochs:
                status, message = Status.STOPPED, "the observer stopped the training"
                break
        here.draws, here.epoch, here.losses = draws.get_state(), epoch + 1, []
    if averaged is not None and status is Status.FINISHED:
        network.load_state_dict(averaged.network.state_dict())
    network.eval()
    final = curve[-1] if curve and status is Status.FINISHED else 0.0
    seconds = time.perf_counter() - here.started
    return TrainResult(status, here.step, final, here.loss_sum, tuple(curve), seconds, message)


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

"""Training with a teacher: the loss is part labels, part what a larger network thinks."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from archpress_trainer.data.dataset import TrainingData
from archpress_trainer.training.augment import flip, random_crop
from archpress_trainer.training.device import Compute
from archpress_trainer.training.loop import accuracy
from archpress_trainer.training.recipe import Recipe

_TEACHER_SHARE = 0.9
_TEMPERATURE = 4.0


def train_with_teacher(
    network: nn.Module,
    teacher: nn.Module,
    data: TrainingData,
    recipe: Recipe,
    generator: torch.Generator,
    compute: Compute,
) -> float | None:
    """Train a network in place and return its validation accuracy, None where it diverged.

    The loss is Hinton's (2015): 0.9 of it is the divergence from the teacher's probabilities at
    temperature 4, times 16, the rest cross entropy with the labels. The teacher sees the same
    augmented images. Everything else is the one-cycle recipe, as `train` follows it.
    """
    network.to(compute.device).to(memory_format=torch.channels_last).train()
    teacher.to(compute.device).to(memory_format=torch.channels_last).eval()
    weights = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    optimizer = torch.optim.SGD(
        [
            {"params": weights, "weight_decay": recipe.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ],
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        nesterov=True,
    )
    averaged = AveragedModel(
        network, multi_avg_fn=get_ema_multi_avg_fn(recipe.average_decay), use_buffers=True
    )
    total = len(data.train) // recipe.batch_size * recipe.epochs
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        recipe.learning_rate,
        total,
        pct_start=recipe.warmup_fraction,
        anneal_strategy="linear",
        cycle_momentum=False,
    )
    loss = torch.zeros(())
    for images, labels in _batches(data, recipe, generator, compute):
        prepared = data.normalisation(images).contiguous(memory_format=torch.channels_last)
        with compute.autocast():
            logits = network(prepared).float()
            with torch.no_grad():
                taught = teacher(prepared).float()
        loss = torch.lerp(
            functional.cross_entropy(logits, labels), _divergence(logits, taught), _TEACHER_SHARE
        )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), recipe.clip_norm)
        optimizer.step()
        schedule.step()
        averaged.update_parameters(network)
    if not math.isfinite(loss.item()):
        return None
    network.load_state_dict(averaged.module.state_dict())
    network.eval()
    return accuracy(network, data.validation, data.normalisation, compute)


def _divergence(logits: torch.Tensor, taught: torch.Tensor) -> torch.Tensor:
    divergence = functional.kl_div(
        functional.log_softmax(logits / _TEMPERATURE, dim=1),
        functional.log_softmax(taught / _TEMPERATURE, dim=1),
        reduction="batchmean",
        log_target=True,
    )
    return divergence * _TEMPERATURE**2


def _batches(
    data: TrainingData, recipe: Recipe, generator: torch.Generator, compute: Compute
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    size = recipe.batch_size
    draws = torch.Generator(compute.device).manual_seed(
        int(torch.randint(2**31, (1,), generator=generator))
    )
    for _ in range(recipe.epochs):
        order = torch.randperm(len(data.train), generator=draws, device=compute.device)
        for start in range(0, len(data.train) - size + 1, size):
            chosen = order[start : start + size]
            images = data.train.images[chosen]
            if recipe.flip:
                images = flip(images, draws)
            if recipe.crop_padding:
                images = random_crop(images, recipe.crop_padding, draws)
            yield images, data.train.labels[chosen]

"""One optimizer step: forward, loss against labels and teacher, backward, update.

On a GPU the whole step is recorded once as a CUDA graph and replayed, since the kernels of a small
network take less time than Python needs to start them.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from archpress_trainer.training.device import Compute
from archpress_trainer.training.optimizers import AveragedWeights
from archpress_trainer.training.recipe import Recipe
from archpress_trainer.training.teaching import Lesson

Step = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""Takes normalised images, labels and places (`Batch.places`), returns the loss, detached."""

_WARM_UP = 3
"""Steps before the recording, in which optimizer and libraries allocate what they keep."""


def training_step(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    recipe: Recipe,
    compute: Compute,
    averaged: AveragedWeights | None,
    taught: Lesson | None,
) -> Step:
    """Return the step of a training; on a GPU every batch must have the same shape."""

    def step(images: torch.Tensor, labels: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        with compute.autocast():
            logits = network(images).float()
        loss = functional.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)
        if taught is not None:
            distance = _distance(logits, taught(images, places), recipe.distil_temperature)
            loss = torch.lerp(loss, distance, recipe.distil_weight)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if recipe.clip_norm:
            nn.utils.clip_grad_norm_(network.parameters(), recipe.clip_norm)
        optimizer.step()
        if averaged is not None:
            averaged.update()
        return loss.detach()

    return _Graphed(step) if compute.device.type == "cuda" else step


def _distance(logits: torch.Tensor, taught: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return the divergence from the teacher at a temperature (Hinton et al. 2015, section 2)."""
    divergence = functional.kl_div(
        functional.log_softmax(logits / temperature, dim=1),
        functional.log_softmax(taught / temperature, dim=1),
        reduction="batchmean",
        log_target=True,
    )
    return divergence * temperature**2


class _Graphed:
    """A step that is run a few times, then recorded, then replayed."""

    def __init__(self, step: Step) -> None:
        self._step = step
        self._stream = torch.cuda.Stream()
        self._warm_up = _WARM_UP
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(
        self, images: torch.Tensor, labels: torch.Tensor, places: torch.Tensor
    ) -> torch.Tensor:
        given = (images, labels, places)
        if self._warm_up:
            self._warm_up -= 1
            return self._beside(*given)
        if self._graph is None:
            self._inputs = tuple(value.clone() for value in given)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                self._loss = self._step(*self._inputs)
            self._graph = graph
        for kept, value in zip(self._inputs, given, strict=True):
            kept.copy_(value)
        self._graph.replay()
        return self._loss.clone()

    def _beside(
        self, images: torch.Tensor, labels: torch.Tensor, places: torch.Tensor
    ) -> torch.Tensor:
        """Run the step on a stream of its own, as a recording asks for."""
        current = torch.cuda.current_stream()
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            loss = self._step(images, labels, places)
        current.wait_stream(self._stream)
        return loss

"""The input network with trained weights, given or trained here: what it reaches, and a teacher."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import nn

from archpress_server.compress.certify import onnx_accuracy
from archpress_server.compress.conditions import Conditions
from archpress_server.compress.export import to_onnx
from archpress_server.compress.training_run import TrainingRun, run_training
from archpress_server.compress.types import (
    CompressionError,
    Phase,
    Progress,
    Reason,
    StoppedError,
)
from archpress_trainer.data.dataset import LabelledImages, Normalisation, TrainingData
from archpress_trainer.space.batch_norms import with_batch_norms
from archpress_trainer.space.build import Network
from archpress_trainer.space.costs import count
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.layer import INPUT
from archpress_trainer.space.vocab import LayerKind
from archpress_trainer.training.batch_norms import batch_normed
from archpress_trainer.training.device import Compute
from archpress_trainer.training.loop import Status, Step, accuracy

_STATISTICS_IMAGES = 128
_SCALED_ALIKE = frozenset(
    {
        LayerKind.MAX_POOL,
        LayerKind.AVERAGE_POOL,
        LayerKind.GLOBAL_AVERAGE_POOL,
        LayerKind.DROPOUT,
    }
)
"""Kinds that give scaled images as they give images, only scaled."""


@dataclass(frozen=True)
class TrainedInput:
    """The input network, on the CPU and in evaluation mode, and how it wants its images.

    `normalisation` is applied to images in [0, 1] before the first layer.
    """

    network: Network
    normalisation: Normalisation
    validation_accuracy: float

    def teacher(self, normalisation: Normalisation) -> nn.Module:
        """Return what maps images of another normalisation to the network's logits."""
        if normalisation == self.normalisation:
            return self.network
        return _Renormalised(self.network, normalisation, self.normalisation).eval()

    def bequeathed(self, data: TrainingData) -> Network:
        """Return the network as one that starts a training on data of another normalisation.

        It is `with_batch_norms`. The weights of convolutions and linear layers that see images take
        over how these are scaled. By how much they are shifted, which differs at padded borders,
        the training has to learn.
        """
        images = data.train.subset(_STATISTICS_IMAGES).images.cpu()
        network = batch_normed(self.network, self.normalisation(images))
        if data.normalisation == self.normalisation:
            return network
        network = deepcopy(network)
        renormalised = _Renormalised(network, data.normalisation, self.normalisation)
        _take_over_scale(network, renormalised.scale.flatten())
        return network


def _take_over_scale(network: Network, scale: torch.Tensor) -> None:
    """Multiply the weights that images meet first by `(channels,)`, which the images were not."""
    architecture = network.architecture
    missing = {INPUT: scale}
    for index, layer in enumerate(architecture.layers):
        first = missing.get(layer.inputs[0])
        if layer.kind is LayerKind.CONCAT:
            parts = [
                missing.get(source, torch.ones(architecture.shapes[source][0]))
                for source in layer.inputs
            ]
            missing[index] = torch.cat(parts)
        elif first is None:
            continue
        elif layer.kind in _SCALED_ALIKE:
            missing[index] = first
        elif layer.kind is LayerKind.LINEAR:
            weight, *_ = network.layers[index].parameters()
            weight.data *= first.repeat_interleave(weight.shape[1] // len(first))
        elif layer.kind is LayerKind.CONVOLUTION:
            weight, *_ = network.layers[index].parameters()
            by_group = weight.data.unflatten(0, (layer.groups, -1))
            by_group *= first.view(layer.groups, 1, -1, 1, 1)


class _Renormalised(nn.Module):
    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(self, network: nn.Module, given: Normalisation, wanted: Normalisation) -> None:
        super().__init__()
        self.network = network
        (mean, std), (own_mean, own_std) = _tensors(given), _tensors(wanted)
        self.register_buffer("scale", std / own_std)
        self.register_buffer("shift", (mean - own_mean) / own_std)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.network(images * self.scale + self.shift)
        return logits


def _tensors(normalisation: Normalisation) -> tuple[torch.Tensor, torch.Tensor]:
    mean, std = (torch.tensor(v).view(1, -1, 1, 1) for v in (normalisation.mean, normalisation.std))
    return mean, std


def given_input(
    network: Network, own: Normalisation | None, data: TrainingData, compute: Compute
) -> TrainedInput:
    """Return a network that a caller trained; `own` is its normalisation, where that is known.

    Elsewhere it took images in [0, 1] or normalised ones, whichever serves it better on validation
    images.
    """
    network.to(compute.device)
    channels = network.architecture.input_shape[0]
    plain = Normalisation((0.0,) * channels, (1.0,) * channels)
    images = data.validation.to(compute.device)
    found = []
    for normalisation in [own] if own is not None else [data.normalisation, plain]:
        found.append((accuracy(network, images, normalisation, compute), normalisation))
    reached, normalisation = max(found, key=lambda pair: pair[0])
    return TrainedInput(network.cpu().eval(), normalisation, reached)


def input_accuracy(source: TrainedInput, test: LabelledImages, *, threads: int) -> float:
    """Return the accuracy of a trained network on the test split, by ONNX Runtime."""
    model = to_onnx(source.network, source.normalisation)
    return onnx_accuracy(model, source.network.architecture, test, threads)


def train_input(architecture: Architecture, conditions: Conditions) -> TrainedInput:
    """Return a network trained by the effort's recipe for it, `with_batch_norms`.

    Raises:
        StoppedError: the observer asked to stop.
        CompressionError: the training diverged.
    """
    architecture = with_batch_norms(architecture)
    data, compute, observer = conditions.data, conditions.compute, conditions.observer
    recipe = conditions.effort.input_recipe_for(count(architecture).macs, len(data.train))

    def observe(step: Step) -> bool:
        if observer.should_stop():
            return False
        observer.progress(
            Progress(
                Phase.RETRAIN,
                step=1000 * step.step // step.total_steps,
                total_steps=1000,
                loss=step.loss,
                accuracy=step.accuracy,
                message=f"input network, epoch {step.epoch} of {recipe.epochs}",
            )
        )
        return True

    run = TrainingRun(architecture, data.to(compute.device), recipe, conditions.seed, compute)
    network, result = run_training(run, conditions.checkpoints, observer, observe)
    if result.status is Status.STOPPED:
        raise StoppedError("stopped while training the input network")
    if result.status is Status.DIVERGED:
        raise CompressionError(
            Reason.TRAINING_DIVERGED,
            f"the input network diverged in training: {result.message}",
            metadata={"candidates": "0"},
        )
    return TrainedInput(network.cpu().eval(), data.normalisation, result.accuracy)

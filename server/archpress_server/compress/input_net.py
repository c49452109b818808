"""The input network, trained as the result is: what it reaches, and a teacher for the result."""

from __future__ import annotations

from archpress_server.compress.certify import onnx_accuracy
from archpress_server.compress.checkpoints import NO_CHECKPOINTS, CheckpointStore
from archpress_server.compress.effort import EffortPlan
from archpress_server.compress.export import to_onnx
from archpress_server.compress.training_run import TrainingRun, run_training
from archpress_server.compress.types import (
    CompressionError,
    Observer,
    Phase,
    Progress,
    Reason,
    StoppedError,
)
from archpress_trainer.data.dataset import LabelledImages, TrainingData
from archpress_trainer.space.build import Network
from archpress_trainer.space.costs import count
from archpress_trainer.space.graph import Architecture
from archpress_trainer.training.device import Compute
from archpress_trainer.training.loop import Status, Step


def input_accuracy(
    network: Network, data: TrainingData, test: LabelledImages, *, threads: int
) -> float:
    """Return the accuracy of a trained network on the test split, by ONNX Runtime."""
    return onnx_accuracy(to_onnx(network, data.normalisation), test, threads)


def train_input(
    architecture: Architecture,
    data: TrainingData,
    effort: EffortPlan,
    seed: int,
    compute: Compute,
    observer: Observer,
    checkpoints: CheckpointStore = NO_CHECKPOINTS,
) -> Network:
    """Return a network trained by the effort's final recipe, on the CPU in evaluation mode.

    Raises:
        StoppedError: the observer asked to stop.
        CompressionError: the training diverged.
    """
    recipe = effort.recipe_for(count(architecture).macs, len(data.train))

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

    run = TrainingRun(architecture, data.to(compute.device), recipe, seed, compute)
    network, result = run_training(run, checkpoints, observer, observe)
    if result.status is Status.STOPPED:
        raise StoppedError("stopped while training the input network")
    if result.status is Status.DIVERGED:
        raise CompressionError(
            Reason.TRAINING_DIVERGED,
            f"the input network diverged in training: {result.message}",
            metadata={"candidates": "0"},
        )
    return network.cpu().eval()

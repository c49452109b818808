"""Labelling one architecture: train it at a fidelity and say how well it did, or why not."""

from __future__ import annotations

from statistics import mean

import torch

from archpress_trainer.data.dataset import TrainingData
from archpress_trainer.embedding.record import Record
from archpress_trainer.error_text import first_line
from archpress_trainer.population.spec import PopulationSpec
from archpress_trainer.space.build import build
from archpress_trainer.space.sampling import Sample
from archpress_trainer.training.device import Compute
from archpress_trainer.training.loop import Status, train
from archpress_trainer.training.out_of_memory import is_out_of_memory


def label(
    index: int,
    sample: Sample,
    spec: PopulationSpec,
    data: TrainingData,
    compute: Compute,
    *,
    repeat: int = 0,
) -> Record:
    """Return the record of one net; what goes wrong with it is its status, not an exception.

    Args:
        index: the net's place in the population; with the spec's seed it seeds the training.
        sample: the net.
        spec: fidelity and recipe.
        data: on the device, already cut to the fidelity's number of images.
        compute: device and precision.
        repeat: 0 for the net's label, 1 for a second one from other seeds.

    Raises:
        torch.AcceleratorError: the device failed, and will in this process.
    """
    results = []
    for training in range(repeat * spec.fidelity.seeds, (repeat + 1) * spec.fidelity.seeds):
        seed = (spec.seed * 1_000_003 + index) * 101 + training
        generator = torch.Generator().manual_seed(seed % 2**63)
        try:
            network = build(sample.architecture, generator)
            result = train(network, data, spec.recipe, generator, compute, evaluate_every=1)
        except torch.AcceleratorError:
            # It stays with the process, whose next nets would fail as well.
            raise
        except (RuntimeError, ValueError, MemoryError) as error:
            kind = "out_of_memory" if is_out_of_memory(error) else "failed"
            return unlabelled(index, sample, kind, first_line(error)[:200])
        if result.status is not Status.FINISHED:
            return unlabelled(index, sample, result.status.value, result.message)
        results.append(result)
    return Record(
        index=index,
        architecture=sample.architecture,
        params=sample.costs.params,
        macs=sample.costs.macs,
        status="finished",
        accuracy=round(mean(result.accuracy for result in results), 6),
        loss_sum=round(mean(result.loss_sum for result in results), 5),
        curve=tuple(
            round(mean(values), 6) for values in zip(*(r.curve for r in results), strict=True)
        ),
        seconds=round(mean(result.seconds for result in results), 3),
    )


def unlabelled(index: int, sample: Sample, status: str, message: str) -> Record:
    """Return the record of a net that has no label; `message` says why."""
    costs = sample.costs
    return Record(
        index, sample.architecture, costs.params, costs.macs, status, 0.0, 0.0, (), 0.0, message
    )

"""How fast a population is labelled, against a plain PyTorch loop that makes the same labels.

The plain loop is what one writes first: torchvision transforms and a DataLoader, float32, one net
after another, all threads for each. Both train the same nets with the same recipe on the same
images and validate after each epoch. The nets lie evenly over the costs of the bundled population.

Prediction: bf16 and channels_last give about twice, one thread per net instead of barriers between
two 1.2 times, data in memory and batched augmentation more the smaller the net: above 3 together.
The floor is the time that the multiplications alone would take at the speed of a large bf16 matrix
product on every core; what is above it is memory traffic, dispatch and validation.

Outcome on two cores: 3.4 times. The floor lies 8 times lower: with 64 images a batch the narrow
convolutions of these nets do not come near the speed of a large product.

    python benchmarks/population.py --output benchmarks/results/population.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from statistics import mean
from typing import Any

import numpy as np
import torch
from arguments import output_file, positive, usage_errors
from PIL import Image
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from archpress_trainer.data.dataset import TrainingData
from archpress_trainer.data.registry import DataSources
from archpress_trainer.embedding.bundled import artifact_folder
from archpress_trainer.evaluation import Spread
from archpress_trainer.population.executor import Task
from archpress_trainer.population.local_executor import LocalExecutor
from archpress_trainer.population.records import PopulationStore
from archpress_trainer.population.spec import PopulationSpec
from archpress_trainer.space.build import build
from archpress_trainer.space.graph import Architecture
from archpress_trainer.training.fidelity import Fidelity

_CORES = os.cpu_count() or 1


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--nets", type=positive, default=8)
    parser.add_argument("--images", type=positive, default=4_096)
    parser.add_argument("--rounds", type=positive, default=3)
    parser.add_argument("--output", type=output_file)
    options = parser.parse_args()
    sources = DataSources()
    with usage_errors(parser):
        spec = PopulationStore(artifact_folder("fashion-mnist")).spec()
        data = sources.load(spec.dataset).split().subset(options.images)
    report = measure(spec, sources, data, options.nets, options.rounds)
    text = json.dumps(report, indent=1, default=asdict)
    print(text)
    if options.output is not None:
        options.output.write_text(text + "\n")


def measure(
    stored: PopulationSpec, sources: DataSources, data: TrainingData, nets: int, rounds: int
) -> dict[str, Any]:
    """Return seconds of both ways, their ratio, and the floor."""
    images = len(data.train)
    spec = replace(stored, fidelity=Fidelity(images, 1, 1), recipe=replace(stored.recipe, epochs=1))
    tasks = spread_over_costs(spec, nets)
    ours, plain = [], []
    for _ in range(rounds):
        ours.append(time_ours(spec, sources, tasks))
        plain.append(time_plain(spec, data, [task.sample.architecture for task in tasks]))
    ours_seconds, ours_accuracy = zip(*ours, strict=True)
    plain_seconds, plain_accuracy = zip(*plain, strict=True)
    ratios = [slow / fast for slow, fast in zip(plain_seconds, ours_seconds, strict=True)]
    operations = sum(2 * 3 * task.sample.costs.macs * images for task in tasks)
    speed = matrix_speed() * _CORES
    return {
        "machine": f"{platform.machine()}, {_CORES} cores, torch {torch.__version__}",
        "nets": nets,
        "images": images,
        "rounds": rounds,
        "ours_labels_per_hour": Spread.of([nets * 3600 / s for s in ours_seconds]),
        "plain_labels_per_hour": Spread.of([nets * 3600 / s for s in plain_seconds]),
        "ratio": Spread.of(ratios),
        "ours_mean_accuracy": Spread.of(ours_accuracy),
        "plain_mean_accuracy": Spread.of(plain_accuracy),
        "floor_seconds": round(operations / speed, 2),
        "ours_over_floor": Spread.of([s * speed / operations for s in ours_seconds]),
    }


def spread_over_costs(spec: PopulationSpec, nets: int) -> list[Task]:
    """Return nets at even quantiles of MACs, the costliest first, as a population has them."""
    drawn = sorted(spec.samples(200), key=lambda sample: -sample.costs.macs)
    places = np.linspace(0, len(drawn) - 1, nets + 2)[1:-1].round().astype(int)
    return [Task(index, drawn[place]) for index, place in enumerate(places.tolist())]


def time_ours(
    spec: PopulationSpec, sources: DataSources, tasks: Sequence[Task]
) -> tuple[float, float]:
    """Return seconds and mean accuracy; the start of the workers is not counted."""
    smallest = tasks[-1].sample
    warm = [Task(len(tasks) + place, smallest) for place in range(_CORES)]
    records = LocalExecutor(sources, _CORES).run(spec, [*warm, *tasks])
    for _ in warm:
        next(records)
    started = time.perf_counter()
    accuracies = [record.accuracy for record in records if record.is_labelled]
    return time.perf_counter() - started, mean(accuracies)


class _Images(Dataset[tuple[torch.Tensor, int]]):
    def __init__(self, images: torch.Tensor, labels: torch.Tensor, transform: Any) -> None:
        self.images = images.permute(0, 2, 3, 1).squeeze(-1).numpy()
        self.labels = labels.tolist()
        self.transform = transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(Image.fromarray(self.images[index])), self.labels[index]


def time_plain(
    spec: PopulationSpec, data: TrainingData, architectures: Sequence[Architecture]
) -> tuple[float, float]:
    """Return seconds and mean accuracy of the plain loop."""
    recipe = spec.recipe
    torch.set_num_threads(_CORES)
    scale = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,), (0.5,))])
    augment = transforms.Compose([transforms.RandomHorizontalFlip(), scale])
    train = DataLoader(
        _Images(data.train.images, data.train.labels, augment),
        batch_size=recipe.batch_size,
        shuffle=True,
        drop_last=True,
    )
    validation = DataLoader(
        _Images(data.validation.images, data.validation.labels, scale), batch_size=1_000
    )
    accuracies = []
    started = time.perf_counter()
    for index, architecture in enumerate(architectures):
        network = build(architecture, torch.Generator().manual_seed(index))
        optimizer = torch.optim.SGD(
            network.parameters(),
            lr=recipe.learning_rate,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
            nesterov=True,
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            recipe.learning_rate,
            len(train) * recipe.epochs,
            pct_start=recipe.warmup_fraction,
            anneal_strategy="linear",
        )
        for _ in range(recipe.epochs):
            network.train()
            for images, labels in train:
                loss = functional.cross_entropy(network(images), labels)
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(network.parameters(), recipe.clip_norm)
                optimizer.step()
                schedule.step()
            network.eval()
            with torch.no_grad():
                right = sum(
                    int((network(images).argmax(dim=1) == labels).sum())
                    for images, labels in validation
                )
        accuracies.append(right / len(data.validation))
    return time.perf_counter() - started, mean(accuracies)


def matrix_speed(side: int = 1_024, repeats: int = 20) -> float:
    """Return operations per second of a bf16 matrix product on one thread."""
    torch.set_num_threads(1)
    left, right = (torch.randn(side, side).bfloat16() for _ in range(2))
    left @ right
    started = time.perf_counter()
    for _ in range(repeats):
        left @ right
    return 2 * side**3 * repeats / (time.perf_counter() - started)


if __name__ == "__main__":
    main()

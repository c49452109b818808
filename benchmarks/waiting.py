"""How long threads of a training should spin while they wait for one another.

OpenMP's threads meet after every operator. Who comes first spins, which costs nothing where the
CPUs are the training's own, and takes time from whom it waits for where they are not. GNU OpenMP,
which torch brings along on Linux, spins for `GOMP_SPINCOUNT` rounds and then sleeps.

Each measurement is a process that takes steps of a narrowed CONV-7 with as many threads as there
are CPUs: alone, and beside one busy program for each CPU. Settings take turns within a repetition;
a ratio is of a setting to the default in the same repetition.

Prediction: beside others few rounds halve a step's time; alone they cost less than a tenth of it.

    python benchmarks/waiting.py --output benchmarks/results/waiting.json
"""

from __future__ import annotations

import argparse
import json
import time

import torch
from arguments import output_file, positive, positive_number
from neighbours import Setting, compare, cpus
from torch import nn
from torch.nn import functional

from archpress_trainer.processes import keep_freed_memory
from archpress_trainer.space.build import build
from archpress_trainer.space.named import named
from archpress_trainer.space.widths import SizeBudget, fit_widths
from archpress_trainer.training.device import best_compute

_SPINS = ("100000", "10000", "1000")
_PARAMS = 50_000
_BATCH = 128
_WARM_UP = 5


def main() -> None:
    """Measure all settings, or in a process of its own one."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=output_file, help="JSON")
    parser.add_argument("--repetitions", type=positive, default=5)
    parser.add_argument("--seconds", type=positive_number, default=5.0, help="of a measurement")
    parser.add_argument("--step", action="store_true", help="be one measurement")
    options = parser.parse_args()
    if options.step:
        print(json.dumps(_step(options.seconds)))
        return
    if options.output is None:
        parser.error("--output is needed")
    arguments = ("--step", "--seconds", str(options.seconds))
    settings = [
        Setting("default", arguments),
        *(Setting(spins, arguments, spins) for spins in _SPINS),
    ]
    compare(settings, options.repetitions, options.output)


def _step(seconds: float) -> dict[str, float]:
    """Return the seconds of a training step, on the clock and of the processor."""
    torch.set_num_threads(cpus())
    keep_freed_memory()
    architecture = fit_widths(named("conv-7", (1, 28, 28), 10), SizeBudget(_PARAMS))
    if architecture is None:
        raise SystemExit(f"CONV-7 cannot be narrowed to {_PARAMS} parameters")
    draws = torch.Generator().manual_seed(0)
    network = build(architecture, draws).to(memory_format=torch.channels_last).train()
    images = torch.randn(_BATCH, *architecture.input_shape, generator=draws)
    labels = torch.randint(0, architecture.classes, (_BATCH,), generator=draws)
    optimizer = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9, nesterov=True)
    for _ in range(_WARM_UP):
        _take(network, optimizer, images, labels)
    clock, processor, steps = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - clock < seconds:
        _take(network, optimizer, images, labels)
        steps += 1
    return {
        "seconds": (time.perf_counter() - clock) / steps,
        "processor_seconds": (time.process_time() - processor) / steps,
    }


def _take(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    images: torch.Tensor,
    labels: torch.Tensor,
) -> None:
    with best_compute().autocast():
        logits = network(images).float()
    optimizer.zero_grad(set_to_none=True)
    functional.cross_entropy(logits, labels).backward()
    optimizer.step()


if __name__ == "__main__":
    main()

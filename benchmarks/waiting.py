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
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from statistics import mean, stdev

import torch
from arguments import output_file, positive, positive_number
from torch import nn
from torch.nn import functional

from archpress_trainer.processes import keep_freed_memory
from archpress_trainer.space.build import build
from archpress_trainer.space.named import named
from archpress_trainer.space.widths import SizeBudget, fit_widths
from archpress_trainer.training.device import best_compute

_DEFAULT = "default"
_SPINS = (_DEFAULT, "100000", "10000", "1000")
_SPIN_COUNT = "GOMP_SPINCOUNT"
_BUSY = "while True: pass"
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
    measured: dict[str, dict[str, list[dict[str, float]]]] = {}
    for _ in range(options.repetitions):
        for place, neighbours in (("alone", 0), ("beside others", _cpus())):
            with _busy(neighbours):
                for spins in _SPINS:
                    found = _measured(spins, options.seconds)
                    measured.setdefault(place, {}).setdefault(spins, []).append(found)
                    print(place, spins, found, flush=True)
    result = {
        "command": " ".join(("python", *sys.argv)),
        "machine": platform.processor() or platform.machine(),
        "cpus": _cpus(),
        "torch": torch.__version__,
        "settings": [
            summary(place, spins, found, settings[_DEFAULT])
            for place, settings in measured.items()
            for spins, found in settings.items()
        ],
    }
    options.output.write_text(json.dumps(result, indent=1) + "\n")


def _step(seconds: float) -> dict[str, float]:
    """Return the seconds of a training step, on the clock and of the processor."""
    torch.set_num_threads(_cpus())
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


def _measured(spins: str, seconds: float) -> dict[str, float]:
    environment = {name: value for name, value in os.environ.items() if name != _SPIN_COUNT}
    environment["OMP_NUM_THREADS"] = str(_cpus())
    if spins != _DEFAULT:
        environment[_SPIN_COUNT] = spins
    command = [sys.executable, __file__, "--step", "--seconds", str(seconds)]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def summary(
    place: str,
    spins: str,
    found: list[dict[str, float]],
    default: list[dict[str, float]],
) -> Mapping[str, object]:
    """Return means and how a setting's times relate to the default's; no spread of one ratio."""
    ratios = [one["seconds"] / two["seconds"] for one, two in zip(found, default, strict=True)]
    return {
        "place": place,
        "spins": spins,
        "n": len(found),
        "mean_seconds": mean(one["seconds"] for one in found),
        "mean_processor_seconds": mean(one["processor_seconds"] for one in found),
        "ratio_mean": mean(ratios),
        "ratio_stdev": stdev(ratios) if len(ratios) > 1 else None,
    }


@contextmanager
def _busy(number: int) -> Iterator[None]:
    programs = [subprocess.Popen([sys.executable, "-c", _BUSY]) for _ in range(number)]
    try:
        yield
    finally:
        for program in programs:
            program.kill()
            program.wait()


def _cpus() -> int:
    return len(os.sched_getaffinity(0))


if __name__ == "__main__":
    main()

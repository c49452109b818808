"""How many threads a plan should have.

A plan takes thousands of small operators, after each of which its threads wait for one another, and
a server plans while its workers train on the same CPUs. Each measurement is a process that plans
for CONV-7 at several sizes, after a first plan that does not count: alone, and beside one busy
program for each CPU. Settings take turns within a repetition; a ratio is of a setting to as many
threads as CPUs, as torch has them by itself, in the same repetition.

Prediction, after a trial beside two trainings: beside others one thread takes less than half the
time, alone it takes up to a quarter more.

    python benchmarks/planning_threads.py --output benchmarks/results/planning-threads.json
"""

from __future__ import annotations

import argparse
import json
import time

import torch
from arguments import output_file, positive
from neighbours import Setting, compare, cpus

from archpress_server.compress.planning import plan
from archpress_server.compress.types import Budget, Request
from archpress_trainer.embedding.artifact import load
from archpress_trainer.embedding.bundled import artifact_folder
from archpress_trainer.space.named import named
from archpress_trainer.waiting import waiting

_DATASET = "fashion-mnist"
_SIZES = (150_000, 93_000, 50_000, 20_000)
_CANDIDATES = 8


def main() -> None:
    """Measure all settings, or in a process of its own one."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=output_file, help="JSON")
    parser.add_argument("--repetitions", type=positive, default=5)
    parser.add_argument("--threads", type=positive, help="be one measurement, with so many")
    options = parser.parse_args()
    if options.threads is not None:
        print(json.dumps(_plans(options.threads)))
        return
    if options.output is None:
        parser.error("--output is needed")
    (spins,) = waiting({}).values()
    as_many = ("--threads", str(cpus()))
    settings = [
        Setting("as many threads as CPUs", as_many),
        Setting(f"the same, spinning {int(spins):,} rounds", as_many, spins),
        Setting("one thread", ("--threads", "1")),
    ]
    compare(settings, options.repetitions, options.output)


def _plans(threads: int) -> dict[str, float]:
    """Return the seconds of a plan, on the clock and of the processor."""
    torch.set_num_threads(threads)
    embedding = load(artifact_folder(_DATASET))
    network = named("conv-7", embedding.manifest.space.input_shape, 10)
    first, *rest = (Request(network, _DATASET, Budget(max_params=size)) for size in _SIZES)
    plan(first, embedding, _CANDIDATES)
    clock, processor = time.perf_counter(), time.process_time()
    for request in rest:
        plan(request, embedding, _CANDIDATES)
    return {
        "seconds": (time.perf_counter() - clock) / len(rest),
        "processor_seconds": (time.process_time() - processor) / len(rest),
    }


if __name__ == "__main__":
    main()

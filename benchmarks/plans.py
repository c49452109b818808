"""Plans for random feasible requests: whether any breaks its budget, and how long they take.

A request asks for a sampled or a named network and limits on parameters, MACs or both, drawn
log-uniformly between the smallest network of the space and the input network, with a seed of its
own. Costs of candidates and of the narrowed input network, which a plan names beside them, are
counted anew from the layers. Every plan runs in one thread.

Prediction: no violation, since a budget is checked on exact counts before a network is scored; 2 s
in the median on a quiet machine.

    python benchmarks/plans.py --output benchmarks/results/plans.json
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Iterator
from concurrent.futures import as_completed
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from math import exp, log
from pathlib import Path
from random import Random
from statistics import mean, median, quantiles

import torch

from archpress_server.compress.checks import smallest_networks
from archpress_server.compress.planning import plan
from archpress_server.compress.types import Budget, Request
from archpress_trainer.embedding.artifact import load
from archpress_trainer.embedding.bundled import artifact_folder
from archpress_trainer.embedding.interface import Embedding
from archpress_trainer.processes import worker_pool
from archpress_trainer.space.architecture_space import ArchitectureSpace
from archpress_trainer.space.costs import count
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.named import named
from archpress_trainer.space.practical_sampler import PracticalSampler
from archpress_trainer.space.sampling import draw

_NAMED = ("conv-7", "conv-10", "vgg-16-bn")
_CANDIDATES = 8


@dataclass(frozen=True)
class Outcome:
    """What one plan gave."""

    seconds: float
    candidates: int
    heirs: int
    over_budget: int
    invalid: int


def requests(space: ArchitectureSpace, dataset: str, seed: int) -> Iterator[Request]:
    """Yield random feasible requests for ever."""
    rng = Random(seed)
    sampled = draw(PracticalSampler(space), rng)
    least = [count(network) for network in smallest_networks(space)]
    fewest = min(costs.params for costs in least), min(costs.macs for costs in least)
    while True:
        network = (
            named(rng.choice(_NAMED), space.input_shape, space.classes)
            if rng.random() < 0.5
            else next(sampled).architecture
        )
        costs = count(network)
        params = _between(rng, fewest[0], costs.params)
        macs = _between(rng, fewest[1], costs.macs)
        which = rng.randrange(3)
        budget = Budget(
            max_params=params if which != 1 else None, max_macs=macs if which != 0 else None
        )
        yield Request(network, dataset, budget, seed=rng.randrange(2**63))


def _between(rng: Random, low: int, high: int) -> int:
    return max(low, int(exp(rng.uniform(log(low), log(max(low, high))))))


@lru_cache(maxsize=1)
def _embedding(place: str) -> Embedding:
    return load(artifact_folder(place))


def _run(place: str, request: Request) -> Outcome:
    found = plan(request, _embedding(place), _CANDIDATES)
    budget, space = request.budget, _embedding(place).manifest.space
    heirs = () if found.heir is None else (found.heir,)
    costs = [count(_anew(candidate.architecture)) for candidate in (*found.candidates, *heirs)]
    return Outcome(
        found.seconds,
        len(found.candidates),
        len(heirs),
        sum(
            (budget.max_params is not None and c.params > budget.max_params)
            or (budget.max_macs is not None and c.macs > budget.max_macs)
            for c in costs
        ),
        sum(not space.contains(candidate.architecture) for candidate in found.candidates),
    )


def _anew(architecture: Architecture) -> Architecture:
    return Architecture(architecture.input_shape, architecture.classes, architecture.layers)


def main() -> None:
    """Plan, count and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--embedding", default="fashion-mnist")
    parser.add_argument("--requests", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    manifest = _embedding(options.embedding).manifest
    source = requests(manifest.space, manifest.dataset, options.seed)
    outcomes = []
    with worker_pool(options.workers, torch.set_num_threads, 1) as pool:
        asked = [
            pool.submit(_run, options.embedding, request)
            for request in islice(source, options.requests)
        ]
        for future in as_completed(asked):
            outcomes.append(future.result())
    seconds = [outcome.seconds for outcome in outcomes]
    report = {
        "machine": f"{platform.machine()}, {options.workers} plans at a time",
        "embedding": manifest.name,
        "requests": len(outcomes),
        "candidates": sum(outcome.candidates for outcome in outcomes),
        "heirs": sum(outcome.heirs for outcome in outcomes),
        "requests_without_a_candidate": sum(not outcome.candidates for outcome in outcomes),
        "over_budget": sum(outcome.over_budget for outcome in outcomes),
        "outside_the_space": sum(outcome.invalid for outcome in outcomes),
        "seconds": {
            "mean": round(mean(seconds), 3),
            "median": round(median(seconds), 3),
            "90th percentile": round(quantiles(seconds, n=10)[8], 3),
            "longest": round(max(seconds), 3),
        },
    }
    text = json.dumps(report, indent=1)
    print(text)
    if options.output is not None:
        options.output.write_text(text + "\n")


if __name__ == "__main__":
    main()

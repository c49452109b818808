"""Plans for random requests: whether any breaks its limits on costs, and how long they take.

A request asks for a sampled or a named network with a seed of its own and with some of four limits:
parameters, MACs, latency by a table of a random device, and an accuracy floor. Limits on costs are
drawn log-uniformly between a small network's and the input network's, so that the small one keeps
to all of them. A floor makes a plan prefer accuracy, and only training says who reaches it. Costs
of candidates and of the narrowed input network, which a plan names beside them, are counted anew
from the layers. Every plan runs in one thread and is a line of the output; run again, the program
goes on where it was. With `--busy`, for a machine that has other work, lines have no seconds.

Prediction: no violation and no refusal, since budgets are checked on exact counts before a network
is scored; 2 s in the median on a quiet machine, tables a third more for their sums over layers.

    python benchmarks/plans.py --workers 1 --busy --output benchmarks/results/plans.jsonl

`plans-sizes.json` is what the program before printed, whose requests had limits on parameters and
MACs only; it has the times until those of this one are taken on a quiet machine.
"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Iterator
from concurrent.futures import as_completed
from functools import lru_cache
from itertools import islice
from math import exp, log
from random import Random

import torch
from arguments import output_file, positive, usage_errors
from json_lines import JsonLines, Record

from archpress_server.compress.latency_table import LatencyTable, LayerLatency
from archpress_server.compress.layer_work import network_seconds
from archpress_server.compress.planning import plan
from archpress_server.compress.small_networks import fastest_networks, smallest_networks
from archpress_server.compress.types import Budget, Request, RequestError
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
from archpress_trainer.space.vocab import LayerKind

LIMITS = ("params", "macs", "latency", "floor")

_NAMED = ("conv-7", "conv-10", "vgg-16-bn")
_CANDIDATES = 8
_FLOORS = (0.5, 0.9)


def requests(space: ArchitectureSpace, dataset: str, seed: int) -> Iterator[Request]:
    """Yield random requests for ever, whose limits on costs can be kept together."""
    rng = Random(seed)
    sampled = draw(PracticalSampler(space), rng)
    while True:
        network = (
            named(rng.choice(_NAMED), space.input_shape, space.classes)
            if rng.random() < 0.5
            else next(sampled).architecture
        )
        limits = [name for name in LIMITS if rng.random() < 0.5] or [rng.choice(LIMITS)]
        table = _device(rng) if "latency" in limits else None
        small = [*smallest_networks(space)]
        if table is not None:
            small.append(fastest_networks(space, table)[0])
        least, most = (_costs(net, table) for net in (rng.choice(small), network))
        drawn = {name: _between(rng, least[name], most[name]) for name in least}
        budget = Budget(
            max_params=int(drawn["params"]) if "params" in limits else None,
            max_macs=int(drawn["macs"]) if "macs" in limits else None,
            max_latency_seconds=drawn["latency"] if table is not None else None,
            min_accuracy=rng.uniform(*_FLOORS) if "floor" in limits else None,
        )
        yield Request(network, dataset, budget, seed=rng.randrange(2**63), latency_table=table)


def _device(rng: Random) -> LatencyTable:
    """Return a table with a row of random speeds for every kind of layer."""
    rows = [
        LayerLatency(
            kind,
            fixed_seconds=_between(rng, 1e-6, 5e-5),
            seconds_per_mac=_between(rng, 1e-11, 1e-9),
            seconds_per_output=_between(rng, 1e-10, 1e-8),
        )
        for kind in LayerKind
        if kind is not LayerKind.DROPOUT
    ]
    return LatencyTable(tuple(rows), fixed_seconds=_between(rng, 1e-6, 1e-4))


def _costs(network: Architecture, table: LatencyTable | None) -> dict[str, float]:
    counted = count(Architecture(network.input_shape, network.classes, network.layers))
    found = {"params": float(counted.params), "macs": float(counted.macs)}
    return found if table is None else found | {"latency": network_seconds(table, network)}


def _between(rng: Random, low: float, high: float) -> float:
    return max(low, exp(rng.uniform(log(low), log(max(low, high)))))


@lru_cache(maxsize=1)
def _embedding(place: str) -> Embedding:
    return load(artifact_folder(place))


def _run(place: str, index: int, request: Request) -> Record:
    budget, space = request.budget, _embedding(place).manifest.space
    limits = {
        "params": budget.max_params,
        "macs": budget.max_macs,
        "latency": budget.max_latency_seconds,
        "floor": budget.min_accuracy,
    }
    line: Record = {"request": index, "limits": [k for k, v in limits.items() if v is not None]}
    try:
        found = plan(request, _embedding(place), _CANDIDATES)
    except RequestError as error:
        return line | {"refused": str(error)}
    heirs = [] if found.heir is None else [found.heir]
    costs = [
        _costs(candidate.architecture, request.latency_table)
        for candidate in (*found.candidates, *heirs)
    ]
    broken = [
        name
        for one in costs
        for name, value in one.items()
        if (most := limits[name]) is not None and value > most
    ]
    return line | {
        "candidates": len(found.candidates),
        "heirs": len(heirs),
        "broken": broken,
        "outside": sum(not space.contains(one.architecture) for one in found.candidates),
        "seconds": round(found.seconds, 3),
    }


def main() -> None:
    """Plan what is missing, count and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--embedding", default="fashion-mnist")
    parser.add_argument("--requests", type=positive, default=1_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=positive, default=2)
    parser.add_argument("--busy", action="store_true", help="take no times")
    parser.add_argument("--output", type=output_file, required=True, help="JSON lines")
    options = parser.parse_args()
    with usage_errors(parser):
        manifest = _embedding(options.embedding).manifest
        lines = JsonLines(options.output)
    common = {
        "embedding": manifest.name,
        "machine": f"{platform.machine()}, {options.workers} plans at a time",
        "seed": options.seed,
    }
    lines.require(common)
    source = requests(manifest.space, manifest.dataset, options.seed)
    with worker_pool(options.workers, torch.set_num_threads, 1) as pool:
        asked = [
            pool.submit(_run, options.embedding, index, request)
            for index, request in enumerate(islice(source, options.requests))
            if not lines.holds({"request": index})
        ]
        for future in as_completed(asked):
            line = common | future.result()
            lines.add(line | {"seconds": None} if options.busy else line)
    print(f"{len(lines.records):,} plans in {options.output}")


if __name__ == "__main__":
    main()

"""What each ingredient of the search is worth by the predictor's own belief, without a training.

Our search, and it without one ingredient at a time, propose six networks for each target of
`search.py`. Of these the predictor's joint draws tell how accurate the one is expected to be that
short trainings would say is best, which is what a job keeps. The difference says what an ingredient
does for the search's own goal, to a hundredth of a point; whether trained networks agree is for
`search.py --ways "without ..."`, where one training's noise is half a point.

Prediction: fitted widths and the changes nearby are worth a point each, choosing together a tenth,
every other ingredient less than that.

Outcome: the changes nearby are worth a third of a point, fitted widths and choosing together less
than a tenth, though in nearly every search; the descent, its many starts and its caution a
hundredth. A trust region and decodes drawn at random were worth nothing and are gone; so is half of
the 24 starts and of the 25 steps, by which a plan takes a third less time. The committed lines are
of the search that still had them all; those of today's go to another file.

    python benchmarks/ablations.py --output ablations.jsonl
"""

from __future__ import annotations

import argparse
import time

import torch
from arguments import DATASETS, NETWORKS, output_file, positive, usage_errors
from json_lines import RESULTS, JsonLines
from rivals import ABLATED, OURS, OURS_NOW
from search import CANDIDATES, TARGETS

from archpress_server.compress.planning import plan
from archpress_server.compress.search import PlanSettings
from archpress_server.compress.types import Budget, Request
from archpress_trainer.embedding.artifact import load
from archpress_trainer.embedding.bundled import artifact_folder
from archpress_trainer.embedding.interface import Embedding
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.named import named

_DRAWS = 4096
_SETTINGS = {OURS: PlanSettings(), **ABLATED}


def expected_best(embedding: Embedding, networks: list[Architecture]) -> float:
    """Return the accuracy expected of the network that short trainings would say is best."""
    draws = embedding.draw(networks, _DRAWS, torch.Generator().manual_seed(0))
    best = draws.label.argmax(dim=1, keepdim=True)
    return float(draws.accuracy.gather(1, best).mean())


def main() -> None:
    """Measure what is missing in the output."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--dataset", default="fashion-mnist", choices=DATASETS)
    parser.add_argument("--network", default="conv-7", choices=NETWORKS)
    parser.add_argument("--seeds", type=positive, default=3, help="searches for each target")
    parser.add_argument("--output", type=output_file, default=RESULTS / "ablations.jsonl")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with usage_errors(parser):
        lines = JsonLines(options.output)
        embedding = load(artifact_folder(options.dataset))
        space = embedding.manifest.space
        network = named(options.network, space.input_shape, space.classes)
    common = {
        "dataset": options.dataset,
        "network": options.network,
        "embedding": embedding.manifest.name,
        "candidates": CANDIDATES,
        "ours": OURS_NOW,
    }
    lines.require(common)
    for seed in range(options.seeds):
        for target, budget in TARGETS.items():
            limits = Budget(max_params=budget.max_params, max_macs=budget.max_macs)
            request = Request(network, options.dataset, limits, seed=seed)
            for name, settings in _SETTINGS.items():
                key = {"search": name, "target": target, "seed": seed}
                if lines.holds(key):
                    continue
                started = time.perf_counter()
                found = plan(request, embedding, CANDIDATES, settings=settings)
                networks = [candidate.architecture for candidate in found.candidates]
                line = {
                    **key,
                    "networks": len(networks),
                    "expected_best": round(expected_best(embedding, networks), 6),
                    "seconds": round(time.perf_counter() - started, 2),
                    **common,
                }
                lines.add(line)
                print(line, flush=True)


if __name__ == "__main__":
    main()

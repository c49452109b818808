"""Does the search find better networks than its rivals, for the same number of trainings?

Every way of `rivals.py` spends six trainings on each of twelve targets. A training is a label's, in
fidelity and recipe; the best of the six by validation accuracy is trained longer by the same
recipe, from two seeds, and the mean of these on the test split is the result of a way on a target.
Ways are compared over the targets, pairwise, by Wilcoxon's signed-rank test with the alternative
that ours is better; all searches of a way on a target are averaged first. The ablations are our
search with one ingredient left out.

Prediction: ours is above every rival, the most above random search (several points) and the paper's
method, the least above local search from the input network and screening with fitted widths. Of the
ingredients, the changes nearby and fitted widths are worth the most, the descent the most under the
tightest budgets.

Outcome: ours is above every rival, random search and the paper's method by the most. The nearest
are the screenings with fitted widths and without, and after them evolution, not local search. Ours
was level with the screenings when it chose its candidates for themselves, and was searched again on
the same targets when it chose them together (docs/results.md says with what p-values); that choice
alone is worth 0.08 point, within the noise. Ingredients were measured by the predictor only
(`ablations.py`). The committed searches of ours are by 24 starts and 25 steps, of which half were
removed since (ADR 25). Today's are not added to them: a new comparison needs its own --output.

A committed line is of a search on a GPU or on a CPU, never on both with one seed: the version of
ours before had 90.43% in one search of each target on a GPU, and 90.40 and 90.34% in two on a CPU.
The same short and final trainings, by their seeds, follow whatever the seed of the search.

Each way on a target is a line of the output, written when it is done; a run that was broken off
goes on. With a GPU, give several workers.

    python benchmarks/search.py --workers 2 --output search.jsonl

The committed lines are those of the rivals with one seed, and of these with three; of both there is
only the summary left to print:

    python benchmarks/search.py --dataset fashion-mnist
    python benchmarks/search.py --seeds 3 --ways "latent descent" screening \
        "screening, widths fitted" "without choosing together"
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable
from concurrent.futures import as_completed
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from arguments import existing, output_file, positive, usage_errors
from bench_worker import start_worker
from json_lines import RESULTS, JsonLines, Record
from rivals import ABLATIONS, OURS, OURS_NOW, RIVALS, WAYS, Problem
from search_pairs import ahead, paired

from archpress_trainer.data.dataset import ImageDataset, TrainingData
from archpress_trainer.data.registry import DataSources
from archpress_trainer.embedding.artifact import load, save
from archpress_trainer.embedding.bundled import artifact_folder
from archpress_trainer.embedding.features import feature_matrix
from archpress_trainer.embedding.fit_paper import fit_paper
from archpress_trainer.embedding.interface import Embedding
from archpress_trainer.embedding.manifest import EmbeddingMethod
from archpress_trainer.embedding.paper import PaperSettings
from archpress_trainer.processes import worker_pool
from archpress_trainer.space.build import Network, build
from archpress_trainer.space.costs import count
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.named import named
from archpress_trainer.space.widths import SizeBudget
from archpress_trainer.training.device import best_compute
from archpress_trainer.training.loop import accuracy, train
from archpress_trainer.training.recipe import Recipe, population_recipe

TARGETS = {
    "6K": SizeBudget(6_000),
    "9K": SizeBudget(9_000),
    "13K": SizeBudget(13_000),
    "20K": SizeBudget(20_000),
    "30K": SizeBudget(30_000),
    "43K": SizeBudget(43_000),
    "64K": SizeBudget(64_000),
    "95K": SizeBudget(95_000),
    "20K, 0.8M MACs": SizeBudget(20_000, 800_000),
    "30K, 1.5M MACs": SizeBudget(30_000, 1_500_000),
    "50K, 1.5M MACs": SizeBudget(50_000, 1_500_000),
    "95K, 3M MACs": SizeBudget(95_000, 3_000_000),
}
CANDIDATES = 6
_FINAL_SEEDS = 2
_NETWORKS = {"fashion-mnist": "conv-7", "cifar10": "conv-10"}


@dataclass(frozen=True)
class Settings:
    """What every cell has in common; the final training sees `images` images `epochs` times."""

    dataset: str
    paper: Path
    images: int
    epochs: int
    data: Path | None

    def common(self, embedding: Embedding) -> Record:
        """Return what all lines of an output have in common."""
        return {
            "dataset": self.dataset,
            "embedding": embedding.manifest.name,
            "images": self.images,
            "epochs": self.epochs,
            "ours": OURS_NOW,
        }

    def load_dataset(self) -> ImageDataset:
        """Return the images."""
        files = {self.dataset: self.data} if self.data else {}
        return DataSources(files=files).load(self.dataset)


@dataclass(frozen=True)
class Cell:
    """A way on a target, with the seed of its search."""

    way: str
    target: str
    seed: int


class Bench:
    """What a worker keeps between cells."""

    def __init__(self, settings: Settings) -> None:
        """Load embeddings and images."""
        self._settings = settings
        self._compute = best_compute()
        self._embedding = load(artifact_folder(settings.dataset))
        self._paper = load(settings.paper)
        dataset = settings.load_dataset()
        self._network = named(_NETWORKS[settings.dataset], dataset.input_shape, dataset.classes)
        data = dataset.split().to(self._compute.device)
        fidelity = self._embedding.manifest.fidelity
        self._short = data.subset(fidelity.train_images)
        self._long = data.subset(settings.images)
        self._test = dataset.test().to(self._compute.device)
        crop = 4 if dataset.input_shape[1] >= 32 else 0
        self._label = population_recipe(fidelity.epochs, crop_padding=crop)
        self._final = replace(self._label, epochs=settings.epochs)

    def cell(self, cell: Cell) -> Record:
        """Spend the trainings of a cell and return its line."""
        started = time.perf_counter()
        trained: list[tuple[float, Architecture, dict[str, Any]]] = []

        def trial(network: Architecture) -> float:
            found, _ = self._trained(network, self._short, self._label, 100 + len(trained))
            costs = count(network)
            line = {
                "params": costs.params,
                "macs": costs.macs,
                "predicted": round(self._embedding.predict([network])[0].accuracy, 5),
                "validation": round(found, 5),
            }
            trained.append((found, network, line))
            return found

        budget = TARGETS[cell.target]
        problem = Problem(
            self._embedding, self._paper, self._network, budget, CANDIDATES, cell.seed, trial
        )
        WAYS[cell.way](problem)
        searched = time.perf_counter() - started
        final: dict[str, Any] = {"validation": [], "test": [], "params": 0}
        if trained:
            _, best, line = max(trained, key=lambda entry: entry[0])
            final["params"] = line["params"]
            for seed in range(_FINAL_SEEDS):
                found, net = self._trained(best, self._long, self._final, seed)
                reached = accuracy(net, self._test, self._long.normalisation, self._compute)
                final["validation"].append(round(found, 5))
                final["test"].append(round(reached, 5))
        return {
            **self._settings.common(self._embedding),
            "method": cell.way,
            "target": {"name": cell.target, **asdict(budget)},
            "seed": cell.seed,
            "device": self._compute.device.type,
            "trained": [line for _, _, line in trained],
            "final": final,
            "search_seconds": round(searched, 2),
            "seconds": round(time.perf_counter() - started, 2),
        }

    def _trained(
        self, architecture: Architecture, data: TrainingData, recipe: Recipe, seed: int
    ) -> tuple[float, Network]:
        generator = torch.Generator().manual_seed(seed)
        network = build(architecture, generator)
        result = train(network, data, recipe, generator, self._compute)
        return result.accuracy, network


@lru_cache(maxsize=1)
def _bench(settings: Settings) -> Bench:
    return Bench(settings)


def _run(settings: Settings, cell: Cell) -> Record:
    return _bench(settings).cell(cell)


def paper_embedding(folder: Path, place: str, iterations: int) -> None:
    """Fit the paper's model on the bundled labels and save it, unless it is there."""
    if (folder / "manifest.json").exists():
        return
    known = load(artifact_folder(place))
    nets = [exemplar.architecture for exemplar in known.exemplars]
    embedding: Embedding = fit_paper(
        lambda metrics: replace(
            known.manifest,
            name=f"{known.manifest.name}-paper",
            method=EmbeddingMethod.PAPER,
            metrics=metrics,
        ),
        nets,
        torch.tensor([exemplar.accuracy for exemplar in known.exemplars]),
        feature_matrix(nets, known.manifest.space),
        PaperSettings(iterations=iterations),
        known.manifest.space,
        seed=0,
    )
    save(embedding, folder)


def summary(lines: list[Record]) -> dict[str, Any]:
    """Compare every way with ours over the targets that both have."""
    return {
        "rivals": _table(lines, RIVALS),
        "ablations": _table(lines, ABLATIONS),
        "optimism_points": _optimism(lines),
    }


def _table(lines: list[Record], names: Iterable[str]) -> dict[str, Any]:
    found = {name: _against(lines, name) for name in names}
    return {name: row for name, row in found.items() if row}


def _against(lines: list[Record], name: str) -> dict[str, Any]:
    """Return by how many points ours is better than a way, and how sure that is."""
    pairs = list(paired(lines, OURS, name).values())
    if len(pairs) < 2:
        return {}
    differences = [pair.difference for pair in pairs]
    return {
        "n": len(pairs),
        "searches_ours": sum(len(pair.first) for pair in pairs),
        "searches_other": sum(len(pair.second) for pair in pairs),
        "wins": sum(difference > 0 for difference in differences),
        "mean_ours": round(mean(mean(pair.first) for pair in pairs), 3),
        "mean_other": round(mean(mean(pair.second) for pair in pairs), 3),
        "mean_difference": round(mean(differences), 3),
        "sd": round(stdev(differences), 3),
        "p": float(f"{ahead(differences):.3g}"),
    }


def _optimism(lines: list[Record]) -> dict[str, float]:
    """Return how far predictions of the networks that ours chose lie above what was measured."""
    gaps = sorted(
        100 * (net["predicted"] - net["validation"])
        for line in lines
        if line["method"] == OURS
        for net in line["trained"]
    )
    if not gaps:
        return {}
    places = {"median": 0.5, "90th percentile": 0.9}
    return {"n": len(gaps)} | {
        name: round(gaps[min(len(gaps) - 1, int(place * len(gaps)))], 3)
        for name, place in places.items()
    }


def main() -> None:
    """Run what is missing, then summarise."""
    parser, options = _options()
    output = options.output or _output(options.dataset)
    paper = options.paper or output.with_suffix(".paper")
    settings = Settings(options.dataset, paper, options.images, options.epochs, options.data)
    with usage_errors(parser):
        lines = JsonLines(output)
        cells = _missing(options, lines)
        if cells:
            # Before anything is fitted: the images may not be there.
            lines.require(settings.common(load(artifact_folder(options.dataset))))
            settings.load_dataset()
    if cells:
        paper_embedding(paper, options.dataset, options.paper_iterations)
        with worker_pool(options.workers, start_worker) as pool:
            for future in as_completed([pool.submit(_run, settings, cell) for cell in cells]):
                line = future.result()
                lines.add(line)
                print(line["method"], line["target"]["name"], line["final"]["test"], flush=True)
    text = json.dumps(summary(lines.records), indent=1)
    output.with_suffix(".json").write_text(text + "\n")
    print(text)


def _options() -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--dataset", default="fashion-mnist", choices=sorted(_NETWORKS))
    parser.add_argument(
        "--data", type=existing, help="an .npz, for a data set that is not installed"
    )
    parser.add_argument(
        "--output", type=output_file, help="JSON lines; the committed ones by default"
    )
    parser.add_argument(
        "--ways",
        nargs="+",
        default=[OURS, *RIVALS],
        choices=list(WAYS),
        help="ours and its rivals by default",
    )
    parser.add_argument(
        "--seeds", type=positive, default=1, help="searches for each way and target"
    )
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--workers", type=positive, default=2)
    parser.add_argument("--images", type=positive, default=24_000, help="of the final training")
    parser.add_argument("--epochs", type=positive, default=4, help="of the final training")
    parser.add_argument(
        "--paper", type=Path, help="artifact of the paper's model; fitted if absent"
    )
    parser.add_argument("--paper-iterations", type=positive, default=10_000)
    return parser, parser.parse_args()


def _missing(options: argparse.Namespace, lines: JsonLines) -> list[Cell]:
    """Return what the output lacks, by target: all ways have as many searches at any time."""
    return [
        Cell(way, target, seed)
        for seed in range(options.first_seed, options.first_seed + options.seeds)
        for target in TARGETS
        for way in options.ways
        if not any(
            (line["method"], line["target"]["name"], line["seed"]) == (way, target, seed)
            for line in lines.records
        )
    ]


def _output(dataset: str) -> Path:
    name = "search" if dataset == "fashion-mnist" else f"search-{dataset}"
    return RESULTS / f"{name}.jsonl"


if __name__ == "__main__":
    main()

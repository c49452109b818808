"""What the accuracy heads should read: hand features, the point in the embedding, or both.

Prediction: the point holds all that the features say and more, but a few hundred labels are too few
to find it in 128 dimensions. Kendall's tau of predictions for nets that the heads had not seen,
over all pairs and over those within 10% of parameters, for several seeds.

    python benchmarks/heads.py --output benchmarks/results/heads.json
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch

from archpress_trainer.embedding.artifact import load
from archpress_trainer.embedding.bundled import bundled_folders
from archpress_trainer.embedding.features import feature_matrix
from archpress_trainer.embedding.heads import HeadSettings, fit_heads
from archpress_trainer.embedding.metrics import kendall_tau, tau_within_band
from archpress_trainer.space.costs import count


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    default = next(f for f in bundled_folders() if f.name == "fashion-mnist")
    parser.add_argument("--embedding", type=Path, default=default)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    text = json.dumps(measure(options.embedding, options.seeds), indent=1)
    print(text)
    if options.output is not None:
        options.output.write_text(text + "\n")


def measure(folder: Path, seeds: int) -> dict[str, Any]:
    """Return tau for each choice of inputs."""
    embedding = load(folder)
    nets = [exemplar.architecture for exemplar in embedding.exemplars]
    accuracy = torch.tensor([exemplar.accuracy for exemplar in embedding.exemplars])
    params = np.array([count(net).params for net in nets], dtype=np.float64)
    features = torch.from_numpy(feature_matrix(nets))
    points = embedding.encode(nets)
    inputs = {
        "features": features,
        "point": points,
        "features and point": torch.cat([features, points], dim=1),
    }
    report: dict[str, Any] = {"embedding": embedding.manifest.name, "nets": len(nets)}
    for name, values in inputs.items():
        rows = []
        for seed in range(seeds):
            generator = torch.Generator().manual_seed(seed)
            _, held_out = fit_heads(values, accuracy, HeadSettings(), generator)
            rows.append(
                (
                    kendall_tau(held_out.predicted, held_out.accuracy),
                    tau_within_band(held_out.predicted, held_out.accuracy, params),
                )
            )
        report[name] = {
            key: {"n": seeds, "mean": round(mean(v), 4), "stdev": round(stdev(v), 4)}
            for key, v in zip(("tau", "tau within 10%"), zip(*rows, strict=True), strict=True)
        }
    return report


if __name__ == "__main__":
    main()

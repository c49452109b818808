"""What the accuracy heads should be and read.

Kendall's tau of predictions for nets that the predictor had not seen (five folds), over all pairs
and over those within 10% of parameters, for several seeds. Zero-cost scores come from one batch of
64 training images through the freshly initialised net: norms of the gradient, SNIP's saliency, the
spread of the logits, NASWOT's log determinant.

Prediction: the point in the embedding holds all that the features say and more, but a thousand
labels are too few to find it in 128 dimensions; a Gaussian process beats an ensemble of networks on
so few; the zero-cost scores add a little to what the features know.

Outcome: so it is (tau 0.80; the point alone 0.45, networks 0.79, with the scores 0.81). Boosted
trees come nearer than expected once they are tuned and predict ranks: 0.78, where those of
`metrics.py`, on accuracies, have 0.74.

    python benchmarks/heads.py --output benchmarks/results/heads.json
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from arguments import output_file, positive, usage_errors
from numpy.typing import NDArray
from sklearn.ensemble import BaggingRegressor, GradientBoostingRegressor
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.nn import functional

from archpress_trainer.data.dataset import TrainingData
from archpress_trainer.data.registry import DataSources
from archpress_trainer.embedding.artifact import load
from archpress_trainer.embedding.bundled import artifact_folder
from archpress_trainer.embedding.features import WHOLE, feature_matrix
from archpress_trainer.embedding.heads import HeadSettings, fit_heads
from archpress_trainer.embedding.interface import Embedding
from archpress_trainer.embedding.manifest import ArtifactError
from archpress_trainer.embedding.metrics import kendall_tau, tau_within_band
from archpress_trainer.embedding.warp import normal_scores
from archpress_trainer.evaluation import Spread
from archpress_trainer.space.build import build
from archpress_trainer.space.costs import count
from archpress_trainer.space.graph import Architecture

Floats = NDArray[np.float64]
_BATCH = 64
_FOLDS = 5


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--embedding", default="fashion-mnist")
    parser.add_argument("--seeds", type=positive, default=3)
    parser.add_argument("--output", type=output_file)
    options = parser.parse_args()
    with usage_errors(parser):
        embedding = load(artifact_folder(options.embedding))
        labelled = len(embedding.exemplars)
        if labelled < _FOLDS:
            raise ArtifactError(
                f"{options.embedding} has {labelled} labelled nets, fewer than {_FOLDS} folds"
            )
        data = DataSources().load(embedding.manifest.dataset).split().subset(_BATCH)
    report = measure(embedding, data, options.seeds)
    text = json.dumps(report, indent=1, default=asdict)
    print(text)
    if options.output is not None:
        options.output.write_text(text + "\n")


def measure(embedding: Embedding, data: TrainingData, seeds: int) -> dict[str, Any]:
    """Return tau for each predictor."""
    nets = [exemplar.architecture for exemplar in embedding.exemplars]
    accuracy = np.array([exemplar.accuracy for exemplar in embedding.exemplars])
    params = np.array([count(net).params for net in nets], dtype=np.float64)
    features = feature_matrix(nets, embedding.manifest.space)
    points = embedding.encode(nets).numpy()
    started = time.perf_counter()
    scores = np.stack([zero_cost_scores(net, data, index) for index, net in enumerate(nets)])
    score_seconds = (time.perf_counter() - started) / len(nets)
    both = np.concatenate([features, points], axis=1)
    scored = np.concatenate([features, scores], axis=1)
    predictors: dict[str, Callable[[int], Floats]] = {
        "gaussian process on all features": lambda s: _process(features, accuracy, s),
        "gaussian process on whole-net features": lambda s: _process(
            features[:, : len(WHOLE)], accuracy, s
        ),
        "gaussian process on the point": lambda s: _process(points, accuracy, s),
        "gaussian process on features and point": lambda s: _process(both, accuracy, s),
        "gaussian process on features and zero-cost scores": lambda s: _process(
            scored, accuracy, s
        ),
        "8 bagged networks on all features": lambda s: _networks(features, accuracy, s),
        "boosted trees on all features": lambda s: _trees(features, accuracy, s),
        "boosted trees on whole-net features": lambda s: _trees(
            features[:, : len(WHOLE)], accuracy, s
        ),
        "boosted trees on features and zero-cost scores": lambda s: _trees(scored, accuracy, s),
    }
    report: dict[str, Any] = {
        "embedding": embedding.manifest.name,
        "nets": len(nets),
        "seconds_of_the_zero_cost_scores_of_a_net": round(score_seconds, 4),
    }
    for name, predict in predictors.items():
        found = [predict(seed) for seed in range(seeds)]
        report[name] = {
            "tau": Spread.of([kendall_tau(p, accuracy) for p in found]),
            "tau within 10%": Spread.of([tau_within_band(p, accuracy, params) for p in found]),
        }
        print(name, report[name], flush=True)
    return report


def _process(inputs: NDArray[np.float32], accuracy: Floats, seed: int) -> Floats:
    _, held_out = fit_heads(
        torch.from_numpy(inputs).float(),
        torch.from_numpy(accuracy).float(),
        HeadSettings(),
        torch.Generator().manual_seed(seed),
    )
    return held_out.predicted


def _networks(inputs: NDArray[np.float32], accuracy: Floats, seed: int) -> Floats:
    network = MLPRegressor(
        hidden_layer_sizes=(64, 64), alpha=1.0, max_iter=300, early_stopping=True
    )
    model = make_pipeline(
        StandardScaler(), BaggingRegressor(network, n_estimators=8, random_state=seed)
    )
    return _held_out(model, inputs, accuracy, seed)


def _trees(inputs: NDArray[np.float32], accuracy: Floats, seed: int) -> Floats:
    model = GradientBoostingRegressor(
        n_estimators=400,
        max_depth=4,
        learning_rate=0.03,
        subsample=0.6,
        max_features=0.3,
        random_state=seed,
    )
    return _held_out(model, inputs, accuracy, seed)


def _held_out(model: Any, inputs: NDArray[np.float32], accuracy: Floats, seed: int) -> Floats:
    """Return normal scores, the target that the process has too."""
    target = normal_scores(torch.from_numpy(accuracy)).double().numpy()
    folds = KFold(_FOLDS, shuffle=True, random_state=seed)
    predicted: Floats = cross_val_predict(model, inputs, target, cv=folds)
    return predicted


def zero_cost_scores(
    architecture: Architecture, data: TrainingData, seed: int
) -> NDArray[np.float32]:
    """Return scores of a freshly initialised net, shape `(scores,)`."""
    network = build(architecture, torch.Generator().manual_seed(seed)).train()
    patterns: list[torch.Tensor] = []
    for module in network.modules():
        if isinstance(module, nn.ReLU | nn.LeakyReLU | nn.SiLU):
            module.register_forward_hook(
                lambda _module, _inputs, out: patterns.append((out.detach() > 0).flatten(1))
            )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        logits = network(data.normalisation(data.train.images))
    functional.cross_entropy(logits, data.train.labels).backward()
    weights = [p for p in network.parameters() if p.grad is not None]
    norms = [float(p.grad.norm()) for p in weights if p.ndim > 1 and p.grad is not None]
    snip = sum(float((p.grad * p.detach()).abs().sum()) for p in weights if p.grad is not None)
    values = (
        float(logits.detach().std()),
        float(logits.detach().std(dim=0).mean()),
        _log(math.hypot(*norms)),
        _log(min(norms)),
        _log(norms[0]),
        _log(norms[-1]),
        _log(snip),
        _naswot(patterns),
    )
    return np.nan_to_num(np.array(values, dtype=np.float32))


def _naswot(patterns: Sequence[torch.Tensor]) -> float:
    if not patterns:
        return 0.0
    kernel = 1e-3 * torch.eye(_BATCH)
    for pattern in patterns:
        on = pattern[:, :2_048].float()
        kernel = kernel + on @ on.T + (1 - on) @ (1 - on).T
    return float(torch.linalg.slogdet(kernel).logabsdet)


def _log(value: float) -> float:
    return math.log(value + 1e-9)


if __name__ == "__main__":
    main()

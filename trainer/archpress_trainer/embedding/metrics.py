"""How good an embedding's predictions are, beside what simple predictors reach."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from archpress_trainer.embedding.features import WHOLE

Floats = NDArray[np.float64]
_BAND = 0.1
_FOLDS = 5


def kendall_tau(predicted: Floats, measured: Floats) -> float:
    """Return Kendall's tau-b, 0 where one side is constant."""
    # Here, since it takes seconds, and every command of the trainer loads this module.
    from scipy.stats import kendalltau

    tau = float(kendalltau(predicted, measured).statistic)
    return 0.0 if np.isnan(tau) else tau


def tau_within_band(predicted: Floats, measured: Floats, params: Floats) -> float:
    """Return tau over the pairs of nets whose parameter counts differ by at most 10%.

    Over the whole population size alone tells much; inside a band it tells nothing.
    """
    first, second = np.triu_indices(len(params), k=1)
    ratio = params[first] / params[second]
    near = (ratio >= 1 / (1 + _BAND)) & (ratio <= 1 + _BAND)
    first, second = first[near], second[near]
    agreement = np.sign(predicted[first] - predicted[second]) * np.sign(
        measured[first] - measured[second]
    )
    return float(agreement.mean()) if len(agreement) else 0.0


def baseline_predictions(
    features: NDArray[np.float32], accuracy: Floats, *, seed: int
) -> dict[str, Floats]:
    """Return held-out predictions of simple predictors, by name.

    Ridge and "boosted_trees" read the features of the net as a whole, "boosted_trees_all" all that
    the accuracy heads read.

    Args:
        features: hand features `(nets, features)`.
        accuracy: measured accuracies `(nets,)`.
        seed: of the folds and of the boosted trees.
    """
    # Here, since they take seconds, and every command of the trainer loads this module.
    from sklearn.ensemble import GradientBoostingRegressor
    from sklearn.linear_model import RidgeCV
    from sklearn.model_selection import KFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    split = KFold(_FOLDS, shuffle=True, random_state=seed)
    whole = features[:, : len(WHOLE)]
    ridge = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 4, 13)))
    trees = GradientBoostingRegressor(
        n_estimators=200, max_depth=3, learning_rate=0.05, subsample=0.7, random_state=seed
    )
    return {
        "log_params": whole[:, WHOLE.index("log2 params")].astype(np.float64),
        "ridge": cross_val_predict(ridge, whole, accuracy, cv=split),
        "boosted_trees": cross_val_predict(trees, whole, accuracy, cv=split),
        "boosted_trees_all": cross_val_predict(trees, features, accuracy, cv=split),
    }


def quality(
    accuracy: Floats,
    predicted: Floats,
    params: Floats,
    baselines: dict[str, Floats],
    *,
    covered: float,
    exact_reconstruction: float,
) -> dict[str, float]:
    """Return the metrics of a manifest, all on held-out nets."""
    metrics = {
        "accuracy_kendall_tau": kendall_tau(predicted, accuracy),
        "accuracy_kendall_tau_in_band": tau_within_band(predicted, accuracy, params),
        "baseline_kendall_tau": kendall_tau(baselines["log_params"], accuracy),
        "ridge_kendall_tau": kendall_tau(baselines["ridge"], accuracy),
        "boosted_trees_kendall_tau": kendall_tau(baselines["boosted_trees"], accuracy),
        "boosted_trees_kendall_tau_in_band": tau_within_band(
            baselines["boosted_trees"], accuracy, params
        ),
        "boosted_trees_all_kendall_tau": kendall_tau(baselines["boosted_trees_all"], accuracy),
        "mean_absolute_error": float(np.abs(predicted - accuracy).mean()),
        "interval_coverage": covered,
        "exact_reconstruction": exact_reconstruction,
        "held_out_networks": float(len(accuracy)),
    }
    return {name: round(value, 4) for name, value in metrics.items()}


METRIC_MEANINGS: Sequence[tuple[str, str]] = (
    ("accuracy_kendall_tau", "tau of predicted and measured accuracy"),
    ("accuracy_kendall_tau_in_band", "the same among nets within 10% of parameters"),
    ("boosted_trees_kendall_tau", "tau of boosted trees on features of the whole net"),
    ("boosted_trees_kendall_tau_in_band", "the same among nets within 10% of parameters"),
    ("boosted_trees_all_kendall_tau", "tau of boosted trees on all that the heads read"),
    ("ridge_kendall_tau", "tau of ridge regression on features of the whole net"),
    ("baseline_kendall_tau", "tau of log(parameters) alone"),
    ("mean_absolute_error", "mean absolute error of the predicted accuracy"),
    ("interval_coverage", "share of accuracies inside the 90% interval"),
    ("exact_reconstruction", "unseen nets that decode to themselves exactly"),
    ("held_out_networks", "held-out nets behind these numbers"),
)
"""Name and meaning of each metric, in the order of the printed table."""

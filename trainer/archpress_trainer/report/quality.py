"""The report's head: provenance, and the metrics beside what simple predictors reach."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from archpress_trainer.embedding.manifest import Manifest
from archpress_trainer.embedding.metrics import METRIC_MEANINGS
from archpress_trainer.report.scales import percent

_OWN = "accuracy_kendall_tau"
_TAU, _IN_BAND = "_kendall_tau", "_in_band"
_SHARES = frozenset({"mean_absolute_error", "interval_coverage", "exact_reconstruction"})


@dataclass(frozen=True)
class Tau:
    """Kendall's tau of one predictor, over all held-out nets and among nets of about one size."""

    predictor: str
    overall: float
    in_band: float | None
    is_own: bool = False


@dataclass(frozen=True)
class Quality:
    """What the head says of an embedding's quality."""

    taus: tuple[Tau, ...]
    others: tuple[tuple[str, str], ...]
    verdict: str


def quality_of(metrics: Mapping[str, float]) -> Quality:
    """Return the tables of the head; a metric that is missing has no place in them."""
    taus = tuple(
        Tau(
            "this embedding" if name == _OWN else meaning.removeprefix("tau of "),
            metrics[name],
            metrics.get(f"{name}{_IN_BAND}"),
            is_own=name == _OWN,
        )
        for name, meaning in METRIC_MEANINGS
        if name.endswith(_TAU) and name in metrics
    )
    others = tuple(
        (meaning, _value(name, metrics[name]))
        for name, meaning in METRIC_MEANINGS
        if name in metrics and not name.removesuffix(_IN_BAND).endswith(_TAU)
    )
    return Quality(taus, others, _verdict(taus))


def provenance(manifest: Manifest) -> list[tuple[str, str]]:
    """Return the lines of provenance, name and value."""
    fidelity, space = manifest.fidelity, manifest.space
    shape = " x ".join(str(side) for side in space.input_shape)
    return [
        ("method", str(manifest.method)),
        ("data set", f"{manifest.dataset} ({manifest.dataset_fingerprint[:12]})"),
        ("labelled nets", f"{manifest.population_size:,} ({manifest.population_digest[:12]})"),
        ("fidelity of a label", str(fidelity)),
        (
            "space",
            f"{shape} to {space.classes} classes, at most {space.max_layers} layers "
            f"({manifest.space_digest[:12]})",
        ),
        ("versions", ", ".join(f"{name} {v}" for name, v in manifest.versions.items()) or "-"),
        ("format", str(manifest.format_version)),
    ]


def _verdict(taus: tuple[Tau, ...]) -> str:
    own = next((tau.overall for tau in taus if tau.is_own), None)
    rivals = [tau for tau in taus if not tau.is_own]
    if own is None or not rivals:
        return ""
    best = max(rivals, key=lambda tau: tau.overall)
    told = f"{best.predictor}: tau {own:.3f} against {best.overall:.3f}."
    if own > best.overall:
        return f"It ranks unseen nets better than {told}"
    return f"Distrust it: it ranks unseen nets no better than {told}"


def _value(name: str, value: float) -> str:
    return percent(value, 2) if name in _SHARES else f"{value:g}"

"""Building an embedding from nothing: population, autoencoder, heads, artifact.

Each label and the finished autoencoder stay in the work folder and are not made again, so that a
build that was killed goes on: a population from its last net, a fit from its start.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from archpress_trainer.embedding.artifact import save as save_artifact
from archpress_trainer.embedding.artifact import versions
from archpress_trainer.embedding.autoencoder import Autoencoder
from archpress_trainer.embedding.codec import Codec
from archpress_trainer.embedding.default import DefaultEmbedding, as_stored
from archpress_trainer.embedding.features import feature_matrix
from archpress_trainer.embedding.fit_autoencoder import (
    AutoencoderSettings,
    FitStep,
    fit_autoencoder,
)
from archpress_trainer.embedding.fit_default import FittedAutoencoder, fit_accuracy
from archpress_trainer.embedding.fit_paper import fit_paper
from archpress_trainer.embedding.heads import HeadSettings
from archpress_trainer.embedding.interface import Embedding
from archpress_trainer.embedding.manifest import ArtifactError, EmbeddingMethod, Manifest
from archpress_trainer.embedding.paper import PaperSettings
from archpress_trainer.embedding.unlabelled import sample_encoded
from archpress_trainer.population.executor import Executor
from archpress_trainer.population.records import (
    SPEC_FILE,
    PopulationStore,
    Record,
    population_digest,
    write_atomically,
)
from archpress_trainer.population.run import Tally, collect
from archpress_trainer.population.spec import PopulationError, PopulationSpec
from archpress_trainer.training.device import Compute

MIN_LABELLED = 20
"""Fewest labelled nets that heads can be fitted and held out on."""

_AUTOENCODER_FILE = "autoencoder.safetensors"
_AUTOENCODER_FACTS = "autoencoder.json"


@dataclass(frozen=True)
class BuildSettings:
    """What to build: the number of nets and how each part is fitted."""

    nets: int
    method: EmbeddingMethod = EmbeddingMethod.DEFAULT
    autoencoder: AutoencoderSettings = field(default_factory=AutoencoderSettings)
    heads: HeadSettings = field(default_factory=HeadSettings)
    paper: PaperSettings = field(default_factory=PaperSettings)
    sampling_workers: int = 2
    unseen_nets: int = 4_000


@dataclass(frozen=True)
class BuildObserver:
    """Callbacks for progress; each may be None."""

    on_label: Callable[[Tally], None] | None = None
    on_autoencoder: Callable[[FitStep], None] | None = None
    on_paper: Callable[[int, float], None] | None = None


def build_embedding(
    spec: PopulationSpec,
    settings: BuildSettings,
    executor: Executor,
    work: Path,
    output: Path,
    compute: Compute,
    observer: BuildObserver | None = None,
) -> Embedding:
    """Return a fitted embedding and write its artifact to `output`.

    Raises:
        PopulationError: the work folder holds another population, or too few nets have a label.
        ArtifactError: the work folder's autoencoder is damaged.
    """
    observer = observer or BuildObserver()
    store = PopulationStore(work / "population")
    records = collect(spec, settings.nets, store, executor, on_record=observer.on_label)
    labelled = [record for record in records if record.is_labelled]
    if len(labelled) < MIN_LABELLED:
        raise PopulationError(
            f"only {len(labelled)} of {len(records)} nets have a label, at least {MIN_LABELLED} "
            "are needed: build a larger population"
        )
    if settings.method is EmbeddingMethod.PAPER:
        embedding: Embedding = _fit_paper(spec, settings, labelled, observer)
    else:
        fitted = _autoencoder(spec, settings, work, compute, observer)
        embedding = _fit_default(spec, settings, labelled, fitted)
    save_artifact(embedding, output, (store.folder / SPEC_FILE, store.records_path))
    return embedding


def _fit_default(
    spec: PopulationSpec,
    settings: BuildSettings,
    labelled: list[Record],
    fitted: FittedAutoencoder,
) -> DefaultEmbedding:
    architectures = [record.architecture for record in labelled]
    accuracy = torch.tensor([record.accuracy for record in labelled])
    heads, metrics = fit_accuracy(
        fitted,
        spec.space,
        architectures,
        accuracy,
        settings.heads,
        seed=spec.seed,
        unseen_nets=settings.unseen_nets,
    )
    parts = {"autoencoder": asdict(settings.autoencoder), "heads": asdict(settings.heads)}
    manifest = _manifest(spec, settings, labelled, metrics, parts)
    return DefaultEmbedding(manifest, fitted.model, heads, fitted.feature_mean, fitted.feature_std)


def _fit_paper(
    spec: PopulationSpec,
    settings: BuildSettings,
    labelled: list[Record],
    observer: BuildObserver,
) -> Embedding:
    architectures = [record.architecture for record in labelled]
    accuracy = torch.tensor([record.accuracy for record in labelled])
    return fit_paper(
        lambda metrics: _manifest(
            spec, settings, labelled, metrics, {"paper": asdict(settings.paper)}
        ),
        architectures,
        accuracy,
        feature_matrix(architectures).astype(np.float32),
        settings.paper,
        spec.space,
        seed=spec.seed,
        on_step=observer.on_paper,
    )


def _manifest(
    spec: PopulationSpec,
    settings: BuildSettings,
    labelled: list[Record],
    metrics: dict[str, float],
    parts: dict[str, Any],
) -> Manifest:
    digest = population_digest(labelled)
    chosen = {"nets": settings.nets, "seed": spec.seed, **parts}
    identity = f"{digest} {spec.space.digest} {json.dumps(chosen, sort_keys=True)}"
    short = hashlib.sha256(identity.encode()).hexdigest()[:8]
    return Manifest(
        name=f"{spec.dataset}-{settings.method}-{short}",
        method=settings.method,
        dataset=spec.dataset,
        dataset_fingerprint=spec.dataset_fingerprint,
        space=spec.space,
        fidelity=spec.fidelity,
        population_size=len(labelled),
        population_digest=digest,
        metrics=metrics,
        settings=chosen,
        versions=versions(),
    )


def _autoencoder(
    spec: PopulationSpec,
    settings: BuildSettings,
    work: Path,
    compute: Compute,
    observer: BuildObserver,
) -> FittedAutoencoder:
    codec = Codec(spec.space)
    chosen = settings.autoencoder
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(spec.seed)
        model = Autoencoder(
            codec.sizes, codec.length, dimensions=chosen.dimensions, blur=chosen.blur
        )
    weights, facts_path = work / _AUTOENCODER_FILE, work / _AUTOENCODER_FACTS
    identity = {"settings": asdict(chosen), "space_digest": spec.space.digest}
    if weights.exists() and facts_path.exists():
        facts = _facts(facts_path)
        if {key: facts.get(key) for key in identity} == identity:
            try:
                model.load_state_dict(load_file(weights))
            except (SafetensorError, RuntimeError) as error:
                reason = str(error).splitlines()[0]
                raise ArtifactError(
                    f"{weights} cannot be read ({reason}); remove it to fit the autoencoder again"
                ) from error
            mean, std = (torch.tensor(facts[key]) for key in ("feature_mean", "feature_std"))
            return FittedAutoencoder(as_stored(model), mean, std)
    data = sample_encoded(spec.space, chosen.nets, spec.seed, workers=settings.sampling_workers)
    curve = fit_autoencoder(
        model,
        data,
        chosen,
        torch.Generator().manual_seed(spec.seed),
        # The fit runs on the CPU, whose autocast is not that of a GPU.
        autocast=compute.autocast if compute.device.type == "cpu" else nullcontext,
        on_step=observer.on_autoencoder,
    )
    mean, std = data.features.mean(dim=0), data.features.std(dim=0).clamp_min(1e-3)
    facts = {
        **identity,
        "curve": [asdict(step) for step in curve],
        "feature_mean": mean.tolist(),
        "feature_std": std.tolist(),
    }
    write_atomically(weights, save(model.state_dict()))
    write_atomically(facts_path, json.dumps(facts).encode())
    return FittedAutoencoder(as_stored(model), mean, std)


def _facts(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file; what is none is as good as no file."""
    try:
        facts = json.loads(path.read_text())
    except ValueError:
        return {}
    return facts if isinstance(facts, dict) else {}

"""The autoencoder of a build; it stays in the work folder, so that a killed build goes on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from archpress_trainer.embedding.artifact import load
from archpress_trainer.embedding.autoencoder import Autoencoder
from archpress_trainer.embedding.bundled import artifact_folder
from archpress_trainer.embedding.codec import Codec
from archpress_trainer.embedding.default import DefaultEmbedding, as_stored
from archpress_trainer.embedding.features import feature_names
from archpress_trainer.embedding.fit_autoencoder import (
    AutoencoderSettings,
    FitStep,
    fit_autoencoder,
)
from archpress_trainer.embedding.fit_default import FittedAutoencoder
from archpress_trainer.embedding.fit_reader import fit_reader
from archpress_trainer.embedding.manifest import ArtifactError
from archpress_trainer.embedding.unlabelled import sample_encoded
from archpress_trainer.error_text import first_line
from archpress_trainer.population.spec import PopulationSpec
from archpress_trainer.stages.settings import BuildObserver, BuildSettings
from archpress_trainer.training.device import Compute
from archpress_trainer.whole_file import write_atomically

_AUTOENCODER_FILE = "autoencoder.safetensors"
_AUTOENCODER_FACTS = "autoencoder.json"


def fitted_autoencoder(
    spec: PopulationSpec,
    settings: BuildSettings,
    work: Path,
    compute: Compute,
    observer: BuildObserver,
) -> FittedAutoencoder:
    """Return the autoencoder that the work folder has for these settings, or fit it.

    Raises:
        ArtifactError: the one in the work folder, or the one to start from, is damaged or foreign.
    """
    chosen = settings.autoencoder
    identity = {
        "settings": asdict(chosen),
        "space_digest": spec.space.digest,
        "features": list(feature_names(spec.space)),
    }
    model = _fresh_model(spec, chosen)
    kept = _kept(model, identity, work)
    if kept is not None:
        return kept
    if chosen.start:
        model.load_state_dict(starting_weights(spec, chosen))
    data = sample_encoded(spec.space, chosen.nets, spec.seed, workers=settings.sampling_workers)
    # The fit runs on the CPU, whose autocast is not that of a GPU.
    autocast = compute.autocast if compute.device.type == "cpu" else nullcontext
    generator = torch.Generator().manual_seed(spec.seed)
    curve = fit_autoencoder(
        model, data, chosen, generator, autocast=autocast, on_step=observer.on_autoencoder
    )
    mean, std = data.feature_statistics()
    fit_reader(model, data, mean, std, chosen, generator, autocast=autocast)
    fitted = FittedAutoencoder(model, mean, std, curve)
    if not all(value.isfinite().all() for value in model.state_dict().values()):
        # Kept, it would be found and used for ever.
        raise ArtifactError(
            "the fit of the autoencoder came to values that are no numbers: use more "
            "--autoencoder-nets, or another --seed"
        )
    _keep(fitted, identity, work)
    return replace(fitted, model=as_stored(model))


def _fresh_model(spec: PopulationSpec, chosen: AutoencoderSettings) -> Autoencoder:
    codec = Codec(spec.space)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(spec.seed)
        return Autoencoder(
            codec.sizes,
            codec.length,
            len(feature_names(spec.space)),
            dimensions=chosen.dimensions,
            blur=chosen.blur,
        )


def _kept(model: Autoencoder, identity: Mapping[str, Any], work: Path) -> FittedAutoencoder | None:
    """Return the autoencoder of this identity in the work folder, if there is one, in `model`.

    Raises:
        ArtifactError: it is damaged.
    """
    weights, facts_path = work / _AUTOENCODER_FILE, work / _AUTOENCODER_FACTS
    if not (weights.exists() and facts_path.exists()):
        return None
    facts = _facts(facts_path)
    if {key: facts.get(key) for key in identity} != identity:
        return None
    try:
        model.load_state_dict(load_file(weights))
    except (SafetensorError, RuntimeError) as error:
        raise ArtifactError(
            f"{weights} cannot be read ({first_line(error)}); "
            "remove it to fit the autoencoder again"
        ) from error
    mean, std = (torch.tensor(facts[key]) for key in ("feature_mean", "feature_std"))
    curve = tuple(FitStep(**step) for step in facts["curve"])
    return FittedAutoencoder(as_stored(model), mean, std, curve)


def _facts(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file; what is none is as good as no file."""
    try:
        facts = json.loads(path.read_text())
    except ValueError:
        return {}
    return facts if isinstance(facts, dict) else {}


def starting_weights(spec: PopulationSpec, chosen: AutoencoderSettings) -> dict[str, torch.Tensor]:
    """Return the weights of the embedding to start from, which must read the same sequences.

    Raises:
        ArtifactError: it cannot be loaded, its space has other layers or values, or it has other
            dimensions than the autoencoder that is to be fitted.
    """
    place = chosen.start
    other = load(artifact_folder(place))
    if not isinstance(other, DefaultEmbedding) or other.codec.values != Codec(spec.space).values:
        raise ArtifactError(
            f"the fit cannot start from {place}: its space has other layers or values; "
            "start from random weights"
        )
    if other.dimensions != chosen.dimensions:
        raise ArtifactError(
            f"the fit cannot start from {place}: it has {other.dimensions} dimensions, "
            f"{chosen.dimensions} are asked for; add --dimensions {other.dimensions}"
        )
    return other.autoencoder.state_dict()


def _keep(fitted: FittedAutoencoder, identity: Mapping[str, Any], work: Path) -> None:
    weights, facts_path = work / _AUTOENCODER_FILE, work / _AUTOENCODER_FACTS
    facts = {
        **identity,
        "curve": [asdict(step) for step in fitted.curve],
        "feature_mean": fitted.feature_mean.tolist(),
        "feature_std": fitted.feature_std.tolist(),
    }
    # Facts of other weights must not outlive them.
    facts_path.unlink(missing_ok=True)
    write_atomically(weights, save(fitted.model.state_dict()))
    write_atomically(facts_path, json.dumps(facts).encode())

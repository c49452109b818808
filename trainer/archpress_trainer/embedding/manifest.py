"""`Manifest`: where an embedding came from and how good it is, as a JSON file of its artifact."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from archpress_trainer.space.architecture_space import ArchitectureSpace
from archpress_trainer.training.fidelity import Fidelity
from archpress_trainer.training.recipe import Recipe

FORMAT_VERSION = 1
MANIFEST_FILE = "manifest.json"


class ArtifactError(ValueError):
    """An artifact that cannot be used; the message says why and what to do."""


class EmbeddingMethod(StrEnum):
    """Which model: what measured best, or the paper's."""

    DEFAULT = "default"
    PAPER = "paper"


@dataclass(frozen=True)
class Manifest:
    """An embedding's provenance and quality.

    `metrics` are measured on nets that the fitted parts had not seen: `accuracy_kendall_tau`,
    `baseline_kendall_tau` (log parameters alone), `exact_reconstruction`, `interval_coverage`,
    `mean_absolute_error`, `held_out_networks` and more. `label_recipe` is how the nets of the
    population were trained; where it is not told, by `population_recipe`.
    """

    name: str
    method: EmbeddingMethod
    dataset: str
    dataset_fingerprint: str
    space: ArchitectureSpace
    fidelity: Fidelity
    population_size: int
    population_digest: str
    metrics: Mapping[str, float]
    settings: Mapping[str, Any]
    versions: Mapping[str, str] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION
    label_recipe: Recipe | None = None

    @property
    def nets(self) -> int:
        """How many nets of its population it was built of, with a label or without."""
        nets: int = self.settings.get("nets", self.population_size)
        return nets

    @property
    def flip(self) -> bool:
        """Whether its nets were trained on mirrored images too, as jobs then train theirs."""
        return self.label_recipe is None or self.label_recipe.flip

    @property
    def space_digest(self) -> str:
        """SHA-256 (hex) of the space."""
        return self.space.digest

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON data."""
        record = asdict(self)
        record["space"] = self.space.to_json()
        record["space_digest"] = self.space.digest
        del record["label_recipe"]
        if self.label_recipe is not None:
            record["label_recipe"] = self.label_recipe.to_json()
        return record


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of an artifact, without its weights.

    Raises:
        ArtifactError: it is missing, damaged, from a later version, or not about its own space.
    """
    path = folder / MANIFEST_FILE
    try:
        record = json.loads(path.read_text())
    except FileNotFoundError:
        raise ArtifactError(f"{folder} holds no embedding ({MANIFEST_FILE} is missing)") from None
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path} cannot be read: {error}") from error
    version = record.get("format_version") if isinstance(record, dict) else None
    if version != FORMAT_VERSION:
        raise ArtifactError(
            f"{path} has format version {version}, this archpress reads {FORMAT_VERSION}: "
            "use the archpress that wrote it, or build the embedding again"
        )
    try:
        digest = record.pop("space_digest")
        space = ArchitectureSpace.from_json(record.pop("space"))
        fidelity = Fidelity(**record.pop("fidelity"))
        method = EmbeddingMethod(record.pop("method"))
        told = record.pop("label_recipe", None)
        recipe = None if told is None else Recipe.from_json(told)
        manifest = Manifest(
            space=space, fidelity=fidelity, method=method, label_recipe=recipe, **record
        )
        _check_numbers(manifest)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"{path} is damaged: {error}") from error
    if manifest.space_digest != digest:
        raise ArtifactError(
            f"{path} is for space {digest[:12]}, but describes {manifest.space_digest[:12]}: "
            "the file was changed by hand; build the embedding again"
        )
    return manifest


def _check_numbers(manifest: Manifest) -> None:
    """Check what every reader of a manifest relies on.

    Raises:
        AttributeError, KeyError, TypeError, ValueError: something is missing or no number.
    """
    for name, value in {**manifest.metrics, "settings.nets": manifest.nets}.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{name} is {value!r}, not a number")

"""Building an embedding again: every setting comes from the files of its artifact."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from archpress_trainer.data.dataset import DatasetError, ImageDataset
from archpress_trainer.embedding.bundled import artifact_folder
from archpress_trainer.embedding.fit_autoencoder import AutoencoderSettings
from archpress_trainer.embedding.heads import HeadSettings
from archpress_trainer.embedding.manifest import (
    MANIFEST_FILE,
    ArtifactError,
    Manifest,
    read_manifest,
)
from archpress_trainer.embedding.paper import PaperSettings
from archpress_trainer.embedding.record import fitted_on, population_digest
from archpress_trainer.population.records import SPEC_FILE, PopulationStore
from archpress_trainer.population.spec import PopulationError, PopulationSpec
from archpress_trainer.stages.borrowing import borrowed_records, without_own
from archpress_trainer.stages.settings import BuildSettings
from archpress_trainer.whole_file import write_atomically

_PARTS = {"autoencoder": AutoencoderSettings, "heads": HeadSettings, "paper": PaperSettings}


@dataclass(frozen=True)
class Origin:
    """An artifact with what it takes to build it again."""

    folder: Path
    manifest: Manifest
    spec: PopulationSpec
    settings: BuildSettings

    def check_dataset(self, dataset: ImageDataset) -> None:
        """Check that the artifact was built on these images.

        Raises:
            DatasetError: they are others.
        """
        theirs, ours = self.spec.dataset_fingerprint, dataset.fingerprint
        if theirs != ours:
            raise DatasetError(
                f"{self.folder} was built on a {self.spec.dataset!r} with fingerprint "
                f"{theirs[:12]}, this one has {ours[:12]}: give the data set that it was built on"
            )

    def reuse_labels(self, store: PopulationStore) -> None:
        """Copy the artifact's records into a store, so that no net is trained again.

        Raises:
            ArtifactError: the records, or those that were borrowed, are not those that the artifact
                was fitted on.
            PopulationError: the store holds other records already.
        """
        shipped = PopulationStore(self.folder)
        self._check_borrowed(shipped)
        used = fitted_on(shipped.records(), self.settings.nets)
        digest = population_digest(used)
        if digest != self.manifest.population_digest:
            raise ArtifactError(
                f"{shipped.records_path} has digest {digest[:12]}, the manifest says "
                f"{self.manifest.population_digest[:12]}: it was changed, build without its labels"
            )
        with store.alone():
            store.open(self.spec)
            self._copy(shipped, store)
            again = PopulationStore(store.folder, repeat=1)
            self._copy(PopulationStore(self.folder, repeat=1), again)

    def _check_borrowed(self, shipped: PopulationStore) -> None:
        if not self.settings.also:
            return
        own = [record for record in shipped.records() if record.index < self.settings.nets]
        borrowed = without_own(borrowed_records(self.settings.also, self.spec), own)
        if population_digest(borrowed) != self.manifest.settings.get("borrowed_digest"):
            lenders = ", ".join(self.settings.also)
            raise ArtifactError(
                f"{lenders} have other labels than {self.folder} borrowed: build without its labels"
            )

    def _copy(self, shipped: PopulationStore, store: PopulationStore) -> None:
        if not shipped.records_path.exists():
            return
        content = shipped.records_path.read_bytes()
        if not store.records_path.exists():
            write_atomically(store.records_path, content)
        elif not store.records_path.read_bytes().startswith(content):
            raise PopulationError(
                f"{store.records_path} holds other labels than {self.folder}: use another folder "
                "for the stages, or build without the artifact's labels"
            )


def read_origin(place: str) -> Origin:
    """Return an artifact's origin, by the name of a bundled one or by its folder.

    Raises:
        ArtifactError: there is none, or its files do not fit together.
        PopulationError: its population cannot be read.
    """
    folder = artifact_folder(place)
    manifest = read_manifest(folder)
    spec = PopulationStore(folder).spec()
    pairs = {
        "dataset": (manifest.dataset, spec.dataset),
        "dataset_fingerprint": (manifest.dataset_fingerprint, spec.dataset_fingerprint),
        "space": (manifest.space, spec.space),
        "fidelity": (manifest.fidelity, spec.fidelity),
        "seed": (manifest.settings.get("seed"), spec.seed),
    }
    differing = ", ".join(key for key, (one, other) in pairs.items() if one != other)
    if differing:
        raise ArtifactError(
            f"{folder}: {SPEC_FILE} does not belong to {MANIFEST_FILE} (they differ in {differing})"
        )
    return Origin(folder, manifest, spec, _settings(folder, manifest))


def _settings(folder: Path, manifest: Manifest) -> BuildSettings:
    derived = ("seed", "borrowed_digest")
    values = {key: value for key, value in manifest.settings.items() if key not in derived}
    values["also"] = tuple(values.get("also", ()))
    try:
        values |= {key: part(**values[key]) for key, part in _PARTS.items() if key in values}
        return BuildSettings(method=manifest.method, **values)
    except TypeError as error:
        raise ArtifactError(
            f"{folder / MANIFEST_FILE} has settings that this archpress does not have ({error}): "
            "use the archpress that wrote it"
        ) from error

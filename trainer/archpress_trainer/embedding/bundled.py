"""The embeddings that come with this package."""

from __future__ import annotations

from pathlib import Path

from archpress_trainer.embedding.manifest import MANIFEST_FILE, ArtifactError, read_manifest

_FOLDER = Path(__file__).resolve().parent.parent / "bundled"


def bundled_folders() -> tuple[Path, ...]:
    """Return the folders of the bundled artifacts."""
    return tuple(sorted(path.parent for path in _FOLDER.glob(f"*/{MANIFEST_FILE}")))


def artifact_folder(place: str) -> Path:
    """Return the folder of a bundled artifact by its name, long or short, or a folder as it is.

    Raises:
        ArtifactError: there is neither.
    """
    bundled = {folder.name: folder for folder in bundled_folders()}
    if place in bundled:
        return bundled[place]
    for folder in bundled.values():
        if read_manifest(folder).name == place:
            return folder
    folder = Path(place)
    if not folder.is_dir():
        raise ArtifactError(
            f"{place} is no folder, nor one of the embeddings that come with archpress: "
            f"{', '.join(bundled) or 'there are none'}"
        )
    return folder

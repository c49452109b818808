"""The embeddings that come with this package."""

from __future__ import annotations

from pathlib import Path

from archpress_trainer.embedding.manifest import MANIFEST_FILE

_FOLDER = Path(__file__).resolve().parent.parent / "bundled"


def bundled_folders() -> tuple[Path, ...]:
    """Return the folders of the bundled artifacts."""
    return tuple(sorted(path.parent for path in _FOLDER.glob(f"*/{MANIFEST_FILE}")))

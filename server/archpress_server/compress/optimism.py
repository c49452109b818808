"""How far predictions were above what training then measured, for one job."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean

from archpress_server.compress.effort import EffortPlan
from archpress_server.compress.types import Candidate
from archpress_trainer.embedding.manifest import Manifest


def optimism(
    first_round: Sequence[Candidate], effort: EffortPlan, manifest: Manifest, images: int
) -> float | None:
    """Return the mean predicted minus measured validation accuracy of the first round's candidates.

    None where that round did not train as the embedding's labels were trained, since then the two
    speak of different accuracies, or where there was no round. There are so many training `images`.
    """
    measured = [
        candidate.prediction.accuracy - candidate.validation_accuracy
        for candidate in first_round
        if candidate.prediction is not None and candidate.validation_accuracy is not None
    ]
    if not measured or not effort.first_round_is_as_labels(manifest, images):
        return None
    return mean(measured)

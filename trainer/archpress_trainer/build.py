"""Building an embedding from nothing: population, fits, artifact.

Each label and the finished autoencoder stay in the work folder and are not made again, so that a
build that was killed goes on: a population from its last net, a fit from its start.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from archpress_trainer.embedding.artifact import check_output, save
from archpress_trainer.embedding.figures import write_figures
from archpress_trainer.embedding.interface import Embedding
from archpress_trainer.embedding.manifest import EmbeddingMethod
from archpress_trainer.embedding.record import Record
from archpress_trainer.population.executor import Executor
from archpress_trainer.population.records import SPEC_FILE, PopulationStore
from archpress_trainer.population.run import collect
from archpress_trainer.population.spec import PopulationError, PopulationSpec
from archpress_trainer.space.sampling import Rejections
from archpress_trainer.stages.autoencoder import starting_weights
from archpress_trainer.stages.borrowing import borrowed_records, without_own, write_borrowed
from archpress_trainer.stages.embedding import fit_default_embedding, fit_paper_embedding
from archpress_trainer.stages.settings import BuildObserver, BuildSettings
from archpress_trainer.training.device import Compute

MIN_LABELLED = 20
"""Fewest labelled nets that heads can be fitted and held out on."""


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
        PopulationError: the work folder holds another population, another build is at work there,
            or too few nets have a label.
        ArtifactError: the work folder's autoencoder, or the one to start from, is damaged or
            foreign, an embedding to borrow from is missing, or `output` holds something else.
    """
    check_output(output, apart=[work])
    store = PopulationStore(work / "population")
    with store.alone():
        return _built(spec, settings, executor, store, work, output, compute, observer)


def _built(
    spec: PopulationSpec,
    settings: BuildSettings,
    executor: Executor,
    store: PopulationStore,
    work: Path,
    output: Path,
    compute: Compute,
    observer: BuildObserver | None,
) -> Embedding:
    observer = observer or BuildObserver()
    if settings.autoencoder.start:
        # Before the labels, which may take hours, rather than after them.
        starting_weights(spec, settings.autoencoder)
    borrowed = borrowed_records(settings.also, spec)
    rejections = Rejections()
    records = collect(
        spec,
        settings.nets,
        store,
        executor,
        on_record=observer.on_label,
        rejections=rejections,
    )
    labelled = [record for record in records if record.is_labelled]
    if len(labelled) < MIN_LABELLED:
        raise PopulationError(
            f"only {len(labelled)} of {len(records)} nets have a label, at least {MIN_LABELLED} "
            f"are needed{_commonest_fault(records)}"
        )
    borrowed = without_own(borrowed, records)
    if settings.method is EmbeddingMethod.PAPER:
        embedding, figures = fit_paper_embedding(spec, settings, labelled, observer)
    else:
        embedding, figures = fit_default_embedding(
            spec, settings, labelled, borrowed, work, compute, observer
        )
    figures = replace(figures, rejections=dict(rejections.reasons))
    companions = [store.folder / SPEC_FILE, store.records_path, write_figures(work, figures)]
    if borrowed:
        companions.append(write_borrowed(work, borrowed))
    if settings.repeats:
        repeats = PopulationStore(store.folder, repeat=1)
        collect(spec, settings.repeats, repeats, executor, on_record=observer.on_repeat)
        companions.append(repeats.records_path)
    save(embedding, output, companions)
    return embedding


def _commonest_fault(records: Sequence[Record]) -> str:
    """Say what most nets without a label have in common."""
    faults = Counter(
        (record.status, record.message) for record in records if not record.is_labelled
    )
    if not faults:
        return ": build a larger population"
    ((status, message), count), *_ = faults.most_common(1)
    return f"; of {count} it says: {status}{f', {message}' if message else ''}"

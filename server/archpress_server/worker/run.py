"""Runs one attempt of a job: load, compress, and write down what came of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import structlog

from archpress_server.catalog import Catalog, load_catalog, suitable
from archpress_server.compress.checkpoints import CheckpointStore
from archpress_server.compress.types import (
    Compression,
    CompressionError,
    Reason,
    RequestError,
    StoppedError,
)
from archpress_server.config import ServerConfig
from archpress_server.jobs.errors import (
    ArtifactCorruptError,
    DatabaseUnavailableError,
    FilesUnavailableError,
    JobNotFoundError,
    StaleAttemptError,
)
from archpress_server.jobs.leases import Leases
from archpress_server.jobs.model import (
    ARTIFACT_CORRUPT,
    INTERNAL,
    JobError,
    JobRecord,
    JobSpec,
)
from archpress_server.jobs.store import JobStore
from archpress_server.logs import log_unexpected
from archpress_server.worker.observer import JobObserver
from archpress_server.worker.patience import patiently
from archpress_trainer.data.dataset import DatasetError, ImageDataset
from archpress_trainer.embedding.manifest import Manifest
from archpress_trainer.error_text import first_line

_STORE_SECONDS = 5.0
"""Time between two tries to store a model."""


def run_attempt(
    leases: Leases,
    config: ServerConfig,
    observer: JobObserver,
    checkpoints: CheckpointStore,
    job: str,
    attempt: int,
) -> JobRecord | None:
    """Work on a job until it is final, and return it; None if the attempt was taken away.

    Raises:
        DatabaseUnavailableError: it was away for a lease; the job is for another attempt.
        Exception: the memory is full; the same.
    """
    log = structlog.get_logger().bind(job=job, attempt=attempt)
    log.info("attempt started")
    end = _work(leases, config, observer, checkpoints, job, attempt)
    record = _write_end(end, partial(leases.cancelled, job, attempt), leases, observer)
    log.info("attempt ended", state=record.state if record else "taken away")
    return record


def _write_end(
    end: Callable[[], JobRecord | None],
    cancelled: Callable[[], JobRecord | None],
    leases: Leases,
    observer: JobObserver,
) -> JobRecord | None:
    """Write down an attempt's end; finished work waits for a store of the artifacts that is away.

    The heart keeps the lease meanwhile, and the job's longest run time bounds the wait.
    """
    told = False
    while True:
        try:
            return patiently(cancelled if observer.should_stop() else end, leases.lease_seconds)
        except FilesUnavailableError as error:
            structlog.get_logger().warning("the model cannot be stored", error=str(error))
        if not told:
            told = observer.try_to_warn("the model cannot be stored at the moment; trying again")
        time.sleep(_STORE_SECONDS)


def _work(
    leases: Leases,
    config: ServerConfig,
    observer: JobObserver,
    checkpoints: CheckpointStore,
    job: str,
    attempt: int,
) -> Callable[[], JobRecord | None]:
    """Do the work and return how to write down its end."""
    fail = partial(leases.fail, job, attempt)
    try:
        record = patiently(lambda: leases.store.get(job), leases.lease_seconds)
        structlog.contextvars.bind_contextvars(principal=record.principal)
        compression = _compress(record.spec, leases.store, config, observer, checkpoints)
        observer.flush()
        return partial(leases.succeed, job, attempt, compression)
    except (StaleAttemptError, JobNotFoundError):
        return lambda: None
    except StoppedError:
        return partial(leases.cancelled, job, attempt)
    except CompressionError as error:
        failure = JobError(error.reason, str(error), error.metadata)
        return partial(fail, failure, best=error.best, nearest_budget=error.nearest_budget)
    except ArtifactCorruptError as error:
        metadata = {"name": f"artifacts/{error.artifact}"}
        return partial(fail, JobError(ARTIFACT_CORRUPT, str(error), metadata))
    except RequestError as error:
        return partial(fail, JobError(error.reason, str(error), error.metadata))
    except DatabaseUnavailableError:
        raise
    except Exception as error:
        if _is_out_of_memory(error):
            text = f"attempt {attempt} needs more memory than there is: {first_line(error)}"
            observer.try_to_warn(text)
            raise
        error_id = log_unexpected("attempt failed", error, job=job, attempt=attempt)
        message = f"internal error {error_id}"
        return partial(fail, JobError(INTERNAL, message, {"error_id": error_id}))


def _loaded(catalog: Catalog, manifest: Manifest) -> ImageDataset:
    """Return the data set of an embedding.

    Raises:
        CompressionError: it cannot be read, or its images or classes are others by now.
    """
    name, space = manifest.dataset, manifest.space
    metadata = {"dataset": name, "known": ", ".join(catalog.datasets)}
    try:
        dataset = catalog.sources.load(name)
    except DatasetError as error:
        text = f"the server cannot read the data set: {error}"
        raise CompressionError(Reason.UNKNOWN_DATASET, text, metadata=metadata) from error
    if (dataset.input_shape, dataset.classes) != (space.input_shape, space.classes):
        text = (
            f"the server's {name} has images of {list(dataset.input_shape)} in {dataset.classes} "
            f"classes, the embedding {manifest.name} is for {list(space.input_shape)} in "
            f"{space.classes}"
        )
        raise CompressionError(Reason.UNKNOWN_DATASET, text, metadata=metadata)
    return dataset


def _is_out_of_memory(error: Exception) -> bool:
    from archpress_trainer.training.out_of_memory import is_out_of_memory

    return is_out_of_memory(error)


def _compress(
    spec: JobSpec,
    store: JobStore,
    config: ServerConfig,
    observer: JobObserver,
    checkpoints: CheckpointStore,
) -> Compression:
    import torch

    from archpress_server.compress.pipeline import compress
    from archpress_server.worker.upload import uploaded_input
    from archpress_trainer.embedding.artifact import load
    from archpress_trainer.training.device import best_compute

    torch.set_num_threads(config.threads_per_worker)
    request, catalog = spec.request, load_catalog(config)
    offered = catalog.embedding_named(spec.embedding) or suitable(
        catalog.embeddings_for(request.dataset, request.method), request.architecture
    )
    if offered is None:
        raise CompressionError(
            Reason.NO_EMBEDDING,
            f"the embedding {spec.embedding} is no longer on the server",
            metadata={"dataset": request.dataset, "method": request.method},
        )
    manifest = offered.manifest
    if manifest.name != spec.embedding:
        observer.warning(
            f"the embedding {spec.embedding} is no longer on the server; {manifest.name} serves"
        )
    dataset = _loaded(catalog, manifest)
    if dataset.fingerprint != manifest.dataset_fingerprint:
        observer.warning(f"{request.dataset} is not the data that {manifest.name} was fitted on")
    source, compute = None, best_compute()
    if spec.artifact:
        source = uploaded_input(store, spec.artifact, dataset.split(), compute, observer)
    return compress(
        request,
        load(offered.folder),
        dataset,
        observer,
        threads=config.threads_per_worker,
        checkpoints=checkpoints,
        compute=compute,
        input_network=source,
    )

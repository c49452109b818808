"""The uploaded model that a job starts from: fetched, checked and read again."""

from __future__ import annotations

import time

import structlog

from archpress_server.compress.input_net import TrainedInput, given_input
from archpress_server.compress.types import StoppedError
from archpress_server.jobs.errors import (
    ArtifactCorruptError,
    DatabaseUnavailableError,
    FilesUnavailableError,
)
from archpress_server.jobs.files import file_name
from archpress_server.jobs.model import ArtifactRecord
from archpress_server.jobs.store import JobStore
from archpress_server.onnx_import.network import imported_network, own_normalisation
from archpress_server.onnx_import.read import read_onnx
from archpress_server.worker.observer import JobObserver
from archpress_trainer.data.dataset import TrainingData
from archpress_trainer.training.device import Compute

_STORE_SECONDS = 5.0
"""Time between two tries to fetch a model."""


def uploaded_input(
    store: JobStore, artifact: str, data: TrainingData, compute: Compute, observer: JobObserver
) -> TrainedInput:
    """Return the network with the weights that the caller uploaded.

    A database or a store of files that is away is waited for: the heart bounds the one wait, the
    job's longest run time the other.

    Raises:
        ArtifactNotFoundError: the upload's row is gone.
        ArtifactCorruptError: its file is not the one that was uploaded.
        StoppedError: the job was stopped while the store was away.
    """
    told = False
    while True:
        try:
            content = _fetched(store, store.artifact(artifact))
            break
        except (DatabaseUnavailableError, FilesUnavailableError) as error:
            structlog.get_logger().warning("the uploaded model is not there", error=str(error))
        if observer.should_stop():
            raise StoppedError("stopped while the uploaded model could not be fetched")
        if not told:
            told = observer.try_to_warn("the uploaded model cannot be fetched; trying again")
        time.sleep(_STORE_SECONDS)
    imported = read_onnx(content)
    return given_input(imported_network(imported), own_normalisation(imported), data, compute)


def _fetched(store: JobStore, record: ArtifactRecord) -> bytes:
    try:
        content = store.files.read(record.sha256, 0, record.size_bytes)
    except FileNotFoundError as error:
        raise ArtifactCorruptError(record.id, "is missing") from error
    if file_name(content) != record.sha256:
        raise ArtifactCorruptError(record.id, "has another SHA-256")
    return content

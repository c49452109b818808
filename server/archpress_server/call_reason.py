"""`CallReason`: why calls are refused, where it is for none of compression, jobs and tokens."""

from __future__ import annotations

from enum import StrEnum


class CallReason(StrEnum):
    """What ErrorInfo names as the reason; QUEUE_FULL is for metrics, its status says enough."""

    JOB_NOT_FOUND = "JOB_NOT_FOUND"
    ARTIFACT_NOT_FOUND = "ARTIFACT_NOT_FOUND"
    REQUEST_ID_REUSED = "REQUEST_ID_REUSED"
    QUEUE_FULL = "QUEUE_FULL"
    DRAINING = "DRAINING"
    DATABASE_UNAVAILABLE = "DATABASE_UNAVAILABLE"
    STORAGE_UNAVAILABLE = "STORAGE_UNAVAILABLE"
    UPLOAD_STALLED = "UPLOAD_STALLED"

"""What a job of the chaos tests says and delivers: all of it follows from job and attempt."""

from __future__ import annotations

import hashlib

STEPS = 8
MODEL_BYTES = 600_000


def line(attempt: int, step: int) -> str:
    """Return what an attempt writes into the job's log after a step."""
    return f"step {step} of attempt {attempt}"


def model(job: str, attempt: int) -> bytes:
    """Return the bytes that an attempt of a job delivers."""
    return hashlib.shake_256(f"{job} {attempt}".encode()).digest(MODEL_BYTES)

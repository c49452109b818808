"""How the worker processes of a benchmark start, each of which trains or plans in one thread."""

from __future__ import annotations

import torch

from archpress_trainer.processes import keep_freed_memory


def start_worker() -> None:
    """Let this process train in one thread, and keep the memory that it frees."""
    torch.set_num_threads(1)
    keep_freed_memory()

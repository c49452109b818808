"""Whether an error says that a device's memory is full."""

from __future__ import annotations

import torch


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error of Python or torch, on a CPU or a GPU, says that memory is full."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    # Those of the CPU's allocator and of what lies below that of a GPU have no class of their own.
    words = str(error).lower()
    if isinstance(error, torch.AcceleratorError):
        # "An illegal memory access" is a fault of a program.
        return "out of memory" in words
    return isinstance(error, RuntimeError) and "memory" in words

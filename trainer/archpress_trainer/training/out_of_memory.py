"""Whether an error says that a device's memory is full."""

from __future__ import annotations

import torch


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error of Python or torch, on a CPU or a GPU, says that memory is full."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    if isinstance(error, torch.AcceleratorError):
        # "an illegal memory access was encountered" is a fault of a program.
        return False
    # That of the CPU's allocator, and those of the libraries below, have no class of their own.
    return isinstance(error, RuntimeError) and "memory" in str(error).lower()

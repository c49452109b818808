"""Where and in which precision to train: chosen once, passed on as a value."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch


@dataclass(frozen=True)
class Compute:
    """A device and whether matrix work runs in bfloat16 under autocast."""

    device: torch.device
    bfloat16: bool

    def autocast(self) -> AbstractContextManager[object]:
        """Return the context that the forward pass runs in."""
        if not self.bfloat16:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)


def best_compute() -> Compute:
    """Return the GPU if there is one, else the CPU; bfloat16 where the hardware has it."""
    if torch.cuda.is_available():
        return Compute(
            torch.device("cuda"), torch.cuda.is_bf16_supported(including_emulation=False)
        )
    return Compute(torch.device("cpu"), _cpu_has_bfloat16())


def _cpu_has_bfloat16() -> bool:
    """Return whether the CPU multiplies bfloat16 natively; emulated, it is slower than float32."""
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags

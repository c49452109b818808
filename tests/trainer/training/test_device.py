"""The choice of device and precision."""

from __future__ import annotations

import torch

from archpress_trainer.training.device import Compute, best_compute


def test_bfloat16_acts_inside_its_context_only() -> None:
    layer, values = torch.nn.Linear(3, 3), torch.zeros(2, 3)
    half = Compute(torch.device("cpu"), bfloat16=True)
    full = Compute(torch.device("cpu"), bfloat16=False)
    with half.autocast():
        assert layer(values).dtype == torch.bfloat16
    with full.autocast():
        assert layer(values).dtype == torch.float32


def test_the_best_is_a_gpu_if_there_is_one() -> None:
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert best_compute().device.type == expected

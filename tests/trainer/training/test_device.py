"""The choice of device and precision."""

from __future__ import annotations

import pytest
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


@pytest.mark.parametrize("native", [True, False])
def test_a_gpu_that_only_emulates_bfloat16_trains_without(
    monkeypatch: pytest.MonkeyPatch, native: bool
) -> None:
    def supported(including_emulation: bool = True) -> bool:
        return native or including_emulation

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    assert best_compute() == Compute(torch.device("cuda"), bfloat16=native)


def test_the_best_is_a_gpu_if_there_is_one() -> None:
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert best_compute().device.type == expected

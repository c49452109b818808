"""Threads are given back, whatever happens."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from archpress_trainer.one_thread import one_thread


@pytest.fixture
def several() -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    yield before + 1
    torch.set_num_threads(before)


def test_several_are_given_back(several: int) -> None:
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == several


def test_after_an_error_too(several: int) -> None:
    with pytest.raises(ValueError, match="no"), one_thread():
        raise ValueError("no")
    assert torch.get_num_threads() == several

"""The search by two policies never takes more than its work."""

from __future__ import annotations

import pytest
import torch
from removal_policy import PolicySettings, RemovalSearch, Student

from archpress_trainer.space.costs import count
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.named import named

NET = named("conv-7", (1, 28, 28), 10)
IMAGES = 6_000
MOST = 50_000


def searched(work: float, seed: int, updates: int = 10) -> tuple[RemovalSearch, Student | None]:
    draws = torch.Generator().manual_seed(seed)

    def measure(architecture: Architecture) -> float:
        trained.append(float(count(architecture).macs * IMAGES))
        assert sum(trained) <= work
        return float(torch.rand(1, generator=draws))

    trained: list[float] = []
    search = RemovalSearch(
        NET,
        0.9,
        MOST,
        work,
        IMAGES,
        measure,
        torch.Generator().manual_seed(seed),
        PolicySettings(updates=updates),
    )
    best = search.run()
    assert search.spent == sum(trained)
    assert search.trained == len(trained)
    return search, best


@pytest.mark.parametrize("seed", range(6))
def test_no_student_is_trained_beyond_the_work(seed: int) -> None:
    work = 2e11
    search, best = searched(work, seed)
    assert best is not None
    assert count(best.architecture).params <= MOST
    assert 0 < search.spent <= work


def test_a_work_that_ends_amid_an_update_is_not_exceeded() -> None:
    # Two updates of five students would take more.
    spent = [searched(1.2e11, seed, updates=2)[0].spent for seed in range(6)]
    assert max(spent) <= 1.2e11


def test_there_is_no_student_where_none_fits() -> None:
    search, best = searched(1e6, 0, updates=2)
    assert best is None
    assert search.spent == 0

"""Coroutines that never wait are run without an event loop, also beside one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from archpress_client._drive import iterate, run


async def double(number: int) -> int:
    return 2 * number


async def count(to: int, closed: list[bool]) -> AsyncGenerator[int, None]:
    try:
        for number in range(to):
            yield await double(number)
    finally:
        closed.append(True)


def test_results_and_errors_come_through() -> None:
    async def fail() -> None:
        raise KeyError("x")

    assert run(double(2)) == 4
    with pytest.raises(KeyError):
        run(fail())


def test_a_generator_is_followed_to_its_end() -> None:
    closed: list[bool] = []
    assert list(iterate(count(3, closed))) == [0, 2, 4]
    assert closed == [True]


def test_leaving_a_loop_closes_the_generator() -> None:
    closed: list[bool] = []
    for _ in iterate(count(3, closed)):
        break
    assert closed == [True]


def test_it_works_inside_an_event_loop() -> None:
    """A notebook's cells run in one, and use the blocking client there."""

    async def main() -> list[int]:
        return list(iterate(count(3, [])))

    assert asyncio.run(main()) == [0, 2, 4]


def test_waiting_is_refused() -> None:
    with pytest.raises(RuntimeError, match="waits for an event loop"):
        run(asyncio.sleep(0))

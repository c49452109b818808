"""Which tests run in one process, where there are several (`pytest --numprocesses`), and where."""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

# What starts something that a machine has one of, or shares what takes long to make. Every other
# file is on its own.
_TOGETHER = {
    "tests/docs/test_tutorials.py": "cluster",
    "tests/server/executors/": "cluster",
    "tests/trainer/population/": "cluster",
    "tests/e2e/": "e2e",
}


def group(node: str) -> str:
    """Return the group of a test."""
    file = node.split("::")[0]
    return next((name for start, name in _TOGETHER.items() if file.startswith(start)), file)


def pytest_configure() -> None:
    """Give a process and all that it starts cores of their own.

    Else threads that wait for one another would wait for other processes too.
    """
    process = os.environ.get("PYTEST_XDIST_WORKER", "")
    if process and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        number = int(process.removeprefix("gw")) % len(cores)
        os.sched_setaffinity(0, cores[number :: int(os.environ["PYTEST_XDIST_WORKER_COUNT"])])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the groups that have most tests that are slow."""
    slow = Counter(group(item.nodeid) for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: (-slow[group(item.nodeid)], group(item.nodeid)))


class ByGroup(LoadScopeScheduling):  # type: ignore[misc]
    """Gives a process whole groups."""

    def _split_scope(self, nodeid: str) -> str:
        return group(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByGroup:
    """Share groups out in their order."""
    config.option.loadscopereorder = False
    return ByGroup(config, log)

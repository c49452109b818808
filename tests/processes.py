"""Which tests run in one process, where there are several (`pytest --numprocesses`)."""

from __future__ import annotations

from collections import Counter

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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the groups that have most tests that are slow."""
    slow = Counter(group(item.nodeid) for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: (-slow[group(item.nodeid)], group(item.nodeid)))


class ByGroup(LoadScopeScheduling):  # type: ignore[misc]
    """Gives a process whole groups."""

    def _split_scope(self, nodeid: str) -> str:
        return group(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config) -> ByGroup:
    """Share groups out in their order."""
    config.option.loadscopereorder = False
    return ByGroup(config)

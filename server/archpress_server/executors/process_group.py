"""What is known of the processes of a group, as /proc says; nothing where there is none."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_STATE_FIELD, _GROUP_FIELD, _RESIDENT_FIELD = 0, 2, 21
"""Places in /proc/PID/stat, counted from after the command's name."""


@dataclass(frozen=True)
class _Process:
    resident_pages: int
    ended: bool


def group_memory_bytes(group: int) -> int:
    """Return the resident memory of a process group.

    Pages that several of its processes share are counted for each of them.
    """
    pages = sum(process.resident_pages for process in _processes(group))
    return pages * os.sysconf("SC_PAGE_SIZE")


def group_is_running(group: int) -> bool:
    """Return whether any process of a group has not ended; one that nobody waited for has."""
    return not all(process.ended for process in _processes(group))


def _processes(group: int) -> Iterator[_Process]:
    for folder in _PROC.glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_bytes()
        except OSError:
            continue
        # The name, in brackets, may hold any bytes.
        fields = stat.rpartition(b")")[2].split()
        if int(fields[_GROUP_FIELD]) == group:
            yield _Process(int(fields[_RESIDENT_FIELD]), fields[_STATE_FIELD] in b"ZXx")

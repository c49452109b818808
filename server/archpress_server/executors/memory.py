"""What the processes of a group use of the machine's memory."""

from __future__ import annotations

import os
from pathlib import Path

_PROC = Path("/proc")
_GROUP_FIELD, _RESIDENT_FIELD = 2, 21
"""Places in /proc/PID/stat, counted from after the command's name."""


def group_memory_bytes(group: int) -> int:
    """Return the resident memory of a process group; 0 where there is no /proc.

    Pages that several of its processes share are counted for each of them.
    """
    pages = 0
    for folder in _PROC.glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_text()
        except OSError:
            continue
        # The name, in brackets, may hold anything.
        fields = stat.rpartition(")")[2].split()
        if int(fields[_GROUP_FIELD]) == group:
            pages += int(fields[_RESIDENT_FIELD])
    return pages * os.sysconf("SC_PAGE_SIZE")

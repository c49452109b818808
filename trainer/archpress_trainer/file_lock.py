"""Keeping other processes out by a lock on an open file."""

from __future__ import annotations

import errno
import fcntl
from typing import IO

_WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


def lock_at_once(file: IO[str]) -> bool:
    """Lock a file until it is closed, or its process ends; False if its file system has no locks.

    Raises:
        BlockingIOError: somebody else holds the lock.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError as error:
        if error.errno not in _WITHOUT_LOCKS:
            raise
        return False
    return True

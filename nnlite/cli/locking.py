"""A folder for one command at a time: two that write into it would mix their files.

The lock belongs to the running process. The system releases it when the process ends, however it ends, so that a
killed command blocks nobody.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

NAME = ".nnlite-lock"  # a file in the folder, empty, which is removed at the end
TAKEN = "another nnlite is writing into this folder; wait until it has ended, or choose another --out"


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """A block in which no other process has this folder. OSError, which names it, if one has it already."""
    path = folder / NAME
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock(handle)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES, errno.EDEADLK):
                os.close(handle)
                raise BlockingIOError(errno.EAGAIN, TAKEN, str(folder)) from None
            break  # a file system without locks
        if fcntl is None or os.fstat(handle).st_nlink:
            break
        os.close(handle)  # the one that had it has removed the file before it was locked here
    try:
        yield
    finally:
        if fcntl is None:
            os.close(handle)  # Windows cannot remove an open file
        with contextlib.suppress(OSError):
            os.unlink(path)  # while it is still locked
        if fcntl is not None:
            os.close(handle)


def _lock(handle: int) -> None:
    """OSError if another process has locked this file."""
    if fcntl is not None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    else:
        import msvcrt

        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)

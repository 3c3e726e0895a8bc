"""Replace a file completely or not at all: write the new file beside the old one, then move it into its place.

A reader never sees half of a file. If the process is killed or the disk is full, the old file stays as it was.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import stat
import time
from collections.abc import Iterator
from typing import IO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


PATIENCE = 2.0  # seconds that a save waits, on Windows, for a virus scanner or another save


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """An open file to write in the block. If the block ends without an error, the file is moved to `path`.

    A symbolic link stays, and the file that it points to is replaced. The new file gets the old one's mode and, where
    that is allowed, its owner. OSError, which names `path`, if the old file is read-only or not a regular file, and for
    every error in writing.
    """
    path = os.fsdecode(path)
    part = None
    try:
        target = os.path.realpath(path)
        old = _old(path, target)
        folder, base = os.path.split(target)
        # A hash, because the name of the temporary file must not be too long when `base` is long.
        prefix = f".nnlite-{hashlib.sha256(os.fsencode(base)).hexdigest()[:16]}-"
        _remove_left_overs(folder, prefix)
        file, part = _new(folder, prefix, 0o666 if old is None else 0o600)
        with file:
            if old is not None and hasattr(os, "fchown"):
                with contextlib.suppress(OSError):  # only root may give a file away
                    os.fchown(file.fileno(), old.st_uid, old.st_gid)
                os.fchmod(file.fileno(), stat.S_IMODE(old.st_mode))  # after fchown, which clears some bits
            yield file
            file.flush()
            os.fsync(file.fileno())
            if fcntl is None:
                file.close()  # Windows cannot move an open file
            _move(part, target)
    except BaseException as error:
        if part is not None:
            with contextlib.suppress(OSError):
                os.unlink(part)
        if isinstance(error, OSError) and error.errno is not None:
            raise OSError(error.errno, error.strerror, path) from error  # it names no file, or the temporary one
        raise


def _old(path: str, target: str) -> os.stat_result | None:
    """The status of the old file, None if there is none; OSError if it must not be replaced."""
    if not os.path.basename(path):
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    try:
        old = os.stat(target)
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(old.st_mode):
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if not stat.S_ISREG(old.st_mode):
        raise OSError(errno.EINVAL, "this is a device, a pipe or a socket; choose another name", path)
    # The mode is checked first, because os.access allows root to write to a read-only file.
    if not old.st_mode & 0o222 or not os.access(target, os.W_OK):
        raise OSError(errno.EACCES, "this file is read-only; choose another name, or make it writable", path)
    return old


def _new(folder: str, prefix: str, mode: int) -> tuple[IO[bytes], str]:
    """A new file with a unique name, locked while it is open, and its path."""
    while True:
        part = os.path.join(folder, f"{prefix}{secrets.token_hex(8)}.part")
        file = os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), mode), "wb")
        if fcntl is not None:
            with contextlib.suppress(OSError):  # a file system without locks: there, left-overs are not removed either
                fcntl.flock(file.fileno(), fcntl.LOCK_EX)
        if os.fstat(file.fileno()).st_nlink or fcntl is None:
            return file, part
        file.close()  # another save took it for a left-over before it was locked


def _move(part: str, target: str) -> None:
    """Move the new file to its place. On Windows, somebody else may have the old one open for a moment."""
    last = time.monotonic() + (PATIENCE if fcntl is None else 0)
    while True:
        try:
            os.replace(part, target)
            return
        except PermissionError:
            if time.monotonic() >= last:
                raise
            time.sleep(0.01)


def _remove_left_overs(folder: str, prefix: str) -> None:
    """Remove temporary files of the same target whose process was killed. Nobody holds a lock on such a file."""
    if fcntl is None:
        return
    exactly = re.compile(re.escape(prefix) + r"[0-9a-f]{16}\.part")
    for name in filter(exactly.fullmatch, os.listdir(folder)):
        with contextlib.suppress(OSError):  # it is in use, or is gone, or belongs to somebody else
            handle = os.open(os.path.join(folder, name), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(os.path.join(folder, name))
            finally:
                os.close(handle)

"""Kept machine code: compiled functions are written to disk, for the next process.

Numba has a cache too, which notices a change in a function's file, but not in the files of the functions that it calls
(numba#1833). It also trusts what it reads: a truncated file fails every later run, and a flipped byte may crash it. It
removes nothing. Here, each function has a file of its own for each kind of arguments, whose name stands for all that
the code was made of: this folder, the versions of Python, NumPy and Numba, the processor, and the compiler's options.
So versions and machines may share a folder. Every file starts with a checksum. All files together take MOST_BYTES at
most, or the oldest are removed. A function is compiled again if its file is damaged, missing, without what its reader
calls, or cannot be written.

The files are pickles, and whoever can write one can run any code here. So only a folder is used to which nobody else
can write.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import pickle
import platform
import stat
import time
import types
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import llvmlite
import numba
import numpy as np
from numba.core import config
from numba.core.caching import CompileResultCacheImpl, NullCache
from numba.core.compiler import Flags
from numba.core.registry import cpu_target
from numba.core.runtime import rtsys
from numba.core.serialize import dumps

MOST_BYTES = 64_000_000  # a net's functions take 1 to 2 MB, a kernel of a user's own up to 0.25
DAY = 86_400  # seconds: so exact is the time of a file's last use

_SOURCES = sorted(path for folder in ("common", "cpu") for path in (Path(__file__).parents[1] / folder).rglob("*.py"))
TARGET: tuple[str, str, str] = cpu_target.target_context.codegen().magic_tuple()  # system, processor, and its features
_PYTHON = platform.python_implementation(), platform.python_version()
_VERSIONS = (*_PYTHON, np.__version__, numba.__version__, llvmlite.__version__)
STAMP = hashlib.sha256(
    b"".join(path.read_bytes() for path in _SOURCES) + repr((TARGET, _VERSIONS)).encode()
).hexdigest()
# Numba's settings, from the environment, that change machine code and are not among a function's options.
_SETTINGS = (
    *("OPT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "BOUNDSCHECK"),
    *("LLVM_REFPRUNE_PASS", "LLVM_REFPRUNE_FLAGS", "USING_SVML"),
)


class Kept(NullCache):
    """The kept machine code of one function, in the form of a cache of Numba's."""

    begun = 0  # the number of functions that this process has begun to compile, since it did not find them

    def __init__(self, compiler: Any, key: str | None = "", prepare: Callable[[], None] = lambda: None) -> None:
        # `compiler` is Numba's for this function and its options. `key` stands for the code from outside this folder
        # that the function calls; None if it must not be kept.
        self.compiler, self.key, self.prepare = compiler, key, prepare

    def _flags(self) -> Any:
        """The options that the function is compiled with here: it takes some from the function that calls it."""
        flags = Flags()
        self.compiler.targetdescr.options.parse_as_flags(flags, self.compiler.targetoptions)
        return self.compiler._customize_flags(flags)

    def _path(self, signature: Any) -> Path | None:
        where = folder()
        if where is None or self.key is None:
            return None
        function, flags = self.compiler.py_func, self._flags()
        options = [f"{name}={flag}" for name, flag in flags.values().items() if name != "fastmath"]
        options += sorted(flags.fastmath.flags)  # a set, whose text has another order in every process
        options += [f"{name}={getattr(config, name, None)!r}" for name in _SETTINGS]
        code = list(code_of(function.__code__))
        name = repr((STAMP, function.__module__, function.__qualname__, code, str(signature), self.key, options))
        shown = function.__name__[:40].strip("<>")  # <lambda> cannot be the name of a file on Windows
        return where / f"{shown}-{hashlib.sha256(name.encode()).hexdigest()[:24]}.nbc"

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        path = self._path(signature)
        found = path and _read(path)
        if found and self._callable(found):
            if self.key in ("", "line"):
                # Numba would first load all that it needs to compile, which takes longer than to read a net's files.
                rtsys.initialize(target_context)
            else:  # a user's own code may call what only that loads, such as linear algebra
                self.prepare()
                target_context.refresh()
            return CompileResultCacheImpl.rebuild(_probe(), target_context, found)
        Kept.begun += 1
        self.prepare()
        return None

    def _callable(self, found: Any) -> bool:
        """Whether a file holds the function that its reader calls: to call a missing one would end the process."""
        (_, _, (machine_code, _)), described, *_ = found
        alone = self._flags().no_cpython_wrapper
        name = described.llvm_func_name if alone else described.llvm_cpython_wrapper_name
        return name.encode() in machine_code

    def save_overload(self, signature: Any, made: Any) -> None:
        path = self._path(signature)
        # A dynamic global is such as a large array: its address is valid only in this process.
        if path and not made.library.has_dynamic_globals:
            with contextlib.suppress(OSError):  # such as a full disk, or a folder that has become read-only
                _write(path, dumps(CompileResultCacheImpl.reduce(_probe(), made)))
                bound(path.parent)


def code_of(code: types.CodeType) -> Iterator[Any]:
    """The instructions, names and constants of some code, without its file and lines."""
    yield code.co_code.hex(), code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars, code.co_flags
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield list(code_of(constant))
        else:
            yield sorted(map(repr, constant)) if isinstance(constant, frozenset) else repr(constant)


# ---- files -----------------------------------------------------------------------------------------------------------


def _read(path: Path) -> Any:
    """What a file holds, or None if it is missing or damaged."""
    try:
        content = path.read_bytes()
        if hashlib.sha256(content[32:]).digest() != content[:32]:
            return None
        found = pickle.loads(content[32:])
        if time.time() - path.stat().st_mtime > DAY:
            os.utime(path)
    except Exception:  # a damaged file may raise anything; it is made again
        return None
    return found


def _write(path: Path, content: bytes) -> None:
    unfinished = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        unfinished.write_bytes(hashlib.sha256(content).digest() + content)
        os.replace(unfinished, path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


class _File(NamedTuple):
    used: float  # when it was last used, to within a day
    size: int
    path: str


def _files(folder: Path) -> list[_File]:
    """All files of kept machine code in a folder, also unfinished ones and those of Numba's own cache."""
    found = []
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if ".nbc" in entry.name or ".nbi" in entry.name:
                with contextlib.suppress(OSError):  # another process has removed it
                    found.append(_File(entry.stat().st_mtime, entry.stat().st_size, entry.path))
    return found


def bound(folder: Path) -> None:
    """Remove the files that have not been used for longest, if all together take more than MOST_BYTES."""
    files = _files(folder)
    left = sum(file.size for file in files)
    if left > MOST_BYTES:
        for file in sorted(files):
            with contextlib.suppress(OSError):
                os.unlink(file.path)
            left -= file.size
            if left <= MOST_BYTES * 3 // 4:  # so that this is done rarely
                break


def summary() -> str:
    """Where the kept machine code is, and how much there is."""
    where = folder()
    if where is None:
        return "not kept: there is no folder to which this user, and nobody else, can write"
    sizes = [file.size for file in _files(where)]
    return f"{where}: {len(sizes)} files, {sum(sizes) / 1e6:.1f} MB of at most {MOST_BYTES / 1e6:.0f}"


# ---- the folder ------------------------------------------------------------------------------------------------------


@functools.cache
def folder() -> Path | None:
    """The folder for kept machine code: NUMBA_CACHE_DIR, beside this source, or the user's own; None if it has none."""
    with contextlib.suppress(RuntimeError, OSError):
        path = _probe().locator.get_cache_path()
        if only_ours(path):
            return Path(path)
    return None


@functools.cache
def _probe() -> Any:
    """Numba's search for a folder, for any function of this file."""
    return CompileResultCacheImpl(bound)


ROOT = 0  # the user id of root


def only_ours(folder: str) -> bool:
    """Whether nobody else can put files into a folder, or put another folder in its place.

    The folder and all folders above it must belong to this user, to root, or to the owner of this source file, who can
    run any code here anyway. Others may write to a folder above it only if it has the sticky bit, as /tmp has: then
    nobody can remove the files of others. A group with this user as its only member counts as this user; many systems
    make such a group for every user. On Windows, every folder is taken to be the user's.
    """
    if not hasattr(os, "geteuid"):
        return True
    path = Path(folder).resolve()
    trusted = {os.geteuid(), ROOT, os.stat(__file__).st_uid}
    for each in (path, *path.parents):
        found = each.stat()
        shared = found.st_mode & stat.S_IWOTH or (found.st_mode & stat.S_IWGRP and not _private(found.st_gid))
        if found.st_uid not in trusted or (shared and not (found.st_mode & stat.S_ISVTX and each != path)):
            return False
    return True


def _private(group: int) -> bool:
    """Whether this user is the only one in the group: it has the user's name and lists no other member."""
    import grp
    import pwd

    try:
        user, found = pwd.getpwuid(os.geteuid()), grp.getgrgid(group)
    except KeyError:
        return False
    return found.gr_gid == user.pw_gid and found.gr_name == user.pw_name and set(found.gr_mem) <= {user.pw_name}

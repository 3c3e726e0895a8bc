"""Kept machine code: compiled functions are written to disk, for the next process.

Numba has a cache too, which notices a change in a function's file, but not in the files of the functions that it calls
(numba#1833). It also trusts what it reads: a truncated file fails every later run, and a flipped byte may crash it. It
removes nothing. Here, each function has a file of its own for each kind of arguments, whose name stands for all that
the code was made of: this folder, the versions of Python, NumPy and Numba, the processor, and the compiler's options.
So versions and machines may share a folder. Every file starts with a checksum. All files together take MOST_BYTES at
most, or the oldest are removed. A function is compiled again if its file is damaged, missing, without what its reader
calls, or cannot be written. A folder that cannot be written is read, such as that of a container's image.

The files are pickles, and whoever can write one can run any code here. So only a folder is used to which nobody else
can write, and only a file that is this user's own: a link may lead to what another has written.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import pickle
import pkgutil
import platform
import stat
import tempfile
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
from numba.core.caching import NullCache
from numba.core.compiler import CompileResult, Flags
from numba.core.registry import cpu_target
from numba.core.runtime import rtsys
from numba.core.serialize import dumps
from numba.misc.appdirs import AppDirs

MOST_BYTES = 64_000_000  # a net's functions take 1 to 2 MB, a kernel of a user's own up to 0.25
DAY = 86_400  # seconds: so exact is the time of a file's last use

HERE = Path(__file__).parent
TARGET: tuple[str, str, str] = cpu_target.target_context.codegen().magic_tuple()  # system, processor, and its features
_PYTHON = platform.python_implementation(), platform.python_version()
_VERSIONS = (*_PYTHON, np.__version__, numba.__version__, llvmlite.__version__)


def code_of(code: types.CodeType) -> Iterator[Any]:
    """The instructions, names and constants of some code, without its file and lines."""
    yield code.co_code.hex(), code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars, code.co_flags
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield list(code_of(constant))
        else:
            yield sorted(map(repr, constant)) if isinstance(constant, frozenset) else repr(constant)


def _sources() -> Iterator[bytes]:
    """The sources of the devices; where there are none, as in a program that is frozen or zipped, the modules' code."""
    folders = HERE.parent / "common", HERE
    if paths := sorted(path for folder in folders for path in folder.rglob("*.py")):
        yield from (path.read_bytes() for path in paths)
        return
    for folder in folders:
        package = f"{__package__.rpartition('.')[0]}.{folder.name}."
        for finder, name, _ in pkgutil.walk_packages([str(folder)], package):
            found: Any = finder.find_spec(name)
            yield repr(list(code_of(found.loader.get_code(name)))).encode()


STAMP = hashlib.sha256(b"".join(_sources()) + repr((TARGET, _VERSIONS)).encode()).hexdigest()
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

    def _name(self, signature: Any) -> str | None:
        """The name of the file for this kind of arguments; None if there is to be none."""
        if self.key is None:
            return None
        function, flags = self.compiler.py_func, self._flags()
        options = [f"{name}={flag}" for name, flag in flags.values().items() if name != "fastmath"]
        options += sorted(flags.fastmath.flags)  # a set, whose text has another order in every process
        options += [f"{name}={getattr(config, name, None)!r}" for name in _SETTINGS]
        code = list(code_of(function.__code__))
        name = repr((STAMP, function.__module__, function.__qualname__, code, str(signature), self.key, options))
        shown = function.__name__[:40].strip("<>")  # <lambda> cannot be the name of a file on Windows
        return f"{shown}-{hashlib.sha256(name.encode()).hexdigest()[:24]}.nbc"

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        name = self._name(signature)
        found = next(filter(None, (_read(folder / name) for folder in folders())), None) if name else None
        if found and self._callable(found):
            if self.key in ("", "line"):
                # Numba would first load all that it needs to compile, which takes longer than to read a net's files.
                rtsys.initialize(target_context)
            else:  # a user's own code may call what only that loads, such as linear algebra
                self.prepare()
                target_context.refresh()
            return CompileResult._rebuild(target_context, *found)
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
        name, where = self._name(signature), folder()
        # A dynamic global is such as a large array: its address is valid only in this process.
        if name and where and not made.library.has_dynamic_globals:
            with contextlib.suppress(OSError):  # such as a full disk, or a folder that has become read-only
                _write(where / name, dumps(made._reduce()))
                bound(where)


# ---- files -----------------------------------------------------------------------------------------------------------


def _read(path: Path) -> Any:
    """What a file holds, or None if it is missing, damaged, or perhaps another's."""
    try:
        with open(path, "rb", opener=_no_link) as file:
            found = os.fstat(file.fileno())
            if not _ours(found):
                return None
            content = file.read()
        if _checksum(path, content[32:]) != content[:32]:
            return None
        if time.time() - found.st_mtime > DAY:
            with contextlib.suppress(OSError):  # of a folder that is only read
                os.utime(path)
        return pickle.loads(content[32:])
    except Exception:  # a damaged file may raise anything; it is made again
        return None


def _write(path: Path, content: bytes) -> None:
    unfinished = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        with open(unfinished, "xb", opener=lambda name, flags: os.open(name, flags, 0o644)) as file:
            file.write(_checksum(path, content) + content)
        os.replace(unfinished, path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def _no_link(name: str, flags: int) -> int:
    """Open a file, but no link; and do not wait for a pipe."""
    return os.open(name, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))


def _checksum(path: Path, content: bytes) -> bytes:
    """Of a file's content and name: one that has been given another function's name is damaged."""
    return hashlib.sha256(path.name.encode() + content).digest()


ROOT = 0  # the user id of root


def _trusted() -> set[int]:
    """The users who can run any code here anyway: this one, root, and the owner of this source file."""
    trusted = {os.geteuid(), ROOT}
    with contextlib.suppress(OSError):  # there is no such file in a program that is frozen
        trusted.add(os.stat(__file__).st_uid)
    return trusted


def _ours(found: os.stat_result) -> bool:
    """Whether this is a file that nobody else can write to. On Windows, every file is taken to be the user's."""
    if not stat.S_ISREG(found.st_mode):
        return False
    others = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return not hasattr(os, "geteuid") or (found.st_uid in _trusted() and not others)


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
    if where := folder():
        sizes = [file.size for file in _files(where)]
        return f"{where}: {len(sizes)} files, {sum(sizes) / 1e6:.1f} MB of at most {MOST_BYTES / 1e6:.0f}"
    read = [f"{each} ({len(files)} files) is only read" for each in folders() if (files := _files(each))]
    return ", ".join(
        ["not kept: set NUMBA_CACHE_DIR to a folder to which this user, and nobody else, can write", *read]
    )


# ---- the folders -----------------------------------------------------------------------------------------------------


@functools.cache
def folders() -> tuple[Path, ...]:
    """Where kept machine code is, if nobody else can write to it."""
    folder()  # makes one
    return tuple(filter(only_ours, _places()))


def _places() -> tuple[Path, ...]:
    """Where it may be: in NUMBA_CACHE_DIR, or else beside this source, or with the user's own caches."""
    if named := getattr(config, "CACHE_DIR", ""):
        return (Path(named).absolute() / "nnlite",)
    own = Path(AppDirs("nnlite", appauthor=False).user_cache_dir)
    return HERE / "__pycache__", *([own] if own.is_absolute() else [])  # "~" stays where a user has no home


@functools.cache
def folder() -> Path | None:
    """The first of them to which this process can write, made if it is missing, or None."""
    for path in _places():
        with contextlib.suppress(OSError):
            path.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=path).close()
            if only_ours(path):
                return path
    return None


def only_ours(folder: str | os.PathLike[str]) -> bool:
    """Whether nobody else can put files into a folder, or put another folder in its place; False if it is not there.

    The folder, all folders above it, and all links on the way must be those of a trusted user. Others may write to a
    folder above it only if it has the sticky bit, as /tmp has: then nobody can remove the files of others. A group with
    this user as its only member counts as this user; many systems make such a group for every user. On Windows, every
    folder is taken to be the user's.
    """
    if not hasattr(os, "geteuid"):
        return True
    named, trusted = Path(folder).absolute(), _trusted()
    try:
        path = named.resolve()
        links = [os.lstat(each) for each in (named, *named.parents)]
        above = [each.stat() for each in path.parents]
        found = path.stat()
    except (OSError, RuntimeError):  # it is not there, a link leads to itself, or this user may not enter the way to it
        return False
    open_to_others = [each for each in above if not each.st_mode & stat.S_ISVTX and _shared(each)]
    owned = all(each.st_uid in trusted for each in (*links, *above, found))
    return owned and not open_to_others and not _shared(found)


def _shared(found: os.stat_result) -> bool:
    """Whether others than this user may write to a folder."""
    return bool(found.st_mode & stat.S_IWOTH or (found.st_mode & stat.S_IWGRP and not _private(found.st_gid)))


def _private(group: int) -> bool:
    """Whether this user is the only one in the group: it has the user's name and lists no other member."""
    import grp
    import pwd

    try:
        user, found = pwd.getpwuid(os.geteuid()), grp.getgrgid(group)
    except KeyError:
        return False
    return found.gr_gid == user.pw_gid and found.gr_name == user.pw_name and set(found.gr_mem) <= {user.pw_name}

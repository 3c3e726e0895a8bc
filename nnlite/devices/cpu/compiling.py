"""Compiling: how the loops of this folder become machine code, which is kept on disk for the next process.

Numba's own cache notices a change in a function's file, but not in the files of the functions that it calls
(numba#1833). It also trusts what it reads: a truncated file fails every later run, and a flipped byte may crash it.
Here, the key covers the whole folder, and every file starts with a checksum. A function is compiled again if its file
is damaged or cannot be written.

The files are pickles, and whoever can write one can run any code here. So only folders are used to which nobody else
can write.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import pickle
import stat
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit
from numba.core.caching import FunctionCache, IndexDataCacheFile
from numba.core.ccallback import CFunc
from numba.core.registry import cpu_target

# Sums may be reordered, so that they vectorise. NaN and infinity must survive, since they show that a loss diverged.
FAST_SUMS = {"contract", "reassoc", "nsz", "arcp"}
OPTIONS = {"error_model": "numpy", "fastmath": FAST_SUMS}
EXACT = {"contract"}  # the range reduction of exp loses its digits if its terms are reordered


def _spare_scipy() -> None:
    """Make Numba look for SciPy without importing it, which saves 0.2 s and 30 MB.

    Numba imports SciPy's linear algebra only to check whether it is installed. To compile np.dot still imports it.
    """

    def look() -> None:
        if importlib.util.find_spec("scipy") is None:
            raise ImportError("SciPy is not installed")

    linalg: Any = importlib.import_module("numba.np.linalg")
    check = getattr(linalg, "ensure_blas", None)
    if check is not None and "numba.np.arraymath" not in sys.modules:
        linalg.ensure_blas = look
        try:
            importlib.import_module("numba.np.arraymath")
        finally:
            linalg.ensure_blas = check


_spare_scipy()
_SOURCES = sorted(path for folder in ("common", "cpu") for path in (Path(__file__).parents[1] / folder).glob("*.py"))
TARGET: tuple[str, str, str] = cpu_target.target_context.codegen().magic_tuple()  # system, processor, and its features
STAMP = hashlib.sha256(b"".join(path.read_bytes() for path in _SOURCES) + repr(TARGET).encode()).hexdigest()


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


class _Files(IndexDataCacheFile):
    """An index file, and for each signature a data file: a checksum, then the pickled (key, data)."""

    def load(self, key: Any) -> Any:
        try:
            path = self._data_path(self._load_index()[key])
            content = Path(path).read_bytes()
            if hashlib.sha256(content[32:]).digest() != content[:32]:
                return None
            found, data = pickle.loads(content[32:])
            return data if found == key else None
        except Exception:  # a missing or damaged file may raise anything; it is made again
            return None

    def save(self, key: Any, data: Any) -> None:
        with contextlib.suppress(OSError):  # such as a full disk, or a folder that has become read-only
            try:
                self._load_index()
            except Exception:  # a damaged index may raise anything
                self.flush()
            super().save(key, (key, data))

    def _save_data(self, name: str, data: Any) -> None:
        content = self._dump(data)
        with self._open_for_write(self._data_path(name)) as file:
            file.write(hashlib.sha256(content).digest() + content)


class _Cache(FunctionCache):
    """Keeps the machine code of a function beside its source, or else in the user's own cache folder.

    Each kind of processor has its own files, so that different machines may share a folder. RuntimeError if there is no
    folder to which only this user can write.
    """

    def __init__(self, function: Callable[..., Any], key: str = "") -> None:
        super().__init__(function)
        self.key = key  # stands for the code from outside this folder that the function calls
        if not only_ours(self._cache_path):
            raise RuntimeError(f"others may write to {self._cache_path}")
        stamp = (self._cache_file._source_stamp, STAMP)
        target = hashlib.sha256(repr(TARGET).encode()).hexdigest()[:8]
        self._cache_file = _Files(self._cache_path, f"{self._impl.filename_base}-{target}", stamp)

    def _index_key(self, signature: Any, codegen: Any) -> Any:
        return (*super()._index_key(signature, codegen), self.key)

    def _save_overload(self, signature: Any, data: Any) -> None:
        if not data.library.has_dynamic_globals:  # such as a large array: its address is valid only in this process
            super()._save_overload(signature, data)


def _keep(compiler: Any, function: Callable[..., Any], key: str = "") -> None:
    with contextlib.suppress(RuntimeError, OSError):  # without a folder, every process compiles it anew
        compiler._cache = _Cache(function, key)


ZERO = np.int64(0)  # Numba would compile a function again for a bare 0, which is a literal type of its own


def compiled(
    function: Callable[..., Any], fastmath: set[str] = FAST_SUMS, inlined: bool = False, kept: bool = True
) -> Callable[..., Any]:
    """Compile at the first call, for each kind of arguments. The machine code runs without Python's lock (the GIL).

    A function that takes other functions is not `kept` on disk by itself: there is no telling two functions apart.
    """
    made = njit(error_model="numpy", fastmath=fastmath, nogil=True, forceinline=inlined)(function)
    if kept:
        _keep(made, function)
    return made


exactly = partial(compiled, fastmath=EXACT)


class MachineCode(CFunc):
    """A function compiled for one kind of arguments. Its `address` is valid as long as this object lives.

    Numba wraps it in a C function, which is not called here: it loads several arguments at once that have just been
    stored one by one, and the processor waits for that, 10 ns for the fifteen arguments of a product.
    """

    _library: Any

    @property
    def address(self) -> int:
        found = int(self._library.get_pointer_to_function(self.native_name.removeprefix("cfunc.")))
        if not found:  # this version of Numba names its functions in another way
            raise RuntimeError(f"there is no machine code of {self.native_name} in {self._library}")
        return found


def machine_code(function: Callable[..., Any], signature: Any, kept: bool = True, key: str = "") -> MachineCode:
    """Compile now, for this signature. `key` stands for the code from outside this folder that it contains."""
    made = MachineCode(function, (signature.args, signature.return_type), {}, OPTIONS)
    if kept:
        _keep(made, function, key)
    made.compile()
    return made

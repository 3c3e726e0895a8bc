"""Compiling: how the loops of this folder become machine code, and how that is kept on disk for the next process.

Numba's own cache notices a change in the file of a function, but not in the files that it calls into (numba#1833), and
takes what it finds: a file cut short fails every later run, one with a flipped byte may crash it. Here the key covers
the whole folder, and every file starts with a checksum; what is damaged, or cannot be written, is compiled again.

The files are pickles, and whoever can write one can run anything here: only folders are used that nobody else can
write to.
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

# Sums may be reordered, which lets them vectorise; NaN and infinity must survive: they are how divergence is seen.
FAST_SUMS = {"contract", "reassoc", "nsz", "arcp"}
OPTIONS = {"error_model": "numpy", "fastmath": FAST_SUMS}
EXACT = {"contract"}  # the range reduction of exp loses its digits if its terms are reordered


def _spare_scipy() -> None:
    """Numba imports SciPy's linear algebra only to see whether it is there: a look at the folders is 0.2 s shorter, and
    takes 30 MB less. Whoever compiles a np.dot has it imported all the same."""

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
_SOURCES = sorted(Path(__file__).parents[1].glob("c*/*.py"))
TARGET: tuple[str, str, str] = cpu_target.target_context.codegen().magic_tuple()  # system, processor, its features
STAMP = hashlib.sha256(b"".join(path.read_bytes() for path in _SOURCES) + repr(TARGET).encode()).hexdigest()


ROOT = 0  # the user


def only_ours(folder: str) -> bool:
    """Whether nobody else can put files into a folder: neither into itself, nor another folder into its place.

    It and the folders above it belong to this user, to root, or to the owner of this source file, who can run anything
    here anyway. Others may write to those above if each may only remove what is their own (/tmp). A group that is this
    user's alone, as many systems make one for every user, is nobody else. A folder on Windows is its user's.
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
    """Whether nobody but this user is in the group: it is named after the user, and lists no other."""
    import grp
    import pwd

    try:
        user, found = pwd.getpwuid(os.geteuid()), grp.getgrgid(group)
    except KeyError:
        return False
    return found.gr_gid == user.pw_gid and found.gr_name == user.pw_name and set(found.gr_mem) <= {user.pw_name}


class _Files(IndexDataCacheFile):
    """An index, and a data file for each signature: a checksum, then the pickled (key, data)."""

    def load(self, key: Any) -> Any:
        try:
            path = self._data_path(self._load_index()[key])
            content = Path(path).read_bytes()
            if hashlib.sha256(content[32:]).digest() != content[:32]:
                return None
            found, data = pickle.loads(content[32:])
            return data if found == key else None
        except Exception:  # there is none, or a damaged one: whatever it raises, it is made again
            return None

    def save(self, key: Any, data: Any) -> None:
        with contextlib.suppress(OSError):  # a full disk, a folder that has become read-only
            try:
                self._load_index()
            except Exception:  # a damaged one, whatever it raises
                self.flush()
            super().save(key, (key, data))

    def _save_data(self, name: str, data: Any) -> None:
        content = self._dump(data)
        with self._open_for_write(self._data_path(name)) as file:
            file.write(hashlib.sha256(content).digest() + content)


class _Cache(FunctionCache):
    """Where Numba keeps a function: beside its source, or else in the user's own cache folder.

    Each processor has files of its own, so that unlike ones may share a folder. RuntimeError if there is no folder.
    """

    def __init__(self, function: Callable[..., Any], key: str = "") -> None:
        super().__init__(function)
        self.key = key  # of what the function calls and this folder does not have
        if not only_ours(self._cache_path):
            raise RuntimeError(f"others may write to {self._cache_path}")
        stamp = (self._cache_file._source_stamp, STAMP)
        target = hashlib.sha256(repr(TARGET).encode()).hexdigest()[:8]
        self._cache_file = _Files(self._cache_path, f"{self._impl.filename_base}-{target}", stamp)

    def _index_key(self, signature: Any, codegen: Any) -> Any:
        return (*super()._index_key(signature, codegen), self.key)

    def _save_overload(self, signature: Any, data: Any) -> None:
        if not data.library.has_dynamic_globals:  # such as a large array: its address is good for this process alone
            super()._save_overload(signature, data)


def _keep(compiler: Any, function: Callable[..., Any], key: str = "") -> None:
    with contextlib.suppress(RuntimeError, OSError):  # there is no folder: compiled anew by every process
        compiler._cache = _Cache(function, key)


ZERO = np.int64(0)  # for a bare 0 Numba compiles whatever is called with it once more


def compiled(function: Callable[..., Any], fastmath: set[str] = FAST_SUMS, inlined: bool = False) -> Callable[..., Any]:
    """Compile at the first call, for each kind of arguments; no call of the machine code holds Python's lock."""
    made = njit(error_model="numpy", fastmath=fastmath, nogil=True, forceinline=inlined)(function)
    _keep(made, function)
    return made


exactly = partial(compiled, fastmath=EXACT)


class MachineCode(CFunc):
    """A function compiled for one kind of arguments; its `address` is good for as long as this object lives.

    Numba wraps a C function around it, which is not called: it copies its arguments, several in one load that have just
    been stored one by one, and for that a processor waits: 10 ns for the fifteen of a product.
    """

    _library: Any

    @property
    def address(self) -> int:
        found = int(self._library.get_pointer_to_function(self.native_name.removeprefix("cfunc.")))
        if not found:  # Numba has another way of naming its functions
            raise RuntimeError(f"there is no machine code of {self.native_name} in {self._library}")
        return found


def machine_code(function: Callable[..., Any], signature: Any, kept: bool = True, key: str = "") -> MachineCode:
    """Compile at once, for this signature. key: of what it is made of that is not in this folder."""
    made = MachineCode(function, (signature.args, signature.return_type), {}, OPTIONS)
    if kept:
        _keep(made, function, key)
    made.compile()
    return made

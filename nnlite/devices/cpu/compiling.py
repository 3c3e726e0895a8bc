"""Compiling: how the loops of this folder become machine code.

To compile takes a hundred times as long as to run, so the first seconds on a machine depend on what is left out here:
wrappers through which Python would call, and Numba's counting of references to arrays. Helpers are written into their
callers before these are typed. What has been compiled is kept on disk (kept.py).
"""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numba
import numpy as np
from numba.core import ccallback
from numba.core.compiler import Compiler
from numba.core.compiler_lock import global_compiler_lock

from ...interrupts import Held
from .kept import TARGET as TARGET
from .kept import Kept

njit: Any = numba.njit
CFunc: Any = ccallback.CFunc
CFuncCompiler: Any = vars(ccallback)["_CFuncCompiler"]

# Sums may be reordered, so that they vectorise. NaN and infinity must survive, since they show that a loss diverged.
FAST_SUMS = {"contract", "reassoc", "nsz", "arcp"}
OPTIONS = {"error_model": "numpy", "fastmath": FAST_SUMS}
EXACT = {"contract"}  # the range reduction of exp loses its digits if its terms are reordered


@functools.cache
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


ZERO = np.int64(0)  # Numba would compile a function again for a bare 0, which is a literal type of its own


def compiled(
    function: Callable[..., Any],
    fastmath: set[str] = FAST_SUMS,
    inlined: bool = False,
    inside: bool = False,
    allocates: bool = False,
) -> Callable[..., Any]:
    """Compile at the first call, for each kind of arguments. The machine code runs without Python's lock (the GIL).

    An `inlined` function is written into each compiled function that calls it. A function that is only called `inside`
    compiled code gets no wrapper for Python, which would take as long to compile. LLVM writes it into its callers: said
    here, since it would otherwise depend on the first caller. A function that makes arrays `allocates`.
    """
    options: dict[str, Any] = {"inline": "always"} if inlined else {}
    if inside:
        options |= {"no_cpython_wrapper": True, "no_cfunc_wrapper": True, "forceinline": True}
    made: Any = njit(error_model="numpy", fastmath=fastmath, nogil=True, _nrt=allocates, **options)(function)
    made._cache = Kept(made._compiler, prepare=_spare_scipy)
    if inside:
        made.__class__ = _Inside
    return made


class _Inside(type(njit(lambda: None))):  # type: ignore[misc]
    """A function without a wrapper for Python. A call from Python would end the process."""

    def __call__(self, *arguments: Any) -> Any:
        raise TypeError(f"only compiled code can call {self.py_func.__name__}")


inside = partial(compiled, inside=True)
exactly = partial(compiled, fastmath=EXACT, inside=True)


def allocating(loop: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a kernel's loop that makes arrays."""
    vars(loop)["allocates"] = True
    return loop


def allocates(loop: Callable[..., Any]) -> bool:
    return bool(vars(loop).get("allocates"))


@contextlib.contextmanager
def garbage_later() -> Iterator[None]:
    """Collect no garbage in this block: the compiler makes many objects, which are not garbage until it is done."""
    collected, block = gc.isenabled(), object()
    try:  # from the first line on, or Ctrl-C between two of them would leave the collector off
        if collected:
            _blocks.add(block)
            gc.disable()
        yield
    finally:
        if collected:
            gc.enable()
            _blocks.discard(block)


_blocks: set[object] = set()  # those that will switch the garbage collector on again


def _in_child() -> None:
    global_compiler_lock.release()
    if _blocks:  # begun in a block of another thread, which does not exist here
        gc.enable()


# Whoever forks while another thread compiles waits until it has compiled its function: the child would wait for the
# compiler's lock for ever, because the thread that holds it does not exist in the child.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=global_compiler_lock.acquire, after_in_parent=global_compiler_lock.release, after_in_child=_in_child
    )


class _Alone(CFuncCompiler):
    """Compiles a function without the wrappers through which Python and C would call it."""

    def _customize_flags(self, flags: Any) -> Any:
        flags = super()._customize_flags(flags)
        flags.no_cfunc_wrapper = True
        return flags


class MachineCode(CFunc):
    """A function compiled for one kind of arguments. Its `address` is valid as long as this object lives.

    It is Numba's own function, without a wrapper: a wrapper would load several arguments at once that have just been
    stored one by one, and the processor waits for that, 10 ns for the fifteen arguments of a product. It is compiled
    now. `key` stands for the code from outside this folder that it contains; None if it must not be kept.
    """

    _library: Any

    def __init__(
        self, function: Callable[..., Any], signature: Any, key: str | None = "", allocates: bool = True, **options: Any
    ) -> None:
        options = OPTIONS | {"_nrt": allocates} | options
        super().__init__(function, (signature.args, signature.return_type), {}, options)
        self._compiler = _Alone(function, self._targetdescr, options, {}, pipeline_class=Compiler)
        self._cache = Kept(self._compiler, key, _spare_scipy)
        with Held():  # what a handler raises within a callback of LLVM's would be printed, and lost
            self.compile()

    def _compile_uncached(self) -> Any:
        made = super()._compile_uncached()
        self.complete(made)
        return made

    def complete(self, made: Any) -> None:
        """Add to the compiled function before it becomes machine code."""

    @property
    def entry(self) -> str:
        """The name of the function at the address."""
        return str(self.native_name).removeprefix("cfunc.")

    @property
    def address(self) -> int:
        # LLVM has a lock of its own, which a forked child would find locked for ever; for Numba's, a fork waits.
        with Held(), global_compiler_lock:
            found = int(self._library.get_pointer_to_function(self.entry))
        if not found:  # this version of Numba names its functions in another way
            raise RuntimeError(f"there is no machine code of {self.entry} in {self._library}")
        return found


machine_code = MachineCode

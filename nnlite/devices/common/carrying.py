"""Kernels that a script or a notebook has declared, on their way to another process.

Most kernels travel as a name in a module, which the other process imports. The module __main__ it cannot import, but
cloudpickle, with which joblib, Dask and Ray send functions, has their code in what it writes.
"""

from __future__ import annotations

import importlib
import pickle
from collections.abc import Callable
from dataclasses import fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .kernel import Kernel

_CARRIED: dict[bytes, Kernel] = {}  # so that one kernel stays one, with all that has been compiled for it


def carried(kernel: Kernel) -> str | tuple[Any, ...]:
    """What `Kernel.__reduce__` returns: the name, or for a kernel of __main__ its code, if there is a cloudpickle."""
    dumps = _cloudpickle() if kernel.formula.__module__ == "__main__" else None
    if dumps is None:
        return kernel.formula.__qualname__
    content = dumps((type(kernel), {field.name: getattr(kernel, field.name) for field in fields(kernel)}))
    _CARRIED.setdefault(content, kernel)
    return arrived, (content,)


def arrived(content: bytes) -> Kernel:
    """The kernel with this code: the one from which it was made, or that has arrived before."""
    if content not in _CARRIED:
        kind, values = pickle.loads(content)  # pickle reads what cloudpickle writes
        _CARRIED[content] = kind(**values)
    return _CARRIED[content]


def _cloudpickle() -> Callable[[Any], bytes] | None:
    for name in ("cloudpickle", "joblib.externals.cloudpickle", "ray.cloudpickle"):
        try:
            return importlib.import_module(name).dumps
        except ImportError:
            continue
    return None

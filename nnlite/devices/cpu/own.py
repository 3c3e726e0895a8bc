"""Kernels of a user's own: a formula on arrays, compiled as it stands."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit


@functools.cache
def own_loop(kernel: Callable[..., Any]) -> Callable[..., Any]:
    """The formula of a kernel with its results written to where they belong, results first, as the loops have it."""
    signature = kernel.signature  # type: ignore[attr-defined]
    fresh = [f"to_{name}" for name in signature.fresh]
    made = [f"made_{name}" for name in signature.fresh]
    lines = [
        f"def loop({', '.join([*fresh, *signature.in_place, *signature.inputs])}):",
        f"    {', '.join(made) + ' = ' if made else ''}formula({', '.join(signature.operands)})",
        *(f"    copy({to}, {what})" for to, what in zip(fresh, made)),
    ]
    names: dict[str, Any] = {"formula": njit(error_model="numpy", nogil=True)(kernel), "copy": copy}
    names["__name__"] = kernel.__module__
    exec("\n".join(lines), names)
    return njit(error_model="numpy", nogil=True)(names["loop"])


@njit(error_model="numpy", nogil=True)
def copy(to, values):
    if to.shape != values.shape:
        raise ValueError("a kernel gives another shape than its signature says")
    for place, value in np.ndenumerate(values):
        to[place] = value

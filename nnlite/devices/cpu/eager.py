"""Compiled loops called one at a time, as the reference's kernels are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..common import reference
from ..common.kernel import Signature, kernels_in
from ..common.lines import ROW_NUMBERED
from . import loops
from .compiling import compiled
from .loops import COLUMNS, ELEMENTWISE
from .products import ready

LOOPS: dict[str, Callable[..., Any]] = {
    name: compiled(getattr(loops, name), inlined=True) for name in kernels_in(reference) if hasattr(loops, name)
}

# Called from Python, one at a time, NumPy's own loops are as fast as these: they are for the replay only.
REPLAY_ONLY = {
    *(
        "take_rows",
        "read_rows",
        "write_rows",
        "finite_rows",
        "advance",
        "matmul",
        "linear_backward",
        "linear_backward_weights",
        "tanh",
    ),
    *("softplus_backward", "count_step"),
    *("linear_backward_weights_sgd", "linear_backward_bias_sgd"),
}


def eager(name: str, signature: Signature) -> Callable[..., Any]:
    """Call a compiled loop as the reference is called: reserve the results, run the loop, hand them over."""
    loop = LOOPS[name]
    names = list(signature.operands)
    source: dict[str, tuple[int, int | None]] = {}  # letter -> the operand that has this size, and its axis
    for n, operand in reversed(list(enumerate(names))):
        letters = signature.operands[operand]
        source |= {operand: (n, None)} if letters is None else {a: (n, axis) for axis, a in enumerate(letters)}
    shapes = [[source[letter] for letter in signature.results[result] or ()] for result in signature.fresh]
    in_place = [names.index(operand) for operand in signature.in_place]
    inputs = [names.index(operand) for operand in signature.inputs]
    columns, flat = source.get(COLUMNS.get(name, "")), name in ELEMENTWISE
    first = (0,) if name in ROW_NUMBERED else ()

    def call(*operands: Any) -> Any:
        sizes = [[operands[n] if axis is None else operands[n].shape[axis] for n, axis in shape] for shape in shapes]
        results = [np.empty(shape, operands[0].dtype) for shape in sizes]
        whole = (0, operands[columns[0]].shape[columns[1]]) if columns else first  # all: there is one thread
        if columns:
            ready(results[0].dtype if results else operands[0].dtype)
        arrays = [*results, *[operands[n] for n in in_place], *[operands[n] for n in inputs]]
        loop(*(map(np.ravel, arrays) if flat else arrays), *whole)
        return results[0] if len(results) == 1 else tuple(results) or None

    call.signature = signature  # type: ignore[attr-defined]
    return call

"""Eager kernels: compiled loops that are called one at a time, in the way of the reference's kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..common.kernel import Kernel, Kernels
from ..common.reference import KERNELS
from .compiling import allocates, compiled
from .loops import CHAPTERS
from .products import ready

# Kernel -> letter of the size that threads may divide. Its loop gets the start and end of the columns to compute.
COLUMNS = {name: kernel.columns for name, kernel in KERNELS.items() if kernel.columns}
LOOPS: dict[str, Any] = {  # what Numba makes of a loop; `.py_func` is the loop itself
    name: compiled(loop, inlined=True, allocates=allocates(loop))
    for chapter in CHAPTERS
    for name, loop in vars(chapter).items()
    if name in KERNELS
}

# These loops are only for the replay: called one at a time from Python, NumPy's own loops are as fast.
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

EAGER = {name for name in LOOPS if name not in REPLAY_ONLY}

F4, F8 = np.dtype(np.float32), np.dtype(np.float64)
APART = {"E", *"123456789"}  # arrays with such a first size have their own dtype: an order of rows, a counter, a sum


def eager(kernel: Kernel) -> Callable[..., Any]:
    """A function that is called like the reference's kernel: it reserves the results, runs the compiled loop, and
    returns the results.

    The loops are made for arrays in C order of one dtype, float32 or float64, and do not check sizes. Other arrays of
    real numbers are converted, as NumPy would convert them. ValueError if sizes do not fit, TypeError for arrays that
    do not hold real numbers.

    The function is generated as text, since its checks must take little time beside a small loop. For `linear`,
    x (N,K), W (K,M), b (M) -> y (N,M), the text is:

        def call(x, W, b):
            try:
                (N, K), (K_1, M), (M_2,) = x.shape, W.shape, b.shape
            except ValueError:
                return others(x, W, b)
            if not (K_1 == K and M_2 == M and x.flags.carray and W.flags.carray and b.flags.carray
                    and x.dtype == W.dtype == b.dtype and (x.dtype == F4 or x.dtype == F8)):
                return others(x, W, b)
            ready(x.dtype)
            y = empty((N, M), x.dtype)
            loop(y, x, W, b, 0, M)
            return y
    """
    name, signature = kernel.name, kernel.signature
    arrays = {operand: letters for operand, letters in signature.operands.items() if letters is not None}
    reals = [operand for operand, letters in arrays.items() if letters[0] not in APART]
    known, shapes, checks = {n for n, letters in signature.operands.items() if letters is None}, [], []
    for i, letters in enumerate(arrays.values()):
        sizes = [a if a not in known and not a.isdigit() else f"{'size_' * a.isdigit()}{a}_{i}" for a in letters]
        checks += [f"{size} == {a}" for size, a in zip(sizes, letters) if size != a]
        shapes.append(f"({', '.join(sizes)},)")
        known |= set(letters)
    checks += [f"{operand}.flags.carray" for operand in arrays]
    if reals:
        checks.append(" == ".join(f"{operand}.dtype" for operand in reals) if len(reals) > 1 else "True")
        checks.append(f"({reals[0]}.dtype == F4 or {reals[0]}.dtype == F8)")
    operands = ", ".join(signature.operands)
    given = [*signature.fresh, *signature.in_place, *signature.inputs]
    flat = {*signature.fresh, *arrays} if kernel.elementwise else set()
    given = [f"{each}.reshape(-1)" if each in flat else each for each in given]
    given += ["0", kernel.columns] if kernel.columns else []  # one thread computes all
    made = [
        f"{result} = empty(({', '.join(signature.results[result] or ())},), {reals[0]}.dtype)"
        for result in signature.fresh
    ]
    text = f"""
def call({operands}):
    try:
        {", ".join(shapes)}, = {", ".join(f"{operand}.shape" for operand in arrays)},
    except ValueError:
        return others({operands})
    if not ({" and ".join(checks)}):
        return others({operands})
    {f"ready({reals[0]}.dtype)" if kernel.columns else ""}
    {"; ".join(made)}
    loop({", ".join(given)})
    return {", ".join(signature.fresh) or None}
"""

    def others(*operands: Any) -> Any:
        """The same for other arrays: they are converted first, and operands written in place are copied back."""
        signature.sizes(operands, name)
        named = dict(zip(signature.operands, operands))
        for operand in arrays:
            if named[operand].dtype.kind not in "fiub":
                raise TypeError(f"{name}: {operand} holds {named[operand].dtype}, where real numbers are expected")
        kind = np.result_type(*(named[operand].dtype for operand in reals)) if reals else F8
        kind = F4 if kind.kind == "f" and kind.itemsize <= F4.itemsize else F8
        brought = dict(named)
        for operand in arrays:
            wanted: Any = kind if operand in reals else None
            brought[operand] = np.require(named[operand], wanted, ["C", "A", "W"])
        results = call(*brought.values())
        for operand in signature.in_place:
            if brought[operand] is not named[operand]:
                named[operand][...] = brought[operand]
        return results

    names: dict[str, Any] = {
        "loop": LOOPS[name],
        "others": others,
        "ready": ready,
        "empty": np.empty,
        "__name__": __name__,
        "F4": F4,
        "F8": F8,
    }
    exec(compile(text, __file__, "exec"), names)
    call = names["call"]
    call.kernel = kernel
    return call


class EagerKernels(Kernels):
    """The reference's kernels, and eager kernels for those in EAGER.

    An eager kernel is made when it is first asked for: to make them all takes longer than a small training.
    """

    def __init__(self) -> None:
        super().__init__({name: kernel for name, kernel in KERNELS.items() if name not in EAGER})

    def __getattr__(self, name: str) -> Any:
        if name in EAGER:
            return vars(self).setdefault(name, eager(KERNELS[name]))
        return super().__getattr__(name)

    def names(self) -> set[str]:
        return super().names() | EAGER

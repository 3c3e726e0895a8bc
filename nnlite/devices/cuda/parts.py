"""A first product in parts, for several blocks: each block takes some columns of x, and has the rows of W for them.

Where blocks divide the rows of a batch, each of them reads all of W. For a wide input and a small batch that is most of
a step: 400 KB for each block, where W is (784, 128). Here, a block reads its own rows of W only. It writes its part of
every sum over K, and after a barrier, the blocks that own the rows of the batch add the parts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..common.kernel import kernel, kernels_in
from ..common.lines import even
from ..common.planning import symbols
from ..common.recording import Call, Symbol

# B rows of the batch, which are not independent here · Q numbers in all parts of a row, of which each has M · the other
# letters as in the reference.


@kernel("x (A,K), order (E), position (1), W (K,M), B, width, Q -> y (B,K), parts (B,Q)", columns="K")
def take_and_multiply(x, order, position, W, B, width, Q):
    """y = the next B rows of x; each part, y W for so many columns of y and rows of W."""
    start = int(position[0])
    y = np.take(x, order[start : start + B], axis=0)
    each = range(0, len(W), width)
    return y, np.concatenate([y[:, k : k + width] @ W[k : k + width] for k in each], axis=1)


@kernel("parts (N,Q), M -> y (N,M)")
def sum_parts(parts, M):
    """y = the sum of the parts."""
    return parts.reshape(len(parts), -1, M).sum(axis=1)


@kernel("parts (N,Q), b (M) -> y (N,M)")
def sum_parts_and_bias(parts, b):
    """y = the sum of the parts, and b."""
    return parts.reshape(len(parts), -1, len(b)).sum(axis=1) + b


KERNELS = kernels_in(globals())


def in_parts(calls: Sequence[Call], blocks: int, least: int) -> list[Call]:
    """The calls, with the first product in parts if each block then reads at least so many numbers less.

    That is possible if the product's x has just been taken from the data, and if none but products read it.
    """
    taken = {id(call.results[0]): call for call in calls if call.name == "take_rows"}
    for product in calls:
        take = taken.get(id(product.operands[0])) if product.kernel.product == "x W" else None
        if take is None:
            continue
        x, W, *b = product.operands
        (K, M), N, width = W.shape, len(x), even(W.shape[0], 0, blocks)[1]
        spared = (K - 2 * N) * M  # its rows of W instead of all; but it writes parts, and reads as many
        readers = [call for call in calls if any(each is x for each in symbols(call)) and call is not product]
        if spared < least or width == K or any(call.kernel.product != "xᵀ dy" for call in readers):
            continue
        data, order, position, _ = take.operands
        parts = Symbol(f"{x.name}_parts", (N, -(-K // width) * M), x.dtype, "results")
        multiply, add = take_and_multiply, sum_parts_and_bias if b else sum_parts
        first = Call(multiply.name, multiply, (data, order, position, W, N, width, parts.shape[1]), (x, parts))
        second = Call(add.name, add, (parts, *(b or [M])), product.results)
        instead = {id(take): first, id(product): second}
        return [instead.get(id(call), call) for call in calls]
    return list(calls)

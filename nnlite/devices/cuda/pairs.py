"""Pairs: a product and the activation after it as one call. The threads that make a sum also make what becomes of it.

So nothing waits for the product to be written and read again. The backward of an activation follows the product that
makes its dy in the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..common.kernel import Kernel, Signature
from ..common.lines import is_array
from ..common.recording import Call
from ..common.reference import KERNELS

# Activations of one array, and the backward of those that need dy and one more, all without plain numbers.
FORWARD, BACKWARD = (
    {
        name
        for name, each in KERNELS.items()
        if each.elementwise and [*each.signature.operands.values()] == [("N", "K")] * n
    }
    - {"add"}
    for n in (1, 2)
)
FIRST = {  # name of a product -> what may follow it
    **dict.fromkeys(("linear", "matmul", "sum_parts", "sum_parts_and_bias"), FORWARD),
    "linear_backward": BACKWARD,
}


@dataclass(frozen=True)
class Pair(Call):
    """A call of a product's kernel, which also makes what the kernel `then` makes of its result."""

    then: str = ""


def in_pairs(calls: Sequence[Call]) -> list[Call]:
    """The calls, where a product and what alone reads its result are one, at the place of the product."""
    made: dict[int, int] = {}  # id of a result -> index of the call that makes it
    paired = list(calls)
    for place, call in enumerate(calls):
        made |= {id(result): place for result in call.results}
        if call.name not in FORWARD | BACKWARD:
            continue
        result, *others = call.operands
        first = made.get(id(result), -1)
        product = calls[first]
        readers = [other for other in calls if any(each is result for each in other.operands)]
        late = any(made.get(id(each), -1) >= first for each in others) or _changed(calls, others)
        if first >= 0 and call.name in FIRST.get(product.name, ()) and len(readers) == 1 and not late:
            both = (*product.operands, *others)
            paired[first] = Pair(product.name, _both(product.kernel, call.kernel), both, call.results, call.name)
            paired[place] = paired[first]
    return [call for place, call in enumerate(paired) if not any(call is earlier for earlier in paired[:place])]


def _changed(calls: Sequence[Call], arrays: Sequence[Any]) -> bool:
    """Whether a call writes one of these arrays in place."""
    written = [
        operand
        for call in calls
        for name, operand in zip(call.kernel.signature.operands, call.operands)
        if name in call.kernel.signature.in_place
    ]
    return any(each is array for each in written for array in arrays if is_array(array))


def _both(product: Kernel, then: Kernel) -> Kernel:
    """The product's kernel, with the other operands of what follows it."""
    first, second = product.signature, then.signature
    (made,) = first.results.values()
    letters = dict(zip(("N", "K"), made))
    others = {f"then_{name}": tuple(letters[a] for a in second.operands[name] or ()) for name in [*second.operands][1:]}
    text = f"{first.text}, {second.text}"
    return replace(product, signature=Signature(text, {**first.operands, **others}, first.results))

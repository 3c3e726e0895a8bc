"""What all activations share: a layer y = f(x) of two kernels. Every other is as short as Tanh below.

Most keep their output y, since their derivative is a formula in y; the others keep x. The shapes are x, y, dy, dx
(N, K).
"""

from __future__ import annotations

from typing import Any

from .attaching import AfterForward, call, kernel_named
from .devices import Kernel
from .layers import Layer


class Activation(Layer):
    """A layer that calls one kernel in `forward` and another in `backward`.

    A subclass only names the first: with formula = "tanh", the second is "tanh_backward". A kernel of your own stands
    for itself: formula, formula_backward = swish, swish_backward. What they are called with is told by their
    signatures: dy, x and the forward's results, which are kept for the backward, and further operands, which are the
    layer's attributes of these names. Plain numbers among them that `__init__` sets are its arguments, and saved.
    """

    formula: str | Kernel = ""
    formula_backward: str | Kernel = ""
    kernels: tuple[Kernel, Kernel]
    never_negative = False  # whether y ≥ 0 for every x
    probabilities = False  # whether all y are between 0 and 1
    kept: tuple[str, ...] = ("y",)
    y: Any = AfterForward()  # (N, K), the last output

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "formula" not in vars(cls):  # it is the class above, or writes forward and backward itself
            return
        forward = kernel_named(cls.formula)
        backward = kernel_named(cls.formula_backward or f"{forward.name}_backward")
        known = {"x", *forward.signature.fresh}
        cls.kernels, cls.kept = (forward, backward), tuple(n for n in backward.signature.operands if n in known)
        for name in cls.kept:
            setattr(cls, name, AfterForward())

    def forward(self, x: Any) -> Any:
        results = call(self, self.kernels[0], x)
        results = results if isinstance(results, tuple) else (results,)
        named = {"x": x, **dict(zip(self.kernels[0].signature.fresh, results))}
        for name in self.kept:
            setattr(self, name, named[name])
        return results[0]

    def backward(self, dy: Any) -> Any:
        return call(self, self.kernels[1], dy)

    def config(self) -> dict[str, Any]:
        operands = self.kernels[0].signature.operands if self.formula else {}
        return {n: getattr(self, n) for n, letters in operands.items() if letters is None and n in vars(self)}


class Tanh(Activation):
    """y = tanh x, between −1 and 1; dy/dx = 1 − y² (LeCun et al. 1998, "Efficient BackProp").

    >>> nl.Tanh().forward([0.0, 1000.0])
    array([0., 1.])
    """

    formula = "tanh"

"""Activations: one short class each, with its formula, its derivative and its source.

Each keeps its output y, and its derivative is a formula in y. All work element by element, except softmax, which works
along each row. The shapes are x, y, dy, dx (N, K).
"""

from __future__ import annotations

from typing import Any

from .attaching import AfterForward
from .gate import choose
from .layers import Layer


class Activation(Layer):
    """A layer without parameters. Each activation calls one kernel in `forward` and another in `backward`."""

    kept = ("y",)
    y: Any = AfterForward()  # (N, K), the last output


class Identity(Activation):
    """y = x; dy/dx = 1. It is for the output of a regression."""

    def forward(self, x: Any) -> Any:
        return x

    def backward(self, dy: Any) -> Any:
        return dy


class Sigmoid(Activation):
    """y = 1 / (1 + e⁻ˣ), between 0 and 1; dy/dx = y (1 − y). The logistic function (Verhulst 1845).

    >>> nl.Sigmoid().forward([0.0, 1000.0])
    array([0.5, 1. ])
    """

    def forward(self, x: Any) -> Any:
        self.y = y = self.ops.sigmoid(x)
        return y

    def backward(self, dy: Any) -> Any:
        return self.ops.sigmoid_backward(dy, self.y)


class Tanh(Activation):
    """y = tanh x, between −1 and 1; dy/dx = 1 − y² (LeCun et al. 1998, "Efficient BackProp")."""

    def forward(self, x: Any) -> Any:
        self.y = y = self.ops.tanh(x)
        return y

    def backward(self, dy: Any) -> Any:
        return self.ops.tanh_backward(dy, self.y)


class TanhOffset(Activation):
    """y = ½ (1 + tanh x) = sigmoid(2x), between 0 and 1; dy/dx = 2 y (1 − y) (crysx_nn's Tanh_offset)."""

    def forward(self, x: Any) -> Any:
        self.y = y = self.ops.tanh_offset(x)
        return y

    def backward(self, dy: Any) -> Any:
        return self.ops.tanh_offset_backward(dy, self.y)


class ReLU(Activation):
    """y = max(x, 0); dy/dx = 1 for x > 0, else 0 (Nair and Hinton 2010)."""

    def forward(self, x: Any) -> Any:
        self.y = y = self.ops.relu(x)
        return y

    def backward(self, dy: Any) -> Any:
        return self.ops.relu_backward(dy, self.y)


class Softplus(Activation):
    """y = ln(1 + eˣ), a smooth ReLU; dy/dx = sigmoid(x) = 1 − e^−y (Dugas et al. 2001)."""

    def forward(self, x: Any) -> Any:
        self.y = y = self.ops.softplus(x)
        return y

    def backward(self, dy: Any) -> Any:
        return self.ops.softplus_backward(dy, self.y)


class Softmax(Activation):
    """yₖ = e^xₖ / Σⱼ e^xⱼ: each row becomes probabilities; ∂yₖ/∂xⱼ = yₖ (δₖⱼ − yⱼ) (Bridle 1990).

    >>> nl.Softmax().forward([2.0, 1.0, 0.5]).round(4)
    array([0.6285, 0.2312, 0.1402])
    """

    def forward(self, x: Any) -> Any:
        self.y = y = self.ops.softmax(x)
        return y

    def backward(self, dy: Any) -> Any:
        return self.ops.softmax_backward(dy, self.y)


ACTIVATIONS: dict[str, type[Activation]] = {
    "identity": Identity,
    "sigmoid": Sigmoid,
    "tanh": Tanh,
    "tanh_offset": TanhOffset,
    "relu": ReLU,
    "softplus": Softplus,
    "softmax": Softmax,
}


def activation(name: str) -> Activation:
    """A new activation by its lower-case name; ValueError for a name that is not in ACTIVATIONS.

    >>> nl.activations.activation("relu")
    ReLU()
    """
    return choose(ACTIVATIONS, name, "activation")()

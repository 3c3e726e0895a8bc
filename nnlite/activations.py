"""All activations but the first, each with its formula, its derivative and its source; and the names of all of them.

All work element by element, except for softmax and its logarithm, which work along each row.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np

from . import elsewhere
from .activation import Activation, Tanh
from .devices import Device
from .gate import choose, number


class Identity(Activation):
    """y = x; dy/dx = 1. It is for the output of a regression."""

    kept = ()

    def forward(self, x: Any) -> Any:
        return x

    def backward(self, dy: Any) -> Any:
        return dy


# ---- between two limits --------------------------------------------------------------------------------------------


class Sigmoid(Activation):
    """y = 1 / (1 + e⁻ˣ), between 0 and 1; dy/dx = y (1 − y). The logistic function (Verhulst 1845).

    >>> nl.Sigmoid().forward([0.0, 1000.0])
    array([0.5, 1. ])
    """

    formula = "sigmoid"
    never_negative = probabilities = True


class TanhOffset(Activation):
    """y = ½ (1 + tanh x) = sigmoid(2x), between 0 and 1; dy/dx = 2 y (1 − y) (crysx_nn's Tanh_offset)."""

    formula = "tanh_offset"
    never_negative = probabilities = True


class HardSigmoid(Activation):
    """y = x / 6 + ½, cut off at 0 and 1; dy/dx = 1/6 or 0 (Courbariaux et al. 2015; with the slope of PyTorch)."""

    formula = "hard_sigmoid"
    never_negative = probabilities = True


class HardTanh(Activation):
    """y = x, cut off at `low` and `high`; dy/dx = 1 or 0 (Collobert 2004). HardTanh(0, 6) is known as ReLU6.

    ValueError unless low < high.
    """

    formula = "hard_tanh"

    def __init__(self, low: float = -1.0, high: float = 1.0, *, device: str | Device = "numpy") -> None:
        super().__init__(device=device)
        self.low, self.high = number(low, "low"), number(high, "high", above=number(low, "low"))


class Softsign(Activation):
    """y = x / (1 + |x|), between −1 and 1; dy/dx = (1 − |y|)² (Bergstra et al. 2009)."""

    formula = "softsign"


# ---- straight for large x ------------------------------------------------------------------------------------------


class ReLU(Activation):
    """y = max(x, 0); dy/dx = 1 for x > 0, else 0 (Nair and Hinton 2010)."""

    formula = "relu"
    never_negative = True


class LeakyReLU(Activation):
    """y = x for x > 0, else slope · x; dy/dx = 1 or the slope, which is at least 0 (Maas et al. 2013)."""

    formula = "leaky_relu"

    def __init__(self, slope: float = 0.01, *, device: str | Device = "numpy") -> None:
        super().__init__(device=device)
        self.slope = number(slope, "slope", least=0)


class PReLU(Activation):
    """A LeakyReLU whose slope is a parameter, one for the layer, with `slope` as its first value (He et al. 2015).

    The slope's gradient is the sum of dy x over all x ≤ 0.
    """

    formula = "prelu"
    slope: Any  # (1,)
    dslope: Any
    x: Any

    def __init__(self, slope: float = 0.25, *, device: str | Device = "numpy") -> None:
        super().__init__(device=device)
        self.first_slope = number(slope, "slope")
        self.shapes = {"slope": (1,)}

    def backward(self, dy: Any) -> Any:
        self.backward_parameters(dy)
        return self.backward_input(dy)

    def backward_parameters(self, dy: Any) -> None:
        self.ops.prelu_backward_slope(dy, self.x, self.dslope)

    def backward_input(self, dy: Any) -> Any:
        return super().backward(dy)

    def initial(self, rng: np.random.Generator) -> Mapping[str, np.ndarray]:
        return {"slope": np.full(1, self.first_slope)}

    def config(self) -> dict[str, Any]:
        return {"slope": self.first_slope}


class ELU(Activation):
    """y = x for x > 0, else alpha (eˣ − 1), with alpha > 0; dy/dx = 1 or y + alpha (Clevert et al. 2016)."""

    formula = "elu"
    scale = 1.0

    def __init__(self, alpha: float = 1.0, *, device: str | Device = "numpy") -> None:
        super().__init__(device=device)
        self.alpha = number(alpha, "alpha", above=0)


class SELU(Activation):
    """y = λ x for x > 0, else λ α (eˣ − 1), with the λ and α that keep mean 0 and variance 1 (Klambauer et al. 2017).

    dy/dx = λ or y + λ α. It needs weights of init="lecun_normal".
    """

    formula = "elu"
    alpha, scale = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


class Softplus(Activation):
    """y = ln(1 + eˣ), a smooth ReLU; dy/dx = sigmoid(x) = 1 − e^−y (Dugas et al. 2001)."""

    formula = "softplus"
    never_negative = True


class GELU(Activation):
    """y = x Φ(x), with Φ(x) = ½ (1 + erf(x / √2)); dy/dx = Φ(x) + x e^(−x²/2) / √(2π) (Hendrycks and Gimpel 2016)."""

    formula = "gelu"


class GELUTanh(Activation):
    """The same with ½ (1 + tanh(√(2/π) (x + 0.044715 x³))) in the place of Φ(x), from the same paper."""

    formula = "gelu_tanh"


class SiLU(Activation):
    """y = x s with s = sigmoid(x), also known as swish; dy/dx = s (1 + x (1 − s)) (Elfwing et al. 2018)."""

    formula = "silu"


class Mish(Activation):
    """y = x t with t = tanh(ln(1 + eˣ)); dy/dx = t + x (1 − t²) sigmoid(x) (Misra 2019)."""

    formula = "mish"


# ---- others --------------------------------------------------------------------------------------------------------


class Sine(Activation):
    """y = sin(ω x); dy/dx = ω cos(ω x), for fields fitted to points and their slopes (Sitzmann et al. 2020, SIREN).

    `frequency` is ω, the paper's ω₀. The first Dense is to have init="siren_first", the others init="siren", or
    initializers.siren(frequency) for another ω.
    """

    formula = "sine"

    def __init__(self, frequency: float = 30.0, *, device: str | Device = "numpy") -> None:
        super().__init__(device=device)
        self.frequency = number(frequency, "frequency", above=0)


class Exponential(Activation):
    """y = eˣ; dy/dx = y. It is for rates: see the loss Poisson."""

    formula = "exponential"
    never_negative = True


class Softmax(Activation):
    """yₖ = e^xₖ / Σⱼ e^xⱼ: each row becomes probabilities; ∂yₖ/∂xⱼ = yₖ (δₖⱼ − yⱼ) (Bridle 1990).

    >>> nl.Softmax().forward([2.0, 1.0, 0.5]).round(4)
    array([0.6285, 0.2312, 0.1402])
    """

    formula = "softmax"
    never_negative = probabilities = True


class LogSoftmax(Activation):
    """yₖ = xₖ − ln Σⱼ e^xⱼ, the logarithm of Softmax; ∂yₖ/∂xⱼ = δₖⱼ − e^yⱼ.

    Losses on the probabilities of classes, such as categorical cross-entropy, may follow it: they know that these are
    logarithms.
    """

    formula = "log_softmax"


ACTIVATIONS: dict[str, type[Activation]] = {
    "identity": Identity,
    "sigmoid": Sigmoid,
    "tanh": Tanh,
    "tanh_offset": TanhOffset,
    "hard_sigmoid": HardSigmoid,
    "hard_tanh": HardTanh,
    "softsign": Softsign,
    "relu": ReLU,
    "leaky_relu": LeakyReLU,
    "prelu": PReLU,
    "elu": ELU,
    "selu": SELU,
    "softplus": Softplus,
    "gelu": GELU,
    "gelu_tanh": GELUTanh,
    "silu": SiLU,
    "mish": Mish,
    "sine": Sine,
    "exponential": Exponential,
    "softmax": Softmax,
    "log_softmax": LogSoftmax,
}


def activation(name: str | Activation, argument: str = "activation") -> Activation:
    """A new activation by its lower-case name, or by its name elsewhere, or a copy of one.

    ValueError for a name that is unknown.

    >>> nl.activations.activation("relu"), nl.activations.activation("swish")
    (ReLU(), SiLU())
    """
    if isinstance(name, Activation):
        return copy.deepcopy(name)
    return choose(ACTIVATIONS, name, argument, elsewhere.ACTIVATIONS)()

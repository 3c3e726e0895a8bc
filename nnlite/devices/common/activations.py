"""Further activations, in the form of reference.py: two formulas each, forward and backward.

A backward reads y where the derivative is a formula in y, and x where it is not. Numbers such as a slope come last.
"""

from __future__ import annotations

import math

import numpy as np

from .kernel import kernel, kernels_in


@kernel("x (N,K), slope -> y (N,K)", elementwise=True)
def leaky_relu(x, slope):
    """y = x where x > 0, else slope · x."""
    return np.where(x > 0, x, slope * x)


@kernel("dy (N,K), y (N,K), slope -> dx (N,K)", elementwise=True)
def leaky_relu_backward(dy, y, slope):
    """dx = dy where y > 0, else slope · dy, for a slope of at least 0."""
    return np.where(y > 0, dy, slope * dy)


@kernel("x (N,K), slope (1) -> y (N,K)")
def prelu(x, slope):
    """y = x where x > 0, else slope · x, with a slope that is learnt."""
    return np.where(x > 0, x, slope * x)


@kernel("dy (N,K), x (N,K), slope (1) -> dx (N,K)")
def prelu_backward(dy, x, slope):
    """dx = dy where x > 0, else slope · dy. A slope that is learnt may be negative, so y does not tell the side."""
    return np.where(x > 0, dy, slope * dy)


@kernel("dy (N,K), x (N,K), dslope (1) -> dslope")
def prelu_backward_slope(dy, x, dslope):
    """dslope = Σ dy x over all x ≤ 0, written in place; summed in float64."""
    dslope[...] = (dy * np.minimum(x, 0)).sum(dtype=np.float64)


@kernel("x (N,K), alpha, scale -> y (N,K)", elementwise=True)
def elu(x, alpha, scale):
    """y = scale · x where x > 0, else scale · alpha (eˣ − 1)."""
    return scale * np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


@kernel("dy (N,K), y (N,K), alpha, scale -> dx (N,K)", elementwise=True)
def elu_backward(dy, y, alpha, scale):
    """dx = scale · dy where y > 0, else dy (y + scale · alpha)."""
    return dy * np.where(y > 0, scale, y + scale * alpha)


@kernel("x (N,K) -> y (N,K)", elementwise=True)
def gelu(x):
    """y = x Φ(x), where Φ is the distribution function of the standard normal distribution."""
    return x * normal_distribution(x)


@kernel("dy (N,K), x (N,K) -> dx (N,K)", elementwise=True)
def gelu_backward(dy, x):
    """dx = dy (Φ(x) + x φ(x)), where φ is the density e^(−x²/2) / √(2π)."""
    return dy * (normal_distribution(x) + x * np.exp(x * x * -0.5) * (1 / math.sqrt(2 * math.pi)))


@kernel("x (N,K) -> y (N,K)", elementwise=True)
def gelu_tanh(x):
    """y = ½ x (1 + tanh u) with u = √(2/π) (x + 0.044715 x³)."""
    return 0.5 * x * (1 + np.tanh(GELU_SLOPE * (x + 0.044715 * x * x * x)))


@kernel("dy (N,K), x (N,K) -> dx (N,K)", elementwise=True)
def gelu_tanh_backward(dy, x):
    """dx = ½ dy (1 + tanh u + x (1 − tanh² u) du/dx) with du/dx = √(2/π) (1 + 3 · 0.044715 x²)."""
    t = np.tanh(GELU_SLOPE * (x + 0.044715 * x * x * x))
    return 0.5 * dy * (1 + t + x * (1 - t * t) * (GELU_SLOPE * (1 + 3 * 0.044715 * x * x)))


@kernel("x (N,K) -> y (N,K)", elementwise=True)
def silu(x):
    """y = x sigmoid(x)."""
    return x * logistic(x)


@kernel("dy (N,K), x (N,K) -> dx (N,K)", elementwise=True)
def silu_backward(dy, x):
    """dx = dy s (1 + x (1 − s)) with s = sigmoid(x)."""
    s = logistic(x)
    return dy * s * (1 + x * (1 - s))


@kernel("x (N,K) -> y (N,K)", elementwise=True)
def mish(x):
    """y = x tanh(ln(1 + eˣ))."""
    return x * np.tanh(ramp(x))


@kernel("dy (N,K), x (N,K) -> dx (N,K)", elementwise=True)
def mish_backward(dy, x):
    """dx = dy (t + x (1 − t²) sigmoid(x)) with t = tanh(ln(1 + eˣ))."""
    t = np.tanh(ramp(x))
    return dy * (t + x * (1 - t * t) * logistic(x))


@kernel("x (N,K) -> y (N,K)", elementwise=True)
def softsign(x):
    """y = x / (1 + |x|)."""
    return x / (1 + np.abs(x))


@kernel("dy (N,K), y (N,K) -> dx (N,K)", elementwise=True)
def softsign_backward(dy, y):
    """dx = dy (1 − |y|)²."""
    return dy * np.square(1 - np.abs(y))


@kernel("x (N,K) -> y (N,K)", elementwise=True)
def hard_sigmoid(x):
    """y = min(max(x / 6 + ½, 0), 1)."""
    return np.clip((x + 3) * (1 / 6), 0, 1)  # exactly 0 at −3 and 1 at 3


@kernel("dy (N,K), y (N,K) -> dx (N,K)", elementwise=True)
def hard_sigmoid_backward(dy, y):
    """dx = dy / 6 where 0 < y < 1, else 0."""
    return np.where((y > 0) & (y < 1), dy * (1 / 6), 0)


@kernel("x (N,K), low, high -> y (N,K)", elementwise=True)
def hard_tanh(x, low, high):
    """y = min(max(x, low), high)."""
    return np.clip(x, low, high)


@kernel("dy (N,K), y (N,K), low, high -> dx (N,K)", elementwise=True)
def hard_tanh_backward(dy, y, low, high):
    """dx = dy where low < y < high, else 0."""
    return np.where((y > y.dtype.type(low)) & (y < y.dtype.type(high)), dy, 0)


@kernel("x (N,K) -> y (N,K)", elementwise=True)
def exponential(x):
    """y = eˣ."""
    return np.exp(x)


@kernel("dy (N,K), y (N,K) -> dx (N,K)", elementwise=True)
def exponential_backward(dy, y):
    """dx = dy y."""
    return dy * y


@kernel("x (N,K), frequency -> y (N,K)", elementwise=True)
def sine(x, frequency):
    """y = sin(frequency · x)."""
    return np.sin(frequency * x)


@kernel("dy (N,K), x (N,K), frequency -> dx (N,K)", elementwise=True)
def sine_backward(dy, x, frequency):
    """dx = dy · frequency · cos(frequency · x)."""
    return dy * frequency * np.cos(frequency * x)


@kernel("x (N,K) -> y (N,K)")
def log_softmax(x):
    """yₖ = xₖ − ln Σⱼ e^xⱼ in each row, shifted by the row's maximum."""
    z = x - x.max(axis=1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=1, keepdims=True))


@kernel("dy (N,K), y (N,K) -> dx (N,K)")
def log_softmax_backward(dy, y):
    """dx = dy − e^y Σₖ dyₖ."""
    return dy - np.exp(y) * dy.sum(axis=1, keepdims=True)


# ---- functions of one number ---------------------------------------------------------------------------------------

GELU_SLOPE = math.sqrt(2 / math.pi)
# erf x = x P(x²) / Q(x²) for |x| < 1, and 1 − e^(−x²) R(x) / S(x) for larger x: Moshier's Cephes, ndtr.c.
ERF_P = (9.60497373987051638749, 90.0260197203842689217, 2232.00534594684319226, 7003.32514112805075473, 55592.3013010394962768)  # fmt: skip  # noqa: E501
ERF_Q = (1.0, 33.5617141647503099647, 521.357949780152679795, 4594.32382970980127987, 22629.0000613890934246, 49267.3942608635921086)  # fmt: skip  # noqa: E501
ERF_R = (
    *(2.46196981473530512524e-10, 5.64189564831068821977e-1, 7.46321056442269912687, 48.6371970985681366614),
    *(196.520832956077098242, 526.445194995477358631, 934.528527171957607540, 1027.55188689515710272),
    557.535335369399327526,
)
ERF_S = (
    *(1.0, 13.2281951154744992508, 86.7072140885989742329, 354.937778887819891062, 975.708501743205489753),
    *(1823.90916687909736289, 2246.33760818710981792, 1656.66309194161350182, 557.535340817727675546),
)


def logistic(x):
    """1 / (1 + e⁻ˣ), stable for all x."""
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, e) / (1 + e)


def ramp(x):
    """ln(1 + eˣ), stable for all x."""
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def normal_distribution(x):
    """Φ(x) = ½ (1 + erf(x / √2)), in float64: NumPy has no erf."""
    z = x.astype(np.float64) * math.sqrt(0.5)
    square, size = np.minimum(z * z, 1), np.clip(np.abs(z), 1, 6)  # from 6 on, erf x rounds to 1
    near = z * np.polyval(ERF_P, square) / np.polyval(ERF_Q, square)
    far = np.sign(z) * (1 - np.exp(-size * size) * np.polyval(ERF_R, size) / np.polyval(ERF_S, size))
    return (0.5 * (1 + np.where(np.abs(z) < 1, near, far))).astype(x.dtype)


ACTIVATIONS = kernels_in(globals())

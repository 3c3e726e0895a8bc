"""The kernels of normalising layers as NumPy formulas: a part of the reference in a file of its own.

x̂ is x brought to mean 0 and variance 1, over the rows of a batch or within each row. The derivatives are written with
x̂, which the forward keeps, and sums over many rows are made in float64.
"""

from __future__ import annotations

import numpy as np

from .kernel import kernel

# ---- scale and shift of each column ---------------------------------------------------------------------------


@kernel("x (N,K), gamma (K), beta (K) -> y (N,K)")
def scale_shift(x, gamma, beta):
    """y = γ x + β."""
    return x * gamma + beta


@kernel("dy (N,K), x (N,K), gamma (K) -> dx (N,K), products (N,K)")
def scale_shift_backward(dy, x, gamma):
    """dx = γ dy; products = dy x, whose sum over the rows is dγ."""
    return dy * gamma, dy * x


# ---- over the rows of a batch: these sums need all rows, so threads divide their columns ----------------------


@kernel("x (N,K), epsilon -> mean (K), variance (K), inverse (K)", columns="K")
def batch_moments(x, epsilon):
    """μ = 1/N Σₙ xₙ; σ² = 1/N Σₙ (xₙ − μ)²; inverse = 1 / √(σ² + ε)."""
    mean = x.mean(axis=0, dtype=np.float64).astype(x.dtype)
    variance = np.square(x - mean).mean(axis=0, dtype=np.float64)
    return mean, variance.astype(x.dtype), (1 / np.sqrt(variance + epsilon)).astype(x.dtype)


@kernel("running_variance (P), epsilon -> inverse (P)")
def inverse_deviation(running_variance, epsilon):
    """inverse = 1 / √(σ² + ε)."""
    return 1 / np.sqrt(running_variance + running_variance.dtype.type(epsilon))


@kernel(
    "mean (P), variance (P), running_mean (P), running_variance (P), momentum, unbiased"
    " -> running_mean, running_variance"
)
def follow_moments(mean, variance, running_mean, running_variance, momentum, unbiased):
    """Each running value r ← (1 − momentum) r + momentum · new, in place; the new variance is σ² · unbiased."""
    running_mean += momentum * (mean - running_mean)
    running_variance += momentum * (unbiased * variance - running_variance)


@kernel("x (N,K), mean (K), inverse (K) -> y (N,K)")
def batch_norm(x, mean, inverse):
    """x̂ = (x − μ) · inverse."""
    return (x - mean) * inverse


@kernel("dy (N,K), y (N,K), share -> mean_dy (K), mean_product (K)", columns="K")
def batch_norm_means(dy, y, share):
    """share · Σₙ dy and share · Σₙ dy x̂. `share` is 1/N, or 0 if the moments are not those of the batch."""
    product = (dy * y).sum(axis=0, dtype=np.float64)
    return (share * dy.sum(axis=0, dtype=np.float64)).astype(y.dtype), (share * product).astype(y.dtype)


@kernel("dy (N,K), y (N,K), inverse (K), mean_dy (K), mean_product (K) -> dx (N,K)")
def batch_norm_backward(dy, y, inverse, mean_dy, mean_product):
    """dx = inverse · (dy − mean(dy) − x̂ · mean(dy x̂)), with the means of each column."""
    return inverse * (dy - mean_dy - y * mean_product)


# ---- within each row ------------------------------------------------------------------------------------------


@kernel("x (N,K), epsilon -> y (N,K), inverse (N)")
def layer_norm(x, epsilon):
    """x̂ = (x − μ) · inverse, with the mean μ and the variance σ² of each row; inverse = 1 / √(σ² + ε)."""
    centred = x - x.mean(axis=1, keepdims=True)
    inverse = 1 / np.sqrt(np.square(centred).mean(axis=1) + x.dtype.type(epsilon))
    return centred * inverse[:, None], inverse


@kernel("dy (N,K), y (N,K), inverse (N) -> dx (N,K)")
def layer_norm_backward(dy, y, inverse):
    """dx = inverse · (dy − mean(dy) − x̂ · mean(dy x̂)), with the means of each row."""
    along = (dy * y).mean(axis=1, keepdims=True)
    return inverse[:, None] * (dy - dy.mean(axis=1, keepdims=True) - y * along)

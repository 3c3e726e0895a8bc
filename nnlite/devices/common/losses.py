"""Further losses, in the form of reference.py: ℓ (N,) and scale times its gradient, from one pass.

Also what losses share: targets that were not measured, and numbers that are scaled.
"""

from __future__ import annotations

import math

import numpy as np

from .activations import logistic
from .kernel import kernel, kernels_in

# ---- distances, averaged over the K outputs ------------------------------------------------------------------------


@kernel("prediction (N,K), target (N,K), scale, delta -> losses (N), dprediction (N,K)")
def huber(prediction, target, scale, delta):
    """ℓₙ = 1/K Σₖ e²/2 where |e| ≤ δ, else δ (|e| − δ/2), e = p − t; gradient e, at most δ and at least −δ, / K."""
    error = prediction - target
    cut = np.clip(error, -delta, delta)
    return (cut * (error - 0.5 * cut)).mean(axis=1), cut * (scale / error.shape[1])


@kernel("prediction (N,K), target (N,K), scale -> losses (N), dprediction (N,K)")
def log_cosh(prediction, target, scale):
    """ℓₙ = 1/K Σₖ ln cosh e, e = p − t; gradient tanh(e) / K.

    ln cosh e = −½ ln(1 − tanh² e), which keeps the digits of small errors, and = |e| + ln(1 + e^−2|e|) − ln 2.
    """
    size, slope = np.abs(prediction - target), np.tanh(prediction - target)
    near = -0.5 * np.log1p(-np.minimum(slope**2, 0.5))
    losses = np.where(size < 0.5, near, size + np.log1p(np.exp(-2 * size)) - math.log(2)).mean(axis=1)
    return losses, slope * (scale / slope.shape[1])


@kernel("prediction (N,K), target (N,K), scale, q -> losses (N), dprediction (N,K)")
def quantile(prediction, target, scale, q):
    """ℓₙ = 1/K Σₖ q (t − p) where t > p, else (1 − q) (p − t); gradient −q or 1 − q, / K, and 0 where p = t."""
    error = prediction - target
    slope = np.where(error > 0, 1 - q, np.where(error < 0, -q, error))  # error is 0 here, or NaN
    slope = slope.astype(error.dtype)
    return (error * slope).mean(axis=1), slope * (scale / error.shape[1])


@kernel("prediction (N,K), target (N,K), scale -> losses (N), dprediction (N,K)")
def hinge(prediction, target, scale):
    """ℓₙ = 1/K Σₖ max(0, 1 − t p); gradient −t / K where t p < 1, else 0. Targets are −1 and +1."""
    margin = 1 - target * prediction
    return np.maximum(margin, 0).mean(axis=1), np.where(margin > 0, -target, 0) * (scale / margin.shape[1])


@kernel("prediction (N,K), target (N,K), scale -> losses (N), dprediction (N,K)")
def squared_hinge(prediction, target, scale):
    """ℓₙ = 1/K Σₖ max(0, 1 − t p)²; gradient −2 t max(0, 1 − t p) / K. Targets are −1 and +1."""
    margin = np.maximum(1 - target * prediction, 0)
    return (margin * margin).mean(axis=1), -target * margin * (2 * scale / margin.shape[1])


# ---- counts --------------------------------------------------------------------------------------------------------


@kernel("prediction (N,K), target (N,K), scale -> losses (N), dprediction (N,K)")
def poisson(prediction, target, scale):
    """ℓₙ = 1/K Σₖ p − t ln(p + 10⁻⁸); gradient (1 − t / (p + 10⁻⁸)) / K. p is the rate."""
    p = prediction + prediction.dtype.type(1e-8)
    return (prediction - target * np.log(p)).mean(axis=1), (1 - target / p) * (scale / p.shape[1])


@kernel("logits (N,K), target (N,K), scale -> losses (N), dlogits (N,K)")
def exponential_poisson(logits, target, scale):
    """ℓₙ = 1/K Σₖ e^z − t z; gradient (e^z − t) / K. z is the logarithm of the rate."""
    rate = np.exp(logits)
    return (rate - target * logits).mean(axis=1), (rate - target) * (scale / rate.shape[1])


# ---- probabilities -------------------------------------------------------------------------------------------------


@kernel("prediction (N,K), target (N,K), scale -> losses (N), dprediction (N,K)")
def kl_divergence(prediction, target, scale):
    """ℓₙ = Σₖ t ln(t / p); gradient −t / p. p and t within a logarithm are kept above the smallest normal number."""
    tiny = np.finfo(prediction.dtype).tiny
    p = np.maximum(prediction, tiny)
    return (target * (np.log(np.maximum(target, tiny)) - np.log(p))).sum(axis=1), -scale * target / p


@kernel("logits (N,K), target (N,K), scale -> losses (N), dlogits (N,K)")
def softmax_kl_divergence(logits, target, scale):
    """ℓₙ = Σₖ t (ln t + ln Σⱼ e^zⱼ − zₖ); gradient softmax(z) − t, for targets whose rows sum to 1."""
    z = logits - logits.max(axis=1, keepdims=True)
    e = np.exp(z)
    total = e.sum(axis=1, keepdims=True)
    log_target = np.log(np.maximum(target, np.finfo(logits.dtype).tiny))
    return (target * (log_target + np.log(total) - z)).sum(axis=1), (e / total - target) * scale


@kernel("prediction (N,K), target (N,K), scale, gamma, of_ones, of_zeros -> losses (N), dprediction (N,K)")
def binary_focal(prediction, target, scale, gamma, of_ones, of_zeros):
    """ℓₙ = 1/K Σₖ w mᵞ c: c is the binary cross-entropy, m = p + t − 2 p t, w = of_ones t + of_zeros (1 − t).

    m is the probability of the wrong answer. The gradient is w (mᵞ dc/dp + γ mᵞ⁻¹ c (1 − 2 t)) / K.
    """
    p, q = prediction, 1 - prediction
    with np.errstate(divide="ignore"):  # ln 0 = −∞ becomes −100
        c = -(target * np.maximum(np.log(p), -100) + (1 - target) * np.maximum(np.log(q), -100))
    dc = (p - target) / np.maximum(p * q, 1e-12)
    weight = of_ones * target + of_zeros * (1 - target)
    missed = np.maximum(p + target - 2 * p * target, 1e-12)
    power = weight * missed**gamma
    return (power * c).mean(axis=1), power * (dc + gamma * c * (1 - 2 * target) / missed) * (scale / p.shape[1])


@kernel("logits (N,K), target (N,K), scale, gamma, of_ones, of_zeros -> losses (N), dlogits (N,K)")
def sigmoid_binary_focal(logits, target, scale, gamma, of_ones, of_zeros):
    """`binary_focal` of p = sigmoid(z); gradient w mᵞ (p − t + γ c (1 − 2 t) p (1 − p) / m) / K."""
    p = logistic(logits)
    c = np.maximum(logits, 0) - logits * target + np.log1p(np.exp(-np.abs(logits)))
    weight = of_ones * target + of_zeros * (1 - target)
    missed = np.maximum(p + target - 2 * p * target, 1e-12)
    power = weight * missed**gamma
    slope = p - target + gamma * c * (1 - 2 * target) * p * logistic(-logits) / missed
    return (power * c).mean(axis=1), power * slope * (scale / p.shape[1])


@kernel("prediction (N,K), target (N,K), scale, gamma -> losses (N), dprediction (N,K)")
def categorical_focal(prediction, target, scale, gamma):
    """ℓₙ = −Σₖ t (1 − p)ᵞ ln p; gradient t (γ (1 − p)ᵞ⁻¹ ln p − (1 − p)ᵞ / p)."""
    p = np.maximum(prediction, np.finfo(prediction.dtype).tiny)
    q = np.maximum(1 - p, 1e-12)
    log, power = np.log(p), q**gamma * target
    return -(power * log).sum(axis=1), power * (gamma * log / q - 1 / p) * scale


@kernel("logits (N,K), target (N,K), scale, gamma -> losses (N), dlogits (N,K)")
def softmax_categorical_focal(logits, target, scale, gamma):
    """`categorical_focal` of p = softmax(z); gradient g − p Σⱼ gⱼ with g = t (γ (1 − p)ᵞ⁻¹ p ln p − (1 − p)ᵞ)."""
    z = logits - logits.max(axis=1, keepdims=True)
    log = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    p = np.exp(log)
    q = np.maximum(1 - p, 1e-12)
    power = q**gamma * target
    g = power * (gamma * p * log / q - 1)
    return -(power * log).sum(axis=1), (g - p * g.sum(axis=1, keepdims=True)) * scale


# ---- what losses share ---------------------------------------------------------------------------------------------


@kernel("x (N,K), factor, offset -> y (N,K)", elementwise=True)
def scaled(x, factor, offset):
    """y = factor · x + offset."""
    return factor * x + offset


@kernel(
    "prediction (N,K), target (N,K), no_prediction, no_target -> known_prediction (N,K), known_target (N,K), known (N)"
)
def leave_out(prediction, target, no_prediction, no_target):
    """Where the target is NaN, it was not measured: both get numbers between which a loss is 0.

    `known` is the share of each row's targets that were measured.
    """
    missing = np.isnan(target)
    kind = target.dtype.type
    filled = np.where(missing, kind(no_prediction), prediction), np.where(missing, kind(no_target), target)
    return *filled, 1 - missing.mean(axis=1, dtype=kind)


@kernel("known (N), mean -> count (1)")
def count_known(known, mean):
    """Σₙ knownₙ if the mean is asked for, summed in float64; else 1, or if it is 0, since it is divided by."""
    count = known.sum(dtype=np.float64)
    return np.full(1, count if mean and count > 0 else 1, known.dtype)


@kernel("dknown (N,K), target (N,K), count (1) -> dprediction (N,K)")
def leave_out_backward(dknown, target, count):
    """The gradient divided by the count, and 0 where the target is NaN."""
    return np.where(np.isnan(target), 0, dknown / count)


@kernel("losses (N), gradient (N,K), row_weights (N,2) -> weighted (N), dprediction (N,K)")
def weigh(losses, gradient, row_weights):
    """Each row's loss times its weight, and its gradient times the second number: the weight's share of its batch.

    A row of weight 0 is left out, even if its loss is infinite.
    """
    weight, share = row_weights[:, 0], row_weights[:, 1:]
    return np.where(weight == 0, 0, losses * weight), np.where(share == 0, 0, gradient * share)


LOSSES = kernels_in(globals())

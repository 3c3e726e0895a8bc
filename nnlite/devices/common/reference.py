"""The kernels of a step, each a plain NumPy formula: the reference that every device is tested against.

Each backward follows its forward. It uses the saved output where possible, and computes the product of dy with the
Jacobian without building the Jacobian. CuPy arrays accept the same NumPy calls (NEP 13 and 18), so these formulas also
work on a GPU. Nothing is checked here: shapes are checked before a kernel is called.

N rows (samples) · K inputs, classes or outputs · M outputs · P all parameters · A rows of all data · E entries of the
order of rows · d… gradient of the loss with respect to … A signature names operands -> results and their sizes; a name
without sizes is a plain number, and a result that is also an operand is written in place. The facts after a signature
(`product`, `elementwise`, …) are for the devices: kernel.py explains them.
"""

from __future__ import annotations

import numpy as np

from . import normalization
from .activations import ACTIVATIONS
from .counting import COUNTING
from .kernel import kernel, kernels_in
from .losses import LOSSES
from .rules import RULES, unbias

# ---- rows -----------------------------------------------------------------------------------------------------


@kernel("x (A,K), order (E), position (1), N -> y (N,K)", begins="order")
def take_rows(x, order, position, N):
    """The next N rows: x[order[position : position + N]]."""
    start = int(position[0])
    return np.take(x, order[start : start + N], axis=0)


@kernel("x (A,K), position (1), N -> y (N,K)", begins="x")
def read_rows(x, position, N):
    """The next N rows in the order of the data: x[position : position + N]."""
    start = int(position[0])
    return x[start : start + N].copy()


@kernel("y (N,K), position (1), answer (A,K) -> answer", begins="answer")
def write_rows(y, position, answer):
    """answer[position : position + N] ← y, in place."""
    start = int(position[0])
    answer[start : start + len(y)] = y


@kernel("x (N,K) -> zeros (N)")
def finite_rows(x):
    """0 for a row of finite numbers, and NaN for any other: Σₖ 0 · xₖ."""
    return (x * x.dtype.type(0)).sum(axis=1)


@kernel("position (1), N -> position")
def advance(position, N):
    """position ← position + N, in place."""
    position += N


# ---- linear ---------------------------------------------------------------------------------------------------


@kernel("x (N,K), W (K,M), b (M) -> y (N,M)", product="x W", columns="M")
def linear(x, W, b):
    """y = x W + b."""
    y = x @ W
    y += b
    return y


@kernel("x (N,K), W (K,M) -> y (N,M)", product="x W", columns="M")
def matmul(x, W):
    """y = x W: a linear layer without bias."""
    return x @ W


@kernel("dy (N,M), W (K,M) -> dx (N,K)", product="dy Wᵀ", columns="K")
def linear_backward(dy, W):
    """dx = dy Wᵀ."""
    return dy @ W.T


@kernel("dy (N,M), x (N,K), dW (K,M) -> dW", product="xᵀ dy", columns="M", with_sgd="linear_backward_weights_sgd")
def linear_backward_weights(dy, x, dW):
    """dW = xᵀ dy, written in place."""
    np.matmul(x.T, dy, out=dW)


@kernel("dy (N,M), db (M) -> db", columns="M", with_sgd="linear_backward_bias_sgd")
def linear_backward_bias(dy, db):
    """db = Σₙ dyₙ, written in place; summed in float64, since a long sum in float32 loses digits."""
    db[...] = dy.sum(axis=0, dtype=np.float64)


# ---- activations ----------------------------------------------------------------------------------------------


@kernel("x (N,K) -> y (N,K)", elementwise=True)
def sigmoid(x):
    """y = 1 / (1 + e⁻ˣ). The exponent is never positive, so that nothing overflows."""
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + e), e / (1 + e))


@kernel("dy (N,K), y (N,K) -> dx (N,K)", elementwise=True)
def sigmoid_backward(dy, y):
    """dx = dy y (1 − y)."""
    return dy * y * (1 - y)


@kernel("x (N,K) -> y (N,K)", elementwise=True)
def tanh(x):
    """y = tanh x."""
    return np.tanh(x)


@kernel("dy (N,K), y (N,K) -> dx (N,K)", elementwise=True)
def tanh_backward(dy, y):
    """dx = dy (1 − y²)."""
    return dy * (1 - y * y)


@kernel("x (N,K) -> y (N,K)", elementwise=True)
def tanh_offset(x):
    """y = ½ (1 + tanh x), which is sigmoid(2x)."""
    return sigmoid(2 * x)


@kernel("dy (N,K), y (N,K) -> dx (N,K)", elementwise=True)
def tanh_offset_backward(dy, y):
    """dx = 2 dy y (1 − y)."""
    return 2 * dy * y * (1 - y)


@kernel("x (N,K) -> y (N,K)", elementwise=True)
def relu(x):
    """y = max(x, 0); NaN stays NaN."""
    return np.maximum(x, 0)


@kernel("dy (N,K), y (N,K) -> dx (N,K)", elementwise=True)
def relu_backward(dy, y):
    """dx = dy where y > 0, else 0; the derivative at 0 is taken as 0."""
    return np.where(y > 0, dy, 0)


@kernel("x (N,K) -> y (N,K)", elementwise=True)
def softplus(x):
    """y = ln(1 + eˣ) = max(x, 0) + ln(1 + e^−|x|)."""
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


@kernel("dy (N,K), y (N,K) -> dx (N,K)", elementwise=True)
def softplus_backward(dy, y):
    """dx = dy (1 − e^−y), since sigmoid(x) = 1 − e^−y."""
    return dy * -np.expm1(-y)


@kernel("x (N,K) -> y (N,K)")
def softmax(x):
    """yₖ = e^xₖ / Σⱼ e^xⱼ in each row, shifted by the row's maximum."""
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


@kernel("dy (N,K), y (N,K) -> dx (N,K)")
def softmax_backward(dy, y):
    """dx = y (dy − Σₖ dyₖ yₖ): the Jacobian diag(y) − y yᵀ, applied without being built."""
    return y * (dy - (dy * y).sum(axis=1, keepdims=True))


# ---- dropout ---------------------------------------------------------------------------------------------------


@kernel("x (N,K), draws (1), key, rate, first -> y (N,K), mask (N,K)", numbered=True)
def dropout(x, draws, key, rate, first):
    """y = x · mask. The mask is 0 with probability `rate`, and 1 / (1 − rate) otherwise.

    `draws` is the number of masks drawn before, `key` the layer's own, and `first` the place of the first row in the
    batch. A hash of these and of its place in x tells whether a number is dropped, so any slice gives the same mask.
    """
    seed = hash32(hash32((draws % 2**32).astype(np.uint32)) + np.uint32(key)) + np.uint32(first * x.shape[1] % 2**32)
    bits = hash32(np.arange(x.size, dtype=np.uint32) + seed).reshape(x.shape)
    mask = (bits >= np.uint32(rate * 2**32)) * x.dtype.type(1 / (1 - rate))
    return x * mask, mask


@kernel("dy (N,K), mask (N,K) -> dx (N,K)", elementwise=True)
def dropout_backward(dy, mask):
    """dx = dy · mask."""
    return dy * mask


@kernel("x (N,K), draws (1), key, deviation, first -> y (N,K)", numbered=True)
def gaussian_noise(x, draws, key, deviation, first):
    """y = x + deviation · z, where z is the sum of twelve random numbers of 16 bits, scaled to mean 0 and variance 1.

    Its distribution function differs from the normal one by at most 0.0023, and |z| ≤ 6. The sum is a whole number, so
    it is exactly the same on every device, in every dtype, and for every slice of the rows; see `dropout` for the rest.
    """
    seed = hash32(hash32((draws % 2**32).astype(np.uint32)) + np.uint32(key))  # (1,)
    place = np.uint32(6 * first * x.shape[1] % 2**32) + np.arange(6 * x.size, dtype=np.uint32)
    bits = hash32(place + seed).reshape(*x.shape, 6)
    total = ((bits >> 16) + (bits & 0xFFFF)).sum(axis=-1, dtype=np.int64)  # of twelve, below 2²⁰
    return x + ((total - 6 * 65535) / 65536).astype(x.dtype) * x.dtype.type(deviation)


def hash32(x):
    """Map 32-bit numbers to others that look random (C. Wellons, "Prospecting for hash functions", 2018)."""
    x = (x ^ (x >> 16)) * np.uint32(0x21F0AAAD)
    x = (x ^ (x >> 15)) * np.uint32(0xD35A2D97)
    return x ^ (x >> 15)


# ---- a connection around layers --------------------------------------------------------------------------------


@kernel("a (N,K), b (N,K) -> y (N,K)", elementwise=True)
def add(a, b):
    """y = a + b."""
    return a + b


# ---- losses: one value for each sample, and scale times its gradient, from one pass -----------------------------


@kernel("prediction (N,K), target (N,K), scale -> losses (N), dprediction (N,K)")
def mse(prediction, target, scale):
    """ℓₙ = 1/K Σₖ (p − t)²; gradient 2 (p − t) / K."""
    error = prediction - target
    return (error * error).mean(axis=1), error * (2 * scale / error.shape[1])


@kernel("prediction (N,K), target (N,K), scale -> losses (N), dprediction (N,K)")
def half_mse(prediction, target, scale):
    """ℓₙ = 1/2K Σₖ (p − t)²; gradient (p − t) / K."""
    error = prediction - target
    return (error * error).mean(axis=1) / 2, error * (scale / error.shape[1])


@kernel("prediction (N,K), target (N,K), scale -> losses (N), dprediction (N,K)")
def mae(prediction, target, scale):
    """ℓₙ = 1/K Σₖ |p − t|; gradient sign(p − t) / K, with sign 0 = 0."""
    error = prediction - target
    return np.abs(error).mean(axis=1), np.sign(error) * (scale / error.shape[1])


@kernel("prediction (N,K), target (N,K), scale -> losses (N), dprediction (N,K)")
def binary_cross_entropy(prediction, target, scale):
    """ℓₙ = −1/K Σₖ t ln p + (1 − t) ln(1 − p); gradient (p − t) / (p (1 − p) K). ln is at least −100, as in PyTorch."""
    p, q = prediction, 1 - prediction
    with np.errstate(divide="ignore"):  # ln 0 = −∞ becomes −100
        losses = -(target * np.maximum(np.log(p), -100) + (1 - target) * np.maximum(np.log(q), -100)).mean(axis=1)
    return losses, (p - target) / np.maximum(p * q, 1e-12) * (scale / p.shape[1])


@kernel("logits (N,K), target (N,K), scale -> losses (N), dlogits (N,K)")
def sigmoid_binary_cross_entropy(logits, target, scale):
    """ℓₙ = 1/K Σₖ max(z, 0) − z t + ln(1 + e^−|z|); gradient (sigmoid(z) − t) / K."""
    losses = (np.maximum(logits, 0) - logits * target + np.log1p(np.exp(-np.abs(logits)))).mean(axis=1)
    return losses, (sigmoid(logits) - target) * (scale / logits.shape[1])


@kernel("prediction (N,K), target (N,K), scale -> losses (N), dprediction (N,K)")
def categorical_cross_entropy(prediction, target, scale):
    """ℓₙ = −Σₖ t ln p; gradient −t / p. p is kept above the smallest normal number."""
    p = np.maximum(prediction, np.finfo(prediction.dtype).tiny)
    return -(target * np.log(p)).sum(axis=1), -scale * target / p


@kernel("logits (N,K), target (N,K), scale -> losses (N), dlogits (N,K)")
def softmax_cross_entropy(logits, target, scale):
    """ℓₙ = Σₖ t (ln Σⱼ e^zⱼ − zₖ); gradient softmax(z) − t, for targets whose rows sum to 1."""
    z = logits - logits.max(axis=1, keepdims=True)
    e = np.exp(z)
    total = e.sum(axis=1, keepdims=True)
    return (target * (np.log(total) - z)).sum(axis=1), (e / total - target) * scale


# ---- sums over an epoch, in float64 and in place: the losses, and the sums from which metrics are computed -----------
# Metrics leave out targets that are NaN, which means that they were not measured. Only NaN is not equal to itself.


@kernel("losses (N), total (1) -> total")
def add_losses(losses, total):
    """total ← total + Σ ℓₙ."""
    total += losses.sum(dtype=np.float64)


@kernel("prediction (N,K), target (N,K), sums (2) -> sums")
def add_hits(prediction, target, sums):
    """Count the rows whose largest output and largest target are in the same column, and all rows."""
    known = target[:, 0] == target[:, 0]
    sums[0] += np.count_nonzero(known & (prediction.argmax(axis=1) == target.argmax(axis=1)))
    sums[1] += np.count_nonzero(known)


@kernel("prediction (N,K), target (N,K), sums (4) -> sums")
def add_sides(prediction, target, sums):
    """Count the numbers on the same side of ½ as the target, those on its side of 0, targets below 0, and all."""
    known = target == target
    sums[0] += np.count_nonzero(known & ((prediction > 0.5) == (target > 0.5)))
    sums[1] += np.count_nonzero(known & ((prediction > 0) == (target > 0)))
    sums[2] += np.count_nonzero(target < 0)
    sums[3] += np.count_nonzero(known)


@kernel("prediction (N,K), target (N,K), sums (2) -> sums")
def add_absolute_errors(prediction, target, sums):
    """Add Σ |p − t|, and the count of numbers."""
    known = target == target
    sums[0] += np.where(known, np.abs(prediction - target), 0).sum(dtype=np.float64)
    sums[1] += np.count_nonzero(known)


@kernel("prediction (N,K), target (N,K), sums (2) -> sums")
def add_squared_errors(prediction, target, sums):
    """Add Σ (p − t)², and the count of numbers."""
    known = target == target
    sums[0] += np.where(known, np.square(prediction - target, dtype=np.float64), 0).sum()
    sums[1] += np.count_nonzero(known)


@kernel("prediction (N,K), target (N,K), sums (5,K) -> sums")
def add_spreads(prediction, target, sums):
    """The parts of R², for each output: Σ (t − p)², the first target t₀, the mean of t − t₀, Σ (t − t̄)², and rows.

    Σ t² − (Σ t)² / rows would lose all digits of a spread that is small compared with the mean. So d is summed, the
    distance of t from the mean so far (for the first rows, from t₀). The mean then moves by Σ d / rows, and the spread
    grows by Σ d² − (Σ d)² / rows (Chan, Golub and LeVeque 1983). A target that never changes has a spread of exactly 0.
    """
    errors, first, mean, spread, rows = sums
    known = target == target
    t = np.where(known, target, 0).astype(np.float64)
    first[...] = np.where(rows > 0, first, t[known.argmax(axis=0), np.arange(t.shape[1])])
    rows += np.count_nonzero(known, axis=0)
    d = np.where(known, t - first - mean, 0)
    total, count = d.sum(axis=0), np.maximum(rows, 1)
    errors += np.where(known, np.square(target - prediction, dtype=np.float64), 0).sum(axis=0)
    spread += np.square(d).sum(axis=0) - total * total / count
    mean += total / count


# ---- optimizers: one loop over all parameters, written in place ---------------------------------------------------


@kernel("dw (P), w (P), decay -> dw")
def add_decay(dw, w, decay):
    """dw ← dw + decay · w: the gradient of decay/2 · Σ w²."""
    dw += decay * w


@kernel("w (P), dw (P), lr (1) -> w")
def sgd_step(w, dw, lr):
    """w ← w − lr · dw."""
    w -= lr * dw


@kernel("dy (N,M), x (N,K), W (K,M), lr (1) -> W", product="xᵀ dy", columns="M")
def linear_backward_weights_sgd(dy, x, W, lr):
    """W ← W − lr xᵀ dy: the gradient and the step of plain gradient descent, fused."""
    W -= lr * (x.T @ dy)


@kernel("dy (N,M), b (M), lr (1) -> b", columns="M")
def linear_backward_bias_sgd(dy, b, lr):
    """b ← b − lr Σₙ dyₙ."""
    b -= lr * dy.sum(axis=0, dtype=np.float64).astype(b.dtype)


@kernel("w (P), dw (P), velocity (P), lr (1), momentum, nesterov -> w, velocity")
def momentum_step(w, dw, velocity, lr, momentum, nesterov):
    """v ← μ v + dw; w ← w − lr v, or w − lr (dw + μ v) with Nesterov's momentum."""
    velocity *= momentum
    velocity += dw
    w -= lr * (dw + momentum * velocity if nesterov else velocity)


@kernel("steps (1) -> steps")
def count_step(steps):
    """steps ← steps + 1."""
    steps += 1


@kernel("w (P), dw (P), m (P), v (P), steps (1), lr (1), beta1, beta2, epsilon -> w, m, v")
def adam_step(w, dw, m, v, steps, lr, beta1, beta2, epsilon):
    """m ← β₁m + (1−β₁)dw; v ← β₂v + (1−β₂)dw²; w ← w − lr m̂ / (√v̂ + ε), m̂ = m/(1−β₁ᵗ), v̂ = v/(1−β₂ᵗ)."""
    m += (1 - beta1) * (dw - m)
    v += (1 - beta2) * (dw * dw - v)
    w -= lr / unbias(beta1, steps) * m / (np.sqrt(v / unbias(beta2, steps)) + epsilon)


KERNELS = kernels_in(globals()) | kernels_in(vars(normalization)) | ACTIVATIONS | LOSSES | COUNTING | RULES

"""The kernels of optimizers beyond gradient descent and Adam: the second part of the reference.

All numbers of the parameters (P,) are independent of each other, so that threads may share them out. Only the norm of
the gradients needs all of them, which the letter G stands for. Every kernel works in place.
"""

from __future__ import annotations

import math

import numpy as np

from .kernel import kernel, kernels_in

# ---- before a rule: the gradients are limited, and decay is added -------------------------------------------------


@kernel("dw (P), most -> dw")
def clip_values(dw, most):
    """dw ← min(max(dw, −most), most); NaN stays NaN."""
    np.clip(dw, -most, most, out=dw)


@kernel("dw (G), most -> dw")
def clip_norm(dw, most):
    """dw ← dw · min(1, most / (‖dw‖ + 10⁻⁶)), with ‖dw‖ = √Σ dw² over all parameters (Pascanu et al. 2013)."""
    norm = np.sqrt(np.square(dw, dtype=np.float64).sum())
    dw *= np.minimum(1, most / (norm + 1e-6))


@kernel("dw (P), w (P), decay -> dw")
def add_l1(dw, w, decay):
    """dw ← dw + decay · sign(w): the gradient of decay · Σ |w|."""
    dw += decay * np.sign(w)


@kernel("w (P), lr (1), decay -> w")
def shrink(w, lr, decay):
    """w ← w − lr · decay · w: decay apart from the gradient (Loshchilov and Hutter 2019)."""
    w *= 1 - lr * decay


# ---- after a rule -------------------------------------------------------------------------------------------------


@kernel("w (P), before (P) -> before")
def remember(w, before):
    """before ← w."""
    before[...] = w


@kernel("w (P), before (P), factors (P) -> w")
def scale_move(w, before, factors):
    """w ← before + factors · (w − before): what a rule has moved, with a factor for each parameter's learning rate."""
    w[...] = before + factors * (w - before)


@kernel("W (K,M), most -> W", columns="M")
def limit_norms(W, most):
    """Every column of W that is longer than `most` is shortened to it (max-norm, Srivastava et al. 2014)."""
    norms = np.sqrt(np.square(W, dtype=np.float64).sum(axis=0))  # (M,)
    W *= np.where(norms > most, most / np.maximum(norms, most), 1)


@kernel("w (P), averages (P), steps (1), decay -> averages")
def average_weights(w, averages, steps, decay):
    """a ← decay · a + (1 − decay) · w; after the first step, a ← w."""
    averages += np.where(steps > 1, 1 - decay, 1) * (w - averages)


# ---- learning rates that follow a schedule --------------------------------------------------------------------------


@kernel("rates (E), clock (3), rate (1) -> clock, rate")
def take_rate(rates, clock, rate):
    """rate ← rates[clock₀ − clock₁]; clock₀ ← clock₀ + 1.

    clock: the number of steps made, their number at the first of the rates, and the number of epochs made.
    """
    rate[...] = rates[int(clock[0] - clock[1])]
    clock[0] += 1


# ---- rules ----------------------------------------------------------------------------------------------------------


@kernel("w (P), dw (P), m (P), v (P), highest (P), scales (2), beta1, beta2, epsilon -> w, m, v, highest")
def amsgrad_step(w, dw, m, v, highest, scales, beta1, beta2, epsilon):
    """Adam with h ← max(h, v) in the place of v: w ← w − s₀ m / (√h · s₁ + ε), with the numbers of `adam_scales`."""
    m += (1 - beta1) * (dw - m)
    v += (1 - beta2) * (dw * dw - v)
    np.maximum(highest, v, out=highest)
    w -= scales[0] * m / (np.sqrt(highest) * scales[1] + epsilon)


@kernel("steps (1), lr (1), scales (2), beta1, beta2 -> scales")
def adam_scales(steps, lr, scales, beta1, beta2):
    """s₀ ← lr / (1 − β₁ᵗ); s₁ ← 1 / √(1 − β₂ᵗ)."""
    t = float(steps[0])
    scales[0] = float(lr[0]) / unbias(beta1, t)
    scales[1] = 1 / np.sqrt(unbias(beta2, t))


@kernel("w (P), dw (P), m (P), v (P), scales (3), beta1, beta2, epsilon -> w, m, v")
def nadam_step(w, dw, m, v, scales, beta1, beta2, epsilon):
    """m ← β₁m + (1−β₁)dw; v ← β₂v + (1−β₂)dw²; w ← w − (s₀ dw + s₁ m) / (√v · s₂ + ε), by `nadam_scales`."""
    m += (1 - beta1) * (dw - m)
    v += (1 - beta2) * (dw * dw - v)
    w -= (scales[0] * dw + scales[1] * m) / (np.sqrt(v) * scales[2] + epsilon)


@kernel("steps (1), lr (1), scales (3), product (1), beta1, beta2, growth -> scales, product")
def nadam_scales(steps, lr, scales, product, beta1, beta2, growth):
    """With μₜ = β₁ (1 − ½ · 0.96^(t·growth)) and the product Π of μ₁ … μₜ (`product` is Π − 1, which is 0 at first):
    s₀ ← lr (1 − μₜ) / (1 − Π); s₁ ← lr μₜ₊₁ / (1 − Π μₜ₊₁); s₂ ← 1 / √(1 − β₂ᵗ).
    """
    t = float(steps[0])
    now, soon = (beta1 * (1 - 0.5 * 0.96 ** (s * growth)) for s in (t, t + 1))
    total = (1 + float(product[0])) * now
    product[0] = total - 1
    scales[0] = float(lr[0]) * (1 - now) / (1 - total)
    scales[1] = float(lr[0]) * soon / (1 - total * soon)
    scales[2] = 1 / np.sqrt(unbias(beta2, t))


@kernel("w (P), dw (P), m (P), v (P), steps (1), lr (1), beta1, beta2, epsilon -> w, m, v")
def radam_step(w, dw, m, v, steps, lr, beta1, beta2, epsilon):
    """m ← β₁m + (1−β₁)dw; v ← β₂v + (1−β₂)dw²; m̂ = m/(1−β₁ᵗ).

    ρ∞ = 2/(1−β₂) − 1; ρ = ρ∞ − 2tβ₂ᵗ/(1−β₂ᵗ). If ρ ≤ 5, w ← w − lr m̂, or else w ← w − lr q m̂ √(1−β₂ᵗ) / (√v + ε),
    where q² = (ρ−4)(ρ−2)ρ∞ / ((ρ∞−4)(ρ∞−2)ρ).
    """
    m += (1 - beta1) * (dw - m)
    v += (1 - beta2) * (dw * dw - v)
    rate, scale = radam_scales(float(steps[0]), float(lr[0]), beta1, beta2)
    w -= rate * m * (scale / (np.sqrt(v) + epsilon) if scale > 0 else 1)


def radam_scales(t, lr, beta1, beta2):
    """lr / (1−β₁ᵗ), and q √(1−β₂ᵗ), or 0 as long as ρ ≤ 5."""
    rest, longest = unbias(beta2, t), 2 / (1 - beta2) - 1
    length = longest - 2 * t * (1 - rest) / rest
    if length <= 5:
        return lr / unbias(beta1, t), 0.0
    q = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
    return lr / unbias(beta1, t), math.sqrt(q * rest)


@kernel("w (P), dw (P), m (P), u (P), steps (1), lr (1), beta1, beta2, epsilon -> w, m, u")
def adamax_step(w, dw, m, u, steps, lr, beta1, beta2, epsilon):
    """m ← β₁m + (1−β₁)dw; u ← max(β₂u, |dw| + ε); w ← w − lr/(1−β₁ᵗ) m / u."""
    m += (1 - beta1) * (dw - m)
    np.maximum(beta2 * u, np.abs(dw) + epsilon, out=u)
    w -= lr / unbias(beta1, float(steps[0])) * m / u


@kernel("w (P), dw (P), v (P), lr (1), epsilon -> w, v")
def adagrad_step(w, dw, v, lr, epsilon):
    """v ← v + dw²; w ← w − lr dw / (√v + ε)."""
    v += dw * dw
    w -= lr * dw / (np.sqrt(v) + epsilon)


@kernel("w (P), dw (P), v (P), u (P), lr (1), rho, epsilon -> w, v, u")
def adadelta_step(w, dw, v, u, lr, rho, epsilon):
    """v ← ρv + (1−ρ)dw²; Δ = dw √(u+ε) / √(v+ε); u ← ρu + (1−ρ)Δ²; w ← w − lr Δ."""
    v += (1 - rho) * (dw * dw - v)
    move = dw * np.sqrt(u + epsilon) / np.sqrt(v + epsilon)
    u += (1 - rho) * (move * move - u)
    w -= lr * move


@kernel("dw (P), v (P), rho, epsilon -> dw, v")
def rmsprop_scale(dw, v, rho, epsilon):
    """v ← ρv + (1−ρ)dw²; dw ← dw / (√v + ε)."""
    v += (1 - rho) * (dw * dw - v)
    dw /= np.sqrt(v) + epsilon


@kernel("dw (P), v (P), m (P), rho, epsilon -> dw, v, m")
def rmsprop_center(dw, v, m, rho, epsilon):
    """v ← ρv + (1−ρ)dw²; m ← ρm + (1−ρ)dw; dw ← dw / (√(v − m²) + ε)."""
    v += (1 - rho) * (dw * dw - v)
    m += (1 - rho) * (dw - m)
    dw /= np.sqrt(np.maximum(v - m * m, 0)) + epsilon


@kernel("w (P), dw (P), m (P), lr (1), beta1, beta2 -> w, m")
def lion_step(w, dw, m, lr, beta1, beta2):
    """w ← w − lr sign(β₁m + (1−β₁)dw); m ← β₂m + (1−β₂)dw."""
    w -= lr * np.sign(beta1 * m + (1 - beta1) * dw)
    m += (1 - beta2) * (dw - m)


@kernel("w (P), dw (P), last (P), size (P), lr (1), shorter, longer, least, most -> w, last, size")
def rprop_step(w, dw, last, size, lr, shorter, longer, least, most):
    """size ← size · longer if dw has the sign that it had last, · shorter if it has the other; w ← w − size sign(dw).

    Where the sign has changed, w stays, and dw counts as 0. A size is lr at first, and stays in least … most.
    """
    sign = np.sign(dw * last)
    size[...] = np.where(size > 0, size, lr)
    size *= np.where(sign > 0, longer, np.where(sign < 0, shorter, 1))
    np.clip(size, least, most, out=size)
    last[...] = np.where(sign < 0, 0, dw)
    w -= size * np.sign(last)


def unbias(beta, t):
    """1 − βᵗ without cancellation, for 0 ≤ β < 1."""
    return -np.expm1(t * math.log(beta)) if beta > 0 else 1.0


RULES = kernels_in(globals())

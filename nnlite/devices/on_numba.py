"""The numba device: the reference's kernels by the same names, as fused loops compiled for this CPU.

Results come first, then operands, each in the reference's order; what is missing here falls back to the reference.
Everything a compiled kernel uses stands in this file: Numba's cache does not see changes in other files
(numba#1833). Numba has had no vector exp or log of its own since 0.62, hence the two below. Where NumPy's own loop is
as fast (tanh, expm1, every matrix product) there is none here.
Every constant takes the arrays' dtype: a bare 2.0 would lift a float32 loop to float64 and halve its speed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import overload

from . import reference
from .kernel import Kernels, Signature, kernels_in
from .on_numpy import NumpyDevice

# Sums may be reordered, which lets them vectorise; NaN and infinity must survive: they are how divergence is seen.
FAST_SUMS = {"contract", "reassoc", "nsz", "arcp"}
EXACT = {"contract"}  # the range reduction of exp loses its digits if its terms are reordered


def compiled(function: Callable[..., Any], fastmath: set[str] = FAST_SUMS) -> Callable[..., Any]:
    """Compile at the first call; keep the result on disk where a folder can be written."""
    options: dict[str, Any] = {"error_model": "numpy", "fastmath": fastmath, "nogil": True}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # read-only installation and no home folder
        return njit(**options)(function)


# ---- exp and ln(1 + e) that vectorise (ranges and coefficients of exp: Moshier's Cephes, expf and exp) --------------
# Each is written for float32 and for float64; compiled code calls it by the one name and gets the one of its type.


def exp_negative(x):
    """eˣ for x ≤ 0, which is all that a stable formula needs; 0 below the smallest normal number."""
    raise NotImplementedError


def log_one_plus(e):
    """ln(1 + e) = 2 artanh(e / (2 + e)) for 0 ≤ e ≤ 1, by the series of artanh."""
    raise NotImplementedError


@partial(compiled, fastmath=EXACT)
def _exp32(x):
    lowest = np.float32(-87.33)
    z = lowest if x < lowest else x
    n = np.floor(z * np.float32(1.44269504088896341) + np.float32(0.5))
    r = z - n * np.float32(0.693359375) + n * np.float32(2.12194440e-4)
    p = np.float32(1.9875691500e-4) * r + np.float32(1.3981999507e-3)
    p = p * r + np.float32(8.3334519073e-3)
    p = p * r + np.float32(4.1665795894e-2)
    p = p * r + np.float32(1.6666665459e-1)
    p = p * r + np.float32(5.0000001201e-1)
    p = p * r * r + r + np.float32(1)
    power = np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)  # 2ⁿ by its bits
    return np.float32(0) if x < lowest else p * power


@partial(compiled, fastmath=EXACT)
def _exp64(x):
    lowest = -708.39
    z = lowest if x < lowest else x
    n = np.floor(z * 1.4426950408889634 + 0.5)
    r = z - n * 6.93145751953125e-1 - n * 1.42860682030941723212e-6
    rr = r * r
    p = r * ((1.26177193074810590878e-4 * rr + 3.02994407707441961300e-2) * rr + 1.0)
    q = ((3.00198505138664455042e-6 * rr + 2.52448340349684104192e-3) * rr + 2.27265548208155028766e-1) * rr + 2.0
    power = np.int64((np.int64(n) + np.int64(1023)) << np.int64(52)).view(np.float64)
    return 0.0 if x < lowest else (1.0 + 2.0 * (p / (q - p))) * power


@partial(compiled, fastmath=EXACT)
def _log32(e):
    s = e / (np.float32(2) + e)
    z = s * s
    p = np.float32(1 / 15)
    for k in (13, 11, 9, 7, 5, 3):
        p = p * z + np.float32(1) / np.float32(k)
    return np.float32(2) * (p * z * s + s)


@partial(compiled, fastmath=EXACT)
def _log64(e):
    s = e / (2.0 + e)
    z = s * s
    p = 1 / 35
    for k in (33, 31, 29, 27, 25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3):
        p = p * z + 1.0 / k
    return 2.0 * (p * z * s + s)


@overload(exp_negative)
def _(x):
    return (lambda x: _exp32(x)) if x == types.float32 else (lambda x: _exp64(x))


@overload(log_one_plus)
def _(e):
    return (lambda e: _log32(e)) if e == types.float32 else (lambda e: _log64(e))


@partial(compiled, fastmath=EXACT)
def sigmoid_of(x):
    one = type(x)(1)
    e = exp_negative(-abs(x))
    return (one if x >= 0 else e) / (one + e)


@partial(compiled, fastmath=EXACT)
def difference(a, b):
    """a − b, not to be reordered into a sum around it: (z − highest) at z = 1e8 is where the digits are."""
    return a - b


@partial(compiled, fastmath=EXACT)
def cross_entropy_of(z, t):
    """max(z, 0) − z t + ln(1 + e^−|z|), in this order."""
    zero = type(z)(0)
    return (zero if z < zero else z) - z * t + log_one_plus(exp_negative(-abs(z)))


# ---- linear: the products are BLAS's (the reference); only the long sum pays ---------------------------------------


def linear_backward_bias(db, dy):
    rows, columns = dy.shape
    total = np.zeros(columns, np.float64)
    part = np.zeros(columns, dy.dtype)
    for start in range(0, rows, 64):  # float32 within 64 rows, float64 across them
        part[:] = 0
        for i in range(start, min(start + 64, rows)):
            for j in range(columns):
                part[j] += dy[i, j]
        for j in range(columns):
            total[j] += part[j]
    for j in range(columns):
        db[j] = total[j]


# ---- activations ------------------------------------------------------------------------------------------------


def sigmoid(y, x):
    y, x = y.reshape(y.size), x.reshape(x.size)
    for i in range(x.size):
        y[i] = sigmoid_of(x[i])


def sigmoid_backward(dx, dy, y):
    dx, dy, y = dx.reshape(dx.size), dy.reshape(dy.size), y.reshape(y.size)
    one = y.dtype.type(1)
    for i in range(y.size):
        dx[i] = dy[i] * y[i] * (one - y[i])


def tanh_backward(dx, dy, y):
    dx, dy, y = dx.reshape(dx.size), dy.reshape(dy.size), y.reshape(y.size)
    one = y.dtype.type(1)
    for i in range(y.size):
        dx[i] = dy[i] * (one - y[i] * y[i])


def tanh_offset(y, x):
    y, x = y.reshape(y.size), x.reshape(x.size)
    for i in range(x.size):
        y[i] = sigmoid_of(x[i] + x[i])


def tanh_offset_backward(dx, dy, y):
    dx, dy, y = dx.reshape(dx.size), dy.reshape(dy.size), y.reshape(y.size)
    one = y.dtype.type(1)
    for i in range(y.size):
        dx[i] = (dy[i] + dy[i]) * y[i] * (one - y[i])


def relu(y, x):
    y, x = y.reshape(y.size), x.reshape(x.size)
    zero = y.dtype.type(0)
    for i in range(x.size):
        y[i] = zero if x[i] < zero else x[i]  # written so that NaN stays NaN


def relu_backward(dx, dy, y):
    dx, dy, y = dx.reshape(dx.size), dy.reshape(dy.size), y.reshape(y.size)
    zero = y.dtype.type(0)
    for i in range(y.size):
        dx[i] = dy[i] if y[i] > zero else zero


def softplus(y, x):
    y, x = y.reshape(y.size), x.reshape(x.size)
    zero = y.dtype.type(0)
    for i in range(x.size):
        y[i] = (zero if x[i] < zero else x[i]) + log_one_plus(exp_negative(-abs(x[i])))


def softmax(y, x):
    rows, columns = x.shape
    for i in range(rows):
        highest = x[i, 0]
        for j in range(1, columns):
            highest = max(highest, x[i, j])
        total = x.dtype.type(0)
        for j in range(columns):
            e = exp_negative(difference(x[i, j], highest))
            y[i, j] = e
            total += e
        for j in range(columns):
            y[i, j] /= total


def softmax_backward(dx, dy, y):
    rows, columns = y.shape
    for i in range(rows):
        total = y.dtype.type(0)
        for j in range(columns):
            total += dy[i, j] * y[i, j]
        for j in range(columns):
            dx[i, j] = y[i, j] * (dy[i, j] - total)


# ---- losses -----------------------------------------------------------------------------------------------------


def mse(losses, dprediction, prediction, target, scale):
    rows, columns = prediction.shape
    slope = prediction.dtype.type(2 * scale / columns)
    for i in range(rows):
        total = prediction.dtype.type(0)
        for j in range(columns):
            error = prediction[i, j] - target[i, j]
            total += error * error
            dprediction[i, j] = slope * error
        losses[i] = total / prediction.dtype.type(columns)


def half_mse(losses, dprediction, prediction, target, scale):
    rows, columns = prediction.shape
    slope = prediction.dtype.type(scale / columns)
    for i in range(rows):
        total = prediction.dtype.type(0)
        for j in range(columns):
            error = prediction[i, j] - target[i, j]
            total += error * error
            dprediction[i, j] = slope * error
        losses[i] = total / prediction.dtype.type(2 * columns)


def mae(losses, dprediction, prediction, target, scale):
    rows, columns = prediction.shape
    slope = prediction.dtype.type(scale / columns)
    for i in range(rows):
        total = prediction.dtype.type(0)
        for j in range(columns):
            error = prediction[i, j] - target[i, j]
            total += abs(error)
            dprediction[i, j] = slope * np.sign(error)
        losses[i] = total / prediction.dtype.type(columns)


def binary_cross_entropy(losses, dprediction, prediction, target, scale):
    rows, columns = prediction.shape
    slope = prediction.dtype.type(scale / columns)
    one, cut, least = prediction.dtype.type(1), prediction.dtype.type(-100), prediction.dtype.type(1e-12)
    for i in range(rows):
        total = prediction.dtype.type(0)
        for j in range(columns):
            p, t = prediction[i, j], target[i, j]
            total -= t * max(math.log(p), cut) + (one - t) * max(math.log(one - p), cut)
            dprediction[i, j] = slope * (p - t) / max(p * (one - p), least)
        losses[i] = total / prediction.dtype.type(columns)


def sigmoid_binary_cross_entropy(losses, dlogits, logits, target, scale):
    rows, columns = logits.shape
    slope = logits.dtype.type(scale / columns)
    for i in range(rows):
        total = logits.dtype.type(0)
        for j in range(columns):
            z, t = logits[i, j], target[i, j]
            total += cross_entropy_of(z, t)
            dlogits[i, j] = slope * (sigmoid_of(z) - t)
        losses[i] = total / logits.dtype.type(columns)


def categorical_cross_entropy(losses, dprediction, prediction, target, scale):
    rows, columns = prediction.shape
    slope = prediction.dtype.type(scale)
    least = np.finfo(prediction.dtype).tiny
    for i in range(rows):
        total = prediction.dtype.type(0)
        for j in range(columns):
            p = max(prediction[i, j], least)
            if target[i, j] != 0:
                total -= target[i, j] * math.log(p)
            dprediction[i, j] = -slope * target[i, j] / p
        losses[i] = total


def softmax_cross_entropy(losses, dlogits, logits, target, scale):
    rows, columns = logits.shape
    slope = logits.dtype.type(scale)
    for i in range(rows):
        highest = logits[i, 0]
        for j in range(1, columns):
            highest = max(highest, logits[i, j])
        total = logits.dtype.type(0)
        for j in range(columns):
            e = exp_negative(difference(logits[i, j], highest))
            dlogits[i, j] = e
            total += e
        log_total = math.log(total)
        loss = logits.dtype.type(0)
        for j in range(columns):
            loss += target[i, j] * difference(log_total, difference(logits[i, j], highest))
            dlogits[i, j] = slope * (dlogits[i, j] / total - target[i, j])
        losses[i] = loss


# ---- optimizers: sgd_step is one NumPy line already ---------------------------------------------------------------


def momentum_step(w, velocity, dw, lr, momentum, nesterov):
    rate, keep = lr[0], w.dtype.type(momentum)
    for i in range(w.size):
        velocity[i] = keep * velocity[i] + dw[i]
        w[i] -= rate * (dw[i] + keep * velocity[i] if nesterov else velocity[i])


def adam_step(w, m, v, steps, dw, lr, beta1, beta2, epsilon):
    steps[0] += w.dtype.type(1)
    unbias1 = -math.expm1(steps[0] * math.log(beta1)) if beta1 > 0 else 1.0
    unbias2 = -math.expm1(steps[0] * math.log(beta2)) if beta2 > 0 else 1.0
    new1, new2 = w.dtype.type(1 - beta1), w.dtype.type(1 - beta2)
    rate, spread, least = w.dtype.type(lr[0] / unbias1), w.dtype.type(1 / unbias2), w.dtype.type(epsilon)
    for i in range(w.size):
        m[i] += new1 * (dw[i] - m[i])
        v[i] += new2 * (dw[i] * dw[i] - v[i])
        w[i] -= rate * m[i] / (math.sqrt(v[i] * spread) + least)


# ---- the device -------------------------------------------------------------------------------------------------

LOOPS: dict[str, Callable[..., Any]] = {
    function.__name__: compiled(function)
    for function in (
        *(linear_backward_bias, sigmoid, sigmoid_backward, tanh_backward, tanh_offset, tanh_offset_backward),
        *(relu, relu_backward, softplus, softmax, softmax_backward, mse, half_mse, mae, binary_cross_entropy),
        *(sigmoid_binary_cross_entropy, categorical_cross_entropy, softmax_cross_entropy, momentum_step, adam_step),
    )
}


def eager(loop: Callable[..., Any], signature: Signature) -> Callable[..., Any]:
    """Call a compiled loop as the reference is called: reserve the results, run the loop, hand them over."""
    names = list(signature.operands)
    first = {
        letter: (n, axis)
        for n, name in reversed(list(enumerate(names)))
        for axis, letter in enumerate(signature.operands[name] or ())
    }  # letter -> an operand's axis with that size
    shapes = [[first[letter] for letter in signature.results[name] or ()] for name in signature.fresh]
    in_place = [names.index(name) for name in signature.results if name in signature.operands]
    inputs = [names.index(name) for name in signature.inputs]

    def call(*operands: Any) -> Any:
        results = [np.empty([operands[n].shape[axis] for n, axis in shape], operands[0].dtype) for shape in shapes]
        loop(*results, *[operands[n] for n in in_place], *[operands[n] for n in inputs])
        return results[0] if len(results) == 1 else tuple(results) or None

    call.signature = signature  # type: ignore[attr-defined]
    return call


class NumbaDevice(NumpyDevice):
    """Compiled loops where they pay, the reference elsewhere."""

    name = "numba"

    def __init__(self) -> None:
        kernels = kernels_in(reference)
        self.ops = Kernels(kernels, {name: eager(loop, kernels[name].signature) for name, loop in LOOPS.items()})

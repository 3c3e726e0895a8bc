"""The numba device: the reference's kernels by the same names, as fused loops compiled for this CPU.

Results come first, then operands, each in the reference's order; what is missing here falls back to the reference.
Everything a compiled kernel uses stands in this file: Numba's cache does not see changes in other files
(numba#1833). Numba has had no vector exp or log of its own since 0.62, hence the two below. Where NumPy's own loop is
as fast (tanh, expm1, every matrix product) there is none here.
Every constant takes the arrays' dtype: a bare 2.0 would lift a float32 loop to float64 and halve its speed.
"""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, cfunc, njit, types  # noqa: F401  (carray is called in text, below)
from numba.extending import intrinsic, overload

from . import reference
from .blas import PRODUCTS, YIELD, one_blas_thread
from .kernel import Kernels, Signature, kernels_in
from .on_numpy import NumpyDevice, Replay
from .planning import Planned, fuse, plan, work
from .recording import Arena, NotRecordableError, Symbol, Tape

# Sums may be reordered, which lets them vectorise; NaN and infinity must survive: they are how divergence is seen.
FAST_SUMS = {"contract", "reassoc", "nsz", "arcp"}
EXACT = {"contract"}  # the range reduction of exp loses its digits if its terms are reordered


def compiled(function: Callable[..., Any], fastmath: set[str] = FAST_SUMS, inlined: bool = False) -> Callable[..., Any]:
    """Compile at the first call; keep the result on disk where a folder can be written."""
    options: dict[str, Any] = {"error_model": "numpy", "fastmath": fastmath, "nogil": True, "forceinline": inlined}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # read-only installation and no home folder
        return njit(**options)(function)


# ---- exp and ln(1 + e) that vectorise (ranges and coefficients of exp: Moshier's Cephes, expf and exp) --------------
# Each is written for float32 and for float64; compiled code calls it by the one name and gets the one of its type.


def exp_negative(x):
    """eˣ for x ≤ 0, which is all that a stable formula needs; 0 below the smallest normal number."""
    raise NotImplementedError


def gemm(transpose_a, transpose_b, alpha, a, b, beta, c):
    """c ← alpha a b + beta c, a or b transposed; their rows may lie apart."""
    raise NotImplementedError


def tanh_of(x):
    """tanh x: a polynomial near 0, (1 − e) / (1 + e) with e = e^(−2|x|) further out."""
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


@partial(compiled, fastmath=EXACT)
def _tanh32(x):
    z = x * x
    p = np.float32(-5.70498872745e-3) * z + np.float32(2.06390887954e-2)
    p = p * z - np.float32(5.37397155531e-2)
    p = p * z + np.float32(1.33314422036e-1)
    p = p * z - np.float32(3.33332819422e-1)
    near = p * z * x + x  # |x| < 0.625: no cancellation
    e = _exp32(np.float32(-2) * abs(x))
    far = (np.float32(1) - e) / (np.float32(1) + e)
    return near if abs(x) < np.float32(0.625) else (-far if x < 0 else far)


@partial(compiled, fastmath=EXACT)
def _tanh64(x):
    z = x * x
    p = (-9.64399179425052238628e-1 * z - 9.92877231001918586564e1) * z - 1.61468768441708447952e3
    q = ((z + 1.12811678491632931402e2) * z + 2.23548839060100448583e3) * z + 4.84406305325125486048e3
    near = x * z * (p / q) + x
    e = _exp64(-2.0 * abs(x))
    far = (1.0 - e) / (1.0 + e)
    return near if abs(x) < 0.625 else (-far if x < 0 else far)


@overload(exp_negative)
def _(x):
    return (lambda x: _exp32(x)) if x == types.float32 else (lambda x: _exp64(x))


@overload(log_one_plus)
def _(e):
    return (lambda e: _log32(e)) if e == types.float32 else (lambda e: _log64(e))


@overload(tanh_of)
def _(x):
    return (lambda x: _tanh32(x)) if x == types.float32 else (lambda x: _tanh64(x))


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


# ---- matrix products: BLAS by its C interface, called by name; own loops below what a call to it costs -------------


@overload(gemm)
def _(transpose_a, transpose_b, alpha, a, b, beta, c):
    small, large = PRODUCTS["s" if a.dtype == types.float32 else "d"]

    def call(transpose_a, transpose_b, alpha, a, b, beta, c):
        rows, columns = c.shape
        inner = a.shape[0] if transpose_a else a.shape[1]
        flags = np.int32(101), np.int32(112 if transpose_a else 111), np.int32(112 if transpose_b else 111)
        al, be = a.dtype.type(alpha), a.dtype.type(beta)
        lda, ldb, ldc = a.strides[0] // a.itemsize, b.strides[0] // b.itemsize, c.strides[0] // c.itemsize
        pa, pb, pc = a.ctypes.data, b.ctypes.data, c.ctypes.data
        if rows * columns * inner > LARGE:
            large(flags[0], flags[1], flags[2], rows, columns, inner, al, pa, lda, pb, ldb, be, pc, ldc)
        else:
            small(flags[0], flags[1], flags[2], rows, columns, inner, al, pa, lda, pb, ldb, be, pc, ldc)

    return call


LARGE = 2_000_000  # multiplications from which MKL is faster than OpenBLAS, where both are there


@compiled
def for_blas(rows, inner, columns):
    """Whether a product is worth a call of BLAS; small ones with long rows are faster without."""
    work = rows * inner * columns
    return work > 4096 or (columns < 8 and work > 256)


def take_rows(y, x, order, position, N):
    start = position[0]
    columns = x.shape[1]
    for i in range(N):
        row = order[start + i]
        for j in range(columns):
            y[i, j] = x[row, j]


def advance(position, N):
    position[0] += N


# These are shared out among threads by columns: each makes those from `first` to `stop` of y, dx, dW or db. A thread
# then moves the same columns of W that it reads in `linear`, and they stay in its core's cache. (The batch's rows can
# be shared out as well where these are products of N rows.)
COLUMNS = {
    "linear": "M",
    "matmul": "M",
    "linear_backward": "K",
    "linear_backward_weights": "M",
    "linear_backward_weights_sgd": "M",
    "linear_backward_bias": "M",
    "linear_backward_bias_sgd": "M",
}


@partial(compiled, inlined=True)
def add_product(y, x, W, first, stop):
    """y ← y + x W, the columns from `first` to `stop`."""
    rows = y.shape[0]
    if for_blas(rows, x.shape[1], stop - first):
        gemm(False, False, 1.0, x, W[:, first:stop], 1.0, y[:, first:stop])
    else:
        for i in range(rows):
            for k in range(x.shape[1]):
                for j in range(first, stop):
                    y[i, j] += x[i, k] * W[k, j]


def linear(y, x, W, b, first, stop):
    for i in range(y.shape[0]):
        for j in range(first, stop):
            y[i, j] = b[j]
    add_product(y, x, W, first, stop)


def matmul(y, x, W, first, stop):
    y[:, first:stop] = 0
    add_product(y, x, W, first, stop)


def linear_backward(dx, dy, W, first, stop):
    rows = dx.shape[0]
    if for_blas(rows, dy.shape[1], stop - first):
        gemm(False, True, 1.0, dy, W[first:stop], 0.0, dx[:, first:stop])
    else:
        for i in range(rows):
            for k in range(first, stop):
                total = dx.dtype.type(0)
                for j in range(dy.shape[1]):
                    total += dy[i, j] * W[k, j]
                dx[i, k] = total


@partial(compiled, inlined=True)
def add_outer(c, dy, x, alpha, first, stop):
    """c ← c + alpha xᵀ dy, the columns from `first` to `stop`."""
    rows = c.shape[0]
    if for_blas(rows, dy.shape[0], stop - first):
        gemm(True, False, alpha, x, dy[:, first:stop], 1.0, c[:, first:stop])
    else:
        for i in range(dy.shape[0]):
            for k in range(rows):
                step = alpha * x[i, k]
                for j in range(first, stop):
                    c[k, j] += step * dy[i, j]


def linear_backward_weights(dW, dy, x, first, stop):
    dW[:, first:stop] = 0
    add_outer(dW, dy, x, dW.dtype.type(1), first, stop)


def linear_backward_weights_sgd(W, dy, x, lr, first, stop):
    add_outer(W, dy, x, -lr[0], first, stop)


@compiled
def add_rows(total, dy, first):
    """total ← Σₙ dy[n, first:], float32 within 64 rows, float64 across them."""
    rows, columns = dy.shape[0], total.size
    part = np.empty(columns, dy.dtype)
    total[:] = 0
    for start in range(0, rows, 64):
        part[:] = 0
        for i in range(start, min(start + 64, rows)):
            for j in range(columns):
                part[j] += dy[i, first + j]
        for j in range(columns):
            total[j] += part[j]


def linear_backward_bias(db, dy, first, stop):
    if dy.shape[0] <= 64:
        db[first:stop] = 0
        for i in range(dy.shape[0]):
            for j in range(first, stop):
                db[j] += dy[i, j]
    else:
        total = np.empty(stop - first, np.float64)
        add_rows(total, dy, first)
        db[first:stop] = total


def linear_backward_bias_sgd(b, dy, lr, first, stop):
    if dy.shape[0] * (stop - first) <= 64:
        for j in range(first, stop):
            total = b.dtype.type(0)
            for i in range(dy.shape[0]):
                total += dy[i, j]
            b[j] -= lr[0] * total
    else:
        total = np.empty(stop - first, np.float64)
        add_rows(total, dy, first)
        for j in range(first, stop):
            b[j] -= lr[0] * b.dtype.type(total[j - first])


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


def tanh(y, x):
    y, x = y.reshape(y.size), x.reshape(x.size)
    for i in range(x.size):
        y[i] = tanh_of(x[i])


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


def softplus_backward(dx, dy, y):
    dx, dy, y = dx.reshape(dx.size), dy.reshape(dy.size), y.reshape(y.size)
    for i in range(y.size):
        dx[i] = -dy[i] * math.expm1(-y[i])


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


# ---- sums over an epoch -----------------------------------------------------------------------------------------


def add_losses(total, losses):
    for i in range(losses.size):
        total[0] += losses[i]


def add_hits(sums, prediction, target):
    rows, columns = prediction.shape
    half = prediction.dtype.type(0.5)
    for i in range(rows):
        if columns > 1:
            sums[0] += np.argmax(prediction[i]) == np.argmax(target[i])
        else:
            sums[0] += (prediction[i, 0] > half) == (target[i, 0] > half)
    sums[1] += rows


def add_absolute_errors(sums, prediction, target):
    rows, columns = prediction.shape
    for i in range(rows):
        for j in range(columns):
            sums[0] += abs(prediction[i, j] - target[i, j])
    sums[1] += rows * columns


def add_squared_errors(sums, prediction, target):
    rows, columns = prediction.shape
    for i in range(rows):
        for j in range(columns):
            error = prediction[i, j] - target[i, j]
            sums[0] += error * error
    sums[1] += rows * columns


def add_spreads(sums, prediction, target):
    rows, columns = prediction.shape
    for i in range(rows):
        for j in range(columns):
            t = np.float64(target[i, j])
            error = target[i, j] - prediction[i, j]
            sums[0, j] += error * error
            sums[1, j] += t
            sums[2, j] += t * t
    sums[3] += rows


# ---- optimizers -------------------------------------------------------------------------------------------------


def add_decay(dw, w, decay):
    rate = w.dtype.type(decay)
    for i in range(w.size):
        dw[i] += rate * w[i]


def sgd_step(w, dw, lr):
    rate = lr[0]
    for i in range(w.size):
        w[i] -= rate * dw[i]


def momentum_step(w, velocity, dw, lr, momentum, nesterov):
    rate, keep = lr[0], w.dtype.type(momentum)
    for i in range(w.size):
        velocity[i] = keep * velocity[i] + dw[i]
        w[i] -= rate * (dw[i] + keep * velocity[i] if nesterov else velocity[i])


def count_step(steps):
    steps[0] += 1


def adam_step(w, m, v, dw, steps, lr, beta1, beta2, epsilon):
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
    name: compiled(globals()[name]) for name in kernels_in(reference) if name in globals()
}

# Called from Python, one at a time, NumPy's own loops are as fast as these: they are for the replay only.
REPLAY_ONLY = {
    *("take_rows", "advance", "matmul", "linear_backward", "linear_backward_weights", "tanh"),
    *("softplus_backward", "count_step"),
    *("linear_backward_weights_sgd", "linear_backward_bias_sgd"),
}


def eager(name: str, signature: Signature) -> Callable[..., Any]:
    """Call a compiled loop as the reference is called: reserve the results, run the loop, hand them over."""
    loop = LOOPS[name]
    names = list(signature.operands)
    source: dict[str, tuple[int, int | None]] = {}  # letter -> the operand that has this size, and its axis
    for n, operand in reversed(list(enumerate(names))):
        letters = signature.operands[operand]
        source |= {operand: (n, None)} if letters is None else {a: (n, axis) for axis, a in enumerate(letters)}
    shapes = [[source[letter] for letter in signature.results[result] or ()] for result in signature.fresh]
    in_place = [names.index(result) for result in signature.results if result in signature.operands]
    inputs = [names.index(operand) for operand in signature.inputs]
    columns = source.get(COLUMNS.get(name, ""))

    def call(*operands: Any) -> Any:
        sizes = [[operands[n] if axis is None else operands[n].shape[axis] for n, axis in shape] for shape in shapes]
        results = [np.empty(shape, operands[0].dtype) for shape in sizes]
        whole = (0, operands[columns[0]].shape[columns[1]]) if columns else ()  # all of them: there is one thread
        loop(*results, *[operands[n] for n in in_place], *[operands[n] for n in inputs], *whole)
        return results[0] if len(results) == 1 else tuple(results) or None

    call.signature = signature  # type: ignore[attr-defined]
    return call


class NumbaDevice(NumpyDevice):
    """Compiled loops where they pay, the reference elsewhere."""

    name = "numba"

    def __init__(self) -> None:
        kernels = kernels_in(reference)
        fused = {name: eager(name, kernels[name].signature) for name in LOOPS if name not in REPLAY_ONLY}
        self.ops = Kernels(kernels, fused)

    def replay(self, full: Tape, short: Tape | None, arena: Arena, threads: int = 1) -> Replay:
        return CompiledReplay(full, short, arena, threads)


# ---- replay: a table of addresses, and one compiled loop that calls them -------------------------------------------


class CompiledReplay(Replay):
    """A tape as a table of integers for each thread: the address of a row's compiled function, its operands and sizes.

    A row of zeros is a barrier, at which the threads wait for each other. Threads are started for a call and end with
    it, so there is no pool that a fork could lose; matrix products are shared out here, not by OpenBLAS.
    """

    def __init__(self, full: Tape, short: Tape | None, arena: Arena, threads: int) -> None:
        self.arena = arena
        kernels = kernels_in(reference)
        for row in full.rows:
            if LOOPS.get(row.name) is None or row.kernel.signature is not kernels[row.name].signature:  # type: ignore[attr-defined]
                raise NotRecordableError(f"the kernel {row.name} has no compiled loop")
        fused = [fuse(tape.rows, kernels) for tape in (full, short) if tape]
        self.threads = threads if sum(map(work, fused[0])) > WORTH_THREADS else 1
        tapes = [plan(rows, COLUMNS, SMALLEST_SHARED) for rows in fused]
        alone = self.threads == 1
        arena.place(*([(p.row, i if alone else p.phase) for i, p in enumerate(tape)] for tape in tapes))
        self.tables = [tuple(self._table(tape, thread) for tape in tapes) for thread in range(self.threads)]
        nothing, sums = self.tables[0][0][:0], arena.segments["sums"]
        replay(nothing, nothing, 0, 0, 1, sums, np.zeros((1, len(sums))), 0, 1, np.zeros(1, np.int64))  # compiles it

    def run(self, first: int, last: int, per_epoch: int, history: np.ndarray) -> int:
        barrier, sums = np.zeros(1, np.int64), self.arena.segments["sums"]
        done = [0] * self.threads
        ready, whole = threading.Event(), True

        def share(thread: int) -> None:
            ready.wait()
            if not whole:
                return
            full, *rest = self.tables[thread]
            short = rest[0] if rest else full[:0]
            with one_blas_thread:
                done[thread] = replay(full, short, first, last, per_epoch, sums, history, thread, self.threads, barrier)

        others = [threading.Thread(target=share, args=(thread,), daemon=True) for thread in range(1, self.threads)]
        try:
            for other in others:
                other.start()
        except RuntimeError:  # no thread can be had: the others must not wait for it at a barrier
            whole = False
            raise
        finally:
            ready.set()
        try:
            share(0)
        except BaseException:  # Ctrl-C before this thread has begun: the others must not wait for it
            barrier[0] = CALLED_OFF
            raise
        for other in others:
            other.join()
        return int(done[0])

    def _table(self, planned: Sequence[Planned], thread: int) -> np.ndarray:
        rows: list[list[int]] = []
        phase = 0
        for step in planned:
            if step.phase != phase and self.threads > 1:
                rows.append([0])
            phase = step.phase
            words = self._words(step, thread)
            if words:
                rows.append(words)
        if self.threads > 1:
            rows.append([0])
        width = max(map(len, rows))
        return np.array([words + [0] * (width - len(words)) for words in rows], np.int64)

    def _words(self, step: Planned, thread: int) -> list[int]:
        """A row's function and this thread's share of its operands; nothing if it has no share."""
        row, signature = step.row, step.row.kernel.signature  # type: ignore[attr-defined]
        letters = signature.operands | signature.results
        named = dict(zip(signature.operands, row.operands)) | dict(zip(signature.fresh, row.results))
        in_place = [name for name in signature.results if name in signature.operands]
        names = [*signature.fresh, *in_place, *signature.inputs]
        words = [_machine_function(row.name, tuple(_kind(named[name]) for name in names))]
        sizes = signature.sizes(row.operands)
        first, stop = _share(sizes.get(step.split, 1), thread, self.threads)
        if first == stop:
            return []
        for name in names:
            operand = named[name]
            if isinstance(operand, Symbol):
                array = self.arena.view(operand)
                if step.split in ("N", "P") and (letters[name][0] == step.split or name == "order"):
                    array = array[first:stop] if name != "order" else array[first:]
                words += [array.ctypes.data, *array.shape]
            elif name == step.split:
                words.append(stop - first)
            else:
                words.append(int(np.float64(operand).view(np.int64)) if _kind(operand) == "number" else int(operand))
        if row.name in COLUMNS:
            letter = COLUMNS[row.name]
            words += [first, stop] if step.split == letter else [0, sizes[letter]]
        return words


# In units of `work`, of which a core does about four in a nanosecond; a barrier costs 200 ns.
WORTH_THREADS = 60_000  # of a whole step
SMALLEST_SHARED = 10_000  # of a product


def _share(size: int, thread: int, threads: int) -> tuple[int, int]:
    """From where to where a thread's share of so many goes; whole vectors where there are many."""
    unit = 16 if size >= 32 * threads else 1
    bounds = [min(size, -(-size * t // (threads * unit)) * unit) for t in (thread, thread + 1)]
    return bounds[0], size if thread == threads - 1 else bounds[1]


def _kind(operand: Any) -> str:
    """What an operand is in a row: an array's dtype and number of axes, "number" or "size"."""
    if isinstance(operand, Symbol):
        return f"{operand.dtype.str[1:]}_{operand.ndim}"
    return "number" if isinstance(operand, (bool, float)) else "size"


@functools.cache
def _machine_function(name: str, kinds: tuple[str, ...]) -> int:
    """The address of a C function that unpacks a row of the table and calls the loop of this name.

    Written as text, since only its number of operands differs from kernel to kernel; it counts as part of this file, so
    that it is kept on disk as the loops are.
    """
    unpacked, word = [], 1
    for kind in kinds:
        if kind == "number":
            unpacked.append(f"carray(pointer(row + {8 * word}, np.float64), (1,))[0]")
            word += 1
        elif kind == "size":
            unpacked.append(f"words[{word}]")
            word += 1
        else:
            dtype, axes = kind.split("_")
            shape = ", ".join(f"words[{word + 1 + axis}]" for axis in range(int(axes)))
            unpacked.append(f"carray(pointer(words[{word}], np.{np.dtype(dtype).name}), ({shape},))")
            word += 1 + int(axes)
    function = f"replay_{name}_{'_'.join(kinds)}"
    if name in COLUMNS:
        unpacked += [f"words[{word}]", f"words[{word + 1}]"]
        word += 2
    text = f"def {function}(row):\n    words = carray(pointer(row, np.int64), ({word},))\n"
    text += f"    LOOPS_{name}({', '.join(unpacked)})\n"
    globals()[f"LOOPS_{name}"] = LOOPS[name]
    exec(compile(text, __file__, "exec"), globals())
    options: dict[str, Any] = {"error_model": "numpy", "fastmath": FAST_SUMS}
    signature = types.void(types.int64)
    try:
        made = cfunc(signature, cache=True, **options)(globals()[function])
    except RuntimeError:  # no folder can be written
        made = cfunc(signature, **options)(globals()[function])
    MADE.append(made)  # or the machine code would be freed
    return int(made.address or 0)


MADE: list[Any] = []


@intrinsic
def pointer(typing: Any, address: Any, dtype: Any) -> Any:
    """The address as a pointer to numbers of this dtype."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return types.CPointer(dtype.dtype)(address, dtype), generate


@intrinsic
def call(typing: Any, address: Any, row: Any) -> Any:
    """Call the C function at this address with the address of a row: 4 ns, where a list of functions costs 47."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        function = ir.FunctionType(ir.VoidType(), [ir.IntType(64)])
        builder.call(builder.inttoptr(arguments[0], function.as_pointer()), [arguments[1]])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


@intrinsic
def add_atomically(typing: Any, address: Any, value: Any) -> Any:
    """Add to the int64 at this address, seen by all threads at once; returns what was there before."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = builder.inttoptr(arguments[0], ir.IntType(64).as_pointer())
        return builder.atomic_rmw("add", pointer, arguments[1], "seq_cst")

    return types.int64(types.int64, types.int64), generate


CALLED_OFF = -(2**62)  # in a barrier: nobody else will come


@compiled
def replay(full, short, first, last, per_epoch, sums, history, thread, threads, barrier):
    met = 0
    gate = np.int64(barrier.ctypes.data)
    for step in range(first, last):
        end_of_epoch = (step + 1) % per_epoch == 0
        table = short if end_of_epoch and short.shape[0] > 0 else full
        row = np.int64(table.ctypes.data)
        for r in range(table.shape[0]):
            if table[r, 0] != 0:
                call(table[r, 0], row)  # type: ignore[call-arg]
            else:  # wait until all threads have come here as often as this one
                met += threads
                add_atomically(gate, 1)  # type: ignore[call-arg]
                spins = 0
                seen = add_atomically(gate, 0)
                while seen < met:
                    if seen < 0:
                        return step
                    seen = add_atomically(gate, 0)
                    spins += 1
                    if spins % 1000 == 0:
                        YIELD()
            row += table.strides[0]
        if not np.isfinite(sums[0]):
            return step
        if end_of_epoch and thread == 0:
            history[step // per_epoch] = sums
            sums[:] = 0
    return last

"""Loops: the reference's kernels again, as fused loops for the CPU, compiled by Numba.

The parameters of a loop are its results, then the operands that it writes in place, then those that it only reads, each
in the reference's order. A kernel without a loop here runs as the reference's formula. Every constant gets the arrays'
dtype: a bare 2.0 would turn a float32 loop into a float64 loop of half the speed.
"""

from __future__ import annotations

import math
from functools import partial

import numpy as np

from ..common.activations import GELU_SLOPE
from .compiling import ZERO, allocating, compiled, exactly, inside
from .functions import (
    cross_entropy_of,
    difference,
    exp_minus_one,
    exp_negative,
    exp_of,
    log_of,
    log_one_plus,
    mish_factor,
    normal_distribution,
    number_of,
    order_of,
    sigmoid_of,
    sine_of,
    tanh_of,
)
from .memory import address, flat, on_stack, place
from .products import product

MANY = 24  # numbers of a row from which on it is worth vectors

# ---- rows --------------------------------------------------------------------------------------------------------


def take_rows(y, x, order, position, N):
    start = position[0]
    columns = x.shape[1]
    for i in range(N):
        row = order[start + i]
        for j in range(columns):
            y[i, j] = x[row, j]


def read_rows(y, x, position, N):
    start = position[0]
    for i in range(N):
        for j in range(x.shape[1]):
            y[i, j] = x[start + i, j]


def write_rows(answer, y, position):
    start = position[0]
    for i in range(y.shape[0]):
        for j in range(y.shape[1]):
            answer[start + i, j] = y[i, j]


def finite_rows(zeros, x):
    total, zero = x.dtype.type(0), x.dtype.type(0)
    for number in flat(x):  # all rows at once, since one row may be shorter than a vector
        total += number * zero
    for i in range(zeros.size):
        zeros[i] = total
    if total != zero:
        for i in range(zeros.size):
            zeros[i] = zero
            for number in x[i]:
                zeros[i] += number * zero


def advance(position, N):
    position[0] += N


# ---- linear: threads divide these by columns -------------------------------------------------------------------------
# Each call computes the columns first … stop − 1 of y, dx, dW or db. So a thread updates the same columns of W that it
# reads in `linear`, and they stay in its core's cache. (Kernels with N rows can also be divided by the batch's rows.)


@partial(compiled, inlined=True)
def forward_product(y, x, W, start, apart, first, stop):
    """y ← x W + S, for the columns first … stop − 1. S begins at the address `start`, with `apart` bytes a row."""
    size, one = y.itemsize, y.dtype.type(1)
    rows, inner, columns = y.shape[0], x.shape[1], y.shape[1]
    to, row = address(y) + first * size, columns * size
    of_W = address(W) + first * size
    product(to, row, start, apart, address(x), inner * size, size, of_W, row, size, rows, inner, stop - first, one)


def linear(y, x, W, b, first, stop):
    if y.shape[1] > 1:
        forward_product(y, x, W, address(b) + first * b.itemsize, 0, first, stop)
        return
    for i in range(y.shape[0]):
        total = b[0]
        for k in range(x.shape[1]):
            total += x[i, k] * W[k, 0]
        y[i, 0] = total


def matmul(y, x, W, first, stop):
    forward_product(y, x, W, 0, 0, first, stop)


def linear_backward(dx, dy, W, first, stop):
    size, one = dx.itemsize, dx.dtype.type(1)
    rows, inner = dy.shape
    to, row, along = address(dx) + first * size, dx.shape[1] * size, inner * size
    of_W = address(W) + first * along
    product(to, row, 0, 0, address(dy), along, size, of_W, size, along, rows, inner, stop - first, one)


@partial(compiled, inlined=True)
def backward_product(c, start, dy, x, alpha, first, stop):
    """c ← alpha xᵀ dy + S, for the columns first … stop − 1. S begins at the address `start`."""
    size = c.itemsize
    rows, columns = c.shape
    to, row = address(c) + first * size, columns * size
    of_dy = address(dy) + first * size
    of_x, along, inner = address(x), rows * size, dy.shape[0]
    product(to, row, start, row, of_x, size, along, of_dy, row, size, rows, inner, stop - first, alpha)


def linear_backward_weights(dW, dy, x, first, stop):
    backward_product(dW, ZERO, dy, x, dW.dtype.type(1), first, stop)


def linear_backward_weights_sgd(W, dy, x, lr, first, stop):
    backward_product(W, address(W) + first * W.itemsize, dy, x, -lr[0], first, stop)


@partial(compiled, inlined=True)
def add_rows(b, start, dy, factor, alpha, first, stop):
    """b ← alpha factor Σₙ dyₙ + s, for the columns first … stop − 1. s begins at the address `start`.

    `factor` is the address of a number. Up to 64 rows are added in float32, and such sums are added in float64.
    """
    size = b.itemsize
    rows, row = dy.shape[0], dy.shape[1] * size
    to, of_dy = address(b) + first * size, address(dy) + first * size
    if rows <= 64:
        product(to, 0, start, 0, factor, 0, 0, of_dy, row, size, 1, rows, stop - first, alpha)
    else:
        add_many_rows(b, start != 0, of_dy, row, rows, factor, alpha, first, stop)


@partial(inside, allocates=True)
def add_many_rows(b, adding, of_dy, row, rows, factor, alpha, first, stop):
    size, total = b.itemsize, np.empty(stop - first, np.float64)
    to = address(b) + first * size
    for j in range(first, stop):
        total[j - first] = b[j] if adding else 0
    while rows > 0:
        some = min(rows, 64)
        product(to, 0, 0, 0, factor, 0, 0, of_dy, row, size, 1, some, stop - first, alpha)
        for j in range(first, stop):
            total[j - first] += b[j]
        rows, of_dy = rows - some, of_dy + some * row
    for j in range(first, stop):
        b[j] = total[j - first]


def linear_backward_bias(db, dy, first, stop):
    one = db.dtype.type(1)
    add_rows(db, ZERO, dy, place(one), one, first, stop)


def linear_backward_bias_sgd(b, dy, lr, first, stop):
    add_rows(b, address(b) + first * b.itemsize, dy, address(lr), b.dtype.type(-1), first, stop)


# ---- activations ------------------------------------------------------------------------------------------------
# Elementwise, on flat arrays: so a replay may let them run on to the end of a vector, if no other array lies there.


def sigmoid(y, x):
    for i in range(x.size):
        y[i] = sigmoid_of(x[i])


def sigmoid_backward(dx, dy, y):
    one = y.dtype.type(1)
    for i in range(y.size):
        dx[i] = dy[i] * y[i] * (one - y[i])


def tanh(y, x):
    for i in range(x.size):
        y[i] = tanh_of(x[i])


def tanh_backward(dx, dy, y):
    one = y.dtype.type(1)
    for i in range(y.size):
        dx[i] = dy[i] * (one - y[i] * y[i])


def tanh_offset(y, x):
    for i in range(x.size):
        y[i] = sigmoid_of(x[i] + x[i])


def tanh_offset_backward(dx, dy, y):
    one = y.dtype.type(1)
    for i in range(y.size):
        dx[i] = (dy[i] + dy[i]) * y[i] * (one - y[i])


def relu(y, x):
    zero = y.dtype.type(0)
    for i in range(x.size):
        y[i] = zero if x[i] < zero else x[i]  # written so that NaN stays NaN


def relu_backward(dx, dy, y):
    zero = y.dtype.type(0)
    for i in range(y.size):
        dx[i] = dy[i] if y[i] > zero else zero


def softplus(y, x):
    zero = y.dtype.type(0)
    for i in range(x.size):
        y[i] = (zero if x[i] < zero else x[i]) + log_one_plus(exp_negative(-abs(x[i])))


def softplus_backward(dx, dy, y):
    half, one = y.dtype.type(0.5), y.dtype.type(1)
    for i in range(y.size):  # 1 − e^−y = tanh(y/2) (1 + e^−y), without cancellation
        dx[i] = dy[i] * tanh_of(half * y[i]) * (one + exp_negative(-y[i]))


def leaky_relu(y, x, slope):
    zero, factor = x.dtype.type(0), x.dtype.type(slope)
    for i in range(x.size):
        y[i] = x[i] if x[i] > zero else factor * x[i]


def leaky_relu_backward(dx, dy, y, slope):
    zero, factor = y.dtype.type(0), y.dtype.type(slope)
    for i in range(y.size):
        dx[i] = dy[i] if y[i] > zero else factor * dy[i]


def prelu(y, x, slope):
    zero, factor = x.dtype.type(0), slope[0]
    to, of = flat(y), flat(x)
    for i in range(of.size):
        to[i] = of[i] if of[i] > zero else factor * of[i]


def prelu_backward(dx, dy, x, slope):
    zero, factor = x.dtype.type(0), slope[0]
    to, of_dy, of_x = flat(dx), flat(dy), flat(x)
    for i in range(of_x.size):
        to[i] = of_dy[i] if of_x[i] > zero else factor * of_dy[i]


def prelu_backward_slope(dslope, dy, x):
    zero, total = x.dtype.type(0), 0.0
    of_dy, of_x = flat(dy), flat(x)
    for i in range(of_x.size):
        total += np.float64(of_dy[i] * (zero if of_x[i] > zero else of_x[i]))
    dslope[0] = total


def elu(y, x, alpha, scale):
    zero, kept, factor = x.dtype.type(0), x.dtype.type(scale), x.dtype.type(scale * alpha)
    for i in range(x.size):
        y[i] = kept * x[i] if x[i] > zero else factor * exp_minus_one(zero if x[i] > zero else x[i])


def elu_backward(dx, dy, y, alpha, scale):
    zero, kept, factor = y.dtype.type(0), y.dtype.type(scale), y.dtype.type(scale * alpha)
    for i in range(y.size):
        dx[i] = dy[i] * (kept if y[i] > zero else y[i] + factor)


def gelu(y, x):
    for i in range(x.size):
        y[i] = x[i] * normal_distribution(x[i])


def gelu_backward(dx, dy, x):
    half, density = x.dtype.type(0.5), x.dtype.type(0.39894228040143267794)  # 1 / √(2π)
    for i in range(x.size):
        dx[i] = dy[i] * (normal_distribution(x[i]) + x[i] * density * exp_negative(-half * x[i] * x[i]))


def gelu_tanh(y, x):
    half, one, inside, cubic = x.dtype.type(0.5), x.dtype.type(1), x.dtype.type(GELU_SLOPE), x.dtype.type(0.044715)
    for i in range(x.size):
        y[i] = half * x[i] * (one + tanh_of(inside * x[i] * (one + cubic * x[i] * x[i])))


def gelu_tanh_backward(dx, dy, x):
    half, one, inside, cubic = x.dtype.type(0.5), x.dtype.type(1), x.dtype.type(GELU_SLOPE), x.dtype.type(0.044715)
    three = x.dtype.type(3)
    for i in range(x.size):
        square = cubic * x[i] * x[i]
        t = tanh_of(inside * x[i] * (one + square))
        dx[i] = half * dy[i] * (one + t + x[i] * (one - t * t) * inside * (one + three * square))


def silu(y, x):
    for i in range(x.size):
        y[i] = x[i] * sigmoid_of(x[i])


def silu_backward(dx, dy, x):
    one = x.dtype.type(1)
    for i in range(x.size):
        s = sigmoid_of(x[i])
        dx[i] = dy[i] * s * (one + x[i] * (one - s))


def mish(y, x):
    for i in range(x.size):
        y[i] = x[i] * mish_factor(x[i])


def mish_backward(dx, dy, x):
    one = x.dtype.type(1)
    for i in range(x.size):
        t = mish_factor(x[i])
        dx[i] = dy[i] * (t + x[i] * (one - t * t) * sigmoid_of(x[i]))


def softsign(y, x):
    one = x.dtype.type(1)
    for i in range(x.size):
        y[i] = x[i] / (one + abs(x[i]))


def softsign_backward(dx, dy, y):
    one = y.dtype.type(1)
    for i in range(y.size):
        dx[i] = dy[i] * (one - abs(y[i])) * (one - abs(y[i]))


def hard_sigmoid(y, x):
    zero, half, one, sixth = x.dtype.type(0), x.dtype.type(0.5), x.dtype.type(1), x.dtype.type(1 / 6)
    for i in range(x.size):
        z = sixth * x[i] + half
        y[i] = zero if z < zero else (one if z > one else z)


def hard_sigmoid_backward(dx, dy, y):
    zero, one, sixth = y.dtype.type(0), y.dtype.type(1), y.dtype.type(1 / 6)
    for i in range(y.size):
        dx[i] = sixth * dy[i] if (y[i] > zero) & (y[i] < one) else zero


def hard_tanh(y, x, low, high):
    least, most = x.dtype.type(low), x.dtype.type(high)
    for i in range(x.size):
        y[i] = least if x[i] < least else (most if x[i] > most else x[i])


def hard_tanh_backward(dx, dy, y, low, high):
    zero, least, most = y.dtype.type(0), y.dtype.type(low), y.dtype.type(high)
    for i in range(y.size):
        dx[i] = dy[i] if (y[i] > least) & (y[i] < most) else zero


def exponential(y, x):
    for i in range(x.size):
        y[i] = exp_of(x[i])


def exponential_backward(dx, dy, y):
    for i in range(y.size):
        dx[i] = dy[i] * y[i]


@partial(compiled, inlined=True)
def accurate_sine(y, x, frequency, quarters):
    """y ← sin(frequency · x + quarters · π/2).

    Vectors have digits enough as long as the number of turns is exact; the rare larger numbers take the slow way.
    """
    most = x.dtype.type(8e3 if x.itemsize == 4 else 1e8)
    largest = x.dtype.type(0)
    for i in range(x.size):
        z = frequency * x[i]
        largest = max(largest, abs(z))
        y[i] = sine_of(z, quarters)
    if not largest <= most:
        for i in range(x.size):
            z = frequency * x[i]
            y[i] = math.cos(z) if quarters == 1 else math.sin(z)


def sine(y, x, frequency):
    accurate_sine(y, x, x.dtype.type(frequency), 0)


def sine_backward(dx, dy, x, frequency):
    factor = x.dtype.type(frequency)
    accurate_sine(dx, x, factor, 1)
    for i in range(x.size):
        dx[i] *= factor * dy[i]


def scaled(y, x, factor, offset):
    a, b = x.dtype.type(factor), x.dtype.type(offset)
    for i in range(x.size):
        y[i] = a * x[i] + b


@inside
def exponentials(x):
    """x ← eˣ for all numbers of x, each ≤ 0."""
    x = flat(x)
    for i in range(x.size):
        x[i] = exp_negative(x[i])


@inside
def largest(x, i):
    """The largest number of row i of x (N,K), in a long row by vectors."""
    if x.shape[1] < MANY:
        highest = x[i, 0]
        for j in range(1, x.shape[1]):
            highest = max(highest, x[i, j])
        return highest
    most = order_of(x[i, 0])
    for j in range(1, x.shape[1]):
        most = max(most, order_of(x[i, j]))
    return number_of(most)


def softmax(y, x):
    rows, columns = x.shape
    for i in range(rows):
        highest = largest(x, i)
        for j in range(columns):
            y[i, j] = difference(x[i, j], highest)
    exponentials(y)
    for i in range(rows):
        total = x.dtype.type(0)
        for j in range(columns):
            total += y[i, j]
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


def log_softmax(y, x):
    rows, columns = x.shape
    for i in range(rows):
        highest = largest(x, i)
        for j in range(columns):
            y[i, j] = difference(x[i, j], highest)
    exponentials(y)
    for i in range(rows):
        highest, total = x[i, 0], x.dtype.type(0)
        for j in range(columns):
            highest = max(highest, x[i, j])
            total += y[i, j]
        log = math.log(total)
        for j in range(columns):
            y[i, j] = difference(difference(x[i, j], highest), log)


def log_softmax_backward(dx, dy, y):
    rows, columns = y.shape
    for i in range(rows):
        for j in range(columns):
            dx[i, j] = y[i, j]
    exponentials(dx)
    for i in range(rows):
        total = y.dtype.type(0)
        for j in range(columns):
            total += dy[i, j]
        for j in range(columns):
            dx[i, j] = dy[i, j] - dx[i, j] * total


# ---- dropout: a hash of its place in the batch decides whether a number is dropped -----------------------------------


@exactly
def hash32(x):
    x = np.uint32(np.uint32(x ^ (x >> np.uint32(16))) * np.uint32(0x21F0AAAD))
    x = np.uint32(np.uint32(x ^ (x >> np.uint32(15))) * np.uint32(0xD35A2D97))
    return np.uint32(x ^ (x >> np.uint32(15)))


def dropout(y, mask, x, draws, key, rate, first):
    rows, columns = x.shape
    seed = hash32(np.uint32(hash32(np.uint32(draws[0])) + np.uint32(key)))
    lowest, kept = np.uint32(rate * 2.0**32), x.dtype.type(1 / (1 - rate))
    for i in range(rows):
        start = np.uint32(seed + np.uint32((first + i) * columns))
        for j in range(columns):
            m = kept if hash32(np.uint32(start + np.uint32(j))) >= lowest else x.dtype.type(0)
            mask[i, j] = m
            y[i, j] = x[i, j] * m


def dropout_backward(dx, dy, mask):
    for i in range(dy.size):
        dx[i] = dy[i] * mask[i]


def gaussian_noise(y, x, draws, key, deviation, first):
    rows, columns = x.shape
    seed = hash32(np.uint32(hash32(np.uint32(draws[0])) + np.uint32(key)))
    middle, scale = x.dtype.type(6 * 65535), x.dtype.type(deviation / 65536)
    for i in range(rows):
        start = np.uint32(seed + np.uint32(6 * (first + i) * columns))
        for j in range(columns):
            total = np.uint32(0)
            for k in range(6):
                bits = hash32(np.uint32(start + np.uint32(6 * j + k)))
                total = np.uint32(total + np.uint32(bits >> np.uint32(16)) + np.uint32(bits & np.uint32(0xFFFF)))
            y[i, j] = x[i, j] + (x.dtype.type(np.int32(total)) - middle) * scale


# ---- a connection around layers -----------------------------------------------------------------------------------


def add(y, a, b):
    for i in range(y.size):
        y[i] = a[i] + b[i]


# ---- losses -----------------------------------------------------------------------------------------------------


@partial(compiled, inlined=True)
def squared_error(losses, dprediction, prediction, target, scale, fraction):
    """The mean of the squared errors of each row, divided by `fraction`, and scale · error / K as the gradient."""
    rows, columns = prediction.shape
    slope = prediction.dtype.type(scale / columns)
    for i in range(rows):
        total = prediction.dtype.type(0)
        for j in range(columns):
            error = prediction[i, j] - target[i, j]
            total += error * error
            dprediction[i, j] = slope * error
        losses[i] = total / prediction.dtype.type(fraction * columns)


def mse(losses, dprediction, prediction, target, scale):
    squared_error(losses, dprediction, prediction, target, 2 * scale, 1)


def half_mse(losses, dprediction, prediction, target, scale):
    squared_error(losses, dprediction, prediction, target, scale, 2)


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


# A row may be shorter than a vector. So what is the same for every number is computed for all rows at once.


def binary_cross_entropy(losses, dprediction, prediction, target, scale):
    slope = prediction.dtype.type(scale / prediction.shape[1])
    one, cut, least = prediction.dtype.type(1), prediction.dtype.type(-100), prediction.dtype.type(1e-12)
    d, predictions, targets = flat(dprediction), flat(prediction), flat(target)
    for i in range(d.size):
        p, t = predictions[i], targets[i]
        d[i] = -t * max(log_of(p), cut) - (one - t) * max(log_of(one - p), cut)
    mean_rows(losses, dprediction)
    for i in range(d.size):
        p, t = predictions[i], targets[i]
        d[i] = slope * (p - t) / max(p * (one - p), least)


def sigmoid_binary_cross_entropy(losses, dlogits, logits, target, scale):
    slope = logits.dtype.type(scale / logits.shape[1])
    d, z, t = flat(dlogits), flat(logits), flat(target)
    for i in range(d.size):
        d[i] = cross_entropy_of(z[i], t[i])
    mean_rows(losses, dlogits)
    for i in range(d.size):
        d[i] = slope * (sigmoid_of(z[i]) - t[i])


@inside
def mean_rows(means, x):
    rows, columns = x.shape
    for i in range(rows):
        total = x.dtype.type(0)
        for j in range(columns):
            total += x[i, j]
        means[i] = total / x.dtype.type(columns)


def categorical_cross_entropy(losses, dprediction, prediction, target, scale):
    rows, columns = prediction.shape
    slope = prediction.dtype.type(scale)
    least = np.finfo(prediction.dtype).tiny
    d, predictions, targets = flat(dprediction), flat(prediction), flat(target)
    for i in range(d.size):
        d[i] = log_of(max(predictions[i], least))
    for i in range(rows):
        total = prediction.dtype.type(0)
        for j in range(columns):
            total -= target[i, j] * dprediction[i, j] if target[i, j] != 0 else prediction.dtype.type(0)
        losses[i] = total
    for i in range(d.size):
        d[i] = -slope * targets[i] / max(predictions[i], least)


def softmax_cross_entropy(losses, dlogits, logits, target, scale):
    rows, columns = logits.shape
    slope = logits.dtype.type(scale)
    for i in range(rows):
        highest = largest(logits, i)
        loss = logits.dtype.type(0)
        for j in range(columns):
            z = difference(logits[i, j], highest)
            loss -= target[i, j] * z
            dlogits[i, j] = z
        losses[i] = loss
    exponentials(dlogits)  # all rows at once, since one row may be shorter than a vector
    for i in range(rows):
        total = logits.dtype.type(0)
        for j in range(columns):
            total += dlogits[i, j]
        share, targets = slope / total, logits.dtype.type(0)
        for j in range(columns):
            targets += target[i, j]
            dlogits[i, j] = share * dlogits[i, j] - slope * target[i, j]
        losses[i] += targets * math.log(total)


# The mean of a formula over the outputs: `value` is a function of p, t and further numbers, which returns the loss of
# one output and its slope. It is compiled into the loop, so that it costs no call.


@partial(compiled, inlined=True)
def mean_of_each(losses, gradient, prediction, target, scale, value, numbers):
    """ℓₙ ← 1/K Σₖ of the values, and the gradient scale / K times their slopes."""
    rows, columns = prediction.shape
    factor = prediction.dtype.type(scale / columns)
    for i in range(rows):
        total = prediction.dtype.type(0)
        for j in range(columns):
            loss, slope = value(prediction[i, j], target[i, j], numbers)
            total += loss
            gradient[i, j] = factor * slope
        losses[i] = total / prediction.dtype.type(columns)


@exactly
def huber_of(p, t, numbers):
    error, delta = p - t, type(p)(numbers[0])
    cut = delta if error > delta else (-delta if error < -delta else error)
    return cut * (error - type(p)(0.5) * cut), cut


def huber(losses, dprediction, prediction, target, scale, delta):
    mean_of_each(losses, dprediction, prediction, target, scale, huber_of, (delta,))


@exactly
def log_cosh_of(p, t, numbers):
    size = abs(p - t)
    return size + log_one_plus(exp_negative(-size - size)) - type(p)(0.69314718055994530942), tanh_of(p - t)


def log_cosh(losses, dprediction, prediction, target, scale):
    mean_of_each(losses, dprediction, prediction, target, scale, log_cosh_of, ())


@exactly
def quantile_of(p, t, numbers):
    error, q = p - t, type(p)(numbers[0])
    slope = type(p)(1) - q if error > 0 else (-q if error < 0 else error)
    return slope * error, slope


def quantile(losses, dprediction, prediction, target, scale, q):
    mean_of_each(losses, dprediction, prediction, target, scale, quantile_of, (q,))


@exactly
def hinge_of(p, t, numbers):
    zero = type(p)(0)
    margin = type(p)(1) - t * p
    return zero if margin < zero else margin, -t if margin > zero else zero


def hinge(losses, dprediction, prediction, target, scale):
    mean_of_each(losses, dprediction, prediction, target, scale, hinge_of, ())


@exactly
def squared_hinge_of(p, t, numbers):
    zero = type(p)(0)
    margin = type(p)(1) - t * p
    margin = zero if margin < zero else margin
    return margin * margin, -(t + t) * margin


def squared_hinge(losses, dprediction, prediction, target, scale):
    mean_of_each(losses, dprediction, prediction, target, scale, squared_hinge_of, ())


@exactly
def poisson_of(p, t, numbers):
    p += type(p)(1e-8)
    return p - type(p)(1e-8) - t * math.log(p), type(p)(1) - t / p


def poisson(losses, dprediction, prediction, target, scale):
    mean_of_each(losses, dprediction, prediction, target, scale, poisson_of, ())


@exactly
def exponential_poisson_of(z, t, numbers):
    rate = exp_of(z)
    return rate - t * z, rate - t


def exponential_poisson(losses, dlogits, logits, target, scale):
    mean_of_each(losses, dlogits, logits, target, scale, exponential_poisson_of, ())


@exactly
def focal_of(p, t, c, dc, numbers):
    """The focal loss and its slope, from the cross-entropy c and its derivative dc, both by what p is made of."""
    gamma, one, two = type(p)(numbers[0]), type(p)(1), type(p)(2)
    weight = type(p)(numbers[1]) * t + type(p)(numbers[2]) * (one - t)
    missed = max(p + t - two * p * t, type(p)(1e-12))
    return weight * missed**gamma * c, weight * missed**gamma, gamma * c * (one - two * t) / missed


@exactly
def binary_focal_of(p, t, numbers):
    one, cut = type(p)(1), type(p)(-100)
    c = -(t * max(math.log(p), cut) + (one - t) * max(math.log(one - p), cut))
    dc = (p - t) / max(p * (one - p), type(p)(1e-12))
    loss, power, slope = focal_of(p, t, c, dc, numbers)
    return loss, power * (dc + slope)


def binary_focal(losses, dprediction, prediction, target, scale, gamma, of_ones, of_zeros):
    mean_of_each(losses, dprediction, prediction, target, scale, binary_focal_of, (gamma, of_ones, of_zeros))


@exactly
def sigmoid_binary_focal_of(z, t, numbers):
    p, c = sigmoid_of(z), cross_entropy_of(z, t)
    loss, power, slope = focal_of(p, t, c, p - t, numbers)
    return loss, power * (p - t + slope * p * sigmoid_of(-z))


def sigmoid_binary_focal(losses, dlogits, logits, target, scale, gamma, of_ones, of_zeros):
    mean_of_each(losses, dlogits, logits, target, scale, sigmoid_binary_focal_of, (gamma, of_ones, of_zeros))


cross_entropy = inside(categorical_cross_entropy)
cross_entropy_of_logits = inside(softmax_cross_entropy)


@inside
def add_negative_entropy(losses, target):
    """ℓₙ ← ℓₙ + Σₖ t ln t."""
    for i in range(target.shape[0]):
        for t in target[i]:
            if t != 0:
                losses[i] += t * math.log(max(t, np.finfo(target.dtype).tiny))


def kl_divergence(losses, dprediction, prediction, target, scale):
    cross_entropy(losses, dprediction, prediction, target, scale)
    add_negative_entropy(losses, target)


def softmax_kl_divergence(losses, dlogits, logits, target, scale):
    cross_entropy_of_logits(losses, dlogits, logits, target, scale)
    add_negative_entropy(losses, target)


def categorical_focal(losses, dprediction, prediction, target, scale, gamma):
    rows, columns = prediction.shape
    factor, power, one = prediction.dtype.type(scale), prediction.dtype.type(gamma), prediction.dtype.type(1)
    for i in range(rows):
        total = prediction.dtype.type(0)
        for j in range(columns):
            p = max(prediction[i, j], np.finfo(prediction.dtype).tiny)
            q, log = max(one - p, prediction.dtype.type(1e-12)), math.log(p)
            weight = q**power * target[i, j]
            total -= weight * log
            dprediction[i, j] = factor * weight * (power * log / q - one / p)
        losses[i] = total


def softmax_categorical_focal(losses, dlogits, logits, target, scale, gamma):
    rows, columns = logits.shape
    factor, power, one = logits.dtype.type(scale), logits.dtype.type(gamma), logits.dtype.type(1)
    for i in range(rows):
        highest, sum_of_g = largest(logits, i), logits.dtype.type(0)
        total, loss = logits.dtype.type(0), logits.dtype.type(0)
        for j in range(columns):
            total += exp_negative(difference(logits[i, j], highest))
        for j in range(columns):
            log = difference(difference(logits[i, j], highest), math.log(total))
            p = exp_negative(log)
            q = max(one - p, logits.dtype.type(1e-12))
            weight = q**power * target[i, j]
            loss -= weight * log
            dlogits[i, j] = weight * (power * p * log / q - one)
            sum_of_g += dlogits[i, j]
        for j in range(columns):
            p = exp_negative(difference(difference(logits[i, j], highest), math.log(total)))
            dlogits[i, j] = factor * (dlogits[i, j] - p * sum_of_g)
        losses[i] = loss


def leave_out(known_prediction, known_target, known, prediction, target, no_prediction, no_target):
    rows, columns = target.shape
    other_p, other_t = target.dtype.type(no_prediction), target.dtype.type(no_target)
    for i in range(rows):
        count = target.dtype.type(0)
        for j in range(columns):
            there = target[i, j] == target[i, j]
            count += there
            known_prediction[i, j] = prediction[i, j] if there else other_p
            known_target[i, j] = target[i, j] if there else other_t
        known[i] = count / target.dtype.type(columns)


def count_known(count, known, mean):
    found = 0.0
    for share in known:
        found += np.float64(share)
    count[0] = found if mean and found > 0 else 1.0


def leave_out_backward(dprediction, dknown, target, count):
    rows, columns = target.shape
    factor, zero = target.dtype.type(1) / count[0], target.dtype.type(0)
    for i in range(rows):
        for j in range(columns):
            dprediction[i, j] = factor * dknown[i, j] if target[i, j] == target[i, j] else zero


def weigh(weighted, dprediction, losses, gradient, row_weights):
    rows, columns = gradient.shape
    for i in range(rows):
        weighted[i] = losses[i] * row_weights[i, 0]
        share = row_weights[i, 1]
        for j in range(columns):
            dprediction[i, j] = share * gradient[i, j]


# ---- sums over an epoch -----------------------------------------------------------------------------------------


BESIDE = 128  # outputs at once where sums go down the rows


def add_losses(total, losses):
    added = total[0]
    for i in range(losses.size):
        added += losses[i]
    total[0] = added


@inside
def place_of_largest(x, i):
    """The first column in which the largest number of row i of x (N,K) stands."""
    columns = x.shape[1]
    highest, found = largest(x, i), columns
    for j in range(columns):
        found = min(found, j if x[i, j] == highest else columns)
    return found


def add_hits(sums, prediction, target):
    rows, columns = prediction.shape
    hits, known = 0, 0
    for i in range(rows):
        there = target[i, 0] == target[i, 0]  # a target of NaN was not measured
        if columns >= MANY:
            found, expected = place_of_largest(prediction, i), place_of_largest(target, i)
        else:
            found, expected, highest, most = 0, 0, prediction[i, 0], target[i, 0]
            for j in range(1, columns):
                if prediction[i, j] > highest:
                    found, highest = j, prediction[i, j]
                if target[i, j] > most:
                    expected, most = j, target[i, j]
        hits += there & (found == expected)
        known += there
    sums[0] += hits
    sums[1] += known


def add_sides(sums, prediction, target):
    half, zero = prediction.dtype.type(0.5), prediction.dtype.type(0)
    of_half, of_zero, below, known = 0, 0, 0, 0
    predictions, targets = flat(prediction), flat(target)
    for i in range(targets.size):
        p, t = predictions[i], targets[i]
        there = t == t
        of_half += there & ((p > half) == (t > half))
        of_zero += there & ((p > zero) == (t > zero))
        below += t < zero
        known += there
    sums[0] += of_half
    sums[1] += of_zero
    sums[2] += below
    sums[3] += known


def add_confusions(sums, prediction, target, classes):
    rows, columns = prediction.shape
    half, zero, known = prediction.dtype.type(0.5), prediction.dtype.type(0), 0
    for i in range(rows):
        if classes != 0:
            if target[i, 0] != target[i, 0]:
                continue
            found, expected, highest, largest = 0, 0, prediction[i, 0], target[i, 0]
            for j in range(1, columns):
                if prediction[i, j] > highest:
                    found, highest = j, prediction[i, j]
                if target[i, j] > largest:
                    expected, largest = j, target[i, j]
            known += 1
            sums[0, found] += found == expected
            sums[1, found] += found == expected
            sums[2, found] += 1
            sums[3, found] += 1
            sums[4, expected] += 1
        else:
            for j in range(columns):
                p, t = prediction[i, j], target[i, j]
                there, true = t == t, t > half
                sums[0, j] += true & (p > half)
                sums[1, j] += true & (p > zero)
                sums[2, j] += there & (p > half)
                sums[3, j] += there & (p > zero)
                sums[4, j] += true
                sums[5, j] += t < zero
                sums[6, j] += there
    for j in range(columns):
        sums[6, j] += known


def add_absolute_errors(sums, prediction, target):
    total, known = 0.0, 0
    predictions, targets = flat(prediction), flat(target)
    for i in range(targets.size):
        there = targets[i] == targets[i]
        total += np.float64(abs(predictions[i] - targets[i]) if there else target.dtype.type(0))
        known += there
    sums[0] += total
    sums[1] += known


def add_squared_errors(sums, prediction, target):
    total, known = 0.0, 0
    predictions, targets = flat(prediction), flat(target)
    for i in range(targets.size):
        there = targets[i] == targets[i]
        error = np.float64(predictions[i] - targets[i] if there else target.dtype.type(0))
        total += error * error
        known += there
    sums[0] += total
    sums[1] += known


@inside
def first_known(target, j):
    for t in target[:, j]:
        if t == t:
            return np.float64(t)
    return 0.0


@inside
def add_spread(sums, j, errors, total, squares, known):
    """Add the sums of a batch to those of output j."""
    count = sums[4, j] + known
    sums[0, j] += errors
    sums[2, j] += total / max(count, 1.0)
    sums[3, j] += squares - total * total / max(count, 1.0)
    sums[4, j] = count


@exactly
def from_mean(t, first, mean):
    return np.float64(t) - first - mean


def add_spreads(sums, prediction, target):
    rows, columns = prediction.shape
    for j in range(columns):
        if sums[4, j] == 0:
            sums[1, j] = first_known(target, j)
    if columns >= MANY:
        add_spreads_of_many(sums, prediction, target)
        return
    for j in range(columns):
        first, mean, known = sums[1, j], sums[2, j], 0
        errors, total, squares = 0.0, 0.0, 0.0
        for i in range(rows):
            there = target[i, j] == target[i, j]
            error = np.float64(target[i, j] - prediction[i, j]) if there else 0.0
            d = from_mean(target[i, j], first, mean) if there else 0.0
            errors += error * error
            total += d
            squares += d * d
            known += there
        add_spread(sums, j, errors, total, squares, known)


@inside
def add_spreads_of_many(sums, prediction, target):
    """The same, row by row, for BESIDE outputs at once."""
    zero = 0.0
    first, mean, known = on_stack(zero, BESIDE), on_stack(zero, BESIDE), on_stack(zero, BESIDE)
    errors, total, squares = on_stack(zero, BESIDE), on_stack(zero, BESIDE), on_stack(zero, BESIDE)
    for start in range(0, prediction.shape[1], BESIDE):
        some = min(BESIDE, prediction.shape[1] - start)
        for j in range(some):
            first[j], mean[j] = sums[1, start + j], sums[2, start + j]
            errors[j] = total[j] = squares[j] = known[j] = 0
        for i in range(prediction.shape[0]):
            p, t = prediction[i, start : start + some], target[i, start : start + some]
            for j in range(some):
                there = t[j] == t[j]
                error = np.float64(t[j] - p[j]) if there else zero
                d = from_mean(t[j], first[j], mean[j]) if there else zero
                errors[j] += error * error
                total[j] += d
                squares[j] += d * d
                known[j] += there
        for j in range(some):
            add_spread(sums, start + j, errors[j], total[j], squares[j], known[j])


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


# ---- normalization: threads divide sums over a batch by columns ----------------------------------------------------


def scale_shift(y, x, gamma, beta):
    rows, columns = x.shape
    for i in range(rows):
        for j in range(columns):
            y[i, j] = x[i, j] * gamma[j] + beta[j]


def scale_shift_backward(dx, products, dy, x, gamma):
    rows, columns = x.shape
    for i in range(rows):
        for j in range(columns):
            dx[i, j] = dy[i, j] * gamma[j]
            products[i, j] = dy[i, j] * x[i, j]


@allocating
def batch_moments(mean, variance, inverse, x, epsilon, first, stop):
    rows = x.shape[0]
    total = np.empty(stop - first, np.float64)
    for j in range(first, stop):
        total[j - first] = 0
    for i in range(rows):
        for j in range(first, stop):
            total[j - first] += x[i, j]
    for j in range(first, stop):
        mean[j] = total[j - first] / rows
        total[j - first] = 0
    for i in range(rows):
        for j in range(first, stop):
            d = difference(x[i, j], mean[j])
            total[j - first] += d * d
    for j in range(first, stop):
        variance[j] = total[j - first] / rows
        inverse[j] = 1 / math.sqrt(total[j - first] / rows + epsilon)


def inverse_deviation(inverse, running_variance, epsilon):
    for i in range(inverse.size):
        inverse[i] = 1 / math.sqrt(running_variance[i] + inverse.dtype.type(epsilon))


def follow_moments(running_mean, running_variance, mean, variance, momentum, unbiased):
    for i in range(mean.size):
        running_mean[i] += momentum * (mean[i] - running_mean[i])
        running_variance[i] += momentum * (unbiased * variance[i] - running_variance[i])


def batch_norm(y, x, mean, inverse):
    rows, columns = x.shape
    for i in range(rows):
        for j in range(columns):
            y[i, j] = difference(x[i, j], mean[j]) * inverse[j]


@allocating
def batch_norm_means(mean_dy, mean_product, dy, y, share, first, stop):
    rows, apart = y.shape[0], stop - first
    sums = np.empty((2, apart), np.float64)
    for j in range(apart):
        sums[0, j] = sums[1, j] = 0
    for i in range(rows):
        for j in range(apart):
            sums[0, j] += dy[i, first + j]
            sums[1, j] += dy[i, first + j] * y[i, first + j]
    for j in range(apart):
        mean_dy[first + j], mean_product[first + j] = share * sums[0, j], share * sums[1, j]


def batch_norm_backward(dx, dy, y, inverse, mean_dy, mean_product):
    rows, columns = y.shape
    for i in range(rows):
        for j in range(columns):
            dx[i, j] = inverse[j] * (dy[i, j] - mean_dy[j] - y[i, j] * mean_product[j])


def layer_norm(y, inverse, x, epsilon):
    rows, columns = x.shape
    for i in range(rows):
        total, squares = x.dtype.type(0), x.dtype.type(0)
        for j in range(columns):
            total += x[i, j]
        mean = total / x.dtype.type(columns)
        for j in range(columns):
            d = difference(x[i, j], mean)
            y[i, j] = d
            squares += d * d
        scale = x.dtype.type(1) / math.sqrt(squares / x.dtype.type(columns) + x.dtype.type(epsilon))
        inverse[i] = scale
        for j in range(columns):
            y[i, j] *= scale


def layer_norm_backward(dx, dy, y, inverse):
    rows, columns = y.shape
    share = y.dtype.type(1 / columns)
    for i in range(rows):
        total, along = y.dtype.type(0), y.dtype.type(0)
        for j in range(columns):
            total += dy[i, j]
            along += dy[i, j] * y[i, j]
        total, along = total * share, along * share
        for j in range(columns):
            dx[i, j] = inverse[i] * (dy[i, j] - total - y[i, j] * along)


# ---- what all optimizers share: limits, decay, averages, and rates of a schedule -------------------------------------


def clip_values(dw, most):
    limit = dw.dtype.type(most)
    for i in range(dw.size):
        dw[i] = -limit if dw[i] < -limit else limit if dw[i] > limit else dw[i]


def clip_norm(dw, most):
    total = 0.0
    for i in range(dw.size):
        number = np.float64(dw[i])
        total += number * number
    factor = most / (math.sqrt(total) + 1e-6)
    if not factor >= 1:  # written so that NaN goes on
        for i in range(dw.size):
            dw[i] *= dw.dtype.type(factor)


def add_l1(dw, w, decay):
    rate = w.dtype.type(decay)
    for i in range(w.size):
        dw[i] += rate * np.sign(w[i])


def shrink(w, lr, decay):
    rest = w.dtype.type(1 - lr[0] * decay)
    for i in range(w.size):
        w[i] *= rest


def remember(before, w):
    for i in range(w.size):
        before[i] = w[i]


def scale_move(w, before, factors):
    for i in range(w.size):
        w[i] = before[i] + factors[i] * difference(w[i], before[i])


@allocating
def limit_norms(W, most, first, stop):
    rows = W.shape[0]
    lengths = np.zeros(stop - first, np.float64)
    for i in range(rows):
        for j in range(first, stop):
            number = np.float64(W[i, j])
            lengths[j - first] += number * number
    for j in range(first, stop):
        length = math.sqrt(lengths[j - first])
        lengths[j - first] = most / length if length > most else 1.0
    for i in range(rows):
        for j in range(first, stop):
            W[i, j] *= W.dtype.type(lengths[j - first])


def average_weights(averages, w, steps, decay):
    new = w.dtype.type(1 - decay if steps[0] > 1 else 1.0)
    for i in range(w.size):
        averages[i] += new * difference(w[i], averages[i])


def take_rate(clock, rate, rates):
    rate[0] = rates[clock[0] - clock[1]]
    clock[0] += 1


# ---- the rules of other optimizers -----------------------------------------------------------------------------------


@inside
def unbias(beta, t):
    return -math.expm1(t * math.log(beta)) if beta > 0 else 1.0


def amsgrad_step(w, m, v, highest, dw, scales, beta1, beta2, epsilon):
    new1, new2, least = w.dtype.type(1 - beta1), w.dtype.type(1 - beta2), w.dtype.type(epsilon)
    for i in range(w.size):
        m[i] += new1 * (dw[i] - m[i])
        v[i] += new2 * (dw[i] * dw[i] - v[i])
        highest[i] = v[i] if not v[i] <= highest[i] else highest[i]  # NaN goes on
        w[i] -= scales[0] * m[i] / (math.sqrt(highest[i]) * scales[1] + least)


def adam_scales(scales, steps, lr, beta1, beta2):
    t = np.float64(steps[0])
    scales[0] = lr[0] / unbias(beta1, t)
    scales[1] = 1 / math.sqrt(unbias(beta2, t))


def nadam_step(w, m, v, dw, scales, beta1, beta2, epsilon):
    new1, new2, least = w.dtype.type(1 - beta1), w.dtype.type(1 - beta2), w.dtype.type(epsilon)
    for i in range(w.size):
        m[i] += new1 * (dw[i] - m[i])
        v[i] += new2 * (dw[i] * dw[i] - v[i])
        w[i] -= (scales[0] * dw[i] + scales[1] * m[i]) / (math.sqrt(v[i]) * scales[2] + least)


def nadam_scales(scales, product, steps, lr, beta1, beta2, growth):
    t = np.float64(steps[0])
    now = beta1 * (1 - 0.5 * math.exp(t * growth * math.log(0.96)))
    soon = beta1 * (1 - 0.5 * math.exp((t + 1) * growth * math.log(0.96)))
    total = (1 + np.float64(product[0])) * now
    product[0] = total - 1
    scales[0] = lr[0] * (1 - now) / (1 - total)
    scales[1] = lr[0] * soon / (1 - total * soon)
    scales[2] = 1 / math.sqrt(unbias(beta2, t))


def radam_step(w, m, v, dw, steps, lr, beta1, beta2, epsilon):
    new1, new2, least = w.dtype.type(1 - beta1), w.dtype.type(1 - beta2), w.dtype.type(epsilon)
    t = np.float64(steps[0])
    rest, longest = unbias(beta2, t), 2 / (1 - beta2) - 1
    length = longest - 2 * t * (1 - rest) / rest
    rate, scale = w.dtype.type(lr[0] / unbias(beta1, t)), w.dtype.type(0)
    if length > 5:
        q = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
        scale = w.dtype.type(math.sqrt(q * rest))
    for i in range(w.size):
        m[i] += new1 * (dw[i] - m[i])
        v[i] += new2 * (dw[i] * dw[i] - v[i])
        w[i] -= rate * m[i] * (scale / (math.sqrt(v[i]) + least)) if length > 5 else rate * m[i]


def adamax_step(w, m, u, dw, steps, lr, beta1, beta2, epsilon):
    new, keep, least = w.dtype.type(1 - beta1), w.dtype.type(beta2), w.dtype.type(epsilon)
    rate = w.dtype.type(lr[0] / unbias(beta1, np.float64(steps[0])))
    for i in range(w.size):
        m[i] += new * (dw[i] - m[i])
        now, before = abs(dw[i]) + least, keep * u[i]
        u[i] = before if now <= before else now
        w[i] -= rate * m[i] / u[i]


def adagrad_step(w, v, dw, lr, epsilon):
    rate, least = lr[0], w.dtype.type(epsilon)
    for i in range(w.size):
        v[i] += dw[i] * dw[i]
        w[i] -= rate * dw[i] / (math.sqrt(v[i]) + least)


def adadelta_step(w, v, u, dw, lr, rho, epsilon):
    rate, new, least = lr[0], w.dtype.type(1 - rho), w.dtype.type(epsilon)
    for i in range(w.size):
        v[i] += new * (dw[i] * dw[i] - v[i])
        move = dw[i] * math.sqrt(u[i] + least) / math.sqrt(v[i] + least)
        u[i] += new * (move * move - u[i])
        w[i] -= rate * move


def rmsprop_scale(dw, v, rho, epsilon):
    new, least = dw.dtype.type(1 - rho), dw.dtype.type(epsilon)
    for i in range(dw.size):
        v[i] += new * (dw[i] * dw[i] - v[i])
        dw[i] /= math.sqrt(v[i]) + least


def rmsprop_center(dw, v, m, rho, epsilon):
    new, least, zero = dw.dtype.type(1 - rho), dw.dtype.type(epsilon), dw.dtype.type(0)
    for i in range(dw.size):
        v[i] += new * (dw[i] * dw[i] - v[i])
        m[i] += new * (dw[i] - m[i])
        spread = v[i] - m[i] * m[i]
        dw[i] /= math.sqrt(zero if spread < zero else spread) + least


def lion_step(w, m, dw, lr, beta1, beta2):
    keep, part, new = w.dtype.type(beta1), w.dtype.type(1 - beta1), w.dtype.type(1 - beta2)
    for i in range(w.size):
        w[i] -= lr[0] * np.sign(keep * m[i] + part * dw[i])
        m[i] += new * (dw[i] - m[i])


def rprop_step(w, last, size, dw, lr, shorter, longer, least, most):
    less, more = w.dtype.type(shorter), w.dtype.type(longer)
    low, high, zero, one = w.dtype.type(least), w.dtype.type(most), w.dtype.type(0), w.dtype.type(1)
    for i in range(w.size):
        both = dw[i] * last[i]
        length = size[i] if size[i] > zero else lr[0]
        length *= less if both < zero else more if both > zero else one
        length = low if length < low else high if length > high else length
        g = zero if both < zero else dw[i]
        size[i], last[i] = length, g
        w[i] -= length * np.sign(g)

"""Loops of activations, each forward beside its backward."""

from __future__ import annotations

import math
from functools import partial

import numpy as np

from ...common.activations import GELU_SLOPE
from ..compiling import compiled, inside
from ..functions import (
    difference,
    exp_minus_one,
    exp_negative,
    exp_of,
    log_one_plus,
    mish_factor,
    normal_distribution,
    number_of,
    order_of,
    sigmoid_of,
    sine_of,
    tanh_of,
)
from ..memory import flat

MANY = 24  # numbers of a row from which on it is worth vectors


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
    three, most = x.dtype.type(3), x.dtype.type(100)  # far below it, tanh is 1: x · 0 · x² may be 0 · ∞ if reordered
    for i in range(x.size):
        z = most if x[i] > most else (-most if x[i] < -most else x[i])
        square = cubic * z * z
        t = tanh_of(inside * z * (one + square))
        dx[i] = half * dy[i] * (one + t + z * (one - t * t) * inside * (one + three * square))


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
    three = x.dtype.type(3)
    for i in range(x.size):
        z = sixth * x[i] + half  # rounded once, and so not 0 at −3
        y[i] = zero if x[i] <= -three else (one if x[i] >= three else z)


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
    highest = order_of(x.dtype.type(0))
    for i in range(x.size):
        z = frequency * x[i]
        highest = max(highest, order_of(abs(z)))  # NaN comes last in this order
        y[i] = sine_of(z, quarters)
    if not number_of(highest) <= most:
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
        highest, total = largest(x, i), x.dtype.type(0)
        for j in range(columns):
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

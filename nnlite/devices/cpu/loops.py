"""Loops: the reference's kernels again, as fused loops for the CPU, compiled by Numba.

The parameters of a loop are its results, then the operands that it writes in place, then those that it only reads, each
in the reference's order. A kernel without a loop here runs as the reference's formula. Every constant gets the arrays'
dtype: a bare 2.0 would turn a float32 loop into a float64 loop of half the speed.
"""

from __future__ import annotations

import math
from functools import partial

import numpy as np

from .compiling import ZERO, compiled, exactly
from .functions import cross_entropy_of, difference, exp_negative, log_of, log_one_plus, sigmoid_of, tanh_of
from .memory import address, flat, place
from .products import product

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


@compiled
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


@compiled
def exponentials(x):
    """x ← eˣ for all numbers of x, each ≤ 0."""
    x = flat(x)
    for i in range(x.size):
        x[i] = exp_negative(x[i])


def softmax(y, x):
    rows, columns = x.shape
    for i in range(rows):
        highest = x[i, 0]
        for j in range(1, columns):
            highest = max(highest, x[i, j])
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


# ---- dropout: it gets the number of its first row, since the mask depends on the place in the batch ------------------


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


@compiled
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
        highest = logits[i, 0]
        for j in range(1, columns):
            highest = max(highest, logits[i, j])
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


# ---- sums over an epoch -----------------------------------------------------------------------------------------


def add_losses(total, losses):
    added = total[0]
    for i in range(losses.size):
        added += losses[i]
    total[0] = added


def add_hits(sums, prediction, target):
    rows, columns = prediction.shape
    hits = 0
    for i in range(rows):
        found, expected, highest, largest = 0, 0, prediction[i, 0], target[i, 0]
        for j in range(1, columns):
            if prediction[i, j] > highest:
                found, highest = j, prediction[i, j]
            if target[i, j] > largest:
                expected, largest = j, target[i, j]
        hits += found == expected
    sums[0] += hits
    sums[1] += rows


def add_sides(sums, prediction, target):
    rows, columns = prediction.shape
    half, zero = prediction.dtype.type(0.5), prediction.dtype.type(0)
    of_half, of_zero, below = 0, 0, 0
    for i in range(rows):
        for j in range(columns):
            p, t = prediction[i, j], target[i, j]
            of_half += (p > half) == (t > half)
            of_zero += (p > zero) == (t > zero)
            below += t < zero
    sums[0] += of_half
    sums[1] += of_zero
    sums[2] += below
    sums[3] += rows * columns


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
            error = np.float64(prediction[i, j] - target[i, j])
            sums[0] += error * error
    sums[1] += rows * columns


def add_spreads(sums, prediction, target):
    rows, columns = prediction.shape
    for j in range(columns):
        if sums[4, j] == 0:
            sums[1, j] = target[0, j]
        first, mean, count = sums[1, j], sums[2, j], sums[4, j] + rows
        errors, total, squares = 0.0, 0.0, 0.0
        for i in range(rows):
            error = np.float64(target[i, j] - prediction[i, j])
            d = difference(difference(np.float64(target[i, j]), first), mean)
            errors += error * error
            total += d
            squares += d * d
        sums[0, j] += errors
        sums[2, j] = mean + total / count
        sums[3, j] += squares - total * total / count
        sums[4, j] = count


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

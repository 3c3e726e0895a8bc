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
from .functions import cross_entropy_of, difference, exp_negative, log_one_plus, sigmoid_of, tanh_of
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
    product(
        to, row, start, apart, address(x), inner * size, size, of_W, row, size, rows, inner, stop - first, one, size
    )


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
    product(to, row, 0, 0, address(dy), along, size, of_W, size, along, rows, inner, stop - first, one, size)


@partial(compiled, inlined=True)
def backward_product(c, start, dy, x, alpha, first, stop):
    """c ← alpha xᵀ dy + S, for the columns first … stop − 1. S begins at the address `start`."""
    size = c.itemsize
    rows, columns = c.shape
    to, row = address(c) + first * size, columns * size
    of_dy = address(dy) + first * size
    of_x, along, inner = address(x), rows * size, dy.shape[0]
    product(to, row, start, row, of_x, size, along, of_dy, row, size, rows, inner, stop - first, alpha, size)


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
        product(to, 0, start, 0, factor, 0, 0, of_dy, row, size, 1, rows, stop - first, alpha, size)
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
        product(to, 0, 0, 0, factor, 0, 0, of_dy, row, size, 1, some, stop - first, alpha, size)
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
        found, expected = 0, 0
        for j in range(1, columns):
            found = j if prediction[i, j] > prediction[i, found] else found
            expected = j if target[i, j] > target[i, expected] else expected
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


@compiled
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

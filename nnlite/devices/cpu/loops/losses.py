"""Loops of losses: ℓ and its gradient in one pass over the outputs."""

from __future__ import annotations

import math
from functools import partial

import numpy as np

from ..compiling import compiled, exactly, inside
from ..functions import (
    cross_entropy_of,
    difference,
    exp_negative,
    exp_of,
    log_of,
    log_one_plus,
    power_of,
    sigmoid_of,
    tanh_of,
)
from ..memory import flat
from .activations import exponentials, largest


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
    size, slope, half = abs(p - t), tanh_of(p - t), type(p)(0.5)
    near = size < half
    log = log_one_plus(-slope * slope if near else exp_negative(-size - size))
    return -half * log if near else size + log - type(p)(0.69314718055994530942), slope


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
    return p - type(p)(1e-8) - t * log_of(p), type(p)(1) - t / p


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
    power = weight * power_of(missed, gamma)
    return power * c, power, gamma * c * (one - two * t) / missed


@exactly
def binary_focal_of(p, t, numbers):
    one, cut = type(p)(1), type(p)(-100)
    c = -(t * max(log_of(p), cut) + (one - t) * max(log_of(one - p), cut))
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
            q, log = max(one - p, prediction.dtype.type(1e-12)), log_of(p)
            weight = power_of(q, power) * target[i, j]
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
        log_of_total = math.log(total)
        for j in range(columns):
            log = difference(difference(logits[i, j], highest), log_of_total)
            p = exp_negative(log)
            q = max(one - p, logits.dtype.type(1e-12))
            weight = power_of(q, power) * target[i, j]
            loss -= weight * log
            dlogits[i, j] = weight * (power * p * log / q - one)
            sum_of_g += dlogits[i, j]
        for j in range(columns):
            p = exp_negative(difference(difference(logits[i, j], highest), log_of_total))
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
    zero = gradient.dtype.type(0)
    for i in range(rows):
        weight, share = row_weights[i, 0], row_weights[i, 1]
        weighted[i] = zero if weight == 0 else losses[i] * weight
        for j in range(columns):
            dprediction[i, j] = zero if share == 0 else share * gradient[i, j]

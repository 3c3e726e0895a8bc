"""Loops of optimizers: what they share, and the rule of each."""

from __future__ import annotations

import math

import numpy as np

from ..compiling import allocating, inside
from ..functions import difference

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
    rows, columns = W.shape[0], stop - first
    factors = np.zeros(columns, np.float64)
    for i in range(rows):
        row = W[i, first:stop]  # (columns,)
        for j in range(columns):
            number = np.float64(row[j])
            factors[j] += number * number
    for j in range(columns):
        length = math.sqrt(factors[j])
        factors[j] = most / length if length > most else 1.0
    for i in range(rows):
        row = W[i, first:stop]
        for j in range(columns):
            row[j] *= W.dtype.type(factors[j])


def average_weights(averages, w, steps, decay):
    new = w.dtype.type(1 - decay if steps[0] > 1 else 1.0)
    for i in range(w.size):
        averages[i] += new * difference(w[i], averages[i])


def take_rate(clock, rate, rates):
    rate[0] = rates[clock[0] - clock[1]]
    clock[0] += 1


# ---- optimizers ------------------------------------------------------------------------------------------------------


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
        move = dw[i] * math.sqrt((u[i] + least) / (v[i] + least))  # … / √v would become NaN for an infinite v
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

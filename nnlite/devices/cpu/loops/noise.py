"""Loops that draw random numbers: each is a hash of the place in the batch at which it is used."""

from __future__ import annotations

import numpy as np

from ..compiling import exactly


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

"""Loops of Dense layers, whose columns threads divide, and of a connection around layers."""

from __future__ import annotations

from functools import partial

from ..compiling import ZERO, compiled, inside
from ..memory import address, on_stack, place
from ..products import product, smaller

TOGETHER = 64  # rows of a sum in float32
BESIDE = 512  # columns whose sums are kept in float64 at once

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

    `factor` is the address of a number. A few rows TOGETHER are added in float32, and such sums are added in float64.
    """
    size = b.itemsize
    rows, row = dy.shape[0], dy.shape[1] * size
    to, of_dy = address(b) + first * size, address(dy) + first * size
    if rows <= TOGETHER:
        product(to, 0, start, 0, factor, 0, 0, of_dy, row, size, 1, rows, stop - first, alpha)
    else:
        add_many_rows(b, start != 0, of_dy, row, rows, factor, alpha, first, stop)


@inside
def add_many_rows(b, adding, of_dy, row, rows, factor, alpha, first, stop):
    size, total = b.itemsize, on_stack(0.0, BESIDE)
    for start in range(first, stop, BESIDE):
        columns, to = smaller(BESIDE, stop - start), address(b) + start * size
        for j in range(columns):
            total[j] = b[start + j] if adding else 0
        for i in range(0, rows, TOGETHER):
            of_rows = of_dy + i * row + (start - first) * size
            product(to, 0, 0, 0, factor, 0, 0, of_rows, row, size, 1, smaller(TOGETHER, rows - i), columns, alpha)
            for j in range(columns):
                total[j] += b[start + j]
        for j in range(columns):
            b[start + j] = total[j]


def linear_backward_bias(db, dy, first, stop):
    one = db.dtype.type(1)
    add_rows(db, ZERO, dy, place(one), one, first, stop)


def linear_backward_bias_sgd(b, dy, lr, first, stop):
    add_rows(b, address(b) + first * b.itemsize, dy, address(lr), b.dtype.type(-1), first, stop)


def add(y, a, b):
    for i in range(y.size):
        y[i] = a[i] + b[i]

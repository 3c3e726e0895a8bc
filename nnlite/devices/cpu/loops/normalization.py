"""Loops that bring columns or rows to mean 0 and variance 1; threads divide sums over a batch by columns."""

from __future__ import annotations

import math

import numpy as np

from ..compiling import allocating
from ..functions import difference


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
    rows, columns = x.shape[0], stop - first
    means, variances, inverses = mean[first:stop], variance[first:stop], inverse[first:stop]  # (columns,)
    total = np.zeros(columns, np.float64)
    for i in range(rows):
        row = x[i, first:stop]  # (columns,)
        for j in range(columns):
            total[j] += row[j]
    for j in range(columns):
        means[j] = total[j] / rows
        total[j] = 0
    for i in range(rows):
        row = x[i, first:stop]
        for j in range(columns):
            d = difference(row[j], means[j])
            total[j] += d * d
    for j in range(columns):
        variances[j] = total[j] / rows
        inverses[j] = 1 / math.sqrt(total[j] / rows + epsilon)


def inverse_deviation(inverse, running_variance, epsilon):
    one = inverse.dtype.type(1)
    for i in range(inverse.size):
        inverse[i] = math.sqrt(one / (running_variance[i] + inverse.dtype.type(epsilon)))  # see layer_norm


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
    rows, columns = y.shape[0], stop - first
    means, means_of_products = mean_dy[first:stop], mean_product[first:stop]  # (columns,)
    total, products = np.zeros(columns, np.float64), np.zeros(columns, np.float64)
    for i in range(rows):
        dy_row, y_row = dy[i, first:stop], y[i, first:stop]  # (columns,)
        for j in range(columns):
            total[j] += dy_row[j]
            products[j] += dy_row[j] * y_row[j]
    for j in range(columns):
        means[j], means_of_products[j] = share * total[j], share * products[j]


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
        # Not 1 / √…, which becomes an instruction that makes NaN of infinity, as squares are from 2e19 on in float32.
        scale = math.sqrt(x.dtype.type(1) / (squares / x.dtype.type(columns) + x.dtype.type(epsilon)))
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

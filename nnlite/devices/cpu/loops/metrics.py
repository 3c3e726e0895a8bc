"""Loops that add up over an epoch what the loss and the metrics count."""

from __future__ import annotations

import numpy as np

from ..compiling import exactly, inside
from ..memory import flat, on_stack
from .activations import MANY, largest

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
        else:  # both in one loop: two loops took a fifth longer for 10 columns
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

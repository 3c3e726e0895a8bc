"""Loops over the rows of the data: taken, read, written, counted."""

from __future__ import annotations

import numpy as np

from ...common.arena import ALIGNMENT
from ..memory import address, fetch_to_read, flat

LONG = 1024  # bytes of a row from which on it is prefetched in any case
CACHED = 1_000_000  # bytes of data beyond which shorter rows are, too: they are not all in the core's own caches
AHEAD, FAR_AHEAD = 2, 16  # rows between the one that is prefetched and the one that is copied, of long and short ones


def take_rows(y, x, order, position, N):
    start = position[0]
    columns = x.shape[1]
    size = columns * x.itemsize
    ahead = AHEAD if size >= LONG else FAR_AHEAD
    stop = N - ahead if size >= LONG or size * x.shape[0] > CACHED else 0
    for i in range(N):
        row = order[start + i]
        if i < stop:
            later = address(x) + order[start + i + ahead] * size
            for offset in range(0, size, ALIGNMENT):
                fetch_to_read(later + offset)
            fetch_to_read(later + size - 1)  # a row may begin within a line, and so end in one more
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
    # A comparison, since 0 times a number is NaN only by the rules that LLVM forgets where it fuses sums and products.
    largest, zero, strange = x.dtype.type(np.finfo(x.dtype).max), x.dtype.type(0), False
    for number in flat(x):  # all rows at once, since one row may be shorter than a vector
        if not abs(number) <= largest:
            strange = True
    for i in range(zeros.size):
        zeros[i] = zero
    if strange:
        for i in range(zeros.size):
            for number in x[i]:
                if not abs(number) <= largest:
                    zeros[i] = np.nan


def advance(position, N):
    position[0] += N

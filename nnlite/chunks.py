"""Chunks: data that do not fit into memory, or come a part at a time, as pairs (x, y) of arrays that do.

An epoch takes every chunk once, and every row of a chunk once; both in a new order where the data allow it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

CHUNK_BYTES = 256 * 2**20  # of x in the network's dtype, for a file that is cut into chunks here


class Chunks:
    """Pairs (x, y): of an iterable, of a function that makes one for every epoch, or of the rows of a numpy.memmap."""

    def __init__(self, source: Any, rows: int | None = None) -> None:
        self.source, self.rows = source, rows  # rows where they are known before the first epoch

    @classmethod
    def of(cls, x: Any, y: Any, itemsize: int, epochs: int, room: int | None = None) -> Chunks | None:
        """The chunks of what was handed to fit, or None for arrays to be taken whole. ValueError, TypeError if neither.

        With y, only a numpy.memmap of more than CHUNK_BYTES is cut into chunks, since nothing of it is in memory yet,
        and an array of more than half of `room`, the bytes that the device has left.
        """
        if y is not None:
            size = x.size * itemsize if isinstance(x, np.ndarray) and x.ndim == 2 else 0
            too_large = size > CHUNK_BYTES if isinstance(x, np.memmap) else room is not None and size > room // 2
            if not too_large or len(x) != len(y):
                return None  # what does not fit together is said by the gate
            part = min(CHUNK_BYTES, size if room is None else max(1, room // 8))
            return cls(_Rows(x, y, max(1, part // (x.shape[1] * itemsize))), len(x))
        if callable(x):
            return cls(x)
        if isinstance(x, np.ndarray) or hasattr(x, "dtypes") or not isinstance(x, Iterable):
            raise TypeError("y is missing; without it x must be chunks: an iterable of pairs (x, y), or a function")
        if iter(x) is x and epochs > 1:
            raise ValueError(
                f"x can be read once only, but epochs={epochs}: hand over a list, or the function that makes it"
            )
        return cls(x)

    def epoch(self, shuffles: np.random.Generator | None) -> Iterator[tuple[Any, Any]]:
        """The pairs of one epoch."""
        source: Any = self.source() if callable(self.source) else self.source
        chunks: Iterable[Any] = source
        if isinstance(source, (list, tuple, _Rows)):  # these have an order that can be changed
            order = np.arange(len(source)) if shuffles is None else shuffles.permutation(len(source))
            chunks = (source[i] for i in order)
        n = -1
        for n, chunk in enumerate(chunks):
            if not isinstance(chunk, (tuple, list)) or len(chunk) != 2:
                raise ValueError(f"chunk {n} must be a pair (x, y), not a {type(chunk).__name__}")
            yield chunk[0], chunk[1]
        if n < 0:
            raise ValueError("x has no chunks: there is nothing to train on")


class _Rows:
    """Some rows at a time of two arrays."""

    def __init__(self, x: Any, y: Any, rows: int) -> None:
        self.x, self.y, self.rows = x, y, rows

    def __len__(self) -> int:
        return -(-len(self.x) // self.rows)

    def __getitem__(self, i: int) -> tuple[Any, Any]:
        part = slice(i * self.rows, (i + 1) * self.rows)
        return self.x[part], self.y[part]

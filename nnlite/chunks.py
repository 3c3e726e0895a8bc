"""Chunks: pairs (x, y) of arrays that fit into memory, for data that do not fit or that come in parts. With weights of
rows, a chunk is (x, y, weight).

An epoch takes every chunk once and every row of a chunk once. Both come in a new order where the data allow it. Chunks
that are cut here take their rows from all over the data in every epoch. If each chunk were one contiguous part of a
file that is sorted by class, the network would be trained on one class after the other.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

CHUNK_BYTES = 256 * 2**20  # size of a chunk of x in the network's dtype, where x is cut into chunks here
STRETCH_BYTES = 64 * 2**10  # neighbouring bytes of a file that are read together


def available_memory() -> int | None:
    """The free bytes of main memory; its size if only that is known; None if neither is known."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            found = next(line for line in lines if line.startswith("MemAvailable:"))
        return int(found.split()[1]) * 1024
    except (OSError, StopIteration, ValueError):
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # Windows has no sysconf
        return None


class Chunks:
    """Pairs (x, y) from an iterable, from a function that makes one for each epoch, or from the rows of arrays."""

    def __init__(self, source: Any, rows: int | None = None) -> None:
        self.source, self.rows = source, rows  # rows: None if unknown before the first epoch

    @classmethod
    def of(
        cls,
        x: Any,
        y: Any,
        itemsize: int,
        epochs: int,
        room: int | None = None,
        weight: Any = None,
        cut: bool | None = None,
        shared: bool = False,
    ) -> Chunks | None:
        """The chunks of the data given to fit, or None for arrays to be taken whole. ValueError, TypeError if neither.

        With y, a numpy.memmap is cut into chunks if it takes more than half of the free memory (more than CHUNK_BYTES
        if that is not known, or if the data are `shared` by processes, which must cut them alike), and any array if it
        takes more than half of `room`, the bytes that the device has left. `cut` says whether a memmap was cut before,
        by a fit that was stopped.
        """
        if y is not None:
            size = x.size * itemsize if isinstance(x, np.ndarray) and x.ndim == 2 else 0
            memory = available_memory() if isinstance(x, np.memmap) and not shared else None
            on_disk = isinstance(x, np.memmap) and size > (CHUNK_BYTES if memory is None else memory // 2)
            on_disk = on_disk if cut is None else cut and isinstance(x, np.memmap)
            too_large = on_disk or (room is not None and size > room // 2)
            if not too_large or len(x) != len(y):
                return None  # the gate raises the error for unequal lengths
            part = min(CHUNK_BYTES, size if room is None else max(1, room // 8))
            rows = max(1, part // (x.shape[1] * itemsize))
            # Rows in memory are picked one by one. A chunk of a file is well mixed by taking 64 stretches or more.
            stretch = min(rows // 64, STRETCH_BYTES // (x.shape[1] * x.itemsize)) if on_disk else 1
            return cls(_Rows((x, y, weight)[: 2 if weight is None else 3], rows, max(1, stretch)), len(x))
        if callable(x):
            return cls(x)
        if isinstance(x, np.ndarray) or hasattr(x, "dtypes") or not isinstance(x, Iterable):
            raise TypeError("y is missing; without it x must be chunks: an iterable of pairs (x, y), or a function")
        if iter(x) is x and epochs > 1:
            raise ValueError(
                f"x can be read once only, but epochs={epochs}: hand over a list, or the function that makes it"
            )
        return cls(x)

    def epoch(self, shuffles: np.random.Generator | None) -> Iterator[tuple[Any, ...]]:
        """The pairs of one epoch, or triples with weights."""
        if isinstance(self.source, _Rows):
            yield from self.source.epoch(shuffles)
            return
        source: Any = self.source() if callable(self.source) else self.source
        chunks: Iterable[Any] = source
        if isinstance(source, (list, tuple)):  # only the order of these can be changed
            order = np.arange(len(source)) if shuffles is None else shuffles.permutation(len(source))
            chunks = (source[i] for i in order)
        n = -1
        for n, chunk in enumerate(chunks):
            if not isinstance(chunk, (tuple, list)) or len(chunk) not in (2, 3):
                raise ValueError(
                    f"chunk {n} must be a pair (x, y), not a {type(chunk).__name__}; or (x, y, sample_weight)"
                )
            yield tuple(chunk)
        if n < 0:
            raise ValueError("x has no chunks: there is nothing to train on")


class _Rows:
    """Chunks of `rows` rows, cut from some arrays, which are divided into stretches of `stretch` neighbouring rows."""

    def __init__(self, arrays: tuple[Any, ...], rows: int, stretch: int) -> None:
        self.arrays = [each if isinstance(each, np.ndarray) else np.asarray(each) for each in arrays]
        self.rows, self.stretch = rows, stretch

    def epoch(self, shuffles: np.random.Generator | None) -> Iterator[tuple[Any, ...]]:
        """Parts of `rows` rows; the last part has the rest. The rows come in their order if `shuffles` is None.

        Else each part takes stretches from all over the data. An incomplete last stretch always comes last.
        """
        size, stretch = len(self.arrays[0]), self.stretch
        order = None if shuffles is None else shuffles.permutation(size // stretch)
        for start in range(0, size, self.rows):
            part: Any = slice(start, start + self.rows)
            if order is not None:
                place = np.arange(start, min(size, start + self.rows))
                of, within = np.divmod(place, stretch)
                whole = of < len(order)
                part = np.where(whole, order[np.where(whole, of, 0)] * stretch + within, place)
                part.sort()  # a file is read forwards; the trainer shuffles within a chunk
            yield tuple(each[part] for each in self.arrays)

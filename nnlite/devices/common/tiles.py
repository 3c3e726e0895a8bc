"""Tiles: a batch much larger than its net is taken through the step a few rows at a time.

A tile is so small that what is computed of it stays in the core's cache from the first layer to the gradients, which
every thread sums up on its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .arena import Arena
from .planning import part_of, plan, symbols
from .recording import Row, Symbol
from .reference import KERNELS


@dataclass(frozen=True)
class TileLimits:
    """Which batches are cut into tiles, and how large these are."""

    tile_bytes: int = 48_000  # of results that a tile may have: what fits near a core beside the weights
    smallest_tile: int = 64  # rows: with fewer, products are slower, since each reads the weights once more
    most_gradients: int = 1_000_000  # bytes; more than that is not worth adding up for every tile
    least_tiles: int = 2  # for each thread


@dataclass
class Tiles:
    """The rows of a step that run tile by tile, and those `after`, when all threads are done with their share."""

    rows: int  # of the batch
    size: int  # rows of a tile
    inside: list[Row]
    after: list[Row]
    own: dict[int, Symbol]  # id of a result that nobody needs after its tile -> its place in the thread's own memory
    gradients: int  # how many
    apart: int = 0  # from one thread's own memory to the next's

    def place(self, arena: Arena, threads: int) -> None:
        """Reserve what every thread has for itself: one tile's results, and from the second on a sum of gradients."""
        template = [
            Row(row.name, row.kernel, tuple(map(self._own, row.operands)), tuple(map(self._own, row.results)))
            for row in self.inside
        ]
        self.apart = arena.place("tile", list(zip(template, range(len(template)))))
        arena.reserve("tile", self.apart * threads)
        arena.reserve("shares", arena.segments["gradients"].size * (threads - 1))
        arena.reserve("minus one", 1)[...] = -1

    def kept(self) -> list[tuple[Row, int]]:
        """The rows, at a time before all others, with only those results that somebody needs afterwards."""
        return [
            (Row(row.name, row.kernel, row.operands, tuple(r for r in row.results if id(r) not in self.own)), -1)
            for row in self.inside
        ]

    def _own(self, operand: Any) -> Any:
        return self.own.get(id(operand), operand)

    def body(self, thread: int, start: int, n: int, adding: bool) -> Iterator[tuple[Row, dict[str, int]]]:
        """The rows for the n rows of the batch from `start`, and by how many bytes an operand moves for every row on.

        A gradient is made, or, if `adding`, added to what it is: W ← W − lr xᵀ dy with a rate of −1.
        """
        for row in self.inside:
            steps: dict[str, int] = {}

            def mine(name: str, operand: Any, row: Row = row, steps: dict[str, int] = steps) -> Any:
                if own := self.own.get(id(operand)):
                    part = own.part(own.name, thread * self.apart, (n, *own.shape[1:]))
                    part.room = own.room  # every thread has it once, with the same room
                    return part
                if isinstance(operand, Symbol) and operand.segment == "gradients":
                    return _share_of_gradients(operand, thread, self.gradients)
                part = part_of(row, name, operand, "N", start, start + n)
                if isinstance(part, Symbol) and part is not operand:
                    steps[name] = operand.size // len(operand) * operand.dtype.itemsize
                return part

            signature = row.kernel.signature
            operands = tuple(map(mine, signature.operands, row.operands))
            results = tuple(map(mine, signature.fresh, row.results))
            if adding and row.kernel.with_sgd:
                name = row.kernel.with_sgd
                minus_one = Symbol("minus one", (1,), operands[-1].dtype, "minus one", 0)
                yield Row(name, KERNELS[name], (*operands, minus_one), results), steps
            else:
                yield Row(row.name, row.kernel, operands, results), steps


def tile(rows: Sequence[Row], threads: int, columns: Mapping[str, str], limits: TileLimits) -> Tiles | None:
    """The tape cut into tiles, or None where the batch is too small for it or the weights too large."""
    planned = plan(rows, columns)
    batch = [p.row for p in planned if p.split == "N"]
    if any(p.phase for p in planned if p.split == "N"):
        return None
    shared = {id(row) for row in batch}
    inside = [row for row in rows if id(row) in shared or row.kernel.with_sgd]
    after = [row for row in rows if id(row) not in shared and not row.kernel.with_sgd]
    makers = [row.operands[-1] for row in inside if row.kernel.with_sgd]
    results = [result for row in batch for result in row.results]
    if not makers or not results:
        return None
    needed = {id(symbol) for row in after for symbol in symbols(row)}
    own = {
        id(result): Symbol(result.name, result.shape, result.dtype, "tile")
        for result in results
        if id(result) not in needed
    }
    share, width = len(results[0]) // threads, sum(symbol.size // len(symbol) for symbol in own.values())
    itemsize = makers[0].dtype.itemsize
    size = max(limits.smallest_tile, limits.tile_bytes // max(1, width * itemsize) // 8 * 8)
    if share < limits.least_tiles * size or sum(maker.size for maker in makers) * itemsize > limits.most_gradients:
        return None
    size = -(-share // -(-share // size) // 8) * 8  # tiles of one size, as far as that goes
    for symbol in own.values():
        symbol.shape = (size, *symbol.shape[1:])
    total = max(maker.offset + maker.size for maker in makers)
    whole = Symbol("gradients", (total,), makers[0].dtype, "gradients", 0)
    minus_one = Symbol("minus one", (1,), whole.dtype, "minus one", 0)
    sums = [
        Row("sgd_step", KERNELS["sgd_step"], (whole, _share_of_gradients(whole, thread, total), minus_one), ())
        for thread in range(1, threads)
    ]
    return Tiles(len(results[0]), size, inside, sums + after, own, total)


def _share_of_gradients(symbol: Symbol, thread: int, total: int) -> Symbol:
    """Where a thread sums up this part of the gradients: the first in their own place, the others each in one more."""
    if thread == 0:
        return symbol
    offset = (symbol.offset or 0) + (thread - 1) * total
    return Symbol(f"{symbol.name} of {thread}", symbol.shape, symbol.dtype, "shares", offset)

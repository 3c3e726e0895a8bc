"""Tiles: a batch that is much larger than its network goes through the step a few rows at a time.

A tile is so small that its results stay in the core's cache, from the first layer to the gradients. Every thread sums
up its own gradients.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .arena import Arena
from .planning import part_of, plan, symbols
from .recording import Call, Symbol
from .reference import KERNELS


@dataclass(frozen=True)
class TileLimits:
    """Limits that decide which batches are cut into tiles, and how large the tiles are."""

    tile_bytes: int = 48_000  # the most results of a tile: they fit into a core's cache beside the weights
    smallest_tile: int = 64  # rows: with fewer, products are slower, since every tile reads all weights again
    most_gradients: int = 1_000_000  # bytes: to add up more for every tile would take too long
    least_tiles: int = 2  # for each thread


@dataclass
class Tiles:
    """The calls of a step that run tile by tile, and those that run `after` all threads have done their slices."""

    rows: int  # of the batch
    size: int  # rows of a tile
    inside: list[Call]
    after: list[Call]
    own: dict[int, Symbol]  # id of a result that is read only within its tile -> its place in the thread's own memory
    gradients: int  # the number of all gradients
    apart: int = 0  # elements between the starts of two threads' own memories

    def place(self, arena: Arena, threads: int) -> None:
        """Reserve each thread's own memory: one tile's results, and, for all but the first, a sum of gradients."""
        template = [
            Call(call.name, call.kernel, tuple(map(self._own, call.operands)), tuple(map(self._own, call.results)))
            for call in self.inside
        ]
        self.apart = arena.place("tile", list(zip(template, range(len(template)))))
        arena.reserve("tile", self.apart * threads)
        arena.reserve("shares", arena.segments["gradients"].size * (threads - 1))
        arena.reserve("minus one", 1)[...] = -1

    def kept(self) -> list[tuple[Call, int]]:
        """The calls of the tiles, which run first (time −1), each with only the results that later calls read."""
        return [
            (Call(call.name, call.kernel, call.operands, tuple(r for r in call.results if id(r) not in self.own)), -1)
            for call in self.inside
        ]

    def _own(self, operand: Any) -> Any:
        return self.own.get(id(operand), operand)

    def body(self, thread: int, start: int, n: int, adding: bool) -> Iterator[tuple[Call, dict[str, int]]]:
        """Yield the calls for n rows of the batch from `start` on, each with the bytes between rows of its operands.

        The bytes tell how far an operand's address moves for a later tile. If `adding`, gradients are added to the
        present ones by the fused kernel W ← W − lr xᵀ dy with lr = −1; if not, they are overwritten.
        """
        for call in self.inside:
            strides: dict[str, int] = {}

            def mine(name: str, operand: Any, call: Call = call, strides: dict[str, int] = strides) -> Any:
                if own := self.own.get(id(operand)):
                    part = own.part(own.name, thread * self.apart, (n, *own.shape[1:]))
                    part.room = own.room  # each thread's copy has the same room
                    return part
                if isinstance(operand, Symbol) and operand.segment == "gradients":
                    return _share_of_gradients(operand, thread, self.gradients)
                part = part_of(call, name, operand, "N", start, start + n)
                if isinstance(part, Symbol) and part is not operand:
                    strides[name] = operand.size // len(operand) * operand.dtype.itemsize
                return part

            signature = call.kernel.signature
            operands = tuple(map(mine, signature.operands, call.operands))
            results = tuple(map(mine, signature.fresh, call.results))
            if adding and call.kernel.with_sgd:
                name = call.kernel.with_sgd
                minus_one = Symbol("minus one", (1,), operands[-1].dtype, "minus one", 0)
                yield Call(name, KERNELS[name], (*operands, minus_one), results), strides
            else:
                yield Call(call.name, call.kernel, operands, results), strides


def tile(calls: Sequence[Call], threads: int, columns: Mapping[str, str], limits: TileLimits) -> Tiles | None:
    """The tape cut into tiles, or None if the batch is too small or the weights are too large."""
    planned = plan(calls, columns)
    batch = [p.call for p in planned if p.split == "N"]
    if any(p.phase for p in planned if p.split == "N"):
        return None
    shared = {id(call) for call in batch}
    inside = [call for call in calls if id(call) in shared or call.kernel.with_sgd]
    after = [call for call in calls if id(call) not in shared and not call.kernel.with_sgd]
    makers = [call.operands[-1] for call in inside if call.kernel.with_sgd]
    results = [result for call in batch for result in call.results]
    if not makers or len({len(result) for result in results}) != 1:  # weights made of weights have other rows
        return None
    needed = {id(symbol) for call in after for symbol in symbols(call)}
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
    size = -(-share // -(-share // size) // 8) * 8  # tiles of about equal size
    for symbol in own.values():
        symbol.shape = (size, *symbol.shape[1:])
    total = max(maker.offset + maker.size for maker in makers)
    whole = Symbol("gradients", (total,), makers[0].dtype, "gradients", 0)
    minus_one = Symbol("minus one", (1,), whole.dtype, "minus one", 0)
    sums = [
        Call("sgd_step", KERNELS["sgd_step"], (whole, _share_of_gradients(whole, thread, total), minus_one), ())
        for thread in range(1, threads)
    ]
    return Tiles(len(results[0]), size, inside, sums + after, own, total)


def _share_of_gradients(symbol: Symbol, thread: int, total: int) -> Symbol:
    """The place where a thread sums up this part of the gradients: the gradients themselves for the first thread."""
    if thread == 0:
        return symbol
    offset = (symbol.offset or 0) + (thread - 1) * total
    return Symbol(f"{symbol.name} of {thread}", symbol.shape, symbol.dtype, "shares", offset)

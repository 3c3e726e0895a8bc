"""A tape written out as CUDA, for one block or for several: the step in the source of the persistent replay.

Sizes and places are numbers in this text, so the compiler knows them. What may change from one fit to the next, such
as the address of the data and their rows, is a parameter.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Sequence
from itertools import compress
from typing import Any, NamedTuple

from ..common.arena import DATA, Arena
from ..common.lines import Line, Slice, even, is_array, line, operands, slice_of
from ..common.planning import Planned, fuse, meets, plan
from ..common.recording import Call, Symbol, Tape
from ..common.reference import KERNELS
from . import parts
from .limits import CudaLimits
from .machine import PARTS, real_of, source

ALL = {**KERNELS, **parts.KERNELS}
# Kernel -> letter of the size of which its line has a start and an end.
ENDED = PARTS | {name: kernel.columns for name, kernel in parts.KERNELS.items() if kernel.columns}
# Kernel -> letter of the size that blocks divide if they cannot divide the rows.
SPLIT = {
    name: letter
    for name, letter in ENDED.items()
    if all(letters[0] != "N" for letters in ALL[name].signature.results.values())
}
NEAR = 40 * 1024  # the most bytes of shared memory for what each of several blocks has for itself


class Placed(NamedTuple):
    """A segment that is kept in shared memory: its offset there, and its size in bytes."""

    offset: int
    bytes: int


class Text:
    """A full step and, if there is a second tape, a short one. It gives the results on the tapes their places.

    Networks of one shape have equal tapes, and so the same text: whoever takes one that was made before must `reserve`
    the room for its results.
    """

    def __init__(self, tapes: Sequence[Tape], arena: Arena, blocks: int, limits: CudaLimits) -> None:
        self.blocks, self.limits = blocks, limits
        plans = [self._planned(tape) for tape in tapes]
        self.in_parts = any(planned.call.kernel is parts.take_and_multiply for calls in plans for planned in calls)
        times = ([(planned.call, planned.phase) for planned in calls] for calls in plans)
        self.results = arena.place("results", *times)  # the number of elements
        arrays = [each for calls in plans for call in calls for each in operands(call.call).values() if is_array(each)]
        touched = {array.segment for array in arrays if array.segment not in DATA}
        self.kept: dict[str, Placed] = {}  # the segments in shared memory
        self.near: dict[int, int] = {}  # id of an array of which each block has its own part -> offset in shared memory
        self.used = self._keep(arena, touched) if blocks == 1 else max(map(self._bring_near, plans))  # bytes
        self.segments = [*DATA, *(name for name in arena.segments if name not in DATA and name not in self.kept)]
        self.each: list[list[int]] = []  # what is another in each block: number -> its value in each
        self.steps = [self._step(calls) for calls in plans]
        self.largest = max(array.size for array in arrays if array.segment not in DATA)
        self._sources: dict[int, str] = {}  # by the number of threads

    def reserve(self, arena: Arena) -> None:
        """Reserve the room for results in another network's arena."""
        arena.reserve("results", self.results)

    def source(self, threads: int) -> str:
        """The source of the persistent replay with these steps, for blocks of so many threads (see replay.cu)."""
        if threads not in self._sources:
            self._sources[threads] = self._source(threads)
        return self._sources[threads]

    def _source(self, threads: int) -> str:
        full, short = [" \\\n  ".join(["", *step]) for step in (*self.steps, [])[:2]]
        declared = (f"{'DATA' if name in DATA else 'SEGMENT'}({_name(name)})" for name in self.segments)
        settings = {"FULL": full, "SHORT": short, "HAS_SHORT": str(len(self.steps) - 1), "BLOCKS": str(self.blocks)}
        settings |= {"REPLAY": "", "THREADS": str(threads), "SEGMENTS": " ".join(declared)}
        return source("replay", **settings)

    def _planned(self, tape: Tape) -> list[Planned]:
        """The calls in phases: those that wait for the same ones go together, so that there are few stops."""
        calls = fuse(tape.calls)
        if self.blocks > 1:
            return plan(parts.in_parts(calls, self.blocks, self.limits.barrier), SPLIT)
        planned: list[Planned] = []
        for call in calls:
            phases = [other.phase + 1 for other in planned if meets(call, other.call)]
            planned.append(Planned(call, "", max(phases, default=0)))
        return sorted(planned, key=lambda each: each.phase)  # a stable sort: within a phase the order stays

    def _keep(self, arena: Arena, touched: set[str]) -> int:
        """Place these segments of the arena in shared memory; returns the end of the last one."""
        offset = 0
        for name, array in arena.segments.items():
            if name in touched:
                self.kept[name] = Placed(offset, int(array.nbytes))
                offset += _whole(self.kept[name].bytes)
        return offset

    def _bring_near(self, calls: Sequence[Planned]) -> int:
        """Place results that no block needs of another in shared memory; returns the end of the last one."""
        offset = 0
        for result in (result for planned in calls for result in planned.call.results):
            end = offset + _whole(self._alone(calls, result) * result.dtype.itemsize)
            if offset < end <= NEAR:
                self.near[id(result)], offset = offset, end
        return offset

    def _alone(self, calls: Sequence[Planned], result: Symbol) -> int:
        """The most elements that a block has of a result if it alone uses them, or else 0.

        These are its own rows, if all calls divide the rows, or its columns of x, for a first product in parts.
        """
        uses = [(each, name) for each in calls for name, it in operands(each.call).items() if it is result]
        if all(each.split == "N" and _letters(each.call, name)[0] == "N" for each, name in uses):
            return self._most(len(result)) * (result.size // len(result))
        by_columns = all(each.split == "K" and _letters(each.call, name)[1:] == ("K",) for each, name in uses)
        if by_columns and uses[0][0].call.kernel is parts.take_and_multiply:
            return self._most(result.shape[1]) * len(result)
        return 0

    def _most(self, size: int) -> int:
        """The most that a block gets of so many rows or columns: the first block's."""
        return even(size, 0, self.blocks)[1]

    def _step(self, calls: Sequence[Planned]) -> list[str]:
        """A tape as replay.cu has it, with a SYNC before every call that must wait for an earlier one of its block."""
        lines: list[str] = []
        open_calls: list[Call] = []  # the calls since the last barrier
        phase = calls[0].phase
        for planned in calls:
            if self.blocks > 1 and planned.phase != phase:
                lines.append("BARRIER")
                phase, open_calls = planned.phase, []
            if any(meets(planned.call, other) for other in open_calls):
                lines.append("SYNC")
                open_calls = []
            open_calls.append(planned.call)
            lines += self._call(planned)
        return [*lines, "BARRIER"]

    def _call(self, planned: Planned) -> list[str]:
        """A call as replay.cu has it: once for all blocks that have as much of it, so that the compiler knows how much.

        The last block that has some may have less than the others, and those after it have nothing.
        """
        slices = [slice_of(planned, block, self.blocks, even) for block in range(self.blocks)]
        some = next(mine for mine in slices if mine)
        lines = [
            line(mine.call, lambda symbol: (symbol.offset or 0) * symbol.dtype.itemsize, ENDED, mine.part, mine.first)
            for mine in (each or some for each in slices)
        ]
        counts = [mine.size if mine else 0 for mine in slices]
        texts = []
        for count in sorted({*counts} - {0}, reverse=True):
            who = [each == count for each in counts]
            words = ", ".join(self._words(planned, some, lines, who, count))
            text = f"CALL({some.call.name}, {self._types(planned, count)}, {words})"
            texts.append(text if all(who) else f"if ({self._word([*map(int, who)])}) {text}")
        return texts

    @staticmethod
    def _types(planned: Planned, count: int) -> str:
        """What a kernel is a template of: the type, and for a product how many rows and columns are made."""
        call, real = planned.call, real_of(planned.call)
        if not (call.kernel.product or call.name == parts.take_and_multiply.name):
            return real
        made = _letters(call, next(iter(operands(call)))) if call.kernel.product else ("B", "M")
        rows, columns = ({**call.sizes, planned.split: count}[letter] for letter in made)
        return f"PRODUCT({real}, {rows}, {columns})"

    def _words(
        self, planned: Planned, some: Slice, lines: Sequence[Line], who: Sequence[bool], count: int
    ) -> Iterator[str]:
        """The words of a call for the blocks `who` have `count` rows or columns of it."""

        def word(k: int) -> str:
            return self._word([each.words[k] for each in lines], who)

        found: dict[int, str] = {}  # of those that are not only numbers
        named, whole, last = operands(some.call), operands(planned.call), len(lines[0].words) - 1
        for name, place in lines[0].places.items():
            if name in named and is_array(symbol := named[name]):
                near = self.near.get(id(whole[name]))
                found[place - 1] = self._place(symbol.segment, word(place - 1)) if near is None else f"AT({near})"
                if near is not None and planned.split == "K":
                    found[place + 1] = str(self._most(symbol.shape[1]))  # columns
                if symbol.segment in DATA:
                    found[place] = f"rows_{_name(symbol.segment)}"
        if some.part:  # a start and an end
            found[last] = f"{word(last - 1)} + {count}"
        return (found[k] if k in found else word(k) for k in range(last + 1))

    def _place(self, segment: str, bytes: str) -> str:
        """A place so many bytes after the start of a segment."""
        kept = self.kept.get(segment)
        return f"AT({kept.offset} + {bytes})" if kept else f"OF({_name(segment)}, {bytes})"

    def _word(self, of_blocks: list[int], who: Sequence[bool] = ()) -> str:
        """A number that may be another in each block, or in each of those `who` need it."""
        used = {*(compress(of_blocks, who) if who else of_blocks)}
        if len(used) == 1:
            return str(used.pop())
        unit = 4 if all(value % 4 == 0 for value in of_blocks) else 1  # the compiler is to know this, too
        each = [value // unit for value in of_blocks]
        if each not in self.each:
            self.each.append(each)
        return f"{'4 * ' if unit == 4 else ''}mine[{self.each.index(each)}]"


def key_of(tapes: Sequence[Tape], arena: Arena, blocks: int) -> Hashable:
    """All that a text depends on: equal for networks of one shape. A result counts by the order in which it is made."""
    made = [result for tape in tapes for call in tape.calls for result in call.results]
    numbers = {id(result): number for number, result in enumerate(made)}

    def key(value: Any) -> Hashable:
        if not is_array(value):
            return repr(value)
        shape = value.shape[1:] if value.segment in DATA else value.shape  # the rows of the data are a parameter
        return value.segment, numbers.get(id(value), value.offset), shape, value.dtype.str

    calls = (tuple((call.name, *map(key, operands(call).values())) for call in tape.calls) for tape in tapes)
    segments = ((name, 0 if name in DATA else int(array.nbytes)) for name, array in arena.segments.items())
    return blocks, *calls, *segments


def _letters(call: Call, name: str) -> Sequence[str]:
    """The letters of the shape of an operand or result."""
    signature = call.kernel.signature
    return {**signature.operands, **signature.results}[name] or ("",)


def _whole(bytes: int) -> int:
    """So many bytes, up to a multiple of those that one instruction reads."""
    return -(-bytes // 16) * 16


def _name(segment: str) -> str:
    """A segment's name as C++ has it, after a prefix: letters and digits, and the number of every other character.

    Names of a layer's attributes, and keys of a dict with layers in it, may have any characters.
    """
    return re.sub("[^A-Za-z0-9]", lambda other: f"_{ord(other[0])}_", segment)

"""A tape written out as CUDA, for one block or for several: the step in the source of the persistent replay.

Sizes and places are numbers in this text, so the compiler knows them. What may change from one fit to the next, such
as the address of the data and their rows, is a parameter.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import replace
from itertools import combinations, compress, groupby
from typing import Any, NamedTuple

from ..common.arena import DATA, Arena
from ..common.lines import Line, Slice, even, is_array, line, operands, slice_of
from ..common.planning import Planned, fuse, meets, plan, work
from ..common.recording import Call, Symbol, Tape
from ..common.reference import KERNELS
from . import parts
from .limits import CudaLimits
from .machine import PARTS, real_of, source
from .near import UNIT, Near, arrays_of, letters, whole
from .pairs import Pair, in_pairs

ALL = {**KERNELS, **parts.KERNELS}
# Kernel -> letter of the size of which its line has a start and an end.
ENDED = PARTS | {name: kernel.columns for name, kernel in parts.KERNELS.items() if kernel.columns}
# Kernel -> letter of the size that blocks divide if they cannot divide the rows.
SPLIT = {
    name: letter
    for name, letter in ENDED.items()
    if all(letters[0] != "N" for letters in ALL[name].signature.results.values())
}
TAKING = {"take_rows", parts.take_and_multiply.name}  # what takes rows of the data
MOST_AHEAD = 4  # the most units of a batch's rows that a thread keeps in registers, a step ahead


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
        self.results = arena.place("results", *map(self._times, plans))  # the number of elements
        arrays = [each for calls in plans for planned in calls for each in arrays_of(planned.call)]
        touched = {array.segment for array in arrays if array.segment not in DATA}
        self.kept: dict[str, Placed] = {}  # the segments in shared memory
        self.near = Near(plans if blocks > 1 else [], blocks)
        self.used = self._keep(arena, touched) if blocks == 1 else self.near.used  # bytes
        self.segments = [*DATA, *(name for name in arena.segments if name not in DATA and name not in self.kept)]
        self.each: list[list[int]] = []  # what is another in each block: number -> its value in each
        self.upcoming: list[str] = []  # what a thread keeps of rows a step ahead, in full steps: their declarations
        batch = next((int(each.call.operands[1]) for each in plans[0] if each.call.name == "advance"), 0)
        self.steps = [self._step(calls, 0 if which else batch) for which, calls in enumerate(plans)]
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
        settings |= {"UPCOMING": " ".join(self.upcoming), "LATE": str(int(self.near.late))}
        return source("replay", **settings)

    def _planned(self, tape: Tape) -> list[Planned]:
        """The calls in phases: those that wait for the same ones go together, so that there are few stops."""
        calls = fuse(tape.calls)
        if self.blocks > 1:
            return _small_first(plan(in_pairs(parts.in_parts(calls, self.blocks, self.limits.barrier)), SPLIT))
        calls = in_pairs(calls)
        planned: list[Planned] = []
        for call in calls:
            phases = [other.phase + 1 for other in planned if meets(call, other.call)]
            planned.append(Planned(call, "", max(phases, default=0)))
        return sorted(planned, key=lambda each: each.phase)  # a stable sort: within a phase the order stays

    def _times(self, calls: Sequence[Planned]) -> list[tuple[Call, int]]:
        """When each call runs. The first ones of the next step may run together with the last ones of this step."""
        last = calls[-1].phase
        again = [(replace(each.call, operands=each.call.results, results=()), last) for each in calls if not each.phase]
        return [(each.call, each.phase) for each in calls] + again * self.in_parts

    def _keep(self, arena: Arena, touched: set[str]) -> int:
        """Place these segments of the arena in shared memory; returns the end of the last one."""
        offset = 0
        for name, array in arena.segments.items():
            if name in touched:
                self.kept[name] = Placed(offset, int(array.nbytes))
                offset += whole(self.kept[name].bytes)
        return offset

    def _step(self, calls: Sequence[Planned], batch: int) -> list[str]:
        """A tape as replay.cu has it, with a SYNC before every call that must wait for an earlier one of its block.

        Rows are taken a step ahead if so many are a full batch, and not if that is 0.
        """
        lines: list[str] = []
        open_calls: list[Call] = []  # the calls since the last barrier
        phase = calls[0].phase
        looked = checked = not self.near.late
        made: list[str] = []  # what publishes results, once all threads have made them
        for planned in calls:
            stops = self.blocks > 1 and planned.phase != phase
            if (made and looked) if stops else any(meets(planned.call, other) for other in open_calls):
                lines += ["SYNC", *made]
                open_calls, made = [], []
            if stops:
                lines += ["BARRIER"] if looked else ["BARRIER", "LOOK", *made]
                phase, open_calls, made, looked = planned.phase, [], [], True
            if planned.call.kernel.signature.in_place and not checked:
                lines.append("CHECK")
                checked = True
            open_calls.append(planned.call)
            lines += self._call(planned, batch)
            made += [
                text for each in planned.call.results if id(each) in self.near.published for text in self._publish(each)
            ]
        return [*lines, "SYNC" if self.near.late else "BARRIER"]

    def _publish(self, result: Symbol) -> list[str]:
        """The copy of a block's rows of a result to where other blocks read them."""
        slices = [even(len(result), block, self.blocks) for block in range(self.blocks)]
        row, start = result.nbytes // len(result), (result.offset or 0) * result.dtype.itemsize
        place = f"{_name(result.segment)}, {self._word([start + first * row for first, _ in slices])}"
        counts = [stop - first for first, stop in slices]
        return self._of_each(
            counts, lambda _, rows: f"COPY(OF({place}), AT({self.near.results[id(result)]}), {rows * row})"
        )

    def _call(self, planned: Planned, batch: int = 0) -> list[str]:
        """A call as replay.cu has it: once for all blocks that have as much of it, so that the compiler knows how much.

        The last block that has some may have less than the others, and those after it have nothing.
        """
        slices = [slice_of(planned, block, self.blocks, even) for block in range(self.blocks)]
        if not planned.split:  # for one block alone: the last one, which often has less of other calls than the others
            slices.reverse()
        some = next(mine for mine in slices if mine)
        lines = [
            line(mine.call, lambda symbol: (symbol.offset or 0) * symbol.dtype.itemsize, ENDED, mine.part, mine.first)
            for mine in (each or some for each in slices)
        ]
        counts = [mine.size if mine else 0 for mine in slices]
        ahead = batch > 0 and self._ahead(planned, counts)
        verb = f"TAKE({len(self.upcoming) - 1}, {batch}, " if ahead else "CALL("
        if isinstance(planned.call, Pair):
            verb = f"THEN({planned.call.then}, "

        def text(who: Sequence[bool], count: int) -> str:
            words = ", ".join(self._words(planned, some, lines, who, count))
            return f"{verb}{some.call.name}, {self._types(planned, count)}, {words})"

        return self._of_each(counts, text)

    def _of_each(self, counts: Sequence[int], text: Callable[[Sequence[bool], int], str]) -> list[str]:
        """A text for each group of blocks that have as much of something as each other."""
        texts = []
        for count in sorted({*counts} - {0}, reverse=True):
            who = [each == count for each in counts]
            condition = "" if all(who) else f"if ({self._word([*map(int, who)])}) "
            texts.append(condition + text(who, count))
        return texts

    def _ahead(self, planned: Planned, counts: Sequence[int]) -> bool:
        """Declare what a thread keeps of the rows that this call takes, if it takes some and they are few."""
        call = planned.call
        if call.name not in TAKING:
            return False
        y, x = call.results[0], call.operands[0]
        rows = counts[0] if planned.split == "N" else len(y)
        across, *others = counts if planned.split == "K" else [y.shape[1]]
        width = self.near.most(y.shape[1]) if planned.split == "K" and id(y) in self.near.results else y.shape[1]
        many = UNIT // y.dtype.itemsize
        fits = all(size % many == 0 for size in (across, *others, width, x.shape[1]))
        unit, units = ("kernels::Sixteen", rows * across // many) if fits else (real_of(call), rows * across)
        if units <= MOST_AHEAD * self.limits.threads:
            self.upcoming.append(f"UPCOMING({len(self.upcoming)}, {unit}, {units})")
        return units <= MOST_AHEAD * self.limits.threads

    @staticmethod
    def _types(planned: Planned, count: int) -> str:
        """What a kernel is a template of: the type, and for a product how many rows and columns are made."""
        call, real = planned.call, real_of(planned.call)
        if not (call.kernel.product or call.name == parts.take_and_multiply.name):
            return real
        made = letters(call, next(iter(operands(call)))) if call.kernel.product else ("B", "M")
        rows, columns = ({**call.sizes, planned.split: count}[letter] for letter in made)
        return f"PRODUCT({real}, {rows}, {columns})"

    def _words(
        self, planned: Planned, some: Slice, lines: Sequence[Line], who: Sequence[bool], count: int
    ) -> Iterator[str]:
        """The words of a call for the blocks `who` have `count` rows or columns of it."""

        def word(k: int) -> str:
            return self._word([each.words[k] for each in lines], who)

        found: dict[int, str] = {}  # of those that are not only numbers
        named, complete, last = operands(some.call), operands(planned.call), len(lines[0].words) - 1
        for name, place in lines[0].places.items():
            if name in named and is_array(symbol := named[name]):
                near, held = self.near.place(planned, name), self.near.holds(symbol)
                found[place - 1] = self._place(symbol.segment, word(place - 1)) if near is None else f"AT({near})"
                if near is not None and planned.split == "K":
                    found[place + 1] = str(self.near.most(symbol.shape[1]))  # columns
                if held:
                    found[place - 1], found[place] = f"AT({held.offset})", str(self.near.most(len(held.matrix)))
                if symbol.segment in DATA:
                    found[place] = f"rows_{_name(symbol.segment)}"
        if some.part:  # a start and an end
            # The rows that a block keeps are moved by its columns of x, which it keeps, too.
            own = any(self.near.holds(complete[name]) for name in planned.call.kernel.signature.in_place)
            found |= {last - 1: "0", last: str(count)} if own else {last: f"{word(last - 1)} + {count}"}
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
        unit = math.gcd(UNIT, *of_blocks)  # the compiler is to know this, too
        each = [value // unit for value in of_blocks]
        if each not in self.each:
            self.each.append(each)
        return f"{f'{unit} * ' * (unit > 1)}mine[{self.each.index(each)}]"


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


def _small_first(calls: Sequence[Planned]) -> list[Planned]:
    """The calls, those with little work first in a phase where none waits for another.

    Some warps make the small ones while others make other small ones, and then all warps together make a product.
    """
    ordered: list[Planned] = []
    for _, each in groupby(calls, key=lambda planned: planned.phase):
        phase = [*each]
        free = not any(meets(one.call, other.call) for one, other in combinations(phase, 2))
        ordered += sorted(phase, key=lambda planned: work(planned.call)) if free else phase
    return ordered


def _name(segment: str) -> str:
    """A segment's name as C++ has it, after a prefix: letters and digits, and the number of every other character.

    Names of a layer's attributes, and keys of a dict with layers in it, may have any characters.
    """
    return re.sub("[^A-Za-z0-9]", lambda other: f"_{ord(other[0])}_", segment)

"""What each of several blocks keeps in its shared memory, which is near, so that it reads little of what lies far away.

These are its own parts of results that no other block reads; its own rows of results that it goes on with and publishes
for the others; and its rows of the weights of a first product in parts, for as long as the kernel runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from ..common.lines import even, is_array, operands
from ..common.planning import Planned, meets, overlap
from ..common.recording import Call, Symbol
from . import parts

NEAR = 40 * 1024  # the most bytes of it
UNIT = 16  # bytes that one instruction reads


class Held(NamedTuple):
    """A matrix of which each block keeps its own rows: the first of them is at the offset in its shared memory."""

    matrix: Symbol
    offset: int


class Near:
    """What lies where in a block's shared memory, for the plans of a full and of a short step."""

    def __init__(self, plans: Sequence[Sequence[Planned]], blocks: int) -> None:
        self.blocks = blocks
        self.results: dict[int, int] = {}  # id of a result of which each block has its own part -> offset
        self.published: set[int] = set()  # those of them that other blocks read, too
        self.held: list[Held] = []
        self.used = self._hold(plans, max(map(self._bring, plans), default=0))  # bytes
        # whether a full step ends without a barrier
        self.late = bool(plans) and all(map(self._may_end_late, plans))

    def most(self, size: int) -> int:
        """The most that a block gets of so many rows or columns: the first block's."""
        return even(size, 0, self.blocks)[1]

    def rows_of(self, held: Held, block: int) -> Symbol:
        """The rows of a matrix that this block keeps."""
        return held.matrix.rows(*even(len(held.matrix), block, self.blocks))

    def holds(self, array: Any) -> Held | None:
        """How a matrix is held, or None."""
        return next((held for held in self.held if overlap(array, held.matrix)), None)

    def place(self, planned: Planned, name: str) -> int | None:
        """The offset of a block's part of an array that this call uses, or None if it uses what lies far away."""
        array = operands(planned.call)[name]
        own = planned.split == "N" and letters(planned.call, name)[0] == "N"  # else what all blocks have published
        return self.results.get(id(array)) if own or id(array) not in self.published else None

    def _bring(self, calls: Sequence[Planned]) -> int:
        """Place results of a plan; returns the end of the last one."""
        offset = 0
        for result in (result for planned in calls for result in planned.call.results):
            alone = self._alone(calls, result)
            end = offset + whole((alone or self._first_alone(calls, result)) * result.dtype.itemsize)
            if offset < end <= NEAR:
                self.results[id(result)], offset = offset, end
                self.published |= set() if alone else {id(result)}
        return offset

    def _alone(self, calls: Sequence[Planned], result: Symbol) -> int:
        """The most elements that a block has of a result if it alone uses them, or else 0.

        These are its own rows, if all calls divide the rows, or its columns of x, for a first product in parts.
        """
        uses = _uses(calls, result)
        if all(each.split == "N" and letters(each.call, name)[0] == "N" for each, name in uses):
            return self.most(len(result)) * (result.size // len(result))
        by_columns = all(each.split == "K" and letters(each.call, name)[1:] == ("K",) for each, name in uses)
        if by_columns and uses[0][0].call.kernel is parts.take_and_multiply:
            return self.most(result.shape[1]) * len(result)
        return 0

    def _first_alone(self, calls: Sequence[Planned], result: Symbol) -> int:
        """The most elements that a block has of a result if it makes and reads its own rows, and others all; or 0.

        The others read them in a later phase.
        """
        uses = _uses(calls, result)
        own = [each for each, name in uses if each.split == "N" and letters(each.call, name)[0] == "N"]
        changed = any(name in each.call.kernel.signature.in_place for each, name in uses)
        if len(own) < 2 or own[0] is not uses[0][0] or changed or {each.split for each, _ in uses} == {"N"}:
            return 0
        return self.most(len(result)) * (result.size // len(result))

    def _hold(self, plans: Sequence[Sequence[Planned]], offset: int) -> int:
        """Place the weights of a first product in parts, if each block alone uses its rows; returns the end of all."""
        calls = [planned for plan in plans for planned in plan]
        taking = next((each.call for each in calls if each.call.kernel is parts.take_and_multiply), None)
        if taking is None or id(taking.results[0]) not in self.results:
            return offset
        W = operands(taking)["W"]
        for each in calls:
            for name, array in operands(each.call).items():
                mine = each.split == "K" and (*letters(each.call, name),) == ("K", "M")
                if is_array(array) and overlap(array, W) and not (mine and array.offset == W.offset):
                    return offset
        end = offset + whole(self.most(len(W)) * W.shape[1] * W.dtype.itemsize)
        if end <= NEAR:
            self.held, offset = [Held(W, offset)], end
        return offset

    def _may_end_late(self, calls: Sequence[Planned]) -> bool:
        """Whether a step's last phase may run together with the next step's first one.

        Then these touch nothing of each other but what each block has for itself. The loss is looked at after the first
        phase, so that one changes nothing that is kept, and no loss is added before the phase after the next. What the
        first phase publishes is published after it, so nobody reads it before the phase after the next.
        """
        first = [each.call for each in calls if not each.phase]
        last = [each.call for each in calls if each.phase == calls[-1].phase]
        made = {id(result) for call in first for result in call.results} & self.published
        early = any(
            array.segment == "sums" or (each.phase == 1 and id(array) in made and self.place(each, name) is None)
            for each in calls
            for name, array in operands(each.call).items()
            if each.phase < 2 and is_array(array)
        )
        if early or any(call.kernel.signature.in_place for call in first):
            return False

        def shared(symbols: Sequence[Any]) -> tuple[Any, ...]:
            arrays = (each for each in symbols if is_array(each) and id(each) not in self.results)
            return tuple(each for each in arrays if not self.holds(each))

        others = [replace(call, operands=shared(call.operands), results=shared(call.results)) for call in first]
        return not any(meets(call, other) for call in others for other in last)


# ---- facts about calls -----------------------------------------------------------------------------------------------


def letters(call: Call, name: str) -> Sequence[str]:
    """The letters of the shape of an operand or result."""
    signature = call.kernel.signature
    return {**signature.operands, **signature.results}[name] or ("",)


def arrays_of(call: Call) -> list[Any]:
    """The operands and results of a call that are arrays."""
    return [value for value in operands(call).values() if is_array(value)]


def whole(bytes: int) -> int:
    """So many bytes, up to a multiple of those that one instruction reads."""
    return -(-bytes // UNIT) * UNIT


def _uses(calls: Sequence[Planned], result: Symbol) -> list[tuple[Planned, str]]:
    """The calls that make or read a result, each with the name that it has there."""
    return [(each, name) for each in calls for name, it in operands(each.call).items() if it is result]

"""Planning: a tape is rearranged before it runs, with equal results: calls are fused, and divided among threads.

Most calls of a step compute each row of the batch independently, so every thread takes its slice of the batch through
the whole network and back. Products whose weights are larger than the batch are divided by columns instead. Calls that
sum over the batch, such as a weight's gradient or the loss, run in a later phase, when all slices are done. There, each
thread makes a slice of every gradient (columns on a CPU, rows on a GPU), and moves a slice of the parameters. Calls
that need not wait for each other form one phase.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .recording import Call, Symbol
from .reference import KERNELS

Place = tuple[str | int, int, int]  # a segment, and the start and end in it


@dataclass(frozen=True)
class Planned:
    """A call, the letter of the size that threads divide ("" for one thread alone), and its phase."""

    call: Call
    split: str
    phase: int


def fuse(calls: Sequence[Call]) -> list[Call]:
    """Fuse gradients with plain gradient descent: one product makes W ← W − lr xᵀ dy, without an array of gradients.

    This is done if only `sgd_step` reads the gradients, and each of them is made by a call that has a fused form. There
    is one such step, or one for each stretch of parameters between frozen layers.
    """
    steps = [call for call in calls if call.name == "sgd_step"]
    makers = [call for call in calls if call.kernel.with_sgd]
    others = [call for call in calls if call.name != "sgd_step" and not call.kernel.with_sgd]
    size = sum(call.operands[1].size for call in steps)
    if not steps or any(_touches(call, "gradients") for call in others):
        return list(calls)
    if sum(call.operands[-1].size for call in makers) != size:
        return list(calls)
    fused = []
    for call in makers:
        *operands, gradient = call.operands
        step = next((step for step in steps if overlap(gradient, step.operands[1])), None)
        if step is None:
            return list(calls)
        parameters, gradients, rate = step.operands
        layer, _, name = gradient.name.rpartition(".")
        moved = parameters.part(f"{layer}.{name[1:]}", gradient.offset - gradients.offset, gradient.shape)
        fused.append(Call(call.kernel.with_sgd, KERNELS[call.kernel.with_sgd], (*operands, moved, rate), ()))
    # At the place of the optimizer's step, since until then other calls read the old parameters.
    end = next(i for i, call in enumerate(calls) if call is steps[0])
    gone = {id(call) for call in (*steps, *makers)}
    before, after = ([call for call in some if id(call) not in gone] for some in (calls[:end], calls[end:]))
    return [*before, *fused, *after]


def without_copies(calls: Sequence[Call]) -> tuple[list[Call], list[Symbol]]:
    """The calls without `read_rows` and `write_rows`: the others read and write the rows of the data themselves.

    Also returns the symbols of these rows. Their addresses move on from step to step, since a step begins at the row
    where the last one ended.
    """
    others = [call for call in calls if call.name not in ("read_rows", "write_rows")]
    used = {id(symbol) for call in others for symbol in (*symbols(call), *call.results)}
    changed = {id(symbol) for call in others for symbol in _writes(call)[len(call.results) :]}
    instead: dict[int, Symbol] = {}  # id of a copy -> the rows of the data in its place
    left = []
    for call in calls:
        if call.name == "read_rows":
            copy, data = call.results[0], call.operands[0]
        elif call.name == "write_rows":
            copy, _, data = call.operands
        else:
            left.append(call)
            continue
        free = id(copy) in used and id(copy) not in changed and id(copy) not in instead
        if not free or copy.dtype != data.dtype or copy.segment != "results":
            left.append(call)  # a copy that a call changes, or that is to be at two places, is needed
        else:
            instead[id(copy)] = Symbol(copy.name, copy.shape, copy.dtype, data.segment, 0)

    def placed(symbols: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(instead.get(id(symbol), symbol) for symbol in symbols)

    placed_calls = [Call(call.name, call.kernel, placed(call.operands), placed(call.results)) for call in left]
    return placed_calls, list(instead.values())


def plan(calls: Sequence[Call], columns: Mapping[str, str], least: float = 0.0) -> list[Planned]:
    """The calls in phases. Each call gets the first phase after those of all calls for which it must wait.

    `columns` maps the name of a kernel to the letter of a size, other than N, that its loop can divide. One thread
    alone computes a matrix product of less than `least` work, unless rows divide it: that needs no barrier.
    """
    planned: list[Planned] = []
    # segment -> start, stop, whether it is written, whether its rows are those of the call, the call
    touched: dict[str | int, list[tuple[int, int, bool, bool, Planned]]] = {}
    for call in calls:
        split = _split(call, columns)
        if split != "N" and is_product(call) and work(call) < least:
            split = ""
        alone = split in ("N", "P", "")  # each thread goes on with its own slice, or one thread with all
        places = [(*_place(symbol), written, by_rows) for symbol, written, by_rows in _arrays(call)]
        phase = 0
        for segment, start, stop, written, by_rows in places:
            for other_start, other_stop, other_written, also_by_rows, earlier in touched.get(segment, ()):
                if (written or other_written) and start < other_stop and other_start < stop:
                    equal = (start, stop) == (other_start, other_stop)
                    same = {"N": by_rows and also_by_rows, "P": equal}.get(split, True)  # else the slices would differ
                    together = alone and split == earlier.split and same
                    phase = max(phase, earlier.phase + (not together))
        planned.append(Planned(call, split, phase))
        for segment, start, stop, written, by_rows in places:
            touched.setdefault(segment, []).append((start, stop, written, by_rows, planned[-1]))
    return sorted(planned, key=lambda p: p.phase)  # a stable sort: within a phase the order stays


def part_of(call: Call, name: str, operand: Any, letter: str, start: int, stop: int) -> Any:
    """The part of an operand or result that a call needs in order to compute only start … stop − 1 of size `letter`."""
    if name == letter:
        return stop - start
    if not isinstance(operand, Symbol):
        return operand
    if call.kernel.begins == name:
        return operand.rows(start, len(operand))
    signature = call.kernel.signature
    letters = {**signature.operands, **signature.results}[name]
    if not letters or letters[0] != letter or (start, stop) == (0, len(operand)):
        return operand
    return operand.rows(start, stop)


# ---- facts about a call ----------------------------------------------------------------------------------------------


def is_product(call: Call) -> bool:
    """Whether the call is a matrix product."""
    return {"N", "K", "M"} <= {a for letters in call.kernel.signature.operands.values() for a in letters or ()}


def work(call: Call) -> float:
    """The approximate cost of a call: the elements that it writes, or a twelfth of a product's multiplications."""
    if is_product(call):
        sizes = call.sizes
        return sizes["N"] * sizes["K"] * sizes["M"] / 12
    if call.name == "write_rows":
        return call.operands[0].size  # of all rows' answers, a batch writes its own
    return max((symbol.size for symbol in _writes(call)), default=0)


def meets(a: Call, b: Call) -> bool:
    """Whether one call writes memory that the other reads or writes, so that they must not run at the same time."""
    writes_a, writes_b = list(map(_place, _writes(a))), list(map(_place, _writes(b)))
    touches_a, touches_b = writes_a + list(map(_place, symbols(a))), writes_b + list(map(_place, symbols(b)))
    return _overlap(writes_a, touches_b) or _overlap(touches_a, writes_b)


def overlap(a: Symbol, b: Symbol) -> bool:
    """Whether two arrays have elements in common."""
    return _overlap([_place(a)], [_place(b)])


def _overlap(places: Sequence[Place], others: Sequence[Place]) -> bool:
    return any(s == t and a < d and c < b for s, a, b in places for t, c, d in others)


def _split(call: Call, columns: Mapping[str, str]) -> str:
    """The letter of the size that threads divide: the batch's rows if possible, the parameters, or from `columns`."""
    signature = call.kernel.signature
    written = [name for name in signature.in_place if name != call.kernel.begins]
    letters = [signature.results[name] or ("",) for name in signature.fresh]
    shapes = (*signature.operands.values(), *signature.results.values())
    across = any("N" in (shape or ())[1:] for shape in shapes)  # a slice of such an array would not be contiguous
    if not written and not across and all(shape[0] == "N" for shape in letters):
        # With weights larger than the batch's arrays, one more barrier costs less than each thread reading them all.
        sizes = call.sizes
        wide = call.name in columns and sizes["N"] < min(sizes["K"], sizes["M"])
        return columns[call.name] if wide else "N"
    # A user's own rule may take the norm of all parameters, say.
    if not letters and not call.kernel.own and all(signature.operands[name] == ("P",) for name in written):
        return "P"
    return columns.get(call.name, "")


def _writes(call: Call) -> list[Symbol]:
    signature = call.kernel.signature
    named = dict(zip(signature.operands, call.operands))
    return [*call.results, *(named[name] for name in signature.in_place)]


def _arrays(call: Call) -> list[tuple[Symbol, bool, bool]]:
    """What a call works on: each array, whether it is written, and whether its rows are the rows N of the call.

    Weights that another call has made of weights have rows, too, but those are not the rows of the batch.
    """
    signature = call.kernel.signature
    letters = {**signature.operands, **signature.results}
    named = [*zip(signature.operands, call.operands), *zip(signature.fresh, call.results)]
    return [
        (array, name in signature.results, (letters[name] or ("",))[0] == "N")
        for name, array in named
        if isinstance(array, Symbol)
    ]


def symbols(call: Call) -> list[Symbol]:
    return [operand for operand in call.operands if isinstance(operand, Symbol)]


def _touches(call: Call, segment: str) -> bool:
    return any(symbol.segment == segment for symbol in symbols(call))


def _place(symbol: Symbol) -> Place:
    """A symbol's segment, and its start and end there. A result without a place yet counts as its own segment."""
    if symbol.offset is None:
        return id(symbol), 0, 1
    return symbol.segment, symbol.offset, symbol.offset + symbol.size

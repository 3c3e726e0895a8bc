"""Planning: a tape is rearranged before it is run, with equal results: rows are fused, and shared out among threads.

Most rows of a step work on each row of the batch by itself, so every thread takes a share of the batch through the
whole network and back; products with weights larger than the batch are shared out by columns. What sums over the batch
(a weight's gradient, the loss) comes after, when all shares are done; of a gradient each thread makes a share of the
rows, of the parameters each moves a share. What need not wait for each other is one phase.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .recording import Row, Symbol
from .reference import KERNELS

Place = tuple[str | int, int, int]  # a segment, and from where to where in it


@dataclass(frozen=True)
class Planned:
    """A row, the letter of the size that threads share out ("" for one thread alone), and its phase."""

    row: Row
    split: str
    phase: int


def fuse(rows: Sequence[Row]) -> list[Row]:
    """Plain gradient descent where the gradient is made: W ← W − lr xᵀ dy in one product, and the gradient in no array.

    Done where `sgd_step` is all that reads the gradients, and each of them is made by a row that has a fused form.
    """
    steps = [row for row in rows if row.name == "sgd_step"]
    makers = [row for row in rows if row.kernel.with_sgd]
    others = [row for row in rows if row.name != "sgd_step" and not row.kernel.with_sgd]
    if len(steps) != 1 or any(_touches(row, "gradients") for row in others):
        return list(rows)
    parameters, gradients, rate = steps[0].operands
    if sum(row.operands[-1].size for row in makers) != gradients.size:
        return list(rows)
    fused = []
    for row in makers:
        *operands, gradient = row.operands
        moved = parameters.part(gradient.name.replace(".d", "."), gradient.offset, gradient.shape)
        name = row.kernel.with_sgd
        fused.append(Row(name, KERNELS[name], (*operands, moved, rate), ()))
    # Only where the step was, since until then the old parameters are still read.
    end = next(i for i, row in enumerate(rows) if row is steps[0])
    return [row for row in rows[:end] if not row.kernel.with_sgd] + fused + list(rows[end + 1 :])


def plan(rows: Sequence[Row], columns: Mapping[str, str], least: float = 0.0) -> list[Planned]:
    """The rows in phases. A row is put off to a later phase than all rows it must wait for, and no further.

    `columns`: kernel name -> letter that its loop can share out although it is not the batch's. Matrix products of less
    than `least` work are left to one thread.
    """
    planned: list[Planned] = []
    touched: dict[str | int, list[tuple[int, int, bool, Planned]]] = {}  # segment -> from, to, written, by whom
    for row in rows:
        split = "" if is_product(row) and work(row) < least else _split(row, columns)
        alone = split in ("N", "P", "")  # each thread goes on with its own share, or one thread with all
        places = [(*_place(symbol), True) for symbol in _writes(row)]
        places += [(*_place(symbol), False) for symbol in symbols(row)]
        phase = 0
        for segment, start, stop, written in places:
            for other_start, other_stop, other_written, earlier in touched.get(segment, ()):
                if (written or other_written) and start < other_stop and other_start < stop:
                    same = split != "P" or (start, stop) == (other_start, other_stop)  # or shares would not be the same
                    together = alone and split == earlier.split and same
                    phase = max(phase, earlier.phase + (not together))
        planned.append(Planned(row, split, phase))
        for segment, start, stop, written in places:
            touched.setdefault(segment, []).append((start, stop, written, planned[-1]))
    return sorted(planned, key=lambda p: p.phase)  # stable: within a phase the order stays


def part_of(row: Row, name: str, operand: Any, letter: str, start: int, stop: int) -> Any:
    """What a row needs of an operand or result to work on a part of what `letter` counts: rows, that size, or all."""
    if name == letter:
        return stop - start
    if not isinstance(operand, Symbol):
        return operand
    if row.kernel.begins == name:
        return operand.rows(start, len(operand))
    signature = row.kernel.signature
    letters = {**signature.operands, **signature.results}[name]
    if not letters or letters[0] != letter or (start, stop) == (0, len(operand)):
        return operand
    return operand.rows(start, stop)


# ---- what a row is like ----------------------------------------------------------------------------------------------


def is_product(row: Row) -> bool:
    """Whether the row is a matrix product."""
    return {"N", "K", "M"} <= set("".join(map(str, row.kernel.signature.operands.values())))


def work(row: Row) -> float:
    """Roughly how much a row computes: elements written, and multiplications by the dozen."""
    sizes = row.kernel.signature.sizes(row.operands)
    if is_product(row):
        return sizes["N"] * sizes["K"] * sizes["M"] / 12
    return max((symbol.size for symbol in _writes(row)), default=0)


def meets(a: Row, b: Row) -> bool:
    """Whether one writes what the other touches, so that they must not run side by side."""
    writes_a, writes_b = list(map(_place, _writes(a))), list(map(_place, _writes(b)))
    touches_a, touches_b = writes_a + list(map(_place, symbols(a))), writes_b + list(map(_place, symbols(b)))
    return _overlap(writes_a, touches_b) or _overlap(touches_a, writes_b)


def _overlap(places: Sequence[Place], others: Sequence[Place]) -> bool:
    return any(s == t and a < d and c < b for s, a, b in places for t, c, d in others)


def _split(row: Row, columns: Mapping[str, str]) -> str:
    """Which size is shared out: the batch's rows if they can be, the parameters, or what `columns` says."""
    signature = row.kernel.signature
    written = [name for name in signature.in_place if name != row.kernel.begins]
    letters = [signature.results[name] or ("",) for name in signature.fresh]
    shapes = (*signature.operands.values(), *signature.results.values())
    across = any("N" in (shape or ())[1:] for shape in shapes)  # a share of such an array would lie in pieces
    if not written and not across and all(shape[0] == "N" for shape in letters):
        sizes = signature.sizes(row.operands)
        # Weights larger than the batch's arrays: to read each of them on one thread only is worth a meeting more.
        wide = row.name in columns and sizes["N"] < min(sizes["K"], sizes["M"])
        return columns[row.name] if wide else "N"
    if not letters and all(signature.operands[name] == ("P",) for name in written):
        return "P"
    return columns.get(row.name, "")


def _writes(row: Row) -> list[Symbol]:
    signature = row.kernel.signature
    named = dict(zip(signature.operands, row.operands))
    return [*row.results, *(named[name] for name in signature.in_place)]


def symbols(row: Row) -> list[Symbol]:
    return [operand for operand in row.operands if isinstance(operand, Symbol)]


def _touches(row: Row, segment: str) -> bool:
    return any(symbol.segment == segment for symbol in symbols(row))


def _place(symbol: Symbol) -> Place:
    """Its segment, and from where to where it lies there; a result, which has no place yet, is a segment of its own."""
    if symbol.offset is None:
        return id(symbol), 0, 1
    return symbol.segment, symbol.offset, symbol.offset + symbol.size

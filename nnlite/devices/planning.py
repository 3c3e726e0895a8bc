"""Planning: a tape is rearranged before it is run, with equal results: rows are fused, and shared out among threads.

Most rows of a step work on each row of the batch by itself, so every thread takes a share of the batch through the
whole network and back; products with weights larger than the batch are shared out by columns. What sums over the batch
(a weight's gradient, the loss) comes after, when all threads have met; of a gradient each thread makes a share of the
rows, of the parameters each moves a share. Between two meetings lies a phase.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .recording import Row, Symbol

# What a fused row is called, by what it was made of.
FUSED_WITH_SGD = {
    "linear_backward_weights": "linear_backward_weights_sgd",
    "linear_backward_bias": "linear_backward_bias_sgd",
}


@dataclass(frozen=True)
class Planned:
    """A row, the letter of the size that threads share out ("" for one thread alone), and its phase."""

    row: Row
    split: str
    phase: int


def fuse(rows: Sequence[Row], kernels: Mapping[str, Callable[..., Any]]) -> list[Row]:
    """Plain gradient descent where the gradient is made: W ← W − lr xᵀ dy in one product, and the gradient in no array.

    Done where `sgd_step` is all that reads the gradients, and each of them is made by a row that has a fused form.
    """
    steps = [row for row in rows if row.name == "sgd_step"]
    makers = [row for row in rows if row.name in FUSED_WITH_SGD]
    others = [row for row in rows if row.name != "sgd_step" and row not in makers]
    if len(steps) != 1 or any(_touches(row, "gradients") for row in others):
        return list(rows)
    parameters, gradients, rate = steps[0].operands
    if sum(row.operands[-1].size for row in makers) != gradients.size:
        return list(rows)
    fused = []
    for row in makers:
        *operands, gradient = row.operands
        moved = parameters.part(gradient.name.replace(".d", "."), gradient.offset, gradient.shape)
        name = FUSED_WITH_SGD[row.name]
        fused.append(Row(name, kernels[name], (*operands, moved, rate), ()))
    end = list(rows).index(steps[0])  # only there, since until then the old parameters are still read
    return [row for row in rows[:end] if row not in makers] + fused + list(rows[end + 1 :])


def plan(rows: Sequence[Row], columns: Mapping[str, str], least: float = 0.0) -> list[Planned]:
    """The rows in phases. A row is put off to a later phase than all rows it must wait for, and no further.

    `columns`: kernel name -> letter that its loop can share out although it is not the batch's. Matrix products of less
    than `least` work are left to one thread.
    """
    planned: list[Planned] = []
    for row in rows:
        split = "" if is_product(row) and work(row) < least else _split(row, columns)
        phase = 0
        for earlier in planned:
            if _depends(row, earlier.row):
                together = split == earlier.split and split in ("N", "P", "")  # the same share, or the same one thread
                phase = max(phase, earlier.phase + (not together))
        planned.append(Planned(row, split, phase))
    return sorted(planned, key=lambda p: p.phase)  # stable: within a phase the order stays


def is_product(row: Row) -> bool:
    """Whether the row is a matrix product."""
    return {"N", "K", "M"} <= set("".join(map(str, row.kernel.signature.operands.values())))  # type: ignore[attr-defined]


def work(row: Row) -> float:
    """Roughly how much a row computes: elements written, and multiplications by the dozen."""
    sizes = row.kernel.signature.sizes(row.operands)  # type: ignore[attr-defined]
    if is_product(row):
        return sizes["N"] * sizes["K"] * sizes["M"] / 12
    return max((symbol.size for symbol in _writes(row)), default=0)


def _split(row: Row, columns: Mapping[str, str]) -> str:
    """Which size is shared out: the batch's rows if they can be, the parameters, or what `columns` says."""
    signature = row.kernel.signature  # type: ignore[attr-defined]
    written = [name for name in signature.results if name in signature.operands]
    letters = [signature.results[name] or ("",) for name in signature.fresh]
    if not written and all(shape[0] == "N" for shape in letters):
        sizes = signature.sizes(row.operands)
        # Weights larger than the batch's arrays: to read each of them on one thread only is worth a meeting more.
        wide = row.name in columns and sizes["N"] < min(sizes["K"], sizes["M"])
        return columns[row.name] if wide else "N"
    if not letters and all(signature.operands[name] == ("P",) for name in written):
        return "P"
    return columns.get(row.name, "")


def _writes(row: Row) -> list[Symbol]:
    signature = row.kernel.signature  # type: ignore[attr-defined]
    named = dict(zip(signature.operands, row.operands))
    return [*row.results, *(named[name] for name in signature.results if name in named)]


def _depends(row: Row, earlier: Row) -> bool:
    """Whether one reads or writes what the other writes."""
    mine, its = _writes(row), _writes(earlier)
    return any(_overlap(a, b) for a in mine for b in (*its, *_symbols(earlier))) or any(
        _overlap(a, b) for a in _symbols(row) for b in its
    )


def _symbols(row: Row) -> list[Symbol]:
    return [operand for operand in row.operands if isinstance(operand, Symbol)]


def _touches(row: Row, segment: str) -> bool:
    return any(symbol.segment == segment for symbol in _symbols(row))


def _overlap(a: Symbol, b: Symbol) -> bool:
    if a.segment != b.segment:
        return False
    if a.offset is None or b.offset is None:  # results, which have no place yet
        return a is b
    return a.offset < b.offset + b.size and b.offset < a.offset + a.size

"""Every kernel alone, compiled loop beside NumPy's formula: `python benchmarks/kernels.py [--out FOLDER]`.

First both must give the same. Then each is timed on one thread, median of fresh processes: the loop as a replay runs
it, many times from one table with no Python in between; the formula as a step in Python calls it. Beside it stands the
limit. A product's limit is the rate of multiply-adds on numbers that stay in registers. Another loop's is the time to
copy as many bytes, or the time of its arithmetic where that takes longer: OPERATIONS, each in a multiply-add's time.

NUMBA_CPU_NAME and NUMBA_CPU_FEATURES give the figures of another kind of processor that this one can imitate.
"""

from __future__ import annotations

import math
import statistics
import sys
from collections.abc import Callable, Sequence
from functools import partial, reduce
from pathlib import Path
from timeit import Timer
from typing import Any

import numpy as np
from options import parser
from processes import answer, child, seconds_each
from report import facts, number, save, table

SIZES = {
    "small": {"N": 32, "K": 32, "M": 32, "P": 1056, "G": 1056},
    "medium": {"N": 64, "K": 784, "M": 128, "P": 100_480, "G": 100_480},
    "large": {"N": 512, "K": 2048, "M": 2048, "P": 4_196_352, "G": 4_196_352},
}
HEAD = ["kernel", "numba, µs", "limit, µs", "of the limit", "NumPy, µs", "NumPy ÷ numba", "rate"]
REMARK = """What is written in place may be above 100 %: a copy first has to fetch the memory that it writes to. So may
arithmetic, where a processor adds or compares beside its multiply-adds. Divisions count as one operation, though most
processors take longer for them. A limit takes every loop to be in vectors, which rows shorter than a vector are not.
Of newer activations, losses and rules the arithmetic is not counted: beside them stands memory's limit alone."""
EXP, LOG_ONE_PLUS, LOG, TANH = 19, 12, 24, 14  # arithmetic of nnlite/devices/cpu/functions.py for a float32
# For each number: what is added to the above is counted in loops/. Loops that are not here have memory's limit.
OPERATIONS = {
    "sigmoid": EXP + 6,
    "tanh": TANH,
    "tanh_offset": EXP + 7,
    "softplus": EXP + LOG_ONE_PLUS + 5,
    "softplus_backward": TANH + EXP + 5,
    "softmax": EXP + 4,
    "softmax_cross_entropy": EXP + 7,
    "binary_cross_entropy": 2 * LOG + 14,
    "sigmoid_binary_cross_entropy": EXP + LOG_ONE_PLUS + 14,
    "categorical_cross_entropy": LOG + 6,
    "add_hits": 6,
    "add_sides": 8,
    "add_confusions": 6,
}
LEFT_OUT = {"take_rate"}  # each call takes the next of so many rates
APART = 2e-4  # at most, of the largest result: sums of 2048 float32 in another order


def times(seconds: float, only: Sequence[str] = tuple(SIZES)) -> dict[str, Any]:
    """Size, of these -> kernel -> seconds a call of the loop, of the formula and at the limit; what it works on."""
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "devices" / "common"))
    from test_kernels import KERNELS, make_operands

    from nnlite.devices.cpu.eager import LOOPS

    rate = multiply_adds(seconds)
    found: dict[str, Any] = {size: {} for size in only}
    for size in only:
        letters = SIZES[size]
        sizes = letters | {"A": 4 * letters["N"], "E": 2 * letters["N"]}
        used = sizes | {"A": sizes["N"], "E": sizes["N"]}  # of those only so many rows are read
        for name in LOOPS:
            if name in LEFT_OUT:
                continue
            kernel, signature = KERNELS[name], KERNELS[name].signature
            operands = make_operands(signature, sizes, np.float32, np.random.default_rng(0))
            shapes = [shape for shape in (*signature.operands.values(), *signature.results.values()) if shape]
            product = {"N", "K", "M"} <= {letter for shape in shapes for letter in shape}
            moved = 4 * sum(math.prod(int(used.get(letter, letter)) for letter in shape) for shape in shapes)
            arithmetic = sizes["N"] * sizes["K"] * (sizes["M"] if product else OPERATIONS.get(name, 0)) / rate
            copied = 0.0 if product else seconds_each(copy_of(moved // 8), seconds)[0]
            found[size][name] = {
                "numba": seconds_each(loop_of(name, kernel, operands), seconds)[0],
                "numpy": seconds_each(Timer(partial(kernel, *operands)).timeit, seconds)[0],
                "limit": max(copied, arithmetic),
                "flops": 2 * sizes["N"] * sizes["K"] * sizes["M"] if product else 0,
                "bytes": moved,
            }
    return found


def loop_of(name: str, kernel: Any, operands: list[Any]) -> Callable[[int], None]:
    """Something that runs the compiled loop so many times, after it has given what the formula gives."""
    from nnlite.devices import get_device
    from nnlite.devices.common.arena import Arena
    from nnlite.devices.common.recording import Recorder, Symbol

    device, signature = get_device("numba"), kernel.signature
    named = dict(zip(signature.operands, operands))
    arrays = {f"operand {n}": device.asarray(o.copy()) for n, o in named.items() if isinstance(o, np.ndarray)}
    symbols = {n: Symbol(n, a.shape, a.dtype, n, 0) for n, a in arrays.items()}
    recorder = Recorder(device.ops, np.float32)
    getattr(recorder, name)(*[symbols.get(f"operand {n}", o) for n, o in named.items()])
    arena = Arena(device, np.float32, {"sums": np.zeros(1), **arrays})
    run = run_often(device.replay(recorder.tape, None, arena).tables[0].lines, arena)

    run(1)
    copies = [o.copy() if isinstance(o, np.ndarray) else o for o in operands]
    answer = kernel(*copies)
    expected = list(answer) if isinstance(answer, tuple) else [] if answer is None else [answer]
    expected += [o for n, o in zip(named, copies) if n in signature.results]
    written = [symbols[f"operand {n}"] for n in named if n in signature.results]
    for symbol, e in zip((*recorder.tape.calls[0].results, *written), expected, strict=True):
        apart = np.abs(arena.view(symbol) - e).max() / max(np.abs(e).max(), 1e-30)
        if not apart <= APART:
            raise SystemExit(f"{name}: the loop's {symbol} is {apart:.0e} apart from the formula's")
    return run


def run_often(lines: np.ndarray, keep: Any) -> Callable[[int], None]:
    """Something that runs these lines so many times, by one more that goes back; `keep` is the memory they work on."""
    from nnlite.devices.cpu.table import REPEAT, run_lines

    whole = np.vstack([lines, np.zeros_like(lines[:1])])

    def run(n: int, keep: Any = keep) -> None:
        whole[-1, :3] = REPEAT, len(lines), n
        run_lines(whole, 0, len(whole))

    return run


def multiply_adds(seconds: float) -> float:
    """The multiply-adds of float32 in a second, on numbers that stay in the registers that products use."""
    from llvmlite import ir
    from numba import njit, types
    from numba.core import cgutils
    from numba.extending import intrinsic

    from nnlite.devices.cpu.products import ROWS, VECTOR, VECTORS

    lanes, sums, size = VECTOR // 4, max(12, ROWS * VECTORS), ir.IntType(64)  # 12 sums hide what each has to wait for
    vector = ir.VectorType(ir.FloatType(), lanes)

    @intrinsic
    def spin(typing, turns, number):  # type: ignore[no-untyped-def]
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            fma = ir.FunctionType(vector, [vector] * 3)
            fma = cgutils.get_or_insert_function(builder.module, fma, f"llvm.fmuladd.v{lanes}f32")
            factor = ir.Constant(vector, ir.Undefined)
            for lane in range(lanes):
                factor = builder.insert_element(factor, arguments[1], ir.IntType(32)(lane))
            before, loop, end = builder.block, builder.append_basic_block(), builder.append_basic_block()
            builder.branch(loop)
            builder.position_at_end(loop)
            done, old = builder.phi(size), [builder.phi(vector) for _ in range(sums)]
            new = [builder.call(fma, [factor, factor, each]) for each in old]
            more = builder.add(done, size(1))
            for variable, first, then in ((done, size(0), more), *((o, factor, n) for o, n in zip(old, new))):
                variable.add_incoming(first, before)
                variable.add_incoming(then, loop)
            builder.cbranch(builder.icmp_signed("<", more, arguments[0]), loop, end)
            builder.position_at_end(end)
            return builder.extract_element(reduce(builder.fadd, new), ir.IntType(32)(0))

        return types.float32(types.int64, types.float32), generate

    run = njit(lambda turns, number: spin(turns, number))
    number, turns = np.float32(1e-3), 10_000
    return sums * lanes * turns / seconds_each(lambda n: [run(turns, number) for _ in range(n)], seconds)[0]


def copy_of(size: int) -> Callable[[int], None]:
    """Something that copies so many float32 so many times."""
    from nnlite.devices.cpu.compiling import compiled
    from nnlite.devices.cpu.table import function_for

    x, y = np.ones(max(1, size), np.float32), np.zeros(max(1, size), np.float32)
    address = function_for(compiled(copy), "copy", ("f4_1", "f4_1"))
    return run_often(np.array([[address, y.ctypes.data, y.size, x.ctypes.data, x.size]]), (x, y))


def copy(y, x):  # type: ignore[no-untyped-def]
    for i in range(x.size):
        y[i] = x[i]


def cells(m: dict[str, Any]) -> list[str]:
    """What HEAD says of these medians."""
    limit, rate = ["–", "–"], "–"
    if m["bytes"] > 1000:  # else it is a few numbers, and all of the time is for the call
        rate = f"{number((m['flops'] or m['bytes']) / m['numba'] / 1e9)} {'GFLOP' if m['flops'] else 'GB'}/s"
        limit = [number(m["limit"] * 1e6), f"{m['limit'] / m['numba']:.0%}"]
    micros = [number(m[side] * 1e6) for side in ("numba", "numpy")]
    return [m["kernel"], micros[0], *limit, micros[1], number(m["numpy"] / m["numba"]), rate]


def target() -> dict[str, str]:
    """What the loops are compiled for, which may be less than the machine has."""
    from nnlite.devices.cpu.compiling import TARGET
    from nnlite.devices.cpu.products import ROWS, VECTOR, VECTORS

    return {"compiled for": f"{TARGET[1]}, {VECTOR} bytes a vector, blocks of {ROWS} rows and {VECTORS} vectors"}


def main() -> None:
    options = parser(__doc__, seconds=0.02)
    options.add_argument("--stem", default="kernels", help="name of the files of results without the ending")
    arguments = options.parse_args()
    runs = [child("kernels.py", "times", threads=1, seconds=arguments.seconds) for _ in range(arguments.repeats)]
    rows: list[dict[str, Any]] = [
        {"size": size, "kernel": name} | {key: statistics.median(run[size][name][key] for run in runs) for key in first}
        for size in SIZES
        for name, first in runs[0][size].items()
    ]
    told = facts({}) | child("kernels.py", "target")
    sections = ["# Kernels, one thread", "\n".join(f"- {name}: {value}" for name, value in told.items()), REMARK]
    for size, letters in SIZES.items():
        sections.append(f"## {size}: {', '.join(f'{letter} = {value:,}' for letter, value in letters.items())}")
        sections.append(table(HEAD, [cells(m) for m in rows if m["size"] == size]))
    print("\n\n".join(sections))
    if arguments.out:
        save(arguments.out, arguments.stem, "\n\n".join(sections), rows)


if __name__ == "__main__" and not answer({"times": times, "target": target, "multiply_adds": multiply_adds}):
    main()

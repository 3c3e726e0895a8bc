"""A tape as a table of integers, and the compiled loop that runs it without Python.

A line of the table is the address of a function and what that function takes: the addresses of its operands, their
sizes, plain numbers. Lines with a small number in the place of the address steer:

    BARRIER                 wait until all threads have come here
    MOVE, address, bytes    add to the word at this address: an operand begins further on
    REPEAT, lines, times    go back so many lines, until they have been run so many times
"""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Callable, Sequence
from typing import Any

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .compiling import compiled, machine_code
from .loops import COLUMNS
from .memory import address, reader
from .products import ready

BARRIER, REPEAT, MOVE = 0, 1, 2
CALLED_OFF = -(2**62)  # in a barrier: somebody will not come any more


@functools.cache
def function_for(loop: Callable[..., Any], name: str, kinds: tuple[str, ...]) -> int:
    """The address of a function that unpacks a line of the table and calls this loop.

    `kinds` says what follows the address, in the words of `reader`. Written as text, since nothing but this differs.
    """
    if name in COLUMNS:  # these are made of matrix products
        ready(np.dtype(kinds[0].split("_")[0]))
    unpacked, word = [], 1
    names: dict[str, Any] = {"loop": loop, "__name__": __name__}
    for kind in kinds:
        names[f"read_{kind}"] = reader(kind)
        unpacked.append(f"read_{kind}(line + {8 * word})")
        word += 1 if kind in ("number", "size") else 1 + int(kind[-1])
    function = f"run_{name}_{'_'.join(kinds)}"
    exec(compile(f"def {function}(line):\n    loop({', '.join(unpacked)})\n", __file__, "exec"), names)
    ours = getattr(loop, "__module__", "").startswith(__package__ or "nnlite")
    made = machine_code(names[function], types.void(types.int64), kept=ours)
    MADE.append(made)  # or the machine code would be freed
    return int(made.address)


MADE: list[Any] = []


def as_array(lines: Sequence[Sequence[int]]) -> np.ndarray:
    """Lines of any length as one table."""
    width = max(map(len, lines), default=1)
    return np.array([[*words, *[0] * (width - len(words))] for words in lines], np.int64).reshape(-1, width)


@intrinsic
def call(typing: Any, address: Any, line: Any) -> Any:
    """Call the function at this address with the address of a line: 4 ns, where a list of functions costs 47.

    Returns 0, or what Numba's functions return that have raised an error.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = context.call_conv.get_function_type(types.void, (types.int64,))
        result, error = (cgutils.alloca_once(builder, place.pointee) for place in kind.args[:2])
        return builder.call(builder.inttoptr(arguments[0], kind.as_pointer()), [result, error, arguments[1]])

    return types.int32(types.int64, types.int64), generate


def _atomically(operation: str) -> Any:
    """A change of the int64 at an address that all threads see at once, f(address, value); returns what was there."""

    @intrinsic
    def change(typing: Any, address: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            place = builder.inttoptr(arguments[0], ir.IntType(64).as_pointer())
            return builder.atomic_rmw(operation, place, arguments[1], "seq_cst")

        return types.int64(types.int64, types.int64), generate

    return change


add_atomically, lower_atomically = _atomically("add"), _atomically("min")


@intrinsic
def read_atomically(typing: Any, address: Any) -> Any:
    """The int64 at this address, as other threads have left it."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load_atomic(builder.inttoptr(arguments[0], ir.IntType(64).as_pointer()), "acquire", 8)

    return types.int64(types.int64), generate


# What a thread calls when it has waited for long: another program may need this core.
_library: Any = ctypes.CDLL(None) if os.name == "posix" else getattr(ctypes, "windll").kernel32  # noqa: B009
_yield = _library.sched_yield if os.name == "posix" else _library.SwitchToThread
llvmlite.binding.add_symbol("nnlite_yield", ctypes.cast(_yield, ctypes.c_void_p).value)
let_others_run = types.ExternalFunction("nnlite_yield", types.int32())


@compiled
def wait(gate, met):
    """Come to a barrier, and wait until `met` have come; whether they did."""
    add_atomically(gate, 1)
    spins = 0
    seen = read_atomically(gate)
    while 0 <= seen < met:
        seen = read_atomically(gate)
        spins += 1
        if spins % 1000 == 0:
            let_others_run()
    return seen >= 0


@compiled
def replay(full, short, first, last, per_epoch, sums, history, thread, threads, barrier):
    """Run steps first … last − 1 of which each `per_epoch` make an epoch, the last of them by the short table.

    history (epochs, S) takes the sums (S,) of each epoch. Returns the step it stopped before: a step whose loss is not
    finite, or one in which a function has raised an error, which calls off the barrier.
    """
    met, turns = 0, 0
    gate = address(barrier)
    epoch, left = first // per_epoch, per_epoch - first % per_epoch
    for step in range(first, last):
        left -= 1
        end_of_epoch = left == 0
        table = short if end_of_epoch and short.shape[0] > 0 else full
        apart, start = table.strides[0], address(table)
        line = 0
        while line < table.shape[0]:
            what = table[line, 0]
            if what > MOVE:
                if call(what, start + line * apart) != 0:
                    lower_atomically(gate, CALLED_OFF)
                    return step
            elif what == MOVE:
                add_atomically(table[line, 1], table[line, 2])
            elif what == REPEAT:
                turns += 1
                if turns < table[line, 2]:
                    line -= table[line, 1]
                    continue
                turns = 0
            else:
                met += threads
                if not wait(gate, met):
                    return step
            line += 1
        if not np.isfinite(sums[0]):
            return step
        if end_of_epoch:
            if thread == 0:
                for i in range(sums.size):
                    history[epoch, i] = sums[i]
                    sums[i] = 0
            epoch, left = epoch + 1, per_epoch
    return last

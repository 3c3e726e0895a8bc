"""The table of a tape: its calls as integers, and the compiled loop that runs them without Python.

A line of the table is the address of a function and its arguments: the addresses of its operands, their sizes, and
plain numbers. A small number in the place of the address is a control line:

    MOVE, address, bytes    add so many bytes to the word at this address, so that an operand begins further on
    REPEAT, lines, times    go back so many lines, until they have been run so many times

A step is a sequence of phases. A phase is a set of parts that may run at the same time. A part is a sequence of lines.
Each thread first runs its own part, whose memory is in the cache of its core. If other threads are late, it steals the
parts that they have not begun (work stealing). So the others wait for a thread only if it has begun a part: another
program may hold its core for milliseconds. The results do not depend on which thread runs a part.
"""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ..common.reference import KERNELS
from .compiling import ZERO, MachineCode, allocates, compiled, inside
from .memory import address, operand, pause
from .products import ready

REPEAT, MOVE = 1, 2
LONGEST, SHORTEST = 2000, 100  # pauses while another thread ends; on x86 10 to 90 µs, and 0.4 to 4.5
PATIENCE = 40  # checks, each with a pause, about a microsecond in all, before a thread steals the parts of others
ROW = 16  # words of a row: a cache line of 128 bytes, as Apple has, so that threads do not write to the same line
MARK = 2  # the word of a row in which threads mark their progress
WORD = 8  # bytes
EXPONENT = 0x7FF << 52  # the bits of a float64 that are all 1 if it is not finite


class Table(NamedTuple):
    """All lines of a step, and how threads divide them.

    `shares` has one row for each phase, with its number of parts. After it, there is one row for each of these parts,
    with its first line and the line after its last. A turn is one run of the whole table, counted from 1. In a phase's
    row, MARK counts finished parts, over all turns; in a part's row, it holds the turn in which a thread last took it.
    """

    lines: np.ndarray  # (lines, words)
    shares: np.ndarray  # (phases and parts, ROW)


class Trampoline(MachineCode):
    """The machine code of a loop, behind a function that unpacks a line of the table and calls the loop.

    `kinds` are the kinds of operands after the address in a line, as for `operand`. The function is written as LLVM
    instructions, and the loop is inlined into it. It takes the address of a line, and returns 0, or the status that
    Numba's functions return after an error.
    """

    def __init__(self, loop: Callable[..., Any], kinds: tuple[str, ...], **options: Any) -> None:
        self.operands = [operand(kind) for kind in kinds]
        super().__init__(loop, types.void(*(each.type for each in self.operands)), forceinline=True, **options)

    def complete(self, made: Any) -> None:
        context, native = made.target_context, made.fndesc.llvm_func_name
        module = made.library.create_ir_module(PREFIX + native)
        kind = context.call_conv.get_function_type(types.void, made.signature.args)
        loop, function = ir.Function(module, kind, native), ir.Function(module, UNPACKING, PREFIX + native)
        builder = ir.IRBuilder(function.append_basic_block())
        word, values = 1, []
        for each in self.operands:
            place = builder.add(function.args[0], ir.IntType(64)(WORD * word))
            values.append(each.read(context, builder, place))
            word += each.words
        status, _ = context.call_conv.call_function(builder, loop, types.void, made.signature.args, values)
        builder.ret(status.code)
        made.library.add_ir_module(module)
        made.library.get_function(native).linkage = "internal"  # or LLVM would also make it apart

    @property
    def entry(self) -> str:
        return PREFIX + super().entry


PREFIX, UNPACKING = "nnlite_line_", ir.FunctionType(ir.IntType(32), [ir.IntType(64)])


@functools.cache
def function_for(loop: Callable[..., Any], name: str, kinds: tuple[str, ...], key: str | None = None) -> int:
    """The address of a function that calls this loop with the operands in a line of the table.

    `key` is None for a loop of this folder. For a user's own, it stands for the code of the loop, or is "" if the loop
    cannot be kept on disk.
    """
    if name in KERNELS and KERNELS[name].columns:  # these loops call matrix products
        ready(np.dtype(kinds[0].split("_")[0]))
    own = key is not None
    MADE.append(Trampoline(loop, kinds, key="line" if key is None else key or None, allocates=own or allocates(loop)))
    return MADE[-1].address


MADE: list[MachineCode] = []  # keeps the machine code alive


def as_table(
    zeros: Callable[..., np.ndarray], lines: Sequence[Sequence[int]] = (), phases: Sequence[Sequence[int]] = ()
) -> Table:
    """Lines of any length as one table. `phases` has for each phase the lines at which its parts begin.

    `zeros` makes an array that begins at a cache line.
    """
    width = max(map(len, lines), default=1)
    array = np.array([[*words, *[0] * (width - len(words))] for words in lines], np.int64).reshape(-1, width)
    ends = iter([*[line for phase in phases for line in phase][1:], len(lines)])
    rows = [row for phase in phases for row in ((len(phase), 0), *((first, next(ends)) for first in phase))]
    shares = zeros((len(rows), ROW), np.int64)
    shares[:, :2] = np.reshape(rows, (-1, 2))
    return Table(array, shares)


@intrinsic
def call(typing: Any, address: Any, line: Any) -> Any:
    """Call the function at this address with the address of a line: 4 ns, where a list of functions would take 47 ns.

    Returns what it returns: 0, or a status after an error.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.call(builder.inttoptr(arguments[0], UNPACKING.as_pointer()), [arguments[1]])

    return types.int32(types.int64, types.int64), generate


def _atomically(operation: str) -> Any:
    """An atomic change of the int64 at an address, f(address, value), which returns the old value."""

    @intrinsic
    def change(typing: Any, address: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            place = builder.inttoptr(arguments[0], ir.IntType(64).as_pointer())
            return builder.atomic_rmw(operation, place, arguments[1], "acq_rel")

        return types.int64(types.int64, types.int64), generate

    return change


add_atomically, raise_atomically = _atomically("add"), _atomically("max")


@intrinsic
def read_atomically(typing: Any, address: Any) -> Any:
    """An atomic read of the int64 at this address. All that threads wrote before they changed it is then visible."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load_atomic(builder.inttoptr(arguments[0], ir.IntType(64).as_pointer()), "acquire", 8)

    return types.int64(types.int64), generate


# A thread calls this after a long wait, since another program may need its core.
_library: Any = ctypes.CDLL(None) if os.name == "posix" else getattr(ctypes, "windll").kernel32  # noqa: B009
_yield = _library.sched_yield if os.name == "posix" else _library.SwitchToThread
llvmlite.binding.add_symbol("nnlite_yield", ctypes.cast(_yield, ctypes.c_void_p).value)
let_others_run = types.ExternalFunction("nnlite_yield", types.int32())


@partial(compiled, inlined=True)
def run_lines(lines, first, last):
    """Run the lines first … last − 1. Returns 0, or the status of the first function that raised an error."""
    apart, start = lines.strides[0], address(lines)
    turns, line = 0, first
    while line < last:
        what = lines[line, 0]
        if what > MOVE:
            status = call(what, start + line * apart)
            if status != 0:
                return status
        elif what == MOVE:
            add_atomically(lines[line, 1], lines[line, 2])
        else:
            turns += 1
            if turns < lines[line, 2]:
                line -= lines[line, 1]
                continue
            turns = 0
        line += 1
    return 0


@compiled
def sweep(lines, pointers, a, b, position, sums, first, times, rows, taken, end):
    """Run all lines for `times` batches of so many rows of the data a and b, from row `first` on.

    The sums (S,) begin at 0. If several threads call this for the same batches, each with lines and sums of its own,
    `taken` is the address of three counts: of the batches that threads have taken, of those taken from the front, and
    of those taken from the back; `end` is 1 or 2 for the one from which this thread takes its batches, so that they lie
    side by side. `taken` is 0 for a thread alone.

    pointers (words, 5) lists the words that hold addresses of the data: 0 for a or 1 for b, the line, the word in the
    line, the bytes from the start of the array, and the bytes from one row to the next, or 0 for the whole array.
    Returns 0, or −1 as soon as the first of the sums is not finite, or the status of a function that raised an error.
    """
    start_a, start_b = address(a), address(b)
    for i in range(sums.size):
        sums[i] = 0
    batch = 0
    while True:
        number = batch if taken == 0 else add_atomically(taken, 1)
        if number >= times:
            return 0
        if taken != 0:
            number = add_atomically(taken + WORD * end, 1)
            number = number if end == 1 else times - 1 - number
        if number == 0 or taken != 0:  # else the lines themselves have moved on
            begin = first + number * rows
            for i in range(pointers.shape[0]):
                start = start_a if pointers[i, 0] == 0 else start_b
                lines[pointers[i, 1], pointers[i, 2]] = start + pointers[i, 3] + begin * pointers[i, 4]
            position[0] = begin
        batch += 1
        status = run_lines(lines, ZERO, lines.shape[0])
        if status != 0:
            return status
        if not np.isfinite(sums[0]):
            return -1


@compiled
def wait_awake(idle):
    """Wait until all of idle (threads,) are 1, but not for longer than it takes to fall asleep and be woken.

    Then wait a little more, until the last thread sleeps: else this one would have to be woken for Python's lock.
    """
    for _ in range(LONGEST):
        at_work = 0
        for thread in range(idle.size):
            at_work += read_atomically(address(idle) + WORD * thread) == 0
        if at_work == 0:
            break
        pause()
    for _ in range(SHORTEST):
        pause()


# Why each thread sees what the others wrote, on processors that reorder reads and writes, too:
# - A thread that has run a part adds 1 to the count of its phase. The addition is a release: it comes after all that
#   the part read and wrote. A thread leaves a phase when it reads, by an acquire, that the count is complete. Since a
#   count is changed by atomic additions only, this read synchronises with all of them (they are one release sequence).
#   So all of a phase happens before all of the next one, and by turns of the whole table before all later ones.
# - Of the threads that take a part for a turn, exactly one gets an older turn back, since the atomic maximum works on
#   the newest value. A late thread gets nothing: a phase is done only when all its parts were taken for this turn.
# - `written` is raised (a release) after the sums were moved to history, and read (an acquire) before the next step.
# - The marks are 0 before the threads get their shares. Python's queue and locks, through which a share is handed over
#   and its end is told (common/threads.py), order all that is before and after.
# Only the check of the loss is not ordered: a late thread may read sums[0] while a faster one adds to it in a later
# step. So it is an atomic read, of the old or of the new number. One that is not finite remains so until the epoch's
# end, which no thread reaches then. A late thread that sees it too early stops too early, which the others do not.


@partial(compiled, inlined=True)
def take(mark, turn):
    """Take a part, or an epoch's sums, for this turn. Returns whether no other thread had taken it before."""
    return read_atomically(mark) < turn and raise_atomically(mark, turn) < turn


@inside
def run_together(lines, shares, turn, thread, error):
    """Run a table, lines (lines, words) and shares (rows, ROW), together with other threads that also call this.

    `error` is the address of a word that is not 0 after an error in any thread. Returns True when all parts are done,
    or False after an error.
    """
    phase = 0
    while phase < shares.shape[0]:
        parts = shares[phase, 0]
        done = address(shares) + WORD * (ROW * phase + MARK)
        looks, spins = 1 if thread < parts else 0, 0  # the number of parts to try: its own, and after a wait all
        while read_atomically(done) < turn * parts:
            part = thread
            for _ in range(looks):
                part = 1 if part >= parts else part + 1
                if take(done + WORD * ROW * part, turn):
                    if run_lines(lines, shares[phase + part, 0], shares[phase + part, 1]) != 0:
                        return False
                    add_atomically(done, 1)
            spins += 1
            if spins == PATIENCE:
                looks = parts
            pause()
            if spins % (4 * PATIENCE) == 0:
                let_others_run()
            if read_atomically(error) != 0:
                return False
        phase += 1 + parts
    return True


@compiled
def replay(full, short, first, last, per_epoch, sums, history, marks, thread, together):
    """Run the steps first … last − 1. Every `per_epoch` steps are an epoch; its last step is run by the short lines.

    history (epochs, S) gets the sums (S,) of each epoch. Returns `last`, or the number of a step whose loss is not
    finite or in which a function raised an error; a thread that was late may return an earlier one.

    marks (3, ROW) holds: whether there was an error, the last epoch whose sums a thread took, and the last epoch whose
    sums were written to history. `together` is None for one thread alone, or else the shares of full and of short.
    """
    error = address(marks)
    taken, written = error + WORD * ROW, error + 2 * WORD * ROW
    full_turns, short_turns = 0, 0
    epoch, left = first // per_epoch, per_epoch - first % per_epoch
    for step in range(first, last):
        left -= 1
        end_of_epoch = left == 0
        by_short = end_of_epoch and short.shape[0] > 0
        if together is None:
            lines = short if by_short else full
            finished = run_lines(lines, ZERO, lines.shape[0]) == 0
        elif by_short:
            short_turns += 1
            finished = run_together(short, together[1], short_turns, thread, error)
        else:
            full_turns += 1
            finished = run_together(full, together[0], full_turns, thread, error)
        if not finished:
            raise_atomically(error, 1)
            return step
        if read_atomically(address(sums)) & EXPONENT == EXPONENT:  # NaN or infinity
            return step
        if end_of_epoch:
            epoch, left = epoch + 1, per_epoch
            if together is None or take(taken, epoch):
                for i in range(sums.size):
                    history[epoch - 1, i] = sums[i]
                    sums[i] = 0
                if together is not None:
                    raise_atomically(written, epoch)
            while together is not None and read_atomically(written) < epoch:  # or an add could come first
                pause()
                let_others_run()
    return last

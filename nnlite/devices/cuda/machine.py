"""The GPU: its CUDA sources are compiled at first use, its kernels are launched, and cuBLAS makes its products.

A kernel gets a call, with arrays as operands, as a line of integers (common/lines.py). So every kernel has the same
parameters, whether it is launched alone, in a graph or in the persistent replay.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..common.lines import is_array, line, operands
from ..common.recording import Call
from ..common.reference import KERNELS
from . import cublas
from .meeting import Meeting

OPTIONS = ("-std=c++17", "-diag-suppress=177")  # 177: the sources contain functions that are not used
BLOCK = 256  # threads of a block, for a kernel that is launched alone or in a graph
WARP, TILE, SIDE = 32, 64, 4
AHEAD = 4  # numbers that a thread reads before it uses the first
VOLTA = 70  # the first compute capability that has the instruction `ld.acquire`, with which blocks wait for each other
LONGEST = 16  # the most words of a launch
TYPES = {"f4": "float", "f8": "double", "i8": "Word"}

# Kernel -> letter of the size that blocks can divide. Weights are divided by rows, so that a block reads few columns of
# x.
PARTS = {name: "K" if k.product == "xᵀ dy" else k.columns for name, k in KERNELS.items() if k.columns}
# Kernel that cuBLAS can compute -> the two factors of its product, such as "dy" and "Wᵀ".
BY_CUBLAS = {name: k.product.split() for name, k in KERNELS.items() if k.product}
# x W with at most NARROW columns and at most NEAR numbers in x is made by a kernel of our own (products.cu). On an H200
# (512, 2048) (2048, 10) takes 11 µs with its bias, where cuBLAS takes 20 without. Products of other layouts were not
# faster by our own kernels.
NARROW, NEAR = WARP, 1 << 21
# In TF32, a Hopper multiplies xᵀ dy 1.6 times as fast if x is transposed first, where no size is below this one: its
# tensor cores take numbers that follow each other along the inner size.
WORTH_TRANSPOSING = 2048
# Activation -> the kernel that also adds a bias, and backward -> the kernel that also sums the bias's gradient, or with
# a rate moves the bias against it. The reference does not have these kernels.
WITH_BIAS = {name: f"bias_{name}" for name, k in KERNELS.items() if k.elementwise and f"{name}_backward" in KERNELS}
BACK_WITH_BIAS = {f"{name}_backward": f"{name}_backward_bias" for name in WITH_BIAS}
# Kernel -> the kernels that are launched in its place, one after the other. Each has one sum over the rows.
IN_TURN = {
    "batch_moments": ("batch_mean", "batch_variance"),
    "batch_norm_means": ("batch_norm_mean_dy", "batch_norm_mean_product"),
}
LAUNCHED = [name for kernel in KERNELS for name in IN_TURN.get(kernel, (kernel,))]
EXTRA = ("take_both", "add_bias", "factors", "transpose", *WITH_BIAS.values(), *BACK_WITH_BIAS.values())
COUNTERS = [name for name, k in KERNELS.items() if k.counts]  # these also work on integers
# The sources that every source of ours begins with, as they follow each other.
CHAPTERS = (
    *("team", "numbers", "sums", "rows", "activations", "noise"),
    *("losses", "metrics", "normalization", "rules", "products"),
)


def source(*last: str, **settings: str) -> str:
    """The text of all chapters and of these last files, after macros for the settings."""
    folder = Path(__file__).with_name("sources")
    macros = "".join(f"#define NNLITE_{name} {value}\n" for name, value in settings.items())
    return macros + "\n".join((folder / f"{file}.cu").read_text() for file in (*CHAPTERS, *last))


def launches(real: str) -> str:
    """The source of all kernels to launch, for one type."""
    kinds = [(name, real) for name in (*LAUNCHED, *EXTRA)] + [(name, "Word") for name in COUNTERS]
    listed = " ".join(f"LAUNCH({name}, {kind})" for name, kind in kinds)
    return source("launch", LAUNCHES=listed, REAL=real)


def real_of(call: Call) -> str:
    """The type in which a call's kernel computes: float if any operand is float32."""
    found = {value.dtype.str[1:] for value in operands(call).values() if is_array(value)}
    return TYPES[next(kind for kind in TYPES if kind in found)]


def product_of(call: Call) -> tuple[Any, Any, Any, bool, bool]:
    """What a product makes, its two factors, and whether each of them is transposed, as cuBLAS takes them."""
    named, (a, b) = operands(call), BY_CUBLAS[call.name]
    return next(iter(named.values())), named[a.strip("ᵀ")], named[b.strip("ᵀ")], a.endswith("ᵀ"), b.endswith("ᵀ")


class Own:
    """What one thread needs for its work, of which no two pieces may run at once: cuBLAS, room for blocks' sums."""

    def __init__(self, machine: Machine) -> None:
        cupy = machine.cupy
        self.counters = cupy.zeros(machine.most_parts, np.uint32)
        self.room = cupy.empty((machine.most_parts, WARP), np.float64)
        self.cublas = cublas.opened(cupy, machine.precision == "tf32")
        self.transposed: dict[tuple[int, ...], Any] = {}  # shape -> room for a transposed matrix
        # (2,) of each type: -lr, which each product that moves weights by cuBLAS writes, and 1
        self.factors = {real: cupy.ones(2, dtype) for real, dtype in (("float", "f4"), ("double", "f8"))}


class Machine:
    """One GPU: its hardware limits, and the kernels compiled for it."""

    def __init__(self, cupy: Any, precision: str) -> None:
        self.cupy, self.precision = cupy, precision
        self.number = int(cupy.cuda.Device().id)
        attributes = cupy.cuda.Device().attributes
        self.processors = int(attributes["MultiProcessorCount"])
        self.shared_bytes = int(attributes["MaxSharedMemoryPerBlockOptin"])
        self.cooperates = bool(attributes["CooperativeLaunch"])
        self.most_parts = 4 * self.processors  # blocks that divide the rows of a sum; each has room for its sums
        capability = int(cupy.cuda.Device().compute_capability)
        self.persists, self.transposes = capability >= VOLTA, capability >= cublas.HOPPER and precision == "tf32"
        self._threads, self._compiling = threading.local(), threading.Lock()
        self._kernels: dict[tuple[str, str], Any] = {}
        self._modules: dict[str, Any] = {}
        self.texts: dict[Hashable, Any] = {}  # of persistent replays, by what they depend on

    @staticmethod
    def address(array: Any) -> int:
        """The address in the GPU's memory at which an array begins."""
        return int(array.data.ptr)

    @property
    def own(self) -> Own:
        """What this thread has for itself."""
        if not hasattr(self._threads, "own"):
            self._threads.own = Own(self)
        return self._threads.own

    @property
    def cublas(self) -> cublas.Cublas | None:
        """This thread's cuBLAS, or None if none can be used here: nnlite's own kernels then make the products."""
        return self.own.cublas

    def kernel(self, name: str, real: str) -> Any:
        """A kernel to launch on a grid. The first call for a type compiles all kernels of that type."""
        if (name, real) not in self._kernels:
            self._kernels[name, real] = self._module(real).get_function(f"launch_{name}_{real}")
        return self._kernels[name, real]

    def _module(self, real: str) -> Any:
        """The module with the kernels of a type. Every module has those of integers."""
        if real == "Word":
            real = next(iter(self._modules), "float")
        if real not in self._modules:
            self._modules[real] = self.compiled(launches(real))
        return self._modules[real]

    def compiled(self, code: str) -> Any:
        """The module of a source. Threads that need the same one wait for the first, and CuPy keeps it for them."""
        with self._compiling:
            module = self.cupy.RawModule(code=code, options=OPTIONS)
            module.compile()
        return module

    @property
    def meeting(self) -> Meeting | None:
        """What this thread takes part in."""
        return getattr(self._threads, "meeting", None)

    @contextlib.contextmanager
    def taking_part(self, meeting: Meeting, stream: Any) -> Iterator[None]:
        """In this block, this thread works on this GPU and on this stream: CuPy has current ones for each thread.

        Its persistent kernels of one block are launched together with other threads'.
        """
        with self.cupy.cuda.Device(self.number), stream:
            self._threads.meeting = meeting
            try:
                yield
            finally:
                self._threads.meeting = None
                meeting.leave()  # which may launch for the others

    def end_step(self, losses: Call | None, advance: Call | None, *rest: int) -> None:
        """Launch the end of a step. It does the work of these two calls, an add_losses and an advance."""
        of_losses = self._words(losses.operands[0]) if losses else (0, 0)
        of_position = (self.address(advance.operands[0]), advance.operands[1]) if advance else (0, 0)
        kernel = self._module(real_of(losses) if losses else "Word").get_function("end_step")
        kernel((1,), (BLOCK,), (*of_losses, *of_position, *rest))

    def run(self, call: Call) -> None:
        """Run a call, with arrays as operands, on the current stream."""
        if self.by_cublas(call):
            self._product(call)
            return
        for name in IN_TURN.get(call.name, (call.name,)):
            self._launch(name, real_of(call), self._blocks(call), line(call, self.address, PARTS).words)

    def by_cublas(self, call: Call) -> bool:
        """Whether cuBLAS makes this product."""
        if not self.cublas or call.kernel.own or call.name not in BY_CUBLAS:
            return False
        c, a, *_ = product_of(call)
        return call.kernel.product != "x W" or c.shape[1] > NARROW or a.size > NEAR

    def take_both(self, x: Call, target: Call) -> None:
        """Run two calls of take_rows, which have the same order and position, in one launch."""
        (all_x, order, position, _), (all_target, *_) = x.operands, target.operands
        words = self._words(x.results[0], all_x, target.results[0], all_target, order, position)
        self._launch("take_both", real_of(x), self._enough(math.ceil(x.results[0].size / AHEAD)), words)

    def product_and_activation(self, linear: Call, activation: Call) -> None:
        """Run a linear call and the activation that alone reads its result; the activation's kernel adds the bias."""
        self._product(Call("matmul", linear.kernel, linear.operands, linear.results))
        y, x, b = activation.results[0], linear.results[0], operands(linear)["b"]
        words = self._words(y, x, b, *activation.operands[1:])
        self._launch(WITH_BIAS[activation.name], real_of(linear), self._enough(y.size), words)

    def backward_and_bias(self, activation: Call, bias: Call) -> None:
        """Run the backward of an activation and, in the same pass, compute the bias's gradient or move the bias."""
        dx, named = activation.results[0], operands(bias)
        if "lr" in named:
            of_bias = self._words(named["b"], named["lr"])
        else:
            of_bias = [*self._words(named["db"]), self.address(named["db"]), 0]  # no rate
        words = [*self._words(dx), *of_bias, *self._words(*activation.operands)]
        self._launch(BACK_WITH_BIAS[activation.name], real_of(activation), self._for_sums(*dx.shape), words)

    def _words(self, *operands: Any) -> list[int]:
        """A line of arrays and of numbers, which are the bits of a float64."""
        words: list[int] = []
        for each in operands:
            words += (self.address(each), *each.shape) if is_array(each) else [int(np.float64(each).view(np.int64))]
        return words

    def _launch(self, name: str, real: str, blocks: int, words: Sequence[int]) -> None:
        own = self.own
        filled = (*words, *[0] * (LONGEST - len(words)), self.address(own.counters), self.address(own.room))
        self.kernel(name, real)((blocks,), (BLOCK,), filled)

    def _product(self, call: Call) -> None:
        """Make a product by cuBLAS and add the bias, if it has one. With a learning rate, move the weights by it."""
        assert self.cublas is not None
        real, factors = real_of(call), None
        if "lr" in operands(call):
            factors = self.own.factors[real]
            self._launch("factors", real, 1, self._words(factors, operands(call)["lr"]))
        c, a, b, a_transposed, b_transposed = product_of(call)
        if self.transposes and a_transposed and real == "float" and min(*c.shape, len(a)) >= WORTH_TRANSPOSING:
            a, a_transposed = self.transposed(a), False
        self.cublas.product(c, a, b, a_transposed, b_transposed, factors)
        if call.name == "linear":
            y, b = call.results[0], operands(call)["b"]
            self._launch("add_bias", real, self._enough(y.size), self._words(y, b))

    def transposed(self, matrix: Any) -> Any:
        """A copy of a matrix, transposed, until the next one of this shape."""
        rooms = self.own.transposed
        if matrix.shape not in rooms:
            rooms[matrix.shape] = self.cupy.empty(matrix.shape[::-1], matrix.dtype)
        self._launch("transpose", "float", self._enough(matrix.size), self._words(rooms[matrix.shape], matrix))
        return rooms[matrix.shape]

    def _blocks(self, call: Call) -> int:
        """The number of blocks with which each thread makes about one number, or each warp one row of the batch."""
        named, signature = operands(call), call.kernel.signature
        letters = {**signature.operands, **signature.results}
        arrays = [value for name, value in named.items() if is_array(value) and "A" not in (letters[name] or ())]
        results = [named[name] for name in signature.results]
        if call.kernel.product == "x W" and results[0].shape[1] <= NARROW:
            return self._enough(math.ceil(len(results[0]) / SIDE) * BLOCK)
        if call.name in PARTS and results[0].ndim == 2:
            return math.ceil(results[0].shape[0] / TILE) * math.ceil(results[0].shape[1] / TILE)
        if call.name in PARTS:
            return self._for_sums(max(array.shape[0] for array in arrays if array.ndim == 2), results[0].size)
        if call.name == "take_rows":
            return self._enough(math.ceil(results[0].size / AHEAD))
        rows = max(array.shape[0] if array.ndim == 2 else 1 for array in arrays)
        return max(self._enough(max(array.size for array in arrays[:2])), math.ceil(rows * WARP / BLOCK))

    def _for_sums(self, rows: int, columns: int) -> int:
        """The number of blocks that sum rows in the kernels' column_sums; they divide the rows if there are many."""
        lanes = min(WARP, 1 << (columns - 1).bit_length())
        groups = math.ceil(columns / lanes)
        return groups * max(1, min(self.most_parts // groups, rows * lanes // (BLOCK * AHEAD)))

    def _enough(self, count: int) -> int:
        return max(1, min(math.ceil(count / BLOCK), 8 * self.processors))

"""How many cycles the products of a training step take in shared memory, counted from the addresses that they access.

The CUDA sources themselves run here, on the CPU, with numbers that note every access (conflicts.h). Run as a program,
`python tests/devices/cuda/conflicts.py [source.cu ...]` prints a table for today's sources, or for these.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from rig.libraries import built
from rig.our_kernels import ON_CPU, text_of

from nnlite.devices.cuda import machine
from nnlite.devices.cuda.limits import CudaLimits

FORWARD, BACKWARD, WEIGHTS = KINDS = ("y = x W + b", "dx = dy Wᵀ", "W −= lr xᵀ dy")
NETS = {  # sizes, batch
    "digits": ((64, 32, 10), 32),
    "tabular": ((13, 64, 64, 1), 32),
    "64-64": ((64, 64), 32),
    "128-128": ((128, 128), 32),
}
ENTRY = """
// The cycles and transactions of a product of one block. x (N,K), W (K,M), dy or y (N,M).
extern "C" int count(int kind, int N, int K, int M, int threads, long* cycles, long* transactions) {
  using counted::Number;
  const int sizes[] = {N * K, K * M, N * M, M, 1};
  int places[6] = {0};
  for (int i = 0; i < 5; ++i) places[i + 1] = places[i] + (sizes[i] * 4 + 15) / 16 * 16;
  counted::start(threads);
  cpu::body = [=] {
    Word at[5];
    for (int i = 0; i < 5; ++i) at[i] = (Word)(cpu::blocks[0].dynamic + places[i]);
    const Word x = at[0], W = at[1], y = at[2], b = at[3], lr = at[4];
    const Word forward[] = {y, N, M, x, N, K, W, K, M, b, M, 0, M};
    const Word backward[] = {x, N, K, y, N, M, W, K, M, 0, K};
    const Word weights[] = {W, K, M, y, N, M, x, N, K, lr, 1, 0, K};
    const Team team = {(int)threadIdx.x, threads, 0, 1};
    if (kind == 0) kernels::linear<Number>({forward}, team);
    if (kind == 1) kernels::linear_backward<Number>({backward}, team);
    if (kind == 2) kernels::linear_backward_weights_sgd<Number>({weights}, team);
  };
  const int result = cpu::run(0, 1, threads, places[5], 0);
  counted::stop(cycles, transactions);
  return result;
}
"""


class Counted(NamedTuple):
    """A product (N,K) (K,M) of a step, and what it takes in shared memory."""

    kind: str
    K: int
    M: int
    cycles: int
    transactions: int  # the cycles that it would take without conflicts

    @property
    def ways(self) -> float:
        """The mean number of words of a bank that a transaction wants."""
        return self.cycles / self.transactions


def todays() -> str:
    """The sources of a product by one block."""
    return machine.source()


def counted(sources: str, sizes: Sequence[int], batch: int) -> Iterator[Counted]:
    """The products of a step of a network with these sizes. dx is not needed for the first layer of several."""
    before = [ON_CPU, text_of("conflicts.h")]
    settings = ("-DNNLITE_REPLAY", "-DNNLITE_BLOCKS=1", f"-DNNLITE_THREADS={CudaLimits().threads}")
    options = ("-O1", "-std=c++17", *settings, "-D__device__=")  # the last for old sources
    library = ctypes.PyDLL(str(built("\n".join([*before, sources, ENTRY]), ".cpp", "g++", *options)))
    for number, (K, M) in enumerate(pairwise(sizes)):
        for kind, name in enumerate(KINDS):
            if name == BACKWARD and number == 0 and len(sizes) > 2:
                continue
            cycles, transactions = ctypes.c_long(), ctypes.c_long()
            places = ctypes.byref(cycles), ctypes.byref(transactions)
            assert library.count(kind, batch, K, M, CudaLimits().threads, *places) == 0
            yield Counted(name, K, M, cycles.value, transactions.value)


def main(*files: str) -> None:
    sources = "\n".join(Path(file).read_text() for file in files) or todays()
    for name, (sizes, batch) in NETS.items():
        for each in counted(sources, sizes, batch):
            row = name, each.kind, f"{each.K} × {each.M}", f"{each.cycles:,}", f"{each.ways:.2f}"
            sys.stdout.write(f"| {' | '.join(row)} |\n")


if __name__ == "__main__":
    main(*sys.argv[1:])

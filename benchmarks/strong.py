"""Strong scaling: one training step on 1, 2, 4 … threads, and what limits it. `scaling.py` shows it.

Two limits are measured with as many threads: how fast they multiply matrices that lie in their caches, and how fast
they copy memory. A step cannot take less time than its multiplications take at the first rate, or its bytes at the
second; the nearer limit is what the step is bound by.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from peers import PEERS
from processes import seconds_each
from report import number, table
from workloads import WORKLOADS, Workload

NETS = ("mnist-256", "wide")
SIZES = (
    (64, 784, 64),
    (48, 128, 96),
    (192, 192, 192),
    (512, 512, 512),
)  # (N, K, M) of products, of which the fastest counts
COPIED = 64 * 2**20  # bytes that each thread copies: more than the caches hold
HEAD = ["threads", "µs a step", "times as fast", "products alone, µs", "memory alone, µs", "bound by"]


def counts(cpus: int) -> list[int]:
    """1, 2, 4 … threads, and as many as there are CPUs."""
    return sorted({*(2**n for n in range(5) if 2**n <= cpus), cpus})


def flops(load: Workload) -> int:
    """Multiplications and additions in the products of a step; nothing needs the gradient of the first x."""
    pairs = list(zip(load.sizes, load.sizes[1:]))
    return 2 * load.batch_size * (3 * sum(k * m for k, m in pairs) - pairs[0][0] * pairs[0][1])


def bytes_moved(load: Workload) -> int:
    """The bytes of float32 that a step must read or write if no cache holds them from one step to the next.

    These are the batch's rows, and the weights: read forward and, but for the first layer, backward; read and written
    by the optimizer.
    """
    pairs = [k * m for k, m in zip(load.sizes, load.sizes[1:])]
    return 4 * (load.batch_size * load.sizes[0] + 4 * sum(pairs) - pairs[0])


def step(workload: str, seconds: float) -> float:
    """Seconds a step, on the threads that this process has."""
    problem = WORKLOADS[workload].problem()
    train = PEERS["numba"].build(problem)
    return seconds_each(lambda epochs: train(epochs, True), seconds)[0] / problem.steps


def limits(threads: int, seconds: float) -> dict[str, float]:
    """What so many threads reach together: flop a second of products, bytes read and written a second of copies."""
    products = max(rate([product(*size) for _ in range(threads)], seconds) * 2 * np.prod(size) for size in SIZES)
    return {"flops": float(products), "bytes": rate([copy() for _ in range(threads)], seconds) * 2 * COPIED}


def product(n: int, k: int, m: int) -> Callable[[int], Any]:
    """Something that makes x W + b so many times, x (N,K), W (K,M), as a compiled step does."""
    from kernels import loop_of

    from nnlite.devices.common.reference import KERNELS

    rng = np.random.default_rng(0)
    return loop_of("linear", KERNELS["linear"], [rng.random(shape, np.float32) for shape in ((n, k), (k, m), (m,))])


def copy() -> Callable[[int], None]:
    """Something that copies COPIED bytes so many times."""
    source, target = np.ones(COPIED, np.uint8), np.zeros(COPIED, np.uint8)

    def run(times: int) -> None:
        for _ in range(times):
            np.copyto(target, source)

    return run


def rate(runs: list[Callable[[int], Any]], seconds: float) -> float:
    """Turns a second of all of these together, each on a thread of its own."""
    from nnlite.devices import together

    few = max(1, int(0.1 * seconds / seconds_each(runs[0], 0.1 * seconds)[0]))
    turns, took = [0] * len(runs), [0.0] * len(runs)

    def share(thread: int) -> None:
        start = time.perf_counter()
        while took[thread] < seconds:
            runs[thread](few)
            turns[thread] += few
            took[thread] = time.perf_counter() - start

    for error in together(share, len(runs)):
        raise error
    return sum(n / t for n, t in zip(turns, took) if t)


def lines(workload: str, found: dict[int, dict[str, float]]) -> Iterator[dict[str, Any]]:
    """Number of threads -> seconds a step, "flops" and "bytes" a second: what stands in each line of the table."""
    load, alone = WORKLOADS[workload], found[1]["step"]
    for threads, each in found.items():
        least = {"products": flops(load) / each["flops"], "memory": bytes_moved(load) / each["bytes"]}
        bound = max(least, key=lambda what: least[what])
        yield {
            "workload": workload,
            "threads": threads,
            "us_per_step": each["step"] * 1e6,
            "times_as_fast": alone / each["step"],
            "products_us": least["products"] * 1e6,
            "memory_us": least["memory"] * 1e6,
            "bound_by": f"{bound}, {least[bound] / each['step']:.0%}",
        }


def text(rows: list[dict[str, Any]], rates: dict[int, dict[str, float]]) -> list[str]:
    """The sections of the report."""
    head = ["threads", "products, GFLOP/s", "copying, GB/s"]
    cells = [[str(n), number(each["flops"] / 1e9), number(each["bytes"] / 1e9)] for n, each in rates.items()]
    sections = [
        "## Threads",
        "What so many threads reach together: products of matrices in their caches, and copying of memory, bytes read "
        "and written.",
        table(head, cells),
        "A step of one net on more threads. Products alone: its multiplications at that rate. Memory alone: the rows "
        "of the batch and the weights at the rate of copying, as if no cache kept them from step to step. What the "
        "nearer of these limits leaves of the time is for all else: activations, waiting, starting.",
    ]
    for workload in dict.fromkeys(row["workload"] for row in rows):
        mine = [row for row in rows if row["workload"] == workload]
        shown = [[str(row["threads"]), *(number(row[key]) for key in list(row)[2:6]), row["bound_by"]] for row in mine]
        sections += [f"### {workload}: {WORKLOADS[workload].title}", table(HEAD, shown)]
    return sections

"""Training speed on nets that are drawn by chance: `python benchmarks/drawn.py [--nets N] [--out FOLDER] [--quick]`.

Nets that somebody has chosen may flatter whoever chose them. Here all is drawn: inputs, layers and their widths, rows
of a batch, activation and loss. First it is proven that all sides compute the same; then they train by turns, and what
counts is on how many nets each is the faster one, and where.
"""

from __future__ import annotations

import statistics
from datetime import date
from functools import partial
from typing import Any

import numpy as np
import report
from measure import TOLERANCES, most_apart
from options import parser
from peers import PEERS, Peer, available
from processes import answer, child, seconds_more, wait_for_quiet
from workloads import Problem, Workload

USUAL = ["numba", "torch", "jax"]
MOST = 5e7  # multiply-adds of a step: about two milliseconds of two cores
NUMBERS = 2e6  # of x, so that there are many batches and none is in a cache of its own
CHUNK = 20  # nets that one process trains one after the other, since its start takes seconds


def workload(number: int) -> Workload:
    """The net of this number: sizes and rows of a batch are as likely to be between 2 and 4 as between 200 and 400."""
    rng = np.random.default_rng(number)

    def size(least: int, most: int) -> int:
        return round(float(np.exp(rng.uniform(np.log(least), np.log(most)))))

    while True:
        hidden, loss = str(rng.choice(["relu", "sigmoid", "tanh"])), str(rng.choice(["mse", "cce"]))
        widths = [size(2, 512) for _ in range(rng.integers(0, 5))]
        sizes = (size(1, 1000), *widths, size(1 + (loss == "cce"), 50))
        output = "softmax" if loss == "cce" else "identity"
        batch = size(1, 2048)
        steps = max(2, min(200, int(NUMBERS / (batch * sizes[0]))))
        made = Workload(sizes, hidden, output, loss, 1e-3, batch, partial(noise, number, batch * steps, sizes, loss))
        if made.multiply_adds(training=True) * batch < MOST:
            return made


def noise(number: int, rows: int, sizes: tuple[int, ...], loss: str) -> tuple[np.ndarray, np.ndarray, str]:
    """x (rows, inputs), and y (rows, outputs) or labels (rows,)."""
    rng = np.random.default_rng(number)
    x = rng.standard_normal((rows, sizes[0]))
    y = rng.integers(0, sizes[-1], rows) if loss == "cce" else rng.standard_normal((rows, sizes[-1]))
    return x, y, "noise"


def prove(numbers: list[int], peers: list[str]) -> float:
    """How far apart the losses of two epochs of two batches and a half are at most in float64, relative.

    Ends the process where two peers differ, in float64 or in float32.
    """
    worst = dict.fromkeys(TOLERANCES, 0.0)
    for number in numbers:
        problem = workload(number).problem()
        small = problem.head(problem.batch_size * 5 // 2)
        for dtype, tolerance in TOLERANCES.items():
            first, *others = [PEERS[peer].build(small.astype(dtype))(2, False) for peer in peers]
            for peer, losses in zip(peers[1:], others):
                apart = most_apart(first, losses)
                if not apart <= tolerance:  # so that NaN fails too
                    told = f"net {number}, {dtype}: {peer} does not train as {peers[0]}"
                    raise SystemExit(f"{told}: {losses} instead of {first}")
                worst[dtype] = max(worst[dtype], apart)
    return worst["float64"]


def times(peer: str, numbers: list[int], seconds: float) -> list[float]:
    """µs a step of each of these nets, shuffled."""
    found = []
    for number in numbers:
        problem: Problem = workload(number).problem()
        train = PEERS[peer].build(problem)
        more = seconds_more(lambda epochs, train=train: train(epochs, True), seconds)
        found.append(more / problem.steps * 1e6)
    return found


def measure(peers: dict[str, Peer], numbers: list[int], repeats: int, seconds: float) -> dict[str, list[float]]:
    """Peer -> µs a step of each net: the median of its turns, with the number of threads that is the best for a net."""
    turns: dict[tuple[str, int | None], list[list[float]]] = {}
    for _ in range(repeats):
        for name, peer in peers.items():
            for threads in peer.threads:
                wait_for_quiet(2.0)
                found = child("drawn.py", "times", threads, peer=name, numbers=numbers, seconds=seconds)
                turns.setdefault((name, threads), []).append(found)
    medians = {key: [statistics.median(each) for each in zip(*found)] for key, found in turns.items()}
    return {name: [min(each) for each in zip(*(medians[name, n] for n in peers[name].threads))] for name in peers}


def text(
    peers: dict[str, Peer], numbers: list[int], found: dict[str, list[float]], repeats: int, facts: dict[str, Any]
) -> str:
    """How often each peer is slower and by how much, the nets on which one is faster, and all nets."""
    base, *others = peers
    ratios = {peer: [a / b for a, b in zip(found[peer], found[base])] for peer in others}
    won = [
        [peers[peer].title, f"{sum(ratio > 1 for ratio in each)} of {len(each)}", report.spread(each)]
        for peer, each in ratios.items()
    ]
    head = ["net", *(f"{peers[peer].title}, µs" for peer in peers)]
    rows = [
        [f"{number}: {workload(number).title}", *(report.number(found[peer][i]) for peer in peers)]
        for i, number in enumerate(numbers)
    ]
    lost = [row for i, row in enumerate(rows) if any(each[i] < 1 for each in ratios.values())]
    title = peers[base].title
    sections = [
        f"# Training speed on nets drawn by chance, {date.today():%Y-%m-%d}",
        "\n".join(f"- {name}: {value}" for name, value in facts.items()),
        "Of each net, inputs (1 to 1,000), hidden layers (0 to 4) and their widths (2 to 512), outputs (1 to 50), rows "
        "of a batch (1 to 2,048), activation and loss are drawn. µs per step of shuffled epochs, plain SGD, float32; "
        f"medians of {repeats} turns, with the number of threads, one or the default, that is the faster for a net.",
        report.table(["peer", f"slower than {title} on", "times as long"], won) if others else "",
        f"Where a peer is faster than {title}:" if lost else "",
        report.table(head, lost) if lost else "",
        "All nets:",
        report.table(head, rows),
    ]
    return "\n\n".join(filter(None, sections))


def main() -> None:
    options = parser(__doc__, seconds=0.1, repeats=3)
    options.add_argument("--nets", type=int, default=80, metavar="N", help="how many nets are drawn")
    options.add_argument("--first", type=int, default=0, metavar="N", help="the number of the first one")
    options.add_argument(
        "--peers", nargs="+", choices=PEERS, default=USUAL, help="the first is held against the others"
    )
    options.add_argument("--stem", default="drawn", help="name of the files of results without the ending")
    options.add_argument("--quick", action="store_true", help="three small nets, once and shortly")
    given = options.parse_args()
    peers = available(PEERS, given.peers)
    repeats, seconds = (1, 0.01) if given.quick else (given.repeats, given.seconds)
    numbers = [*range(given.first, given.first + (3 if given.quick else given.nets))]
    found: dict[str, list[float]] = {peer: [] for peer in peers}
    worst = 0.0
    for start in range(0, len(numbers), CHUNK):
        some = numbers[start : start + CHUNK]
        worst = max(worst, child("drawn.py", "prove", numbers=some, peers=list(peers)))
        for peer, each in measure(peers, some, repeats, seconds).items():
            found[peer] += each
    facts = report.facts(peers) | {"losses": f"at most {worst:.0e} apart in float64"} | report.load()
    written = text(peers, numbers, found, repeats, facts)
    print(written)
    if given.out:
        rows = [{"net": workload(n).title} | {peer: found[peer][i] for peer in peers} for i, n in enumerate(numbers)]
        report.save(given.out, given.stem, written, rows)


if __name__ == "__main__" and not answer({"prove": prove, "times": times}):
    main()

"""How training scales: `python benchmarks/scaling.py [--only sizes threads data] [--out FOLDER] [--quick]`.

Three questions: how the time of a step grows with the sizes, what more threads give (strong.py), and how fast data go
by that are larger than a cache or half of the memory (large.py).

Sizes: one size at a time goes from small to large, all others stay: rows of the data, width of the hidden layers, how
many there are, rows of a batch. Where the work doubles and the time does too, the exponent is 1; for twice the rows of
the data a step should take the same time (0), and twice the width is four times the work (2). At the small end it is
less: there the time is that of the calls.
"""

from __future__ import annotations

import os
import signal
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import large
import numpy as np
import strong
from options import parser
from peers import PEERS, Peer, available
from processes import answer, child, seconds_more, wait_for_quiet
from report import facts, number, save, table
from workloads import Problem

FIXED = {"rows": 8192, "width": 64, "depth": 2, "batch": 32}
SWEEPS = {
    "rows": [2**n for n in range(8, 17, 2)],
    "width": [2**n for n in range(3, 12)],
    "depth": [2**n for n in range(6)],
    "batch": [2**n for n in range(1, 13)],
}
NAMES = {
    "rows": "rows of the data",
    "width": "width of each hidden layer",
    "depth": "hidden layers",
    "batch": "rows of a batch",
}
INPUTS, OUTPUTS = 32, 8
PARTS = ("sizes", "threads", "data")

Part = tuple[list[str], list[dict[str, Any]]]  # sections of the report, and rows of the CSV file


def problem(rows: int, width: int, depth: int, batch: int) -> Problem:
    """A tanh net and noise to train it on."""
    import nnlite as nl

    rng = np.random.default_rng(0)
    sizes = (INPUTS, *[width] * depth, OUTPUTS)
    net = nl.mlp(sizes, "tanh", "identity", device="numpy", dtype="float64", seed=0)
    x, y = rng.standard_normal((rows, INPUTS)), rng.standard_normal((rows, OUTPUTS))
    return Problem(sizes, "tanh", "identity", "mse", 1e-3, batch, x, y, net.state_dict()).astype("float32")


def times(peer: str, sweep: str, values: list[int], seconds: float) -> list[float]:
    """µs a step for each of these values of this size."""
    found = []
    for value in values:
        given = problem(**(FIXED | {sweep: value}))
        train = PEERS[peer].build(given)
        found.append(seconds_more(lambda epochs, train=train: train(epochs, True), seconds) / given.steps * 1e6)
    return found


def exponent(values: Sequence[float], micros: Sequence[float]) -> float:
    """How the time grows over the last three values: the slope of the line that fits best on logarithmic axes."""
    return float(np.polyfit(np.log(values[-3:]), np.log(micros[-3:]), 1)[0])


def draw(sweeps: dict[str, list[int]], found: dict[str, dict[str, list[float]]], path: Path) -> None:
    """A panel for each sweep, both axes logarithmic."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(2, 2, figsize=(9, 7), layout="constrained")
    for axes, (sweep, by_peer) in zip(panels.flat, found.items()):
        for peer, micros in by_peer.items():
            axes.loglog(sweeps[sweep], micros, marker="o", markersize=4, label=PEERS[peer].title)
        axes.set_xscale("log", base=2)
        axes.set_xlabel(NAMES[sweep])
        axes.set_ylabel("µs per training step")
        axes.grid(which="major", alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=4, frameon=False)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def of_sizes(peers: dict[str, Peer], repeats: int, seconds: float, quick: bool, out: Path | None) -> Part:
    """Time the peers by turns on every size."""
    sweeps = {sweep: values[:-2] if quick else values for sweep, values in SWEEPS.items()}
    found: dict[str, dict[str, list[float]]] = {}
    for sweep, values in sweeps.items():
        runs: dict[str, list[list[float]]] = {peer: [] for peer in peers}
        for _ in range(repeats):
            for peer in peers:
                wait_for_quiet(0.0 if quick else 2.0)
                runs[peer].append(child("scaling.py", "times", peer=peer, sweep=sweep, values=values, seconds=seconds))
        found[sweep] = {peer: [statistics.median(each) for each in zip(*runs[peer])] for peer in peers}

    net = (
        f"{INPUTS} inputs, {FIXED['depth']} hidden layers of {FIXED['width']}, {OUTPUTS} outputs, tanh, MSE, plain SGD"
    )
    sections = [
        f"Where nothing else is said: {net}; batches of {FIXED['batch']} of {FIXED['rows']:,} rows. µs per step, the "
        f"median of {repeats} processes. The exponent is that of the last three values: time ~ sizeᵉ.",
    ]
    rows: list[dict[str, Any]] = []
    for sweep, by_peer in found.items():
        cells = [[f"{value:,}", *map(number, micros)] for value, *micros in zip(sweeps[sweep], *by_peer.values())]
        slopes = [f"{exponent(sweeps[sweep], micros):.2f}" for micros in by_peer.values()]
        head = [NAMES[sweep], *(PEERS[peer].title for peer in peers)]
        sections += [f"## {NAMES[sweep]}", table(head, [*cells, ["exponent", *slopes]])]
        for i, value in enumerate(sweeps[sweep]):
            micros = {f"{peer}_us": found_times[i] for peer, found_times in by_peer.items()}
            rows.append({"sweep": sweep, "value": value} | micros)
    if out:
        draw(sweeps, found, out)
        sections.append(f"![µs per training step]({out.name})")
    return sections, rows


def of_threads(repeats: int, seconds: float) -> Part:
    """Time the nets on more and more threads, all numbers by turns; the fastest counts, for a limit as for a step."""
    from nnlite.cores import usable

    numbers = strong.counts(usable().cpus)
    rates: dict[int, dict[str, float]] = {}
    steps: dict[tuple[str, int], float] = {}
    for _ in range(repeats):
        for n in numbers:
            found = child("scaling.py", "limits", threads=n, count=n, seconds=seconds)
            rates[n] = {what: max(rate, rates.get(n, {}).get(what, 0.0)) for what, rate in found.items()}
            for net in strong.NETS:
                took = child("scaling.py", "step", threads=n, workload=net, seconds=seconds)
                steps[net, n] = min(took, steps.get((net, n), took))
    rows = [
        row
        for net in strong.NETS
        for row in strong.lines(net, {n: {"step": steps[net, n], **rates[n]} for n in numbers})
    ]
    return strong.text(rows, rates), rows


def of_data(sizes: Sequence[float], folder: Path | None, repeats: int) -> Part:
    """Write a file of each size, train on it, and delete it."""
    from nnlite.chunks import available_memory

    rows: list[dict[str, Any]] = []
    plain: dict[float, dict[str, float]] = {}
    for size in sizes:
        with tempfile.TemporaryDirectory(dir=folder) as place:
            path = os.path.join(place, "rows.bin")
            count = child("scaling.py", "write", path=path, gigabytes=size)
            plain[size] = child("scaling.py", "plain", path=path)
            for way in large.ways(size, available_memory() or 0):
                found = child("scaling.py", "train", path=path, rows=count, way=way, repeats=repeats)
                rows.append(large.line(size, way, found, plain[size]))
    return large.text(rows, plain, repeats), rows


JOBS = {
    "times": times,
    "limits": lambda count, seconds: strong.limits(count, seconds),
    "step": strong.step,
    "write": large.write,
    "plain": large.plain,
    "train": large.train,
}


def main() -> None:
    options = parser(__doc__, seconds=0.3, repeats=3)
    options.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="of the three questions")
    options.add_argument("--peers", nargs="+", choices=PEERS, default=["numba", "numpy", "torch"], help="who trains")
    options.add_argument("--gigabytes", nargs="+", type=float, default=[1.0, 10.0], help="sizes of the data sets")
    options.add_argument("--folder", type=Path, help="where these are written for a while; usually that for such files")
    options.add_argument("--stem", default="scaling", help="name of the files of results without the ending")
    options.add_argument("--quick", action="store_true", help="once, shortly, and without the largest")
    arguments = options.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that large files are deleted
    out: Path | None = arguments.out
    repeats, seconds = (1, 0.03) if arguments.quick else (arguments.repeats, arguments.seconds)
    if out:
        out.mkdir(parents=True, exist_ok=True)
    parts: list[Part] = []
    if "sizes" in arguments.only:
        picture = out / f"{arguments.stem}.png" if out else None
        parts.append(of_sizes(available(PEERS, arguments.peers), repeats, seconds, arguments.quick, picture))
    if "threads" in arguments.only:
        parts.append(of_threads(repeats, seconds))
    if "data" in arguments.only:
        parts.append(of_data([0.05] if arguments.quick else arguments.gigabytes, arguments.folder, repeats))
    head = ["# How training scales", "\n".join(f"- {name}: {value}" for name, value in facts(PEERS).items())]
    text = "\n\n".join([*head, *(section for sections, _ in parts for section in sections)])
    print(text)
    if out:
        save(out, arguments.stem, text, [row for _, rows in parts for row in rows])


if __name__ == "__main__" and not answer(JOBS):
    main()

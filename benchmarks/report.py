"""The results as tables in Markdown, as CSV and as a picture."""

from __future__ import annotations

import csv
import math
import os
import platform
import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from typing import Any

from peers import Peer
from processes import child, forced

Peers = Mapping[str, Peer]  # those that were asked for, by name; the first is what others are held against


@dataclass
class Result:
    """What was found for one workload."""

    name: str
    title: str
    proof: dict[str, Any] = field(default_factory=dict)
    runs: list[dict[str, Any]] = field(default_factory=list)  # one a process
    cold_s: float | None = None  # seconds until nnlite's first step where nothing is compiled yet
    key: str = "us_per_step"  # what counts of a run
    least: float = math.nan  # µs that the multiplications alone take on this machine

    def variants(self, peer: str) -> list[list[dict[str, Any]]]:
        """The runs of a peer with each number of threads that was tried, in order."""
        runs = [run for run in self.runs if run["peer"] == peer]
        return [[run for run in runs if run["threads"] == n] for n in dict.fromkeys(run["threads"] for run in runs)]

    def best(self, peer: str) -> list[dict[str, Any]]:
        """The runs of a peer with the number of threads that suits it best here, in order."""
        return min(self.variants(peer), key=lambda runs: median(runs, self.key), default=[])

    def ratios(self, peer: str, base: str) -> list[float]:
        """How many times longer than `base` the peer takes, one ratio a turn: both saw the same noise."""
        return [a[self.key] / b[self.key] for a, b in zip(self.best(peer), self.best(base))]

    def line(self, peers: Peers) -> str:
        """One line to watch a long run by."""
        timed = dict.fromkeys(run["peer"] for run in self.runs)
        times = ", ".join(f"{peers[peer].title} {number(median(self.best(peer), self.key))} µs" for peer in timed)
        return f"{self.name}: {times or 'not timed'}"


def median(runs: Iterable[dict[str, Any]], key: str) -> float:
    """NaN where there are no runs."""
    return statistics.median([run[key] for run in runs] or [math.nan])


def number(value: float) -> str:
    """Three digits; a dash for NaN."""
    if math.isnan(value):
        return "–"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def spread(values: list[float]) -> str:
    """The median, with the lowest and the highest in brackets; a dash for no values."""
    return f"{number(statistics.median(values))} ({number(min(values))} … {number(max(values))})" if values else "–"


def table(head: list[str], rows: list[list[str]]) -> str:
    """Markdown with straight columns; all but the first are numbers."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    lines = [
        [cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths))]
        for row in [head, *rows]
    ]
    lines.insert(1, ["-" * widths[0], *("-" * (w - 1) + ":" for w in widths[1:])])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def by_peer(results: list[Result], peers: Peers, cell: Callable[[Result, str], str]) -> str:
    """A row for each workload, a column for each peer."""
    head = ["workload", *(peer.title for peer in peers.values())]
    return table(head, [[result.name, *(cell(result, peer) for peer in peers)] for result in results])


def speed(results: list[Result], peers: Peers) -> str:
    """µs per training step, or per whatever was timed."""

    def cell(result: Result, peer: str) -> str:
        runs = result.best(peer)
        return number(median(runs, result.key)) + (" ¹" if runs and runs[0]["threads"] == 1 else "")

    return by_peer(results, peers, cell)


def ratios(results: list[Result], peers: Peers) -> str:
    """Every other peer's time as a multiple of the first peer's."""
    base, *others = peers

    def cell(result: Result, peer: str) -> str:
        return spread(result.ratios(peer, base))

    return by_peer(results, {peer: peers[peer] for peer in others}, cell)


def comparison(results: list[Result], peers: Peers) -> list[str]:
    """The ratios with the words that say what they are; nothing where there is nobody to compare with."""
    base, *others = peers
    remark = (
        f"Times as long as {peers[base].title}, above 1 where the peer is slower: the median of the turns' ratios "
        "(lowest … highest)."
    )
    return [remark, ratios(results, peers)] if others else []


def limits(results: list[Result], peers: Peers) -> list[str]:
    """How much of each peer's time the multiplications must take, with the words that say so."""

    def cells(result: Result) -> list[str]:
        times = [median(result.best(peer), result.key) for peer in peers]
        return [number(result.least), *("–" if math.isnan(time) else f"{result.least / time:.0%}" for time in times)]

    head = ["workload", "multiplications, µs", *(peer.title for peer in peers.values())]
    remark = (
        "What the multiply-adds of a net's products take on all cores, at the rate that one core reaches with numbers "
        "in registers, and how much of each peer's time that is. Nobody can pass 100%, so that a peer at 80% can take "
        "at most 1.25 times as long as another."
    )
    return [remark, table(head, [[result.name, *cells(result)] for result in results])]


def threads(results: list[Result], peers: Peers, key: str) -> str:
    """What a key of the runs says, with each number of threads that was tried."""

    def cell(result: Result, peer: str) -> str:
        return " / ".join(number(median(runs, key)) for runs in result.variants(peer)) or "–"

    return by_peer(results, peers, cell)


def start(results: list[Result], peers: Peers) -> str:
    """Seconds until the first step is done."""
    return by_peer(results, peers, lambda result, peer: number(median(result.best(peer), "first_step_s")))


def cold(results: list[Result]) -> str:
    """The same of nnlite where nothing is compiled yet, in words."""
    found = [result.cold_s for result in results if result.cold_s is not None]
    return f"With nothing compiled nnlite numba takes {min(found):.0f} to {max(found):.0f} s." if found else ""


def memory(results: list[Result], peers: Peers) -> str:
    """The most memory, in MB."""
    return by_peer(results, peers, lambda result, peer: number(median(result.best(peer), "peak_mb")))


def remarks(results: list[Result], peers: Peers) -> str:
    """Why there is no time of a peer, and what is different about one."""
    reasons: dict[str, list[str]] = {}
    for result in results:
        for peer, reason in result.proof["reasons"].items():
            reasons.setdefault(f"{peers[peer].title} {reason}", []).append(result.name)
    lines = [f"–: {reason} ({', '.join(names)})." for reason, names in reasons.items()]
    lines += [f"{peer.title} {peer.note}." for peer in peers.values() if peer.note]
    return "\n".join(f"- {line}" for line in lines)


def proofs(results: list[Result]) -> str:
    """How far apart the losses of all peers were at most, after how many steps."""
    head = ["workload", "data", "rows", "steps compared", "loss, first … last epoch", "float32 apart", "float64 apart"]
    rows = []
    for result in results:
        proof, worst = result.proof, result.proof["worst"]
        loss = f"{proof['first_loss']:.4g} … {proof['last_loss']:.4g}"
        apart = [f"{worst[dtype]:.0e}" for dtype in ("float32", "float64")]
        rows.append([result.name, proof["source"], f"{proof['rows']:,}", str(proof["steps"]), loss, *apart])
    return table(head, rows)


def text(results: list[Result], peers: Peers, facts: dict[str, str]) -> str:
    """Everything, as Markdown."""
    timed = [result for result in results if result.runs]
    repeats = 1 + max((run["repeat"] for result in timed for run in result.runs), default=0)
    sections = [
        f"# Training speed, {date.today():%Y-%m-%d}",
        "\n".join(f"- {name}: {value}" for name, value in facts.items()),
        "## µs per training step",
        "Whole epochs, shuffled (a full batch is not), over their steps; float32, plain SGD and no metrics, unless "
        f"more is said. Median of {repeats} fresh processes, the peers by turns. Where two numbers of threads were "
        "tried, the faster is shown: ¹ one thread; else the library's own default.",
        "\n".join(f"- {result.name}: {result.title}" for result in timed),
        speed(timed, peers),
        remarks(timed, peers),
        *comparison(timed, peers),
        *limits(timed, peers),
        "With each number of threads, default / one:",
        threads(timed, peers, "us_per_step"),
        "The same in processor time, summed over threads: other programs on the machine disturb it less, so that "
        "with one thread it is about what an idle machine's clock would show. Waiting for other threads counts.",
        threads(timed, peers, "processor_us_per_step"),
        "## Start and memory",
        "Seconds from the data being there until the first step is done: import of the library, building the net, "
        f"compiling, or loading what an earlier process has compiled. {cold(timed)}",
        start(timed, peers),
        "The most memory that the whole process held, data included, in MB:",
        memory(timed, peers),
        "## The same is computed",
        "Same first weights, same batches in the same order; the mean loss of each epoch, relative to the first "
        "peer's, at most so far apart. Without this no time is taken.",
        proofs(results),
    ]
    return "\n\n".join(section for section in sections if section)


def write(results: list[Result], peers: Peers, facts: dict[str, str], folder: Path, stem: str) -> None:
    """STEM.md, STEM.csv (every run) and STEM.png into the folder."""
    picture = f"\n\n![µs per training step]({stem}.png)"
    save(folder, stem, text(results, peers, facts) + picture, [run for result in results for run in result.runs])
    draw([result for result in results if result.runs], peers, "training step", folder / f"{stem}.png")


def save(folder: Path, stem: str, markdown: str, rows: list[dict[str, Any]]) -> None:
    """STEM.md and STEM.csv into the folder, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{stem}.md").write_text(markdown + "\n", encoding="utf-8")
    with (folder / f"{stem}.csv").open("w", newline="", encoding="utf-8") as file:
        names = dict.fromkeys(name for row in rows for name in row)  # a cell stays empty where a row lacks one
        writer = csv.DictWriter(file, list(names), lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            {key: f"{value:.6g}" if isinstance(value, float) else value for key, value in row.items()} for row in rows
        )


def draw(results: list[Result], peers: Peers, what: str, path: Path) -> None:
    """Bars beside each other for each workload, on a logarithmic axis."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    inches = len(results) * max(1.15, 0.27 * len(peers))  # for the names, and for the bars
    figure, axes = plt.subplots(figsize=(max(9, inches), 5), layout="constrained")
    width = 0.85 / len(peers)
    for i, peer in enumerate(peers):
        places = [place + (i - (len(peers) - 1) / 2) * width for place in range(len(results))]
        times = [median(result.best(peer), result.key) for result in results]
        bars = axes.bar(places, times, width * 0.92, label=peers[peer].title)
        labels = ["" if math.isnan(time) else number(time) for time in times]
        axes.bar_label(bars, labels, fontsize=8, rotation=90, padding=3)
    axes.set_yscale("log")
    axes.margins(x=0.01, y=0.15)
    axes.set_xticks(range(len(results)), [result.name for result in results])
    axes.set_ylabel(f"µs per {what} (lower is better)")
    axes.legend(frameon=False, loc="upper left")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def facts(peers: Peers) -> dict[str, str]:
    """The machine and the versions, found without importing anything large."""
    found = packages_distributions()  # a module's name may differ from that of what is installed
    modules = dict.fromkeys(
        ["nnlite", "numpy", "numba", *(module for peer in peers.values() for module in peer.modules)]
    )
    versions = []
    for module in modules:
        name = found.get(module, [module])[0]
        try:
            versions.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            versions.append(f"{name} not installed")
    return {
        "machine": f"{processor()}, {cores()} cores, {platform.system()}",
        "versions": f"Python {platform.python_version()}, {', '.join(versions)}",
        "dtype": "float32",
    }


def cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def multiply_adds(seconds: float) -> float:
    """The multiply-adds of all cores in a second, by what one core reaches in so many seconds."""
    return cores() * child("kernels.py", "multiply_adds", threads=1, seconds=seconds)  # type: ignore[no-any-return]


def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Its name, family and model, and how wide its vectors are, as far as the system says.

    The name alone does not tell: a virtual machine may call a Zen 3 and a Zen 5 both "AMD EPYC".
    """
    found: dict[str, str] = {}  # of the first core
    for line in cpuinfo.read_text().splitlines() if cpuinfo.exists() else ():
        name, _, value = line.partition(":")
        found.setdefault(name.strip(), value.strip())
    said = [found.get("model name") or platform.processor() or platform.machine()]
    if {"cpu family", "model"} <= set(found):
        said.append(f"family {found['cpu family']} model {found['model']}")
    flags = (found.get("flags") or found.get("Features") or "").split()
    widths = {"avx512f": "AVX-512", "avx2": "AVX2", "avx": "AVX", "sve": "SVE", "asimd": "NEON"}
    width = [width for flag, width in widths.items() if flag in flags][:1]
    return ", ".join(said + width) + " (used as if it had AVX2 alone)" * bool(forced)


def load() -> dict[str, str]:
    """How busy the machine was, as far as the system says: a fact of a long run, asked for at its end."""
    if not hasattr(os, "getloadavg"):
        return {}
    return {"load": f"{os.getloadavg()[2]:.1f} programs at work on average over the last 15 minutes, this one included"}

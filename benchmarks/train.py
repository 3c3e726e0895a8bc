"""Training speed of nnlite beside its peers, on seven nets: `python benchmarks/train.py [--out FOLDER] [--quick]`.

First it is proven that all sides compute the same: same first weights, same batches, same losses after the same steps.
Then each time is taken in a fresh process, the peers by turns, and the median counts: this process only starts others.
"""

from __future__ import annotations

import math
import sys
import tempfile

import report
from options import comparison
from peers import PEERS, USUAL, Peer
from processes import child, wait_for_quiet
from workloads import WORKLOADS


def measure(result: report.Result, peers: dict[str, Peer], repeats: int, seconds: float, patience: float) -> None:
    """Time the peers by turns on one workload."""
    for repeat in range(repeats):
        for peer in (peer for peer in peers if peer not in result.proof["reasons"]):
            for threads in peers[peer].threads:
                run = {"workload": result.name, "peer": peer, "threads": threads}
                wait_for_quiet(patience)
                result.runs.append({**run, "repeat": repeat, **child("measure.py", "time", seconds=seconds, **run)})


def cold_start(name: str) -> float:
    """Seconds until nnlite's first step on a machine where nothing was compiled before."""
    with tempfile.TemporaryDirectory() as empty:
        return child("measure.py", "time", cache=empty, workload=name, peer="numba", seconds=0)["first_step_s"]


def main() -> None:
    asked = comparison(__doc__, "train", WORKLOADS, PEERS, USUAL, seconds=1.0)
    peers = asked.peers
    names = asked.names or [name for name in WORKLOADS if not (asked.quick and name == "wide")]
    timed = {"digits"} & set(names) or set(names[:1]) if asked.quick else set(names)

    facts = report.facts(PEERS) | child("measure.py", "machine")
    proofs = child("measure.py", "prove", workloads={name: list(peers) for name in names})
    results = [report.Result(name, WORKLOADS[name].title, proofs[name]) for name in names]
    rate = report.multiply_adds(asked.seconds / 10)
    for result in results:
        load, rows = WORKLOADS[result.name], result.proof["rows"]
        rows_of_step = rows / math.ceil(rows / load.batch_size)
        result.least = rows_of_step * load.multiply_adds(training=True) / rate * 1e6
        if result.name in timed:
            measure(result, peers, asked.repeats, asked.seconds, asked.patience)
            if "numba" in peers and not asked.quick:
                result.cold_s = cold_start(result.name)
        print(f"{result.line(peers)}; same losses after {result.proof['steps']} steps", file=sys.stderr, flush=True)
    facts |= report.load()
    print(report.text(results, peers, facts))
    if asked.out:
        report.write(results, peers, facts, asked.out, asked.stem)


if __name__ == "__main__":
    main()

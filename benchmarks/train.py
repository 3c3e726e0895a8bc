"""Training speed of nnlite beside its peers, on seven nets: `python benchmarks/train.py [--out FOLDER] [--quick]`.

First it is proven that all sides compute the same: same first weights, same batches, same losses after the same steps.
Then each time is taken in a fresh process, the peers by turns, and the median counts: this process only starts others.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import report
from peers import PEERS, USUAL, Peer, available
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=WORKLOADS, metavar="NAME", help=f"of {', '.join(WORKLOADS)}")
    parser.add_argument(
        "--peers",
        nargs="+",
        choices=PEERS,
        metavar="PEER",
        help=f"of {', '.join(PEERS)}; the first is what others are "
        f"held against. Usually {', '.join(USUAL)}, as far as they are installed",
    )
    parser.add_argument("--repeats", type=int, default=5, help="processes for each time")
    parser.add_argument("--seconds", type=float, default=1.0, help="how long each time is taken for")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="also write Markdown, CSV and PNG there")
    parser.add_argument("--stem", default="train", help="name of these files without the ending")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="prove all but wide, time only digits, once and shortly; without torch.compile if not named",
    )
    arguments = parser.parse_args()

    wanted = arguments.peers or [name for name in USUAL if not (arguments.quick and name == "compile")]
    peers = available(PEERS, wanted)
    names = arguments.only or [name for name in WORKLOADS if not (arguments.quick and name == "wide")]
    timed = {"digits"} & set(names) or set(names[:1]) if arguments.quick else set(names)
    repeats, seconds, patience = (1, 0.1, 0.0) if arguments.quick else (arguments.repeats, arguments.seconds, 2.0)

    facts = report.facts(PEERS) | child("measure.py", "machine")
    proofs = child("measure.py", "prove", workloads={name: list(peers) for name in names})
    results = [report.Result(name, WORKLOADS[name].title, proofs[name]) for name in names]
    for result in results:
        if result.name in timed:
            measure(result, peers, repeats, seconds, patience)
            if "numba" in peers and not arguments.quick:
                result.cold_s = cold_start(result.name)
        print(f"{result.line(peers)}; same losses after {result.proof['steps']} steps", file=sys.stderr, flush=True)
    facts |= report.load()
    print(report.text(results, peers, facts))
    if arguments.out:
        report.write(results, peers, facts, arguments.out, arguments.stem)


if __name__ == "__main__":
    main()

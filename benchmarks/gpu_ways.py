"""Which way to train is the fastest on a GPU: µs for a step of growing nets on one block, on several, and by graph.

nnlite chooses by the work of a step, and its limits (nnlite/devices/cuda/limits.py) are to lie where one way becomes
faster than the next. All ways must give the same losses before they get a time.

    python benchmarks/gpu_ways.py --out benchmarks/results        writes gpu-ways.md there
"""

from __future__ import annotations

import contextlib
import re
from typing import Any

import numpy as np
from gpu import TOLERANCE, need_gpu, nnlite, trainer_of, use_this_checkout
from gpu_products import tell
from options import parser
from processes import answer, child, seconds_each
from workloads import Problem

WAYS: dict[str, tuple[str, dict[str, int]]] = {  # -> the replay that is asked for, and limits
    "one block": ("persistent", {"one_block": 10**12}),
    "several blocks": ("persistent", {"one_block": 0}),
    # more blocks than the batch has rows, for a first product in parts: 784 columns by 12 and by 8
    "66 blocks": ("persistent", {"one_block": 0, "blocks": 66}),
    "98 blocks": ("persistent", {"one_block": 0, "blocks": 98}),
    "graph": ("graph", {}),
}
BATCHES = 32  # of an epoch, none of them short
NETS: dict[str, tuple[tuple[int, ...], int]] = {  # sizes and rows of a batch
    "2-3-1, 4": ((2, 3, 1), 4),
    "64-32-10, 32": ((64, 32, 10), 32),
    "13-64-64-1, 32": ((13, 64, 64, 1), 32),
    "32-32-32-32-10, 64": ((32, 32, 32, 32, 10), 64),
    "64-64-10, 64": ((64, 64, 10), 64),
    "64-32-10, 256": ((64, 32, 10), 256),
    "784-32-10, 32": ((784, 32, 10), 32),
    "100-100-100-10, 64": ((100, 100, 100, 10), 64),
    "784-128-10, 16": ((784, 128, 10), 16),
    "784-128-10, 64": ((784, 128, 10), 64),
    "256-256-256-10, 128": ((256, 256, 256, 10), 128),
    "784-256-10, 200": ((784, 256, 10), 200),
    "784-512-10, 128": ((784, 512, 10), 128),
    "512-512-512-10, 128": ((512, 512, 512, 10), 128),
    "784-512-10, 256": ((784, 512, 10), 256),
}


def problem_of(name: str) -> Problem:
    """Random rows, and a target that they decide."""
    import nnlite as nl

    sizes, batch = NETS[name]
    rng = np.random.default_rng(0)
    x = rng.standard_normal((BATCHES * batch, sizes[0]), np.float32)
    y = (x[:, 0] > 0).astype(np.int64)
    net = nl.mlp(sizes, "relu", "softmax" if sizes[-1] > 1 else "identity", device="numpy", seed=0)
    if sizes[-1] == 1:
        return Problem(sizes, "relu", "identity", "mse", 0.01, batch, x, y[:, None].astype("f4"), net.state_dict())
    return Problem(sizes, "relu", "softmax", "cce", 0.01, batch, x, y, net.state_dict())


def ways(name: str, seconds: float) -> dict[str, Any]:
    """µs for a step by each way that can train this net, the work of a step, and what nnlite would choose."""
    problem = problem_of(name)
    found: dict[str, Any] = {"us": {}, "work": work_of(problem)}
    losses: dict[str, list[float]] = {}
    for way, (replay, limits) in WAYS.items():
        small = problem.head(4 * problem.batch_size)
        trainer, _ = trainer_of(small, "float32", replay, **limits)
        with contextlib.suppress(ValueError):  # it does not fit there
            losses[way] = trainer.fit(small.x, small.y, 3, small.batch_size, shuffle=False, progress=False)["loss"]
            if way == "one block" and way not in trainer.plan():
                continue
            train = nnlite(problem, "float32", replay, **limits)
            wall, _ = seconds_each(lambda epochs, train=train: train(epochs, True), seconds)
            found["us"][way] = wall / problem.steps * 1e6
    for way, got in losses.items():
        np.testing.assert_allclose(got, losses["graph"], rtol=TOLERANCE["float32"], err_msg=way)
    return found


def work_of(problem: Problem) -> int:
    """The work of a step in nnlite's units, as it says itself."""
    trainer, _ = trainer_of(problem, "float32", "auto")
    trainer.fit(problem.x, problem.y, 1, problem.batch_size, progress=False)
    return int(re.search("work is ([0-9,]+)", trainer.plan())[1].replace(",", ""))


def table(found: dict[str, dict[str, Any]]) -> list[str]:
    """Markdown: a line for each net, by work; the fastest way in bold."""
    lines = ["| net, rows of a batch | work | " + " | ".join(WAYS) + " |", "|---|--:|" + "--:|" * len(WAYS)]
    for name, each in sorted(found.items(), key=lambda pair: pair[1]["work"]):
        best = min(each["us"].values())
        cells = ["–" if way not in each["us"] else f"{each['us'][way]:.3g}" for way in WAYS]
        cells = [f"**{cell}**" if each["us"].get(way) == best else cell for way, cell in zip(WAYS, cells)]
        lines.append(f"| {name} | {each['work']:,} | {' | '.join(cells)} |")
    return [*lines, ""]


def main() -> None:
    use_this_checkout()
    if answer({"ways": ways}):
        return
    options = parser(__doc__, seconds=0.1)
    options.add_argument("--nets", nargs="+", choices=NETS, default=list(NETS), metavar="NET")
    arguments = options.parse_args()
    need_gpu()
    found = {name: child("gpu_ways.py", "ways", name=name, seconds=arguments.seconds) for name in arguments.nets}
    lines = ["# Ways to train on a GPU", "", "µs for a step, the fastest in bold.", ""]
    tell([*lines, *table(found)], arguments.out, "gpu-ways.md")


if __name__ == "__main__":
    main()

"""The first second: `python benchmarks/first_use.py [--out FOLDER] [--repeats 5]`.

How long the first use of nnlite on a machine takes, where nothing has been compiled yet, and how long a later process
takes, which finds what the first has compiled. Each time is that of a whole process, its start and imports included.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

import report
from processes import PINS, wait_for_quiet

# 1,438 rows, 20 epochs of 45 steps; a net that README's benchmark calls digits
FIT = """
import nnlite as nl
split = nl.datasets.digits(seed=0)
net = nl.mlp([64, 32, 10], hidden="relu", output="softmax", device={device!r}, seed=0)
trainer = nl.Trainer(net, loss="cce", optimizer=nl.SGD(lr=0.1))
trainer.fit(split.x_train, split.y_train, epochs=20, batch_size=32, progress=False)
"""
ALL = FIT + "trainer.evaluate(split.x_test, split.y_test), net.predict(split.x_test)\n"
TRAIN = ["-m", "nnlite", "train", "digits", "--quiet", "--out"]
USES = {
    "import nnlite": ["-c", "import nnlite"],
    "a fit, device numba": ["-c", FIT.format(device="numba")],
    "fit, evaluate, predict, device numba": ["-c", ALL.format(device="numba")],
    "a fit, device auto": ["-c", FIT.format(device="auto")],
    "nnlite train digits": [*TRAIN, "{out}"],
    "nnlite train digits --device numba": [*TRAIN, "{out}", "--device", "numba"],
}


def seconds(arguments: list[str], cache: str) -> float:
    """The time of a whole process of Python, with this folder for compiled code."""
    others = (*PINS, "PYTHONDONTWRITEBYTECODE")  # with that, every process would compile nnlite's own modules again
    environment = {name: value for name, value in os.environ.items() if name not in others}
    environment["NUMBA_CACHE_DIR"] = cache
    command = [sys.executable, *(argument.replace("{out}", f"{cache}/out") for argument in arguments)]
    start = time.perf_counter()
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def measure(repeats: int, patience: float) -> list[dict[str, Any]]:
    """A row for each use and turn: the seconds of a first process and of one after it."""
    rows = []
    for repeat in range(repeats):
        for use, arguments in USES.items():
            with tempfile.TemporaryDirectory() as empty:
                wait_for_quiet(patience)
                first, later = seconds(arguments, empty), seconds(arguments, empty)
                kept = list(Path(empty).rglob("*.nbc"))
                size = sum(path.stat().st_size for path in kept) / 1e6
            rows.append({"use": use, "repeat": repeat, "first_s": first, "later_s": later})
            rows[-1] |= {"files": len(kept), "kept_mb": size}
    return rows


def text(rows: list[dict[str, Any]], facts: dict[str, str]) -> str:
    """All times as Markdown."""

    def line(use: str) -> list[str]:
        mine = [row for row in rows if row["use"] == use]
        times = [report.spread([row[key] for row in mine]) for key in ("first_s", "later_s")]
        return [use, *times, str(mine[0]["files"]), f"{mine[0]['kept_mb']:.1f}"]

    repeats = 1 + max(row["repeat"] for row in rows)
    head = ["use", "first process, s", "later process, s", "functions kept", "MB"]
    return "\n\n".join(
        [
            f"# First use, {date.today():%Y-%m-%d}",
            "\n".join(f"- {name}: {value}" for name, value in facts.items()),
            "Seconds of a whole process, its start and imports included: the first, where nothing has been compiled "
            f"yet, and one after it. Median (lowest … highest) of {repeats} turns.",
            report.table(head, [line(use) for use in USES]),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="turns")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="also write Markdown and CSV there")
    parser.add_argument("--stem", default="first-use", help="name of these files without the ending")
    parser.add_argument("--quick", action="store_true", help="one turn, without waiting until the machine is quiet")
    arguments = parser.parse_args()
    rows = measure(1 if arguments.quick else arguments.repeats, 0.0 if arguments.quick else 2.0)
    said = text(rows, report.facts({}) | report.load())
    print(said)
    if arguments.out:
        report.save(arguments.out, arguments.stem, said, rows)


if __name__ == "__main__":
    main()

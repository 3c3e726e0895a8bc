"""The jobs of train.py, each in a process of its own: `python measure.py '{"job": …}'` writes one line of JSON.

Jobs: "prove" trains all peers on the same rows in the same order and compares their losses; "time" takes the time of
one peer; "machine" says what libraries use here.
"""

from __future__ import annotations

import ctypes
import math
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from peers import PEERS
from processes import answer, seconds_each
from workloads import WORKLOADS

TOLERANCES = {"float32": 1e-4, "float64": 1e-9}  # relative, of the mean loss of every epoch
LOOSE = 1e-5  # of a peer whose Adam adds its ε in another place


def prove(workloads: dict[str, list[str]]) -> dict[str, Any]:
    """Workload -> what was compared of which peers; ends the process where two of them differ."""
    return {workload: prove_one(workload, peers) for workload, peers in workloads.items()}


def prove_one(workload: str, peers: list[str]) -> dict[str, Any]:
    """Some epochs of two batches and a half; the peers' mean losses of each against those of the first of them."""
    load = WORKLOADS[workload]
    whole = load.problem()
    small = whole.head(load.batch_size * 5 // 2).without_dropout()
    epochs = math.ceil(load.proof_steps / small.steps)
    worst: dict[str, float] = {}
    for dtype, tolerance in TOLERANCES.items():
        problem = small.astype(dtype)
        asked = replace(problem, extras=whole.extras)  # what is timed, with its dropout
        first, *others = [name for name in peers if not PEERS[name].cannot(asked)]
        losses: dict[int, list[float]] = {}  # number of rows -> those of the first peer
        worst[dtype] = 0.0
        for name in [first, *others]:
            given = PEERS[first].given(PEERS[name].given(problem))
            found = PEERS[name].build(given)(epochs, False)
            reference = losses.setdefault(len(given.x), found if name == first else [])
            if not reference:
                reference += PEERS[first].build(given)(epochs, False)
            apart = most_apart(reference, found)
            allowed = tolerance if PEERS[name].exact else max(tolerance, LOOSE)
            if not apart <= allowed:  # so that NaN fails too
                raise SystemExit(
                    f"{workload}, {dtype}: {name} does not train as {first}: losses {apart:.1e} apart after "
                    f"{epochs * given.steps} steps, allowed {allowed:.0e}: {found} instead of {reference}"
                )
            worst[dtype] = max(worst[dtype], apart)
            if not found[epochs - 1] < found[0]:
                raise SystemExit(f"{workload}, {dtype}: nothing was learned, so nothing is proven: {found}")
    reference = next(iter(losses.values()))
    return {
        "steps": epochs * small.steps,
        "worst": worst,
        "source": whole.source,
        "rows": len(whole.x),
        "first_loss": reference[0],
        "last_loss": reference[epochs - 1],
        "reasons": {name: reason for name in peers if (reason := PEERS[name].cannot(whole))},  # not to time it
    }


def most_apart(reference: list[float], found: list[float]) -> float:
    """How far apart losses are at most, relative to the reference; NaN if one of them is NaN, whichever it is."""
    return float(np.max([abs(a - b) / abs(a) for a, b in zip(reference, found, strict=True)]))


def timing(workload: str, peer: str, seconds: float) -> dict[str, float]:
    """µs a step over whole epochs, the time until the first step is done, and the most memory the process ever held."""
    problem = PEERS[peer].given(WORKLOADS[workload].problem())
    batch = problem.head(problem.batch_size)
    start = time.perf_counter()
    PEERS[peer].build(batch)(1, True)  # imports, builds, compiles
    first_step = time.perf_counter() - start
    result = {"first_step_s": first_step}
    if seconds:
        train = PEERS[peer].build(problem)
        wall, processor = seconds_each(lambda epochs: train(epochs, not problem.full_batch), seconds)
        result["us_per_step"] = wall / problem.steps * 1e6
        result["processor_us_per_step"] = processor / problem.steps * 1e6
    return result | {"peak_mb": peak_mb()}


def peak_mb() -> float:
    """The most memory that this process has had; NaN on Windows, where Python does not tell it."""
    if sys.platform == "win32":
        return math.nan
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def machine() -> dict[str, str]:
    """The BLAS that NumPy brought, the kernels it picked for this CPU, and its threads; the same of PyTorch."""
    found = {"NumPy's BLAS": openblas()}
    if not PEERS["torch"].missing:
        import torch

        found["PyTorch"] = f"{torch.backends.cpu.get_cpu_capability()} kernels, {torch.get_num_threads()} threads"
        if torch.backends.mkl.is_available():
            found["PyTorch"] += ", MKL"
    return found


def openblas() -> str:
    import numpy as np

    for path in Path(np.__file__).parent.parent.glob("numpy.libs/*openblas*"):
        library = ctypes.CDLL(str(path))
        for prefix in ("scipy_openblas", "openblas"):
            for suffix in ("64_", "_64", ""):
                corename = getattr(library, f"{prefix}_get_corename{suffix}", None)
                threads = getattr(library, f"{prefix}_get_num_threads{suffix}", None)
                if corename is not None and threads is not None:
                    corename.restype = ctypes.c_char_p
                    return f"OpenBLAS, {corename().decode()} kernels, {threads()} threads"
    return "not the OpenBLAS of NumPy's wheel"


if __name__ == "__main__":
    answer({"prove": prove, "time": timing, "machine": machine})

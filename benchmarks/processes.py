"""A job in a process of its own, and the clock for it. It knows nothing of nets; every other file here may import it.

A script that serves jobs ends in `answer({"name": function, …})`, and another, or itself, asks it by
`child("script.py", "name", …)`. Nothing is imported by the one that asks, so what is measured starts afresh.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

PINS = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")  # they make OpenBLAS take another CPU's kernels
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "NPROC")  # NPROC: JAX

# With these, nnlite and its peers use AVX2 where the processor has AVX-512, too. ONNX Runtime has no such switch.
AVX2 = {
    "NUMBA_CPU_NAME": "haswell",
    "NUMBA_CPU_FEATURES": ("+sse3,+ssse3,+sse4.1,+sse4.2,+popcnt,+avx,+avx2,+fma,+f16c,+bmi,+bmi2,+lzcnt,+movbe"),
    "OPENBLAS_CORETYPE": "Haswell",
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "XLA_FLAGS": "--xla_cpu_max_isa=AVX2",
}

forced: dict[str, str] = {}  # what every child's environment also has


def child(
    script: str | Path,
    job: str,
    threads: int | None = None,
    cache: str | None = None,
    launcher: Sequence[str] = (),
    **arguments: Any,
) -> Any:
    """What a script of this folder answers to a job, in a process of its own.

    threads: how many a library may use, or None for its own default. cache: a folder for Numba's code, if not the
    usual one. launcher: a command that starts it, such as mpirun. Ends this process where the other one fails.
    """
    environment = {name: value for name, value in os.environ.items() if name not in PINS} | forced
    if cache is not None:
        environment["NUMBA_CACHE_DIR"] = cache
    if threads is not None:
        environment |= dict.fromkeys(THREADS, str(threads))
    command = [*launcher, sys.executable, str(Path(__file__).parent / script), json.dumps({"job": job, **arguments})]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"no times: {job} {arguments} failed, see above")
    return json.loads(done.stdout.splitlines()[-1])


def answer(jobs: Mapping[str, Callable[..., Any]]) -> bool:
    """Do the job that this script was started for and print the answer as one line of JSON; False if it was not."""
    if len(sys.argv) != 2 or not sys.argv[1].startswith("{"):
        return False
    request = json.loads(sys.argv[1])
    print(json.dumps(jobs[request.pop("job")](**request)))
    return True


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


def seconds_each(run: Callable[[int], Any], seconds: float) -> tuple[float, float]:
    """Seconds a turn, by the wall and of processors, over as many turns as fill the time; shorter runs warm up."""
    turns = 1
    run(1)
    while True:
        start, processor = time.perf_counter(), time.process_time()
        run(turns)
        took, processor = time.perf_counter() - start, time.process_time() - processor
        if took >= seconds * 0.7:
            return took / turns, processor / turns
        turns = math.ceil(turns * min(100.0, seconds / max(took, 1e-9)))


def seconds_more(run: Callable[[int], Any], seconds: float) -> float:
    """What a turn more adds to a run, so that what a run does before its first turn does not count."""

    def clock(turns: int) -> float:
        start = time.perf_counter()
        run(turns)
        return time.perf_counter() - start

    one, more = min(clock(1) for _ in range(3)), 1
    while True:
        took = clock(1 + more) - one
        if took >= seconds * 0.7:
            return took / more
        more = math.ceil(more * min(10.0, seconds / max(took, 1e-9)))

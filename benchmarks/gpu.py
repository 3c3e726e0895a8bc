"""nnlite on a GPU, in stages of at most eight minutes each: `python benchmarks/gpu.py --only tests|sanitizer|times`.

tests: the suite with the cupy device. sanitizer: compute-sanitizer on tiny trainings. times: µs for a training step in
float32, of nnlite in its three ways, of PyTorch and JAX in theirs, and of nnlite on this machine's CPU. Each peer is a
process of its own, all of them by turns; a peer whose losses after the same steps are others gets no time.

    python benchmarks/gpu.py --out benchmarks/results        all stages; writes gpu.md and gpu.csv there as they come
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import json
import math
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import peers as on_cpu
from options import parser
from processes import seconds_each
from workloads import PLAIN, WORKLOADS, Problem, Train, Workload, mnist

NETS = {name: load for name, load in WORKLOADS.items() if name != "chain" and load.extras == PLAIN}
NETS["large"] = Workload(
    (784, 4096, 4096, 10), "relu", "softmax", "cce", 0.02, 4096, mnist, rows=4096 * 4, proof_steps=6
)
STAGES = ("tests", "sanitizer", "times")
TOLERANCE = {"float32": 1e-3, "tf32": 3e-2}  # relative, of the loss of every epoch
Case = tuple[str, str]  # net and precision
GRAPH_STEPS = 16  # of PyTorch's graph, as of nnlite's


# ---- who trains ------------------------------------------------------------------------------------------------------


def trainer_of(problem: Problem, precision: str, replay: str, **limits: int) -> tuple[Any, Any]:
    """nnlite's trainer, and the GPU on which it trains. limits: those of CudaLimits that are to be others."""
    import nnlite as nl
    from nnlite.devices.cuda.device import CupyDevice
    from nnlite.devices.cuda.limits import CudaLimits

    device = CupyDevice(precision, CudaLimits(**limits))
    net = nl.mlp(problem.sizes, problem.hidden, problem.output, device=device, seed=0)
    net.load_state_dict(problem.weights)
    return nl.Trainer(net, problem.loss, nl.SGD(lr=problem.lr), replay=replay), device


def nnlite(problem: Problem, precision: str, replay: str, **limits: int) -> Train:
    trainer, device = trainer_of(problem, precision, replay, **limits)
    x, y = device.asarray(problem.x), problem.y if problem.loss == "cce" else device.asarray(problem.y)

    def train(epochs: int, shuffle: bool) -> list[float]:
        return trainer.fit(x, y, epochs, problem.batch_size, shuffle=shuffle, progress=False)["loss"]

    return train


def pytorch(problem: Problem, precision: str, way: str, device: str = "cuda") -> Train:
    """way: "eager", "compiled" (mode="reduce-overhead"), or "graph": whole steps captured by hand, many a graph."""
    import torch

    torch._dynamo.reset()  # or it would give up compiling after a number of problems in one process
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    net, loss_of = on_cpu.torch_net(problem)
    net = net.to(device)
    x, y = torch.from_numpy(problem.x).to(device), torch.from_numpy(problem.y).to(device)
    optimizer = torch.optim.SGD(net.parameters(), problem.lr, fused=True)
    rows, size = len(x), problem.batch_size
    many = min(GRAPH_STEPS, rows // size)  # steps of a graph
    forward = torch.compile(net, mode="reduce-overhead") if way == "compiled" else net
    total = torch.zeros((), device=device)

    def step(batch: Any) -> None:
        loss = loss_of(forward(x.index_select(0, batch)), y.index_select(0, batch))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total.add_(loss.detach(), alpha=len(batch))

    captured = _torch_graphs(net, step, size, sorted({many, 1}, reverse=True), device) if way == "graph" else []

    def train(epochs: int, shuffle: bool) -> list[float]:
        losses = torch.zeros(epochs, device=device)  # read at the end: to read a number is to wait for the GPU
        for epoch in range(epochs):
            total.zero_()
            order = torch.randperm(rows, device=device) if shuffle else torch.arange(rows, device=device)
            start = 0
            for graph, batches in captured:
                while rows - start >= len(batches):
                    batches.copy_(order[start : start + len(batches)])
                    graph.replay()
                    start += len(batches)
            for batch in order[start:].split(size) if start < rows else ():  # of no rows, split makes an empty batch
                step(batch)
            losses[epoch] = total / rows
        return losses.tolist()

    return train


def _torch_graphs(
    net: Any, step: Callable[[Any], None], size: int, counts: Sequence[int], device: str
) -> list[tuple[Any, Any]]:
    """CUDA graphs of so many steps, each with the row numbers that it reads; a warm-up before them is undone."""
    import torch

    rows = torch.arange(size, device=device)
    before = [parameter.detach().clone() for parameter in net.parameters()]
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):
            step(rows)
    torch.cuda.current_stream().wait_stream(aside)
    graphs = []
    for count in counts:
        graph, batches = torch.cuda.CUDAGraph(), rows.repeat(count)
        with torch.cuda.graph(graph):
            for batch in batches.split(size):
                step(batch)
        graphs.append((graph, batches))
    with torch.no_grad():
        for parameter, value in zip(net.parameters(), before):
            parameter.copy_(value)
    return graphs


def jax(problem: Problem, precision: str) -> Train:
    import jax

    jax.config.update("jax_default_matmul_precision", "tensorfloat32" if precision == "tf32" else "highest")
    return on_cpu.jax(problem)


PEERS: dict[str, tuple[str, Callable[[Problem, str], Train]]] = {  # name -> what it needs, how it trains
    "nnlite": ("cupy", lambda problem, precision: nnlite(problem, precision, "auto")),
    "PyTorch graph": ("torch", lambda problem, precision: pytorch(problem, precision, "graph")),
    "JAX": ("jax", jax),
    "nnlite on the CPU": ("numba", lambda problem, precision: on_cpu.nnlite(problem, "numba")),
    "PyTorch eager": ("torch", lambda problem, precision: pytorch(problem, precision, "eager")),
    "nnlite persistent": ("cupy", lambda problem, precision: nnlite(problem, precision, "persistent")),
    "nnlite graph": ("cupy", lambda problem, precision: nnlite(problem, precision, "graph")),
    "nnlite eager": ("cupy", lambda problem, precision: nnlite(problem, precision, "eager")),
    # several blocks without parts of a first product, which take a barrier more (nnlite/devices/cuda/parts.py)
    "nnlite by rows": ("cupy", lambda problem, precision: nnlite(problem, precision, "persistent", barrier=10**12)),
    "PyTorch compiled": ("torch", lambda problem, precision: pytorch(problem, precision, "compiled")),
}


def cases(names: Sequence[str], peer: str = "") -> list[Case]:
    """Net and precision; on a CPU a step of the large net would take seconds."""
    found = [(name, "float32") for name in names] + [("large", "tf32")] * ("large" in names)
    return [case for case in found if case[0] != "large" or not peer.endswith("CPU")]


# ---- one peer, in a process of its own -------------------------------------------------------------------------------


def measure(peer: str, seconds: float, names: Sequence[str]) -> None:
    """Print a line of JSON for each net: the losses of the proof, and µs a step; or why there are none."""
    for name, precision in cases(names, peer):
        found: dict[str, Any] = {"net": name, "precision": precision}
        try:
            problem = NETS[name].problem()
            if peer.endswith("eager") and name != "xor":  # slow, and a step takes as long with fewer rows
                problem = problem.head(min(len(problem.x), problem.batch_size * 50))
            small = problem.head(problem.batch_size * 5 // 2)
            epochs = math.ceil(NETS[name].proof_steps / small.steps)
            found["losses"] = PEERS[peer][1](small, precision)(epochs, False)
            train = PEERS[peer][1](problem, precision)
            wall, _ = seconds_each(lambda epochs, train=train: train(epochs, True), seconds)
            found["us"] = wall / problem.steps * 1e6
        except Exception as error:  # one peer that cannot must not keep the others from being measured
            found["error"] = f"{type(error).__name__}: {error}"[:200]
        print(json.dumps(found), flush=True)


def output(command: list[str], timeout: float) -> subprocess.CompletedProcess[str]:
    """What a command prints, errors apart; if it hangs, as a kernel may that waits for a block, what it had printed.

    Files and no pipes: a process of its own that outlives it would hold a pipe open.
    """
    with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=said, stderr=errors, text=True, start_new_session=True)
        stopped = ""
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            stopped = f"\nstopped after {timeout:.0f} s"
        finally:  # after Ctrl-C too, which does not reach another session
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        said.seek(0)
        errors.seek(0)
        return subprocess.CompletedProcess(command, process.returncode, said.read(), errors.read() + stopped)


def last_line(text: str) -> str:
    """Where programs say what went wrong."""
    return (text.strip().splitlines() or ["said nothing"])[-1]


# ---- the stages ------------------------------------------------------------------------------------------------------


def tests(longest: float) -> list[str]:
    """The suite on the GPU: its last line, or what failed. A test that hangs shows after two minutes where it is."""
    options = ["-q", "-k", "cupy", "-ofaulthandler_timeout=120", "-p", "no:benchmark", "--maxfail=40"]
    if importlib.util.find_spec("xdist"):
        options += ["-n", str(os.cpu_count() or 1)]
    done = output([sys.executable, "-m", "pytest", *options], longest)
    told = done.stdout[-8000:] + done.stderr[-1000:] if done.returncode else last_line(done.stdout)
    return [f"Tests on the device: {told}", ""]


def sanitized(longest: float) -> list[str]:
    """compute-sanitizer's verdict on a tiny training in each way of replay: its last line for each tool."""
    if shutil.which("compute-sanitizer") is None:
        return ["compute-sanitizer is not installed", ""]
    text = (
        "import numpy as np, nnlite as nl\n"
        "from nnlite.devices.cuda import machine\n"
        "from nnlite.devices.cuda.device import CupyDevice\n"
        "from nnlite.devices.cuda.limits import CudaLimits\n"
        "machine.WORTH_TRANSPOSING = 34\n"
        "several, tf32 = CupyDevice(limits=CudaLimits(one_block=0)), CupyDevice('tf32')\n"
        "ways = ('cupy', 'persistent'), ('cupy', 'graph'), (several, 'persistent'), (tf32, 'graph')\n"
        "for device, way in ways:\n"
        "    for optimizer in (nl.Adam(), nl.SGD()):\n"
        "        net = nl.mlp([6, 36, 40, 3], output='softmax', device=device)\n"
        "        x, y = np.ones((90, 6), 'f4'), np.arange(90) % 3\n"
        "        trainer = nl.Trainer(net, 'cce', optimizer, ['accuracy'], replay=way)\n"
        "        print(trainer.fit(x, y, 2, 40, progress=False)['loss'], trainer.plan())\n"
    )
    lines = []
    for tool in ("memcheck", "racecheck", "initcheck", "synccheck"):
        done = output(["compute-sanitizer", "--tool", tool, sys.executable, "-c", text], longest / 4)
        wrong = [line for line in done.stdout.splitlines() if line.startswith("=========")]
        lines += [f"{tool}: {wrong[-1] if wrong else last_line(done.stdout + done.stderr)}"]
        if done.returncode or not wrong or not re.search(r"\b0 errors", wrong[-1]):
            lines += ["", "```", *wrong[:20], "```", ""]
    return [*lines, ""]


class Times:
    """What has been measured, and what went wrong."""

    def __init__(self) -> None:
        self.us: dict[Case, dict[str, list[float]]] = {}  # net and precision -> peer -> µs of its turns
        self.losses: dict[Case, dict[str, list[float]]] = {}
        self.reasons: dict[str, None] = {}  # in order, each once

    def ask(self, peer: str, seconds: float, names: Sequence[str], timeout: float) -> None:
        """Take a turn of a peer."""
        command = [sys.executable, __file__, "--peer", peer, "--seconds", str(seconds), "--nets", *names]
        done = output(command, timeout)
        answers = [json.loads(line) for line in done.stdout.splitlines() if line[:1] + line[-1:] == "{}"]
        told = {(answer["net"], answer["precision"]): answer for answer in answers}
        for case in cases(names, peer):
            each = told.get(case, {"error": f"no answer: {last_line(done.stderr)}"[:200]})
            if "error" in each:
                self.reasons[f"- {' '.join(case)}, {peer}: {each['error']}"] = None
            else:
                self.losses.setdefault(case, {})[peer] = each["losses"]
                self.us.setdefault(case, {}).setdefault(peer, []).append(each["us"])

    def proven(self) -> dict[Case, dict[str, list[float]]]:
        """The times of those who train as the others do; the reasons name those who do not."""
        found = {case: dict(of_peers) for case, of_peers in self.us.items()}
        for case, of_peers in self.losses.items():
            finite = {peer: got for peer, got in of_peers.items() if np.isfinite(got).all()}
            theirs = [got for peer, got in finite.items() if not peer.startswith("nnlite")]
            expected = [*theirs, *finite.values(), [math.nan]][0]
            for peer, got in of_peers.items():
                if not np.allclose(got, expected, rtol=TOLERANCE[case[1]]):
                    wrong = f"trains otherwise: losses {got[-1]:.6g}, expected {expected[-1]:.6g}"
                    self.reasons[f"- {' '.join(case)}, {peer}: {wrong}"] = None
                    del found[case][peer]
        return found

    def table(self) -> list[str]:
        """Markdown: a line for each net, µs a step, and how many times as long as nnlite in brackets."""
        lines = ["µs for a training step, medians; in brackets how many times as long as nnlite takes.", ""]
        lines += ["| net | " + " | ".join(PEERS) + " |", "|---|" + "--:|" * len(PEERS)]
        for (net, precision), of_peers in self.proven().items():
            us = {peer: statistics.median(turns) for peer, turns in of_peers.items()}
            ours = us.get("nnlite", math.nan)
            cells = [
                "–"
                if peer not in us
                else f"{us[peer]:,.3g}" + ("" if peer == "nnlite" else f" ({us[peer] / ours:.2g})")
                for peer in PEERS
            ]
            lines.append(f"| {net}{' TF32' if precision == 'tf32' else ''} | {' | '.join(cells)} |")
        return [*lines, "", *self.reasons]

    def write(self, path: Path) -> None:
        """All turns as a CSV."""
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["net", "precision", "peer", "turn", "us_per_step"])
            for (net, precision), of_peers in self.proven().items():
                for peer, got in of_peers.items():
                    writer.writerows([net, precision, peer, turn, us] for turn, us in enumerate(got))


def machine() -> list[str]:
    """What was measured on."""
    query = ["nvidia-smi", "--query-gpu=name,driver_version,clocks.max.sm", "--format=csv,noheader"]
    card = (
        subprocess.run(query, capture_output=True, text=True, check=False).stdout.strip()
        if shutil.which(query[0])
        else ""
    )
    versions = [f"Python {sys.version.split()[0]}", f"NumPy {np.__version__}", f"{os.cpu_count()} CPUs"]
    for name in ("cupy", "numba", "torch", "jax"):
        if importlib.util.find_spec(name):
            versions.append(f"{name} {__import__(name).__version__}")
    return [f"{card or 'no NVIDIA GPU'}; {', '.join(versions)}; {time.strftime('%Y-%m-%d')}", ""]


def use_this_checkout() -> None:
    """Let this process and its children import nnlite from here: a machine with a GPU may have no way to install it."""
    checkout = str(Path(__file__).resolve().parent.parent)
    sys.path.insert(0, checkout)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (checkout, os.environ.get("PYTHONPATH"))))


def need_gpu() -> None:
    """End this process with the reason if there is no GPU."""
    import nnlite as nl

    if not (found := nl.devices()["cupy"]).available:
        raise SystemExit(f"no GPU to measure: {found.detail}")


def main() -> None:
    use_this_checkout()
    options = parser(__doc__, seconds=0.4, repeats=2)
    options.set_defaults(out=Path("out"))
    options.add_argument("--only", nargs="+", choices=STAGES, default=STAGES, help="these stages")
    options.add_argument("--longest", type=float, default=480, metavar="SECONDS", help="the most that a stage may take")
    options.add_argument("--nets", nargs="+", choices=NETS, default=list(NETS), metavar="NET", help="times of these")
    options.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS), metavar="PEER", help="and these")
    options.add_argument("--peer", choices=PEERS, help=argparse.SUPPRESS)
    arguments = options.parse_args()
    if arguments.peer:
        measure(arguments.peer, arguments.seconds, arguments.nets)
        return
    need_gpu()
    arguments.out.mkdir(parents=True, exist_ok=True)
    lines, measured = ["# nnlite on a GPU", "", *machine()], Times()

    def save() -> None:
        told = lines + (measured.table() if measured.us or measured.reasons else [])
        (arguments.out / "gpu.md").write_text("\n".join(told) + "\n", encoding="utf-8")
        measured.write(arguments.out / "gpu.csv")

    try:
        if "tests" in arguments.only:
            lines += tests(arguments.longest)
            save()
        if "sanitizer" in arguments.only:
            lines += sanitized(arguments.longest)
            save()
        until = time.monotonic() + arguments.longest
        turns = [peer for _ in range(arguments.repeats) for peer in arguments.peers] * ("times" in arguments.only)
        for peer in turns:
            left = until - time.monotonic()
            if importlib.util.find_spec(PEERS[peer][0]) and left > 0:
                measured.ask(peer, arguments.seconds, arguments.nets, min(left, 150))
                save()
    finally:
        save()
        print((arguments.out / "gpu.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()

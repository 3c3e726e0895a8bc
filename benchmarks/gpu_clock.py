"""Where a step goes inside the persistent kernel on a GPU: clock cycles of every call, and of every wait after it.

The first thread of the first warp and that of the last warp of each block read their processor's clock after each call
and each wait. What they add to their own sums costs a step some percent.

    python benchmarks/gpu_clock.py --out benchmarks/results        writes gpu-clock.md there
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from gpu import NETS, need_gpu, trainer_of, use_this_checkout
from gpu_products import tell
from options import parser
from processes import answer, child, seconds_each

CLOCK = """
extern "C" {{ __device__ unsigned long long spent[2][{blocks}][{lines}]; }}
#define STAMP(line)                                                                     \\
  if (threadIdx.x == 0 || threadIdx.x == NNLITE_THREADS - 32) {{                         \\
    const unsigned long long at = clock64();                                            \\
    atomicAdd(&spent[threadIdx.x > 0][blockIdx.x % {blocks}][line], at - before);       \\
    before = at;                                                                        \\
  }}
"""
EPOCHS = 4
BEGIN = "Bits met = 0;"  # of the kernel, in replay.cu


def with_clocks(text: Any, threads: int) -> str:
    """The source of a persistent replay, with a clock after every line of its full step."""
    step = text.steps[0]
    text.steps[0] = [each for k, line in enumerate(step) for each in (line, f"STAMP({k})")]
    code = text._source(threads)
    text.steps[0] = step
    assert code.count(BEGIN) == 1
    code = code.replace(BEGIN, f"{BEGIN} unsigned long long before = clock64();")
    return CLOCK.format(blocks=text.blocks, lines=len(step)) + code


def clocks(net: str, seconds: float, limits: dict[str, int]) -> dict[str, Any]:
    """Cycles of each line of a step, by the first and by the last warp, and µs of a step with and without clocks."""
    from nnlite.devices.cuda import choice

    made: list[Any] = []

    class Watched(choice.PersistentReplay):
        def _compiled(self) -> Any:
            self.text._sources[self.threads] = code = with_clocks(self.text, self.threads)
            made.append((self, code))
            return super()._compiled()

    problem, us = NETS[net].problem(), []
    for kind in (choice.PersistentReplay, Watched):
        choice.PersistentReplay = kind  # type: ignore[misc]
        trainer, device = trainer_of(problem, "float32", "persistent", **limits)
        x, y = device.asarray(problem.x), problem.y if problem.loss == "cce" else device.asarray(problem.y)

        def train(epochs: int, trainer: Any = trainer, x: Any = x, y: Any = y) -> list[float]:
            return trainer.fit(x, y, epochs, problem.batch_size, progress=False)["loss"]

        us.append(seconds_each(train, seconds)[0] / problem.steps * 1e6)
    import cupy

    replay, code = made[-1]
    step = replay.text.steps[0]
    place = replay.machine.compiled(code).get_global("spent")
    spent = cupy.ndarray((2, replay.blocks, len(step)), np.uint64, place)
    spent[...] = 0
    cupy.cuda.Device().synchronize()
    train(EPOCHS)
    cycles = cupy.asnumpy(spent) / (EPOCHS * (problem.steps - len(replay.text.steps) + 1))  # of full steps
    lines = [re.sub(r"^if \(.*?\) (?=[A-Z]+\()", "", line) for line in step]
    return {
        "us": us,
        "plan": replay.plan,
        "lines": lines,
        "mean": cycles.mean(1).tolist(),
        "most": cycles.max(1).tolist(),
    }


def name_of(line: str) -> str:
    """The kernel that a line of a step calls, with the rows and columns of a product, or what else the line does."""
    verb, _, rest = line.partition("(")
    words, size = rest.split(", "), re.search(r"PRODUCT\(\w+, (.*?)\)", line)
    names = {"CALL": words[:1], "TAKE": words[2:3], "THEN": words[1::-1]}.get(verb, [verb])
    return " + ".join(names) + (f" ({size[1]})" if size else "")


def table(net: str, found: dict[str, Any]) -> list[str]:
    """Markdown: a line for each call or wait."""
    lines = [f"## {net}", "", f"{found['plan']}", ""]
    lines += [f"{found['us'][0]:.3g} µs a step, {found['us'][1]:.3g} with clocks", ""]
    lines += ["| call or wait | first warp | last warp | most of a block |", "|---|--:|--:|--:|"]
    for k, text in enumerate(found["lines"]):
        first, last = (of[k] for of in found["mean"])
        lines.append(f"| {name_of(text)} | {first:,.0f} | {last:,.0f} | {max(of[k] for of in found['most']):,.0f} |")
    total = [sum(of) for of in found["mean"]]
    return [*lines, f"| all | {total[0]:,.0f} | {total[1]:,.0f} | |", ""]


def main() -> None:
    use_this_checkout()
    if answer({"clocks": clocks}):
        return
    options = parser(__doc__, seconds=0.05)
    options.add_argument("--nets", nargs="+", choices=NETS, default=["digits", "tabular", "mnist-128", "mnist-256"])
    arguments = options.parse_args()
    need_gpu()
    lines = ["# Inside a persistent kernel", "", "Clock cycles of a step.", ""]
    for net in arguments.nets:
        lines += table(net, child("gpu_clock.py", "clocks", net=net, seconds=arguments.seconds, limits={}))
    tell(lines, arguments.out, "gpu-clock.md")


if __name__ == "__main__":
    main()

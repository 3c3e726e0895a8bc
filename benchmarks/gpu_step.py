"""Where a step of a large net goes on a GPU: µs of every launch of nnlite's graph.

Each launch is captured many times, one after the other, so that a time is that of a node in a graph of such nodes.

    python benchmarks/gpu_step.py --out benchmarks/results        writes gpu-step.md there
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gpu import NETS, need_gpu, trainer_of, use_this_checkout
from gpu_products import PRECISIONS, again, tell
from options import parser
from processes import answer, child, seconds_each

REPEATS = 20  # of a launch in its graph
Row = tuple[str, float]  # what, and its µs


def launches(net: str, precision: str, seconds: float) -> list[Row]:
    """µs of every launch of a step, but for the one that ends it."""
    from nnlite.devices.cuda import choice

    found: list[Row] = []

    class Watched(choice.GraphReplay):
        def _step(self, which: int, end_of_epoch: bool) -> None:
            super()._step(which, end_of_epoch)
            if not found:  # the first time, before anything is captured; afterwards all arrays are put back
                for launch, calls in self._launches(which):
                    result = next(iter(arrays(calls[-1]).values()))
                    us = node_us(self.stream, lambda launch=launch, calls=calls: launch(*calls), seconds)
                    found.append((f"{name_of(launch, calls)} {result.shape}", us))

    choice.GraphReplay = Watched  # type: ignore[misc]
    problem = NETS[net].problem()
    trainer, _ = trainer_of(problem, precision, "graph")
    trainer.fit(problem.x, problem.y, 1, problem.batch_size, progress=False)
    return found


def node_us(stream: Any, work: Callable[[], None], seconds: float) -> float:
    """µs of what is launched on a stream, as a node of a graph."""
    from nnlite.devices.cuda.graph import captured

    def often() -> None:
        for _ in range(REPEATS):
            work()

    stream.synchronize()
    graph = captured(stream, often)
    wall, _ = seconds_each(again(lambda: graph.launch(stream), stream.synchronize), seconds)
    return wall / REPEATS * 1e6


def name_of(launch: Callable[..., None], calls: Sequence[Any]) -> str:
    """What is launched, and by whom if it is a product."""
    by = " by cuBLAS" if launch.__self__.by_cublas(calls[0]) else ""  # type: ignore[attr-defined]
    return " + ".join(call.name for call in calls) + by


def arrays(call: Any) -> dict[str, Any]:
    """Name -> operand or result, first what is made."""
    from nnlite.devices.common.lines import operands

    return operands(call)


def table(net: str, precision: str, found: Sequence[Row]) -> list[str]:
    """Markdown: a line for each launch."""
    lines = [f"## {net}, {precision}", "", f"All launches: {sum(us for _, us in found):,.0f} µs", ""]
    return [*lines, "| launch | µs |", "|---|--:|", *(f"| {what} | {us:,.1f} |" for what, us in found), ""]


def main() -> None:
    use_this_checkout()
    if answer({"launches": launches}):
        return
    options = parser(__doc__, seconds=0.02)
    options.add_argument("--nets", nargs="+", choices=NETS, default=["large", "wide"])
    arguments = options.parse_args()
    need_gpu()
    lines = ["# A step on a GPU, launch by launch", ""]
    lines += ["Each is repeated by itself, so what is small lies in the card's cache.", ""]
    for net in arguments.nets:
        for precision in PRECISIONS:
            asked: dict[str, Any] = {"net": net, "precision": precision, "seconds": arguments.seconds}
            lines += table(net, precision, [tuple(row) for row in child("gpu_step.py", "launches", **asked)])
    tell(lines, arguments.out, "gpu-step.md")


if __name__ == "__main__":
    main()

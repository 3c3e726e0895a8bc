"""Where a step of a large net goes on a GPU: µs of every launch of nnlite's graph, and of cublasLt in its place.

cublasLt can add a bias and cut off at 0 within a product, or take both back; and it has several ways to make a product,
of which the first is likely the fastest. What it makes must equal what nnlite makes, before it gets a time.

    python benchmarks/gpu_step.py --out benchmarks/results        writes gpu-step.md there
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import cublaslt
from gpu import NETS, need_gpu, use_this_checkout
from gpu_products import PRECISIONS, again, tell
from options import parser
from processes import answer, child, seconds_each

WAYS = 8  # of cublasLt, for each product
TOLERANCE = {"float32": 1e-3, "tf32": 5e-2}  # of a relative difference
Row = tuple[str, float]  # what, and its µs
Launch = tuple[Callable[..., None], Sequence[Any]]  # a function and the calls that it launches


def launches(net: str, precision: str, seconds: float) -> list[Row]:
    """µs of every launch of a step, and after it of what cublasLt can do in its place."""
    import nnlite as nl
    from nnlite.devices.cuda import choice
    from nnlite.devices.cuda.device import CupyDevice

    found: list[Row] = []

    class Watched(choice.GraphReplay):
        def _step(self, which: int, end_of_epoch: bool) -> None:
            super()._step(which, end_of_epoch)
            if not found:  # the first time, before anything is captured; afterwards all arrays are put back
                watch = Watch(self.machine, precision, seconds)
                found.extend(watch.rows(list(self._launches(which))))

    choice.GraphReplay = Watched  # type: ignore[misc]
    problem, device = NETS[net].problem(), CupyDevice(precision)
    made = nl.mlp(problem.sizes, problem.hidden, problem.output, device=device, seed=0)
    trainer = nl.Trainer(made, problem.loss, nl.SGD(lr=problem.lr), replay="graph")
    trainer.fit(problem.x, problem.y, 1, problem.batch_size, progress=False)
    return found


class Watch:
    """Times what is launched, and what cublasLt makes of the same arrays."""

    def __init__(self, machine: Any, precision: str, seconds: float) -> None:
        from nnlite.devices.cuda.machine import product_of

        self.machine, self.cupy, self.product_of = machine, machine.cupy, product_of
        self.tolerance, self.seconds = TOLERANCE[precision], seconds
        self.lt = cublaslt.Lt(machine.cupy, precision == "tf32")
        self.bits: dict[int, Any] = {}  # address of what a ReLU has made -> a bit for each number of it

    def rows(self, launches: Sequence[Launch]) -> list[Row]:
        found: list[Row] = []
        for (launch, calls), (_, calls_after) in pairwise([*launches, (print, ())]):
            result = next(iter(arrays(calls[-1]).values()))
            us = self._us(lambda launch=launch, calls=calls: launch(*calls))
            found.append((f"{' + '.join(call.name for call in calls)} {result.shape}", us))
            names = [call.name for call in (*calls, *calls_after)]
            if calls[0].kernel.product:
                found += self._product(calls[0])
            if names[:2] == ["linear", "relu"]:
                found += self._forward(*calls)
            if names[:2] == ["linear_backward", "relu_backward"]:
                found += self._backward(calls[0], *calls_after)
            if names[0] == "linear_backward_weights":
                found += self._weights(calls[0])
        return found

    def _product(self, call: Any) -> list[Row]:
        """x W, dy Wᵀ or xᵀ dy, and nothing else."""
        c, *factors = self.product_of(call)
        ours = partial(self.machine.cublas.product, c, *factors)
        return [
            ("– the product alone, by cuBLAS", self._us(ours)),
            *self._ways("the product alone", ours, [c], *factors),
        ]

    def _forward(self, linear: Any, relu: Any) -> list[Row]:
        y, b = relu.results[0], arrays(linear)["b"]
        self.bits[y.data.ptr] = bits = self.lt.room_for_bits(*y.shape)
        ours = partial(self.machine.product_and_activation, linear, relu)
        end = {"end": cublaslt.BIAS_RELU, "vector": b, "bits": bits}
        return self._ways("with bias and ReLU", ours, [y], *self.product_of(linear)[1:], **end)

    def _backward(self, linear: Any, relu: Any, of_bias: Any) -> list[Row]:
        """A product and the launch after it, whose result may lie where a factor was: copies of them are multiplied."""
        dx, db, bits = relu.results[0], arrays(of_bias)["db"], self.bits[arrays(relu)["y"].data.ptr]
        _, a, b, *transposed = self.product_of(linear)
        copies = a.copy(), b.copy()

        def ours() -> None:
            a[...], b[...] = copies
            self.machine.run(linear)
            self.machine.backward_and_bias(relu, of_bias)

        end = {"end": cublaslt.RELU_BACKWARD, "vector": db, "bits": bits}
        return self._ways("with ReLU's backward and a bias's gradient", ours, [dx, db], *copies, *transposed, **end)

    def _weights(self, call: Any) -> list[Row]:
        """xᵀ dy and the sum of dy's rows; and W - rate xᵀ dy, a step of gradient descent."""
        dW, *factors = self.product_of(call)
        db, W, before, rate = self.cupy.empty(dW.shape[1], "f4"), dW.copy(), dW.copy(), 0.5

        def both() -> None:
            self.machine.run(call)
            db[...] = arrays(call)["dy"].sum(axis=0)

        def update() -> None:
            self.machine.run(call)
            W[...] = before - rate * dW

        summed: dict[str, Any] = {"end": cublaslt.SUM, "vector": db}
        stepped: dict[str, Any] = {"alpha": -rate, "beta": 1, "before": before}
        return [
            *self._ways("with a bias's gradient", both, [dW, db], *factors, **summed),
            *self._ways("W - rate times the product", update, [W], *factors, **stepped),
        ]

    def _ways(
        self,
        what: str,
        ours: Callable[[], None],
        made: Sequence[Any],
        *factors: Any,
        before: Any = None,
        **options: Any,
    ) -> list[Row]:
        """µs of cublasLt's first way and of its fastest, if all of them make what ours does: `made`, first the product.

        before: what lies there first.
        """
        ours()
        expected = [each.copy() for each in made]
        ways, reason = [], "it has no way"
        try:
            ways = self.lt.products(made[0], *factors, most=WAYS, **options)
            for way in ways:
                for each in made:
                    each[...] = float("nan") if before is None else before
                way()
                error = max(map(difference, made, expected))
                reason = "" if error <= self.tolerance else f"makes something else, by {error:.1e}"
                if reason:
                    break
        except RuntimeError as refusal:
            reason = str(refusal)
        us = [math.nan] if reason else [self._us(way) for way in ways]
        for each, right in zip(made, expected):
            each[...] = right
        found = [(f"– {what}, by cublasLt{': ' * bool(reason)}{reason}", us[0])]
        return found if reason else [*found, (f"– {what}, the fastest of its {len(ways)} ways", min(us))]

    def _us(self, work: Callable[[], Any]) -> float:
        return seconds_each(again(work, self.cupy.cuda.Device().synchronize), self.seconds)[0] * 1e6


def arrays(call: Any) -> dict[str, Any]:
    """Name -> operand or result, first what is made."""
    from nnlite.devices.common.lines import operands

    return operands(call)


def difference(got: Any, right: Any) -> float:
    """Relative, of all numbers together: a number that rounding puts above 0, or not, changes its own backward only."""
    return float(((got - right) ** 2).sum() ** 0.5 / (right**2).sum() ** 0.5)


def table(net: str, precision: str, found: Sequence[Row]) -> list[str]:
    """Markdown: a line for each launch, and for each that could take its place."""
    whole = sum(us for what, us in found if not what.startswith("–"))
    lines = [f"## {net}, {precision}", "", f"All launches: {whole:,.0f} µs", "", "| launch | µs |", "|---|--:|"]
    return [*lines, *(f"| {what} | {us:,.1f} |" for what, us in found), ""]


def main() -> None:
    use_this_checkout()
    if answer({"launches": launches}):
        return
    options = parser(__doc__, seconds=0.02)
    options.add_argument("--nets", nargs="+", choices=["wide", "large"], default=["large", "wide"])
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

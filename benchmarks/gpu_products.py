"""The products of large nets on a GPU: µs of cuBLAS in each layout, nnlite's way to call it beside PyTorch's.

A step of wide or large is little else. A factor may lie row by row or transposed; nnlite hands over x W, dy Wᵀ and
xᵀ dy as they are, PyTorch stores Wᵀ. Where one layout is much faster, it may pay to transpose a factor first.

    python benchmarks/gpu_products.py --out benchmarks/results        writes gpu-products.md there
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from gpu import NETS, need_gpu, use_this_checkout
from options import parser
from processes import answer, child, seconds_each

PRECISIONS = ("float32", "tf32")
LAYOUTS = ("A B", "A Bᵀ", "Aᵀ B", "Aᵀ Bᵀ")  # how the factors of C = A B are stored: ᵀ is transposed
TOLERANCE = {"float32": 1e-4, "tf32": 1e-2}  # of a product of numbers between 0 and 1, relative
Shape = tuple[int, int, int]  # rows of C, columns of C, and what is summed over


def shapes() -> dict[str, tuple[Shape, str]]:
    """What a step of the large nets multiplies: name -> shape, and the layout in which nnlite's tape has it."""
    found = {}
    for net in ("wide", "large"):
        rows, sizes = NETS[net].batch_size, NETS[net].sizes
        for i, (inputs, outputs) in enumerate(pairwise(sizes)):
            found[f"{net} {i}, x W"] = (rows, outputs, inputs), "A B"
            if i:
                found[f"{net} {i}, dy Wᵀ"] = (rows, inputs, outputs), "A Bᵀ"
            found[f"{net} {i}, xᵀ dy"] = (inputs, outputs, rows), "Aᵀ B"
    return found


def of_layout(layout: str) -> tuple[bool, bool]:
    """Whether A, and whether B, is stored transposed."""
    a, b = layout.split()
    return a.endswith("ᵀ"), b.endswith("ᵀ")


def by_nnlite(precision: str, seconds: float) -> dict[str, Any]:
    import cupy

    from nnlite.devices.cuda.device import CupyDevice

    cublas = CupyDevice(precision).machine.cublas
    assert cublas, "no cuBLAS was found"

    def prepare(a: np.ndarray, b: np.ndarray, layout: str) -> Any:
        stored = [
            cupy.ascontiguousarray(each.T) if turned else each
            for each, turned in zip(map(cupy.asarray, (a, b)), of_layout(layout))
        ]
        c = cupy.empty((len(a), b.shape[1]), np.float32)

        def multiply() -> Any:
            cublas.product(c, *stored, *of_layout(layout))
            return c

        return multiply

    found = timed(prepare, cupy.cuda.Device().synchronize, cupy.asnumpy, seconds, precision)
    matrix = cupy.ones((4096, 4096), np.float32)
    one, _ = seconds_each(again(lambda: cupy.ascontiguousarray(matrix.T), cupy.cuda.Device().synchronize), seconds)
    return {"library": cublas.library._name, "us": found, "transpose": one * 1e6}


def by_pytorch(precision: str, seconds: float) -> dict[str, Any]:
    import torch

    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"

    def prepare(a: np.ndarray, b: np.ndarray, layout: str) -> Any:
        stored = [
            each.T.contiguous().T if turned else each
            for each, turned in zip((torch.from_numpy(factor).cuda() for factor in (a, b)), of_layout(layout))
        ]
        c = torch.empty((len(a), b.shape[1]), device="cuda")
        return lambda: torch.mm(*stored, out=c)

    return {"us": timed(prepare, torch.cuda.synchronize, lambda c: c.cpu().numpy(), seconds, precision)}


def timed(prepare: Any, wait: Any, to_numpy: Any, seconds: float, precision: str) -> dict[str, dict[str, float]]:
    """µs of each shape in each layout, after the first row of the product has been proven."""
    found: dict[str, dict[str, float]] = {}
    rng = np.random.default_rng(0)
    for name, ((rows, columns, inner), _) in shapes().items():
        # Numbers between 0 and 1, so that no sum is near 0
        a, b = rng.random((rows, inner), np.float32), rng.random((inner, columns), np.float32)
        expected = a[0].astype(np.float64) @ b
        found[name] = {}
        for layout in LAYOUTS:
            multiply = prepare(a, b, layout)
            np.testing.assert_allclose(to_numpy(multiply())[0], expected, rtol=TOLERANCE[precision])
            found[name][layout] = seconds_each(again(multiply, wait), seconds)[0] * 1e6
    return found


def again(work: Any, wait: Any) -> Any:
    """A function that does the work so many times, and waits for the GPU at the end."""

    def run(turns: int) -> None:
        for _ in range(turns):
            work()
        wait()

    return run


def table(precision: str, ours: dict[str, Any], theirs: dict[str, Any] | None) -> list[str]:
    """Markdown: a line for each product; what nnlite does now in bold."""
    lines = [
        f"## {precision}",
        "",
        f"cuBLAS: {ours['library']}; to transpose 4096 x 4096 takes {ours['transpose']:.0f} µs",
    ]
    lines += ["", "| product | " + " | ".join(LAYOUTS) + " | PyTorch: " + " | ".join(LAYOUTS) + " |"]
    lines += ["|---|" + "--:|" * 2 * len(LAYOUTS)]
    for name, (_, now) in shapes().items():
        cells = [f"**{us:,.0f}**" if layout == now else f"{us:,.0f}" for layout, us in ours["us"][name].items()]
        cells += [f"{us:,.0f}" for us in theirs["us"][name].values()] if theirs else ["–"] * len(LAYOUTS)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return [*lines, ""]


def tell(lines: list[str], out: Path | None, name: str) -> None:
    """Print these lines, and write them to a file of that name if there is a folder for it."""
    print("\n".join(lines))
    if out:
        out.mkdir(parents=True, exist_ok=True)
        (out / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    use_this_checkout()
    if answer({"nnlite": by_nnlite, "PyTorch": by_pytorch}):
        return
    options = parser(__doc__, seconds=0.05)
    options.add_argument("--alone", action="store_true", help="without PyTorch")
    arguments = options.parse_args()
    need_gpu()
    lines = ["# Products on a GPU", "", "µs; how nnlite makes them in a step in bold.", ""]
    for precision in PRECISIONS:
        asked: dict[str, Any] = {"precision": precision, "seconds": arguments.seconds}
        ours = child("gpu_products.py", "nnlite", **asked)
        theirs = None if arguments.alone else child("gpu_products.py", "PyTorch", **asked)
        lines += table(precision, ours, theirs)
    tell(lines, arguments.out, "gpu-products.md")


if __name__ == "__main__":
    main()

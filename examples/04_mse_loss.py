"""Mean squared error: how wrong a batch of predictions is, in one number, and in which direction it gets better.

A batch has N samples with k outputs each; p is the prediction, t the target, both (N, k). Every output node has an
error p − t. The errors are squared, so that too high and too low count alike. They become

    one loss a sample    ℓₙ = 1/k Σₖ (p − t)²     gradient 2 (p − t) / k        reduction="none"
    their mean           1/N Σₙ ℓₙ                gradient 2 (p − t) / (N k)    reduction="mean", the usual one
    the sum of all       Σₙ Σₖ (p − t)²           gradient 2 (p − t)            reduction="sum"

The gradient has the shape of p: for every node of every sample it says how the loss changes as that output grows.
Dividing by N makes it independent of the batch size, and so the learning rate too.

nnlite computes on a device: plain NumPy, or Numba, which compiles the formulas for this processor, or CuPy, which takes
them to a graphics card. First we show that NumPy by hand and all devices that are here agree, then how long each of
them takes. On a few samples nnlite spends most of its time on checking its arguments. From thousands of samples on, the
time depends on how often memory is read.

To try: add one outlier to the targets, and compare nl.MSE(), nl.MAE() and nl.Huber(): whose gradient does it change
most?

    python examples/04_mse_loss.py --out out
"""

import argparse
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import nnlite as nl

OUTPUTS = 10  # k in the timings


def mse_by_hand(p, t, reduction="mean"):
    """p, t (N, k) -> the loss, and its gradient by p (N, k)."""
    error = p - t  # (N, k)
    rows, outputs = error.shape
    if reduction == "none":
        return np.mean(error**2, axis=1), 2 * error / outputs  # (N,), (N, k)
    if reduction == "sum":
        return np.sum(error**2), 2 * error
    return np.mean(error**2), 2 * error / (rows * outputs)


def mse(loss, p, t):
    """The same from nnlite: value and gradient come from one pass over the arrays."""
    return loss.forward(p, t), loss.backward()


def seconds(function, repeats):
    """The median over some repeats; a mean would include every short delay of the machine."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the picture")
    parser.add_argument("--quick", action="store_true", help="small batches only")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    present = [name for name, found in nl.devices().items() if found.available]

    p = np.array([[0.9, 0.2], [0.4, 0.7], [0.0, 1.0]])  # (3, 2)
    t = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])  # (3, 2)
    print("sample  prediction  target     ℓₙ      its gradient")
    for n, (loss, gradient) in enumerate(zip(*mse_by_hand(p, t, "none"))):
        print(f"{n:6d}  {p[n]!s:10}  {t[n]!s:8}  {loss:6.3f}  {gradient.round(3)}")
    for reduction in ("mean", "sum"):
        loss, gradient = mse_by_hand(p, t, reduction)
        print(f"{reduction:>6} of all {'':14} {loss:8.3f}  {gradient.round(3).tolist()}")

    rng = np.random.default_rng(0)
    p, t = rng.normal(size=(2, 1000, OUTPUTS))  # (1000, 10) each
    first_use = {}  # device -> seconds to start it and compile the kernel, or to load what an earlier run compiled
    for device in present:
        first_use[device] = seconds(lambda device=device: mse(nl.MSE(device=device), p, t), repeats=1)
        for reduction in ("none", "mean", "sum"):
            loss = nl.MSE(reduction=reduction, device=device)
            value, gradient = mse(loss, p, t)
            expected, expected_gradient = mse_by_hand(p, t, reduction)
            assert np.allclose(loss.backend.to_numpy(value), expected, rtol=1e-12)
            assert np.allclose(loss.backend.to_numpy(gradient), expected_gradient, rtol=1e-12)
    print(f"\n{', '.join(present)}: the same as by hand, to 12 digits, for none, mean and sum")
    print("seconds for the first use: " + ", ".join(f"{name} {value:.2g}" for name, value in first_use.items()))

    sizes = [10**e for e in range(1, 4 if arguments.quick else 7)]  # N
    repeats = 5 if arguments.quick else 15
    times: dict[str, list[float]] = {who: [] for who in ("by hand", *present)}
    for rows in sizes:
        p, t = rng.normal(size=(2, rows, OUTPUTS))  # (N, 10) each
        times["by hand"].append(seconds(lambda p=p, t=t: mse_by_hand(p, t), repeats))
        for device in present:
            loss = nl.MSE(device=device)
            # the arrays are on the device already, as they are in training; .forward waits for the result
            there = [loss.backend.asarray(array) for array in (p, t)]
            mse(loss, *there)  # warm up
            times[device].append(seconds(lambda loss=loss, there=there: mse(loss, *there), repeats))

    print(f"\nmicroseconds for value and gradient of (N, {OUTPUTS}), median of {repeats}")
    print(f"{'':8}" + "".join(f"{f'N = {rows:,}':>15}" for rows in sizes))
    for name, row in times.items():
        print(f"{name:8}" + "".join(f"{1e6 * value:15,.1f}" for value in row))

    draw(sizes, times).savefig(arguments.out / "04_mse_loss.png")
    value, gradient = mse(nl.MSE(), p, t)
    assert mse_by_hand(p - gradient, t)[0] < value  # a step against the gradient makes the loss smaller


def draw(sizes, times):
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.4), dpi=150, layout="constrained")
    p = np.linspace(-1, 3, 101)  # (101,)
    loss = nl.MSE(reduction="none")
    value, gradient = mse(loss, p[:, None], np.ones((101, 1)))  # (101,), (101, 1)
    axes[0].plot(p, value, color=nl.plots.COLOURS[0], linewidth=2.5, label="loss (p − t)²")
    axes[0].plot(p, gradient, "--", color=nl.plots.COLOURS[3], linewidth=1.8, label="gradient 2 (p − t)")
    axes[0].axhline(0, color="#BBBBBB", linewidth=0.8, zorder=0)
    axes[0].axvline(1, color="#BBBBBB", linewidth=0.8, zorder=0)
    axes[0].set(title="One output, target t = 1", xlabel="prediction p", ylabel="loss and gradient")
    axes[0].legend(frameon=False, loc="lower right")

    for (name, row), colour, marker in zip(times.items(), ("#7F7F7F", *nl.plots.COLOURS), "sovD"):
        label = "NumPy by hand" if name == "by hand" else f"nl.MSE on {name}"
        axes[1].loglog(sizes, row, marker=marker, markersize=5, linewidth=1.8, color=colour, label=label)
    axes[1].set(title="Time for value and gradient", xlabel=f"samples N, of k = {OUTPUTS} outputs", ylabel="seconds")
    axes[1].grid(color="#E5E5E5", linewidth=0.7)
    axes[1].legend(frameon=False, loc="upper left")
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    return figure


if __name__ == "__main__":
    main()

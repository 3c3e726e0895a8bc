"""Least squares to an error of 1e-10: Levenberg and Marquardt's method beside Adam, on the same net and points.

Gradient descent knows the slope of the loss, one number for each parameter. Levenberg and Marquardt's method knows how
each parameter moves each prediction: the Jacobian J, one row for every point. With the errors r, the best step for
errors that are straight lines in the parameters is the least-squares solution of J δ = −r. Since they are not, the step
is kept short by a damping λ, which falls as long as the steps do what is expected of them. D is a diagonal matrix, the
scale of each parameter:

    (JᵀJ + λ D²) δ = −Jᵀ r

A step costs more than one of Adam's, and P³ in the number P of parameters, but here some hundred of them go on to a
mean squared error of 1e-10, at which the curve is met to four or five digits. Adam is stopped at 1e-5, a hundred
thousand times as much, after longer; left alone for 100,000 epochs, it came to 2.5e-7. It is for few parameters,
all points at once, and targets without much noise: physics, fits.

To try: add noise to y, and see how much nearer to it the method then comes than Adam; take 10 hidden neurons, or 40.

    python examples/13_least_squares.py --out out
"""

import argparse
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import nnlite as nl

GOAL, EASIER = 1e-10, 1e-5  # mean squared errors


def make_trainer(optimizer=None):
    """A net with 20 hidden neurons and 61 parameters, in float64, since float32 has seven digits."""
    net = nl.mlp([1, 20, 1], hidden="tanh", dtype="float64", device="cpu", seed=0)
    return nl.Trainer(net, "mse", optimizer)


def by_adam(x, y, epochs):
    """Train until the loss is at most EASIER -> the losses of all epochs, and the seconds."""
    trainer, start = make_trainer(nl.Adam(lr=0.003)), time.perf_counter()
    losses: list[float] = []
    while len(losses) < epochs and not (losses and min(losses) <= EASIER):
        losses += trainer.fit(x, y, epochs=500, batch_size=len(x), progress=False)["loss"]
    return losses, time.perf_counter() - start


def by_least_squares(x, y):
    """Minimise until the loss is at most GOAL -> the losses of all iterations, the seconds, and the trainer."""
    trainer, start = make_trainer(), time.perf_counter()
    losses = trainer.minimize(x, y, method="lm", goal=GOAL)["loss"]
    return losses, time.perf_counter() - start, trainer


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the picture")
    parser.add_argument("--quick", action="store_true", help="fewer epochs of Adam, for CI")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)

    x = np.linspace(-np.pi, np.pi, 200)[:, None]  # (200, 1)
    y = np.sin(2 * x)  # (200, 1)
    make_trainer(nl.Adam()).fit(x, y, epochs=1, batch_size=200, progress=False)  # compiles, which is not to be timed
    make_trainer().minimize(x, y, method="lm", iterations=1)

    adam, adam_seconds = by_adam(x, y, 2_000 if options.quick else 100_000)
    exact, exact_seconds, trainer = by_least_squares(x, y)
    print(f"{'':24} {'steps':>8} {'seconds':>8} {'mean squared error':>19}")
    print(f"{'Adam, lr=0.003':24} {len(adam):8,} {adam_seconds:8.2f} {min(adam):19.1e}")
    print(f"{'Levenberg and Marquardt':24} {len(exact):8,} {exact_seconds:8.2f} {exact[-1]:19.1e}")

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), dpi=150, layout="constrained")
    orange, blue = nl.plots.COLOURS[1], nl.plots.COLOURS[0]
    left.semilogy(np.linspace(0, adam_seconds, len(adam)), adam, color=orange, label="Adam, stopped at 1e-5")
    left.semilogy(np.linspace(0, exact_seconds, len(exact)), exact, color=blue, label="Levenberg and Marquardt")
    left.set(title="The way down", xlabel="seconds", ylabel="mean squared error")
    left.legend(frameon=False)
    right.plot(x, 1e6 * (trainer.network.predict(x) - y), color=blue)
    right.set(title="Levenberg and Marquardt's fit of sin 2x", xlabel="x", ylabel="error in millionths")
    for ax in (left, right):
        ax.spines[["top", "right"]].set_visible(False)
    figure.savefig(options.out / "13_least_squares.png")

    assert exact[-1] <= GOAL, f"a mean squared error of {exact[-1]:.1e} is more than {GOAL}"
    assert min(adam) < adam[0] / 10, "Adam has not learned"


if __name__ == "__main__":
    main()

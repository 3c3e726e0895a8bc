"""Optimizers: momentum, and a step length for each weight, along a narrow valley.

Plain gradient descent goes down the steepest way, and in a narrow valley that is across it: to and fro between
the walls, while the slope along its floor is gentle and the steps there are short (lesson 21). Two ideas help.

Momentum (Polyak 1964) rolls a ball. Its velocity v is μ = 0.9 of the one before, and the slope: to and fro cancel, and
along the floor the pushes add up to 1 / (1 − μ) = 10 of them: with the same rate, it goes ten times as far there.

    v ← μ v + slope        w ← w − α v

Adam (Kingma and Ba 2015) divides each weight's running mean of slopes by the root of the running mean of their squares.
However steep it is, each weight moves by about α, until its slopes change their signs.

    w ← w − α · mean(slope) / √mean(slope²)

Here is the loss of a line on two inputs, x₂ ten times as large as x₁, so that the valley is a hundred times as steep
across as along. All start at 0, and each optimizer takes the rate with which it needs the fewest steps. Then the inputs
are mixed, which turns the valley by 45 degrees. For plain descent and momentum nothing has changed. Adam looks at each
weight by itself, and a valley along an axis suits it: turned, each weight's slope has a share of both, and with its old
rate Adam needs several times as many steps, with a better one about as many as before.

A net is no valley, but has many. On the digits, whose inputs are all alike, each rule has its own best rate, and with
that they learn about as much. A rate that is wrong by a factor of ten costs far more than any rule gains here. Adam
gains most where layers have slopes of very different sizes, as in some nets of lesson 22.

To try: add "nesterov": partial(nl.SGD, momentum=0.9, nesterov=True) or "Rprop": nl.Rprop to RULES and to
IN_THE_VALLEY; Rprop is for all rows at once, and fails on batches. Take momentum 0.5 and 0.99; and give the digits
inputs of different sizes: x * np.logspace(-2, 1, 64).

    python examples/23_optimizers.py --out out
"""

import argparse
import contextlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import nnlite as nl

STEPS, EPOCHS = 300, 10
RULES: dict[str, Callable[..., nl.Optimizer]] = {
    "plain descent": nl.SGD,
    "momentum 0.9": partial(nl.SGD, momentum=0.9),
    "RMSprop": nl.RMSprop,
    "Adam": nl.Adam,
}
IN_THE_VALLEY = ("plain descent", "momentum 0.9", "Adam")


def valley(angle):
    """x (200, 2), whose columns are mixed by a turn of so many degrees, and t (200, 1) of a line that fits exactly."""
    x = np.random.Generator(np.random.PCG64(0)).standard_normal((200, 2)) * [1, 10]  # (200, 2)
    t = x @ [[4], [0.7]]  # (200, 1)
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    return x @ [[cos, sin], [-sin, cos]], t


def walk(x, t, optimizer):
    """The two weights after each step, (STEPS + 1, 2), and the losses there."""
    net = nl.Sequential(nl.Dense(2, 1, bias=False, init="zeros"), device="numpy", dtype="float64")
    path = [net.parameters.copy()]
    each = [lambda trainer, epoch: path.append(net.parameters.copy())]  # all rows at once: an epoch is a step
    nl.Trainer(net, "mse", optimizer).fit(x, t, STEPS, batch_size=len(x), progress=False, callbacks=each)
    return np.array(path), [loss_at(w, x, t) for w in path]


def loss_at(w, x, t):
    return np.mean((x @ w[:, None] - t) ** 2)


def steps_of(rule, rate, x, t):
    """(steps until the loss stays below a thousandth of the first, rate, path)."""
    path, losses = walk(x, t, rule(lr=rate))
    high = np.flatnonzero(np.array(losses) >= losses[0] / 1000)
    return int(high[-1]) + 1, rate, path


def best_walk(rule, x, t):
    """The same for the rate with the fewest steps."""
    walks = []
    for rate in 10.0 ** np.arange(-3, 0.1, 0.05):
        with contextlib.suppress(nl.DivergedError):
            walks.append(steps_of(rule, rate, x, t))
    return min(walks, key=lambda each: each[0])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the picture")
    parser.add_argument("--quick", action="store_true", help="accepted for the sake of CI; this is always quick")
    parser.add_argument("--device", default="cpu", help="numpy, numba, cupy, cpu, gpu or auto")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)

    print("steps until the loss stays below a thousandth of the first (and the rate)")
    print(f"{'':14} {'along the axis':>16} {'turned, that rate':>19} {'turned, the best rate':>22}")
    straight, turned = {}, {}
    for name in IN_THE_VALLEY:
        straight[name], turned[name] = (best_walk(RULES[name], *valley(angle)) for angle in (0, 45))
        again = steps_of(RULES[name], straight[name][1], *valley(45))
        found = [f"{steps} ({rate:.2g})" for steps, rate, _ in (straight[name], again, turned[name])]
        print(f"{name:14} {found[0]:>16} {found[1]:>19} {found[2]:>22}")

    data = nl.datasets.digits()  # x (1438, 64) and (359, 64), y (1438,) and (359,)
    rates = 10.0 ** np.arange(-3.5, 0.1, 0.5)  # (8,)
    losses, right = {}, {}
    for name, rule in RULES.items():
        losses[name], right[name] = np.full(len(rates), np.nan), np.full(len(rates), np.nan)
        for i, rate in enumerate(rates):
            net = nl.mlp([64, 64, 64, 10], init="he_normal", output="softmax", device=arguments.device, seed=0)
            trainer = nl.Trainer(net, "cce", rule(lr=rate), metrics=["accuracy"])
            try:
                losses[name][i] = trainer.fit(data.x_train, data.y_train, EPOCHS, progress=False)["loss"][-1]
            except nl.DivergedError:
                continue
            right[name][i] = trainer.evaluate(data.x_test, data.y_test)["accuracy"]
    print(
        f"\ndigits, {EPOCHS} epochs: the best rate, and a tenth and ten times as much, where that is among those tried"
    )
    print(f"{'':14} {'rate':>7} {'loss':>7} {'test images right':>18}   {'a tenth: loss':>13} {'ten times: loss':>16}")
    for name in RULES:
        best = int(np.nanargmin(losses[name]))
        beside = [losses[name][best + step] if best + step < len(rates) else np.nan for step in (-2, 2)]
        less, more = ("–" if np.isnan(loss) else f"{loss:.3f}" for loss in beside)
        print(
            f"{name:14} {rates[best]:7.2g} {losses[name][best]:7.3f} {right[name][best]:18.1%}   {less:>13} {more:>16}"
        )

    draw(straight, turned, rates, losses).savefig(arguments.out / "23_optimizers.png")
    for walks in (straight, turned):
        assert max(walks["momentum 0.9"][0], walks["Adam"][0]) < walks["plain descent"][0] / 2
    assert all(np.nanmin(losses[name]) < 1.5 * np.nanmin(losses["plain descent"]) for name in RULES)
    assert all(np.nanmax(right[name]) > 0.95 for name in RULES)


def draw(straight, turned, rates, losses):
    figure, axes = plt.subplots(1, 3, figsize=(15, 4.4), dpi=140, layout="constrained")
    colours = dict(zip(RULES, (*nl.plots.COLOURS[3::-1], *nl.plots.COLOURS[4:])))
    for ax, angle, walks in ((axes[0], 0, straight), (axes[1], 45, turned)):
        x, t = valley(angle)
        for name, (steps, _, path) in walks.items():
            ax.plot(*path[: steps + 1].T, "o-", markersize=3, linewidth=1, color=colours[name], label=name, zorder=3)
        (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
        across, up = np.linspace(left, right, 80), np.linspace(low, high, 80)  # (80,), (80,)
        height = np.array([[loss_at(np.array([a, b]), x, t) for a in across] for b in up])  # (80, 80)
        ax.contourf(across, up, np.sqrt(height), levels=12, cmap="Blues", alpha=0.6)
        title = "Along the axis" if angle == 0 else f"Turned by {angle} degrees"
        ax.plot(0, 0, "ko", *np.linalg.lstsq(x, t, rcond=None)[0], "k*", markersize=9)  # the start, and the bottom
        ax.set(title=f"{title}: to a thousandth of the loss", xlabel="w₁", ylabel="w₂")
        ax.set_aspect("equal" if angle else "auto")
    for name, curve in losses.items():
        axes[2].loglog(rates, curve, "o-", color=colours[name], label=name)
    axes[2].set(title=f"Digits: the loss after {EPOCHS} epochs", xlabel="learning rate", ylabel="loss")
    axes[2].legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    axes[2].spines[["top", "right"]].set_visible(False)
    return figure


if __name__ == "__main__":
    main()

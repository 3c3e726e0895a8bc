"""Gradient descent on J(θ) = θ²: how a slope and a learning rate find the bottom of a bowl.

J is a bowl with its bottom at θ = 0. Its slope J′(θ) = 2θ points uphill, so we step the other way:

    θ ← θ − α · 2θ = (1 − 2α) θ

With the learning rate α = 0.1 each step keeps 0.8 of θ: 5, 4, 3.2, 2.56 … The factor 1 − 2α tells all the
rest: near 1 it creeps (α = 0.01), at −1 it swings for ever (α = 1), beyond −1 it runs away (α = 2 multiplies
by −3). With two coordinates nothing changes, as long as both are updated from the same point.

To try: start elsewhere; find by trying the α at which θ swings for ever on J(θ) = 3θ², and say why.

    python examples/01_gradient_descent.py --out out
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import nnlite as nl


def bowl(theta):
    """J(θ) = θ², or θ₁² + θ₂² for two coordinates."""
    return np.sum(theta**2)


def slope(theta):
    """dJ/dθ = 2θ, for each coordinate."""
    return 2 * theta


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the picture")
    parser.add_argument("--quick", action="store_true", help="accepted for the sake of CI; this is always quick")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)

    print("J(θ) = θ², α = 0.1, from θ = 5")
    from_5 = nl.gradient_descent(slope, start=5, lr=0.1, steps=10)
    print(from_5.table())

    print("\nThe same from θ = 3")
    from_3 = nl.gradient_descent(slope, start=3, lr=0.1, steps=10)
    print(from_3.table())

    print("\nJ(θ₁, θ₂) = θ₁² + θ₂², α = 0.1, from (1, 1): both coordinates move at once")
    from_1_1 = nl.gradient_descent(slope, start=[1, 1], lr=0.1, steps=10)
    print(from_1_1.table())

    rates = [0.01, 0.1, 0.4, 0.9, 1.0, 2.0]
    by_rate = {rate: nl.gradient_descent(slope, start=5, lr=rate, steps=10) for rate in rates}
    print("\nTen steps from θ = 5 with other learning rates")
    print("    α   factor  first points              after ten steps")
    for rate, result in by_rate.items():
        first = ", ".join(f"{theta:.4g}" for theta in result.points[:4])
        print(f"{rate:5.2f}  {1 - 2 * rate:7.2f}  {first:<24}  {result.points[-1]:.6g}")

    draw(from_5, from_3, from_1_1, by_rate).savefig(out / "01_gradient_descent.png")

    # the formula says what must come out: θ after k steps is (1 − 2α)^k times the start
    for rate, result in by_rate.items():
        assert np.allclose(result.points, 5 * (1 - 2 * rate) ** np.arange(11))
    assert np.allclose(from_5.points[:4], [5, 4, 3.2, 2.56])
    assert np.allclose(from_1_1.points[-1], 0.8**10)
    assert np.array_equal(np.abs(by_rate[1.0].points), np.full(11, 5.0))  # swings, never nearer
    far = nl.gradient_descent(slope, start=5, lr=2, steps=1000)
    assert not np.isfinite(far.points[-1])  # runs away until the numbers end


def draw(from_5, from_3, from_1_1, by_rate):
    figure, axes = plt.subplots(2, 3, figsize=(11, 6.4), dpi=150, layout="constrained")
    panels = [
        (from_5, "α = 0.1 from θ = 5:  θ ← 0.8 θ"),
        (from_3, "α = 0.1 from θ = 3:  the same 0.8"),
        (by_rate[0.01], "α = 0.01:  ten steps, hardly moved"),
        (by_rate[1.0], "α = 1:  swings 5, −5, 5 …"),
    ]
    theta = np.linspace(-6.6, 6.6, 200)  # (200,)
    for ax, (result, title) in zip(axes.flat, panels, strict=False):
        ax.plot(theta, theta**2, color=nl.plots.COLOURS[5], linewidth=3)  # the whole bowl, not only where it went
        result.plot(bowl, ax=ax)
        ax.set(title=title, xlim=(-6.6, 6.6), ylim=(-2, 40))
        if ax is not axes[0, 0]:
            ax.get_legend().remove()

    # |θ| by step: a straight line each, for a step is one multiplication
    ax = axes[1, 1]
    raised = {0.01: -1, 0.1: -5, 1.0: 9}  # labels that would lie on one another
    for colour, rate in zip(nl.plots.COLOURS, (0.01, 0.1, 0.4, 1.0, 2.0), strict=False):
        distance = np.abs(by_rate[rate].points)  # (11,)
        ax.semilogy(distance, marker="o", markersize=3.5, color=colour)
        at = (8, raised.get(rate, 0))
        ax.annotate(f"α = {rate:g}", (10, distance[-1]), at, textcoords="offset points", va="center", color=colour)
    ax.set(
        title="Distance from the bottom",
        xlabel="step",
        ylabel="|θ|",
        xlim=(-0.4, 13.2),
        xticks=range(0, 11, 2),
    )
    ax.spines[["top", "right"]].set_visible(False)

    from_1_1.plot(bowl, ax=axes[1, 2])
    axes[1, 2].set(title="Two coordinates, α = 0.1 from (1, 1)", xlabel="θ₁", ylabel="θ₂")
    return figure


if __name__ == "__main__":
    main()

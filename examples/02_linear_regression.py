"""Linear regression by gradient descent: the line h(x) = θ₀ + θ₁x that fits m points best.

One number says how badly a line fits: the mean squared error. Its slope is an average over all m points ("batch"
gradient descent: every step looks at the whole training set):

    J(θ) = 1/m Σ (h(xᵢ) − yᵢ)²        dJ/dθ₀ = 2/m Σ (h(xᵢ) − yᵢ)        dJ/dθ₁ = 2/m Σ (h(xᵢ) − yᵢ) xᵢ

Here are the questions that a first course leaves open, each answered by a run:
  1. Does it find the least-squares line? Yes, to the last digits.
  2. Why do some books write ½ in front? To cancel the 2. The slope is halved: α now does what α/2 did before.
  3. Why are θ₀ and θ₁ updated together? One after the other is another method, coordinate descent: it finds this line,
     too, but its steps do not follow the slope, and they are not what a net's layers do, which all move at once.
  4. What does one outlier do? Its error is squared, so a single point drags the whole line.
  5. What is the 1/m for? Without it the steps grow with m, and an α that works for 10 points diverges for 100.

To try: take α = 0.5, together and one after the other; give the points a curve, y = x², and look at what the line makes
of it.

    python examples/02_linear_regression.py --out out
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import nnlite as nl

BLUE, ORANGE, GREEN, RED = nl.plots.COLOURS[:4]


def make_points(m, seed=0):
    """m points near the line y = 1 + 2x."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(0, 2, size=m)  # (m,)
    return x, 1 + 2 * x + rng.normal(scale=0.4, size=m)  # (m,), (m,)


def mse(theta, x, y):
    return np.mean((theta[0] + theta[1] * x - y) ** 2)


def mse_gradient(theta, x, y):
    """(dJ/dθ₀, dJ/dθ₁): 2 · mean(error), 2 · mean(error · x)."""
    error = theta[0] + theta[1] * x - y  # (m,)
    return 2 * np.array([np.mean(error), np.mean(error * x)])


def least_squares(x, y):
    """The answer without any steps, to compare with."""
    return np.linalg.lstsq(np.column_stack([np.ones_like(x), x]), y, rcond=None)[0]


def with_and_without_the_mean(m, start):
    """J along 30 steps for m points, (31,) each: by the slope of the mean of the squares, and by that of their sum."""
    x, y = make_points(m, seed=1)
    mean = nl.gradient_descent(lambda theta: mse_gradient(theta, x, y), start, lr=0.2, steps=30)
    total = nl.gradient_descent(lambda theta: m * mse_gradient(theta, x, y), start, lr=0.02, steps=30)
    return [run.values(lambda theta: mse(theta, x, y)) for run in (mean, total)]


def one_after_the_other(gradient, start, lr, steps):
    """Coordinate descent: θ₁ moves by a slope that already uses the new θ₀. Returns the points (steps + 1, 2)."""
    theta = np.array(start, dtype=float)
    points = [theta.copy()]
    for _ in range(steps):
        theta[0] -= lr * gradient(theta)[0]
        theta[1] -= lr * gradient(theta)[1]
        points.append(theta.copy())
    return np.array(points)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the picture")
    parser.add_argument("--quick", action="store_true", help="accepted for the sake of CI; this is always quick")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)

    x, y = make_points(50)
    start, lr = [0.0, 0.0], 0.2

    def gradient(theta):
        return mse_gradient(theta, x, y)

    # 1. the line
    fit = nl.gradient_descent(gradient, start, lr, steps=600)
    exact = least_squares(x, y)
    print(f"h(x) = θ₀ + θ₁x on {len(x)} points near y = 1 + 2x, MSE, α = {lr}")
    print(fit.table(rows=8))
    print(f"least squares says θ = {exact}, off by {np.abs(fit.points[-1] - exact).max():.1e}")

    # 2. MSE and half of it
    half = nl.gradient_descent(lambda theta: gradient(theta) / 2, start, lr, steps=600)
    slower = nl.gradient_descent(gradient, start, lr / 2, steps=600)
    print(f"\n½ MSE with α = {lr} against MSE with α = {lr / 2}: the paths differ by", end=" ")
    print(f"{np.abs(half.points - slower.points).max():.1e}")

    # 3. together, and one after the other
    sequential = one_after_the_other(gradient, start, lr, steps=600)
    print(f"\nfirst step together          θ = {fit.points[1]}   = −α · gradient(0, 0)")
    print(f"first step one after another θ = {sequential[1]}   its θ₁ by the slope at the new θ₀")

    # 4. one outlier
    x_bad, y_bad = np.append(x, 1.9), np.append(y, -12.0)
    bad = nl.gradient_descent(lambda theta: mse_gradient(theta, x_bad, y_bad), start, lr, steps=600)
    print(f"\none outlier among {len(x_bad)} points turns θ = {fit.points[-1]} into {bad.points[-1]}")

    # 5. with and without 1/m
    curves = {}
    print("\n       m   J after 30 steps, with 1/m (α = 0.2)   without (α = 0.02)")
    for m in (10, 100):
        curves[m] = with_and_without_the_mean(m, start)
        print(f"{m:8d}   {curves[m][0][-1]:34.4g}   {curves[m][1][-1]:18.4g}")

    draw(x, y, fit, half, slower, sequential, bad, exact, curves).savefig(out / "02_linear_regression.png")

    assert np.allclose(fit.points[-1], exact, rtol=0, atol=1e-10)
    assert np.allclose(half.points, slower.points, rtol=0, atol=1e-12)
    assert np.allclose(bad.points[-1], least_squares(x_bad, y_bad), rtol=0, atol=1e-10)
    assert np.array_equal(sequential[1, :1], fit.points[1, :1]) and abs(sequential[1, 1] - fit.points[1, 1]) > 0.1
    assert abs(bad.points[-1, 1] - exact[1]) > 0.5
    assert curves[10][1][-1] < 1 and curves[100][1][-1] > 1e6 and curves[100][0][-1] < 1


def draw(x, y, fit, half, slower, sequential, bad, exact, curves):
    figure, axes = plt.subplots(2, 3, figsize=(11.5, 6.6), dpi=150, layout="constrained")
    ends = np.array([0.0, 2.0])

    ax = axes[0, 0]
    ax.scatter(x, y, s=16, color="#7F7F7F", label="points")
    for step in (0, 1):
        theta = fit.points[step]
        ax.plot(ends, theta[0] + theta[1] * ends, color=ORANGE, linewidth=1.5)
        ax.annotate(f"step {step}", (2, theta @ [1, 2]), (3, 0), textcoords="offset points", va="center", fontsize=8)
    ax.plot(ends, fit.points[-1] @ [np.ones(2), ends], color=BLUE, linewidth=2.5, label="step 600")
    ax.plot(ends, exact @ [np.ones(2), ends], "--", color="black", linewidth=1, label="least squares")
    ax.set(title="1  The line is found", xlabel="x", ylabel="h(x)", xlim=(-0.05, 2.4))
    ax.legend(frameon=False, loc="upper left")

    ax = axes[0, 1]
    steps = np.arange(61)
    for run, colour, style, width, label in (
        (fit, BLUE, "-", 2, "MSE, α = 0.2"),
        (slower, ORANGE, "-", 4, "MSE, α = 0.1"),
        (half, "black", "--", 1.2, "½ MSE, α = 0.2"),
    ):
        ax.plot(steps, run.points[:61, 1], style, color=colour, linewidth=width, label=label)
    ax.axhline(exact[1], color="#BBBBBB", linewidth=0.8, zorder=0)
    ax.set(title="2  The ½ only halves α", xlabel="step", ylabel="θ₁")
    ax.legend(frameon=False, loc="lower right")

    ax = axes[0, 2]
    across, up = np.linspace(-0.4, 2.4, 80), np.linspace(-0.4, 2.8, 80)
    height = np.array([[mse(np.array([a, b]), x, y) for a in across] for b in up])  # (80, 80)
    ax.contourf(across, up, height, levels=height.min() + np.linspace(0, 1, 14) ** 2 * np.ptp(height), cmap="Blues")
    ax.plot(*sequential.T, "s--", color="black", markersize=4, linewidth=1, label="one after the other")
    ax.plot(*fit.points.T, "o-", color=RED, markersize=3.5, linewidth=1.2, label="together")
    ax.plot(*exact, "*", color="white", markeredgecolor="black", markersize=12, label="least squares")
    ax.set(title="3  Both θ at once, or another path", xlabel="θ₀", ylabel="θ₁")
    ax.legend(loc="lower right", framealpha=0.85)

    ax = axes[1, 0]
    ax.scatter(x, y, s=16, color="#7F7F7F")
    ax.scatter([1.9], [-12], s=40, color=RED, marker="X", label="the outlier")
    ax.plot(ends, fit.points[-1] @ [np.ones(2), ends], color=BLUE, linewidth=2, label="without it")
    ax.plot(ends, bad.points[-1] @ [np.ones(2), ends], color=RED, linewidth=2, label="with it")
    ax.set(title="4  One outlier drags the line", xlabel="x", ylabel="h(x)")
    ax.legend(frameon=False, loc="lower left")

    ax = axes[1, 1]
    shares = (fit.points[-1] @ [np.ones_like(x), x] - y) ** 2, (12 + fit.points[-1] @ [1, 1.9]) ** 2
    ax.bar(
        ["50 points\ntogether", "the outlier\nalone"],
        [shares[0].sum(), shares[1]],
        color=["#7F7F7F", RED],
        width=0.6,
    )
    ax.set(title="because errors are squared", ylabel="Σ (h(x) − y)² on the blue line")

    ax = axes[1, 2]
    for m, colour in ((10, ORANGE), (100, BLUE)):
        ax.plot(curves[m][0], color=colour, linewidth=4, alpha=0.45, label=f"1/m Σ, α = 0.2, m = {m}")
        ax.plot(curves[m][1], "--", color=colour, linewidth=1.8, label=f"Σ alone, α = 0.02, m = {m}")
    ax.set(title="5  Without 1/m, α depends on m", xlabel="step", ylabel="MSE", yscale="log", ylim=(1e-2, 1e6))
    ax.legend(frameon=False, loc="upper right", fontsize=8)

    for ax in axes.flat:
        ax.spines[["top", "right"]].set_visible(False)
    return figure


if __name__ == "__main__":
    main()

"""One neuron by hand: the chain rule in numbers.

A neuron adds up its inputs, each times a weight, and an activation bends the sum. The loss says how wrong that is:

    z = w₁x₁ + w₂x₂ + b        p = sigmoid(z)        L = (p − t)²

How does L change when w₁ grows a little? Then z grows x₁ times as much, p grows p (1 − p) times as much as z does, and
L grows 2 (p − t) times as much as p does. It is like cogwheels, where each turns the next: the ratios multiply. This is
the chain rule, and each factor is a slope that the lessons before have shown:

    dL/dw₁ = dL/dp · dp/dz · dz/dw₁ = 2 (p − t) · p (1 − p) · x₁

The first two factors are the same for w₁, w₂ and b; only the last one differs: x₁, x₂ or 1. Their product dL/dz is the
error signal of the neuron (its "delta" in many books), and a weight's slope is this signal times the weight's input.

A product is small as soon as one factor is. A neuron that is sure of the wrong answer has a large loss, but its sigmoid
is flat there, and so it hardly learns. The second descent starts at such a place.

To try: descend from the same two starts with the cross-entropy, L = −t ln p − (1 − t) ln (1 − p), whose dL/dz is p − t.

    python examples/05_one_neuron.py --out out
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import nnlite as nl

BLUE, ORANGE, GREEN, RED = nl.plots.COLOURS[:4]
INPUTS, TARGET = np.array([2.0, -1.0]), 0.0  # x (2,), t
START = np.array([0.5, 0.3, 0.3])  # (3,): w₁, w₂, b
SURE_AND_WRONG = np.array([0.5, 0.3, 5.3])  # the same but for b: z is 6 and not 1
NAMES = ("w₁", "w₂", "b")
STEPS = 100


def forward(theta):
    """The parameters w₁, w₂, b (3,) -> z, p and L."""
    z = theta[0] * INPUTS[0] + theta[1] * INPUTS[1] + theta[2]
    p = 1 / (1 + np.exp(-z))
    return z, p, (p - TARGET) ** 2


def factors(theta):
    """The parameters (3,) -> dL/dp, dp/dz, and dz by each parameter (3,)."""
    _, p, _ = forward(theta)
    return 2 * (p - TARGET), p * (1 - p), np.array([INPUTS[0], INPUTS[1], 1.0])


def gradient(theta):
    """dL by each parameter (3,): the chain rule."""
    loss_by_p, p_by_z, z_by_theta = factors(theta)
    return loss_by_p * p_by_z * z_by_theta


def finite_difference(theta, i, nudge=1e-5):
    """dL by parameter i without any rule: nudge it down and up, and see by how much the loss differs."""
    step = nudge * np.eye(3)[i]  # (3,)
    return (forward(theta + step)[2] - forward(theta - step)[2]) / (2 * nudge)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the picture")
    parser.add_argument("--quick", action="store_true", help="accepted for the sake of CI; this is always quick")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)

    z, p, loss = forward(START)
    print(f"x = {INPUTS}, w = {START[:2]}, b = {START[2]}, t = {TARGET:g}")
    print(f"forward:  z = {z:.4f}   p = sigmoid(z) = {p:.4f}   L = (p − t)² = {loss:.4f}")

    # the chain rule, watched: each ratio is the slope at this place, nearly, since the nudge is small
    loss_by_p, p_by_z, z_by_theta = factors(START)
    nudge = 0.0001
    growth = np.subtract(forward(START + [nudge, 0, 0]), forward(START))  # (3,): of z, p and L
    ratios = growth / [nudge, *growth[:2]]  # (3,)
    formulas = (f"x₁        = {INPUTS[0]:.4f}", f"p (1 − p) = {p_by_z:.4f}", f"2 (p − t) = {loss_by_p:.4f}")
    print(f"\nw₁ grows by {nudge}, and then")
    for name, grown, ratio, formula in zip("zpL", growth, ratios, formulas):
        print(f"  {name} grows by {grown:.8f}, {ratio:.4f} times as much; the formula says {formula}")

    by_rule = gradient(START)  # (3,)
    by_difference = np.array([finite_difference(START, i) for i in range(3)])  # (3,)
    print("\n        dL/dp   dp/dz   dz/d…     product   finite difference")
    for name, last, product, difference in zip(NAMES, z_by_theta, by_rule, by_difference):
        print(f"dL/d{name:2}  {loss_by_p:.4f} · {p_by_z:.4f} · {last:4.1f}  =  {product:8.5f}   {difference:17.5f}")

    # the parameters move as θ did in the first lesson
    near = nl.gradient_descent(gradient, START, lr=0.5, steps=STEPS)
    far = nl.gradient_descent(gradient, SURE_AND_WRONG, lr=0.5, steps=STEPS)
    print("\nα = 0.5    from z = 1                  from z = 6, sure and wrong")
    print("step       z       p       L           z       p       L     p (1 − p)")
    for step in (0, 1, 2, 3, 5, 10, 50, 70, STEPS):
        a, b = forward(near.points[step]), forward(far.points[step])
        print(f"{step:4d}" + " {:7.3f} {:7.4f} {:7.4f}    ".format(*a) + " {:7.3f} {:7.4f} {:7.4f}".format(*b), end="")
        print(f"   {factors(far.points[step])[1]:9.4f}")

    draw(near, far).savefig(out / "05_one_neuron.png")

    assert np.allclose(by_rule, by_difference, rtol=1e-8)
    assert np.allclose(ratios, [INPUTS[0], p_by_z, loss_by_p], rtol=1e-3)
    assert forward(near.points[10])[2] < 0.03 < 0.9 < forward(far.points[10])[2]  # the larger loss falls later …
    assert forward(far.points[-1])[2] < 0.03  # … but it falls


def draw(near, far):
    figure, axes = plt.subplot_mosaic(
        [["chain", "chain", "chain"], ["slope", "by z", "by step"]],
        figsize=(11.5, 7.6),
        dpi=150,
        layout="constrained",
        height_ratios=(1.1, 1),
    )
    draw_chain(axes["chain"])

    ax = axes["slope"]
    w1 = np.linspace(-2.2, 2.2, 101)  # (101,)
    slope = gradient(START)[0]
    loss = forward(START)[2]
    ax.plot(w1, [forward([w, *START[1:]])[2] for w in w1], color=BLUE, linewidth=2.5, label="L, as w₁ alone changes")
    ends = START[0] + np.array([-1.1, 0.9])
    ax.plot(ends, loss + slope * (ends - START[0]), color=RED, linewidth=1.8, label=f"slope {slope:.4f}")
    ax.plot(START[0], loss, "o", color=RED)
    ax.set(title="The product is this slope", xlabel="w₁", ylabel="L", ylim=(-0.15, 1.35))
    ax.legend(frameon=False, loc="upper left")

    runs = ((near, GREEN, "from z = 1", (4, 0.3)), (far, ORANGE, "from z = 6", (22, 0.88)))
    ax = axes["by z"]
    z = np.linspace(-4, 7.5, 201)  # (201,)
    ax.plot(z, (1 / (1 + np.exp(-z)) - TARGET) ** 2, color=nl.plots.COLOURS[5], linewidth=3)
    for run, colour, _, _ in runs:
        path = np.array([forward(theta) for theta in run.points])  # (steps + 1, 3)
        ax.plot(path[:, 0], path[:, 2], "o", color=colour, markersize=3.5)
        ax.plot(path[0, 0], path[0, 2], "o", color=colour, markersize=11, fillstyle="none", markeredgewidth=1.6)
    arrow = {"arrowstyle": "->", "color": "#777777"}
    ax.annotate("p (1 − p) = 0.2:\nlarge steps", (0.85, 0.55), (-3.9, 0.72), arrowprops=arrow)
    ax.annotate("p (1 − p) = 0.0025:\nsmall steps", (6, 0.96), (3.2, 0.45), arrowprops=arrow)
    ax.set(title="Where the sigmoid is flat, it creeps", xlabel="z", ylabel="L", xlim=(-4.3, 9), ylim=(-0.06, 1.15))

    ax = axes["by step"]
    for run, colour, label, place in runs:
        ax.plot([forward(theta)[2] for theta in run.points], color=colour, linewidth=2.2)
        ax.text(*place, label, color=colour)
    ax.set(title="The larger loss falls later", xlabel="step", ylabel="L", ylim=(-0.06, 1.15))

    for name in ("slope", "by z", "by step"):
        axes[name].spines[["top", "right"]].set_visible(False)
    return figure


def draw_chain(ax):
    """The neuron from left to right with its numbers, and under each arrow its factor, in red."""
    z, p, loss = forward(START)
    loss_by_p, p_by_z, z_by_theta = factors(START)
    places = {"w₁": (0, 2.6), "w₂": (0, 1.3), "b": (0, 0), "z": (2.1, 1.3), "p": (3.9, 1.3), "L": (5.7, 1.3)}
    texts = [*(f"{value:.1f}" for value in (*START, z)), f"{p:.4f}", f"{loss:.4f}"]
    last = [f"{slope:.0f}".replace("-", "−") for slope in z_by_theta]
    arrows = (
        ("w₁", "z", f"· (x₁ = {last[0]})", f"dz/dw₁ = {last[0]}"),
        ("w₂", "z", f"· (x₂ = {last[1]})", f"dz/dw₂ = {last[1]}"),
        ("b", "z", "+", f"dz/db = {last[2]}"),
        ("z", "p", "sigmoid", f"dp/dz\n= p (1 − p)\n= {p_by_z:.4f}"),
        ("p", "L", "(p − t)²", f"dL/dp\n= 2 (p − t)\n= {loss_by_p:.4f}"),
    )
    arrow = {"arrowstyle": "-|>", "color": "#999999", "shrinkA": 26, "shrinkB": 26}
    under = {"facecolor": "white", "edgecolor": "none", "pad": 1}  # so that no arrow runs through a text
    for tail, head, forth, back in arrows:
        ax.annotate("", places[head], places[tail], arrowprops=arrow)
        across, up = 0.56 * np.array(places[tail]) + 0.44 * np.array(places[head])
        ax.text(across, up + 0.07, forth, ha="center", va="bottom", color=BLUE, bbox=under)
        ax.text(across, up - 0.07, back, ha="center", va="top", color=RED, bbox=under)
    for (name, (across, up)), text in zip(places.items(), texts):
        ax.scatter(across, up, s=2300, color="white", edgecolors=nl.plots.INK, linewidths=1.3, zorder=2)
        ax.text(across, up, f"{name}\n{text}", ha="center", va="center", color=BLUE, zorder=3)

    signal = f"{loss_by_p * p_by_z:.4f}"
    ax.text(6.7, 2.5, f"dL/dz = {loss_by_p:.4f} · {p_by_z:.4f} = {signal}", color=RED)
    ax.text(6.7, 2.15, "is the error signal of the neuron.", color=RED)
    for name, factor, slope, up in zip(NAMES, last, gradient(START), (1.55, 1.2, 0.85)):
        ax.text(6.7, up, f"dL/d{name}", color=RED)
        ax.text(7.45, up, f"= {signal} · {f'({factor})' if slope < 0 else factor}", color=RED)
        ax.text(9, up, f"= {slope:.4f}".replace("-", "−"), color=RED)
    ax.text(6.7, 0.4, "The signal times its own input:\nthat is the slope of each parameter.", va="top", color=RED)
    ax.set(xlim=(-0.5, 10.8), ylim=(-0.6, 3.1))
    ax.set_title("Forward the values (blue), backward the slopes (red): along the chain they multiply")
    ax.set_axis_off()


if __name__ == "__main__":
    main()

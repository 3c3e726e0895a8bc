"""Backpropagation: a net by hand in NumPy, then with nnlite's layers, equal to the last digit.

The net is 2-3-1: three neurons like the one of the last lesson read x, and a fourth reads what these three put out. All
rows of x go through at once, as matrices. The three have weights W and biases b, the fourth has V and c. An index
counts what stands side by side: x₁ is the first input, and z₁ and h₁ are those of the first of the three. dz is short
for dL/dz, one slope for each number in z:

    forward     z = x W + b     h = sigmoid(z)     u = h V + c     p = sigmoid(u)     L = 1/N Σ (p − t)²
    backward    dp = 2 (p − t) / N      du = dp p (1 − p)      dV = hᵀ du      dc = Σₙ du
                dh = du Vᵀ              dz = dh h (1 − h)      dW = xᵀ dz      db = Σₙ dz

Along a path the slopes multiply, as in the last lesson. What is new: a number may reach the loss on several paths, and
then their products add up. Three questions, and this is the answer to all of them:

  1. Why is the dx of one layer the dy of the layer before it? What one layer puts out is what the next one reads: one
     array h, and so one array of slopes dh. So a layer needs to know nothing of the others. It is given dy and hands on
     dx = dy Wᵀ: an input reaches the loss through every neuron that reads it, each times the weight on the way.
  2. Why is dW = xᵀ dy? The weight W[i, j] takes input i to neuron j, so its slope is the error signal of neuron j
     times input i, as for one neuron. For one row, dW is the multiplication table of x and dy.
  3. Why do gradients add up over rows? All rows go through the same weights, and the loss is a sum over rows. The
     product xᵀ dy adds up the tables of all rows. A bias has the input 1 in every row, so its slope is Σₙ dy.

All slopes together cost about as much as two forwards. A finite difference for each weight would cost two forwards for
every weight: 26 for this net, and 9,620 for the one that reads digits in lesson 10.

To try: write the hidden layer with ReLU, by hand and with nl.ReLU(). Leave a factor out of a backward and see by how
much it is off. Then let print(nl.check_gradients(net, "mse", x, t)) look for such mistakes, and
print(trainer.explain_step(x, t)) of an nl.Trainer(net, "mse") write every number of a step out.

    python examples/06_backpropagation.py --out out
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import nnlite as nl

BLUE, RED = nl.plots.COLOURS[0], nl.plots.COLOURS[3]
LEARNING_RATE, STEPS = 1.0, 1000

# N = 4 rows; t is 1 where x₁ and x₂ have the same sign. Row 1 and the first hidden neuron are those of the last lesson.
X = np.array([[2.0, -1.0], [1.0, 2.0], [-1.0, 1.0], [-2.0, -1.0]])  # (4, 2)
T = np.array([[0.0], [1.0], [0.0], [1.0]])  # (4, 1)


def first_weights():
    """W (2, 3), b (3,), V (3, 1), c (1,)."""
    return [
        np.array([[0.5, -0.4, 0.3], [0.3, 0.6, -0.2]]),
        np.array([0.3, 0.0, -0.1]),
        np.array([[0.4], [-0.3], [0.6]]),
        np.array([0.1]),
    ]


# ---- by hand: what follows up to the next line needs nothing but NumPy -------------------------------------------


def sigmoid(z):
    """1 / (1 + e⁻ᶻ), written so that the exponent is never positive, since e¹⁰⁰⁰ would overflow."""
    e = np.exp(-np.abs(z))
    return np.where(z >= 0, 1, e) / (1 + e)


def forward(x, weights):
    """x (N, 2) -> h (N, 3), p (N, 1)."""
    W, b, V, c = weights
    h = sigmoid(x @ W + b)  # (N, 3)
    return h, sigmoid(h @ V + c)


def mean_squared_error(p, t):
    """p, t (N, 1) -> L, dp (N, 1)."""
    return np.mean((p - t) ** 2), 2 * (p - t) / len(p)


def backward(x, h, p, dp, weights):
    """The slopes of L by all that lies between x and L, by name; those of the weights have the weights' shapes."""
    W, _, V, _ = weights
    du = dp * p * (1 - p)  # (N, 1)
    dV = h.T @ du  # (3, 1)
    dc = du.sum(axis=0)  # (1,)
    dh = du @ V.T  # (N, 3)
    dz = dh * h * (1 - h)  # (N, 3)
    dW = x.T @ dz  # (2, 3)
    db = dz.sum(axis=0)  # (3,)
    dx = dz @ W.T  # (N, 2), for which only a layer before this one would ask
    return {"dp": dp, "du": du, "dV": dV, "dc": dc, "dh": dh, "dz": dz, "dW": dW, "db": db, "dx": dx}


def step(x, t, weights):
    """One step of gradient descent -> L before it, and the new weights."""
    h, p = forward(x, weights)
    loss, dp = mean_squared_error(p, t)
    slopes = backward(x, h, p, dp, weights)
    gradients = slopes["dW"], slopes["db"], slopes["dV"], slopes["dc"]
    return loss, [w - LEARNING_RATE * dw for w, dw in zip(weights, gradients)]


def train(x, t, weights, steps):
    """Gradient descent -> the losses, one before each step, and the last weights."""
    losses = []
    for _ in range(steps):
        loss, weights = step(x, t, weights)
        losses.append(loss)
    return losses, weights


# ---- with nnlite -----------------------------------------------------------------------------------------------


def make_net():
    """The same net: float64, and "numpy" as the device, since it computes in the order of the formulas above."""
    net = nl.Sequential(nl.Dense(2, 3), nl.Sigmoid(), nl.Dense(3, 1), nl.Sigmoid(), device="numpy", dtype="float64")
    first, _, second, _ = net.layers
    first.W, first.b, second.W, second.b = first_weights()
    return net


def weights_of(net):
    """W, b, V, c."""
    first, _, second, _ = net.layers
    return first.W, first.b, second.W, second.b


def gradients_of(net):
    """dW, db, dV, dc, of the last backward."""
    first, _, second, _ = net.layers
    return first.dW, first.db, second.dW, second.db


# ---- the lesson ------------------------------------------------------------------------------------------------


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the picture")
    parser.add_argument("--quick", action="store_true", help="accepted for the sake of CI; this is always quick")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)

    weights = first_weights()
    h, p = forward(X, weights)  # (4, 3), (4, 1)
    loss, dp = mean_squared_error(p, T)
    slopes = backward(X, h, p, dp, weights)

    print(f"forward, L = {loss:.4f}")
    print("row        x              h                     p      t")
    for n in range(4):
        print(f"{n + 1:3d}  {numbers(X[n], 1)}   {numbers(h[n])}   {numbers(p[n])}   {T[n, 0]:.0f}")
    print("\nbackward, from right to left")
    print("row            dz                          dh                  du        dp")
    for n in range(4):
        print(f"{n + 1:3d}  " + "   ".join(numbers(slopes[name][n]) for name in ("dz", "dh", "du", "dp")))

    print("\nThe slope of the weight from x₁ to the first hidden neuron: error signal times input, for every row")
    parts = X[:, 0] * slopes["dz"][:, 0]  # (4,)
    sum_of_products = " + ".join(f"{x:.0f} · {dz:.4f}" for x, dz in zip(X[:, 0], slopes["dz"][:, 0]))
    print(f"  {sum_of_products} = {parts.sum():.4f}")

    print("\nby hand, and by finite differences: 2 forwards for each of the 13 parameters")
    gradients = [slopes[name] for name in ("dW", "db", "dV", "dc")]
    differences = finite_differences(weights)
    for name, dw, difference in zip(("dW", "db", "dV", "dc"), gradients, differences):
        print(f"  {name}  {numbers(dw.ravel()):54}  off by {np.abs(dw - difference).max():.0e}")

    # nnlite's layers, one after the other: `forward` keeps what `backward` needs
    net, mse, y = make_net(), nl.MSE(), X
    for layer in net.layers:
        y = layer.forward(y)
    loss_of_layers = mse.forward(y, T)
    dy = mse.backward()
    print("\nnnlite: each layer is given dy, and hands on dx")
    print(f"  {'MSE()':12} {'':11} → dx {dy.shape}  the same as dp by hand: {np.array_equal(dy, slopes['dp'])}")
    for layer, name in zip(reversed(net.layers), ("du", "dh", "dz", "dx")):
        dx, by_hand = layer.backward(dy), slopes[name]  # (4, 1), (4, 3), (4, 3), (4, 2) each
        same = np.array_equal(dx, by_hand)
        print(f"  {layer!s:12} dy {dy.shape} → dx {dx.shape}  the same as {name} by hand: {same}")
        assert same
        dy = dx
    assert loss_of_layers == loss
    assert all(map(np.array_equal, gradients_of(net), gradients))

    # Trainer.step is all of this and the step against the gradients; Trainer.fit is many steps
    trainer = nl.Trainer(net, loss="mse", optimizer=nl.SGD(lr=LEARNING_RATE))
    assert trainer.step(X, T) == loss
    assert all(map(np.array_equal, weights_of(net), step(X, T, weights)[1]))
    history = trainer.fit(X, T, epochs=STEPS - 1, batch_size=4, shuffle=False, progress=False)
    losses, weights = train(X, T, weights, STEPS)
    losses_of_nnlite = [loss, *history["loss"]]

    print(f"\n step   L by hand              L of nnlite            ({STEPS:,} steps, α = {LEARNING_RATE:g})")
    for k in (0, 1, 10, 100, 300, STEPS - 1):
        print(f"{k:5d}   {losses[k]:<20.17f}   {losses_of_nnlite[k]:<20.17f}")
    print("p = " + numbers(net.predict(X).ravel()) + " for t = 0, 1, 0, 1")

    draw(h, p, slopes, losses, losses_of_nnlite, net).savefig(out / "06_backpropagation.png")

    for dw, difference in zip(gradients, differences):
        assert np.allclose(dw, difference, rtol=1e-6, atol=1e-10)
    assert np.allclose(sum(np.outer(x, dz) for x, dz in zip(X, slopes["dz"])), slopes["dW"])
    assert losses == losses_of_nnlite  # to the last digit, all 1,000 of them
    assert all(map(np.array_equal, weights_of(net), weights))
    assert losses[-1] < 0.01


def signed(number, digits=4):
    """A number as text."""
    return f"{number:.{digits}f}".replace("-", "−")


def numbers(row, digits=4):
    """A row of numbers (K,) as text, in columns."""
    return " ".join(f"{number:{digits + 3}.{digits}f}" for number in row)


def finite_differences(weights, nudge=1e-5):
    """The slopes of L by all weights without any rule, in their shapes: nudge each of them up and down."""
    found = []
    for w in weights:
        slope = np.empty_like(w)
        for place in np.ndindex(w.shape):
            kept, losses = w[place], []
            for moved in (kept + nudge, kept - nudge):
                w[place] = moved
                losses.append(mean_squared_error(forward(X, weights)[1], T)[0])
            w[place] = kept
            slope[place] = (losses[0] - losses[1]) / (2 * nudge)
        found.append(slope)
    return found


# ---- the picture -----------------------------------------------------------------------------------------------

INPUTS = np.array([(0, 2.2), (0, -0.2)])  # (2, 2), where the circles are
HIDDEN = np.array([(2.4, 3), (2.4, 1), (2.4, -1)])  # (3, 2)
OUTPUT = np.array([(4.8, 1)])  # (1, 2)
INDICES = "₁₂₃"
UNDER = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}  # so that no line runs through a text


def draw(h, p, slopes, losses, losses_of_nnlite, net):
    figure, axes = plt.subplot_mosaic(
        [["forward", "backward"], ["tables", "tables"], ["loss", "learned"]],
        figsize=(12, 12),
        dpi=140,
        layout="constrained",
        height_ratios=(1.25, 0.62, 0.8),
    )
    W, b, V, c = first_weights()
    ax = axes["forward"]
    draw_net(ax, BLUE, W, V, {"x": X[0], "h": h[0], "p": p[0]})
    below = [*(f"b{INDICES[j]} = {signed(bias, 1)}" for j, bias in enumerate(b)), f"c = {signed(c[0], 1)}"]
    for (across, up), text in zip([*HIDDEN, *OUTPUT], below):
        ax.text(across, up - 0.54, text, ha="center", va="center", fontsize=9, bbox=UNDER)
    ax.set_title("Forward, row 1: values in circles, weights on lines")

    ax = axes["backward"]
    dz, du = slopes["dz"][0], slopes["du"][0]
    draw_net(ax, RED, np.outer(X[0], dz), np.outer(h[0], du), {"x": X[0], "dz": dz, "du": du})
    below = [f"dh{INDICES[j]} = {signed(dh)}" for j, dh in enumerate(slopes["dh"][0])]
    below += [f"dp = {signed(slopes['dp'][0, 0])}"]
    for (across, up), text in zip([*HIDDEN, *OUTPUT], below):
        ax.text(across, up - 0.54, text, ha="center", va="center", fontsize=9, bbox=UNDER)
    ax.set_title("Backward, row 1: error signals in circles, dW and dV on lines")

    draw_tables(axes["tables"], slopes)

    ax = axes["loss"]
    ax.plot(losses, color=nl.plots.COLOURS[5], linewidth=5, label="by hand")
    ax.plot(losses_of_nnlite, "--", color="black", linewidth=1.3, label="nnlite")
    ax.set(title="Both versions learn alike, to the last digit", xlabel="step", ylabel="L", ylim=(0, None))
    ax.legend(frameon=False)
    ax.spines[["top", "right"]].set_visible(False)

    ax = nl.plots.decision_boundary(net, X, T, ax=axes["learned"])
    for x, (answer,), (target,) in zip(X, net.predict(X), T):
        place = (0, -28 if x[1] > 0 else 8)  # below the point or above it, inside of the picture
        ax.annotate(f"p = {answer:.2f}\nt = {target:.0f}", x, place, textcoords="offset points", ha="center")
    ax.set(title="What it answers after 1,000 steps", xlabel="x₁", ylabel="x₂")
    if legend := ax.get_legend():
        legend.remove()
    return figure


def draw_net(ax, colour, first, second, values):
    """Three columns of circles with their numbers; lines with theirs, red above zero, blue below."""
    columns = (INPUTS, HIDDEN, OUTPUT)
    for matrix, tails, heads, share in ((first, INPUTS, HIDDEN, 0.3), (second, HIDDEN, OUTPUT, 0.42)):
        largest = np.abs(matrix).max()
        for (i, j), number in np.ndenumerate(matrix):
            ends = np.array([tails[i], heads[j]])  # (2, 2)
            shade = plt.get_cmap(nl.plots.SIGNED)(0.5 + 0.42 * number / largest)
            ax.plot(*ends.T, color=shade, linewidth=1 + 3 * abs(number) / largest, zorder=1)
            text, (across, up) = signed(number, 1 if colour == BLUE else 4), (1 - share) * ends[0] + share * ends[1]
            ax.text(across, up, text, ha="center", va="center", fontsize=9, bbox=UNDER)
    for (name, row), places in zip(values.items(), columns):
        for k, ((across, up), number) in enumerate(zip(places, row)):
            ax.scatter(across, up, s=2000, color="white", edgecolors=nl.plots.INK, linewidths=1.3, zorder=2)
            text = f"{name}{INDICES[k] if len(row) > 1 else ''}\n{signed(number, 0 if name == 'x' else 4)}"
            shade = BLUE if name == "x" else colour
            ax.text(across, up, text, ha="center", va="center", fontsize=9, color=shade, zorder=3)
    ax.set(xlim=(-0.5, 5.3), ylim=(-1.75, 3.55))
    ax.set_axis_off()


def draw_tables(ax, slopes):
    """dW as the sum of four multiplication tables: x down the side, dz along the top."""
    tables = np.array([*(np.outer(x, dz) for x, dz in zip(X, slopes["dz"])), slopes["dW"]])  # (5, 2, 3)
    largest, wide = np.abs(tables).max(), 1.4  # a cell is 1.4 wide and 1 high
    for block, table in enumerate(tables):
        left = 5.7 * block
        middles = left + wide * np.array([0.5, 1.5, 2.5])  # (3,)
        extent = (left, left + 3 * wide, 0, 2)
        ax.imshow(table, cmap=nl.plots.SIGNED, vmin=-largest, vmax=largest, extent=extent, aspect="auto")
        for (i, j), number in np.ndenumerate(table):
            ink = "white" if abs(number) > 0.6 * largest else "black"
            ax.text(middles[j], 1.5 - i, signed(number), ha="center", va="center", fontsize=8.5, color=ink)
        last = block == len(X)
        ax.text(middles[1], 2.75, "dW = xᵀ dz" if last else f"row {block + 1}", ha="center", weight="bold")
        if not last:
            for i, x in enumerate(X[block]):
                ax.text(left - 0.12, 1.5 - i, signed(x, 0), ha="right", va="center", color=BLUE)
            for j, dz in enumerate(slopes["dz"][block]):
                ax.text(middles[j], 2.1, signed(dz), ha="center", va="bottom", fontsize=8.5, color=RED)
            ax.text(left + 4.7, 1, "=" if block == len(X) - 1 else "+", ha="center", va="center", fontsize=15)
    ax.set(xlim=(-0.7, 5.7 * 4 + 4.4), ylim=(-0.1, 3.2))
    ax.set_title("Each row gives a multiplication table of x (blue) and dz (red); the slopes add up over the rows")
    ax.set_axis_off()


if __name__ == "__main__":
    main()

"""Activations: the function that a neuron applies to its sum of inputs, and the slope of that function.

A neuron adds up its inputs, each times a weight, and applies its activation to the sum. A layer is some neurons that
read the same inputs. Without an activation, layers in a row would be one linear layer, since sums of sums are sums.
Each of these bends the line in its own way:

    sigmoid  y = 1 / (1 + e⁻ˣ)      slope y (1 − y)       a soft step from 0 to 1
    tanh     y = tanh x             slope 1 − y²          a soft step from −1 to 1
    ReLU     y = max(x, 0)          slope 1 or 0          passes what is above zero
    softmax  yₖ = e^xₖ / Σⱼ e^xⱼ    yₖ (δₖⱼ − yⱼ)         turns a row of numbers into probabilities

That of softmax is the slope of yₖ by xⱼ, where δₖⱼ is 1 for k = j and 0 otherwise. All slopes are written with the
output y. This is shorter, and no slope becomes infinite or NaN: for x far below 0, e⁻ˣ overflows, while y (1 − y) goes
to 0. It has a price: far above 0, y rounds to 1, and the slope to 0 before its time (in the table, at 100). At 0
itself, ReLU has no slope; nnlite takes 0. Softmax differs from the others: its outputs sum to 1, so what one of them
gains the others lose.

To try: add a row of ReLU to the table, and draw others: nl.plots.activations(["elu", "gelu", "silu"]).

    python examples/03_activations.py --out out
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import nnlite as nl

ELEMENTWISE = {"sigmoid": nl.Sigmoid, "tanh": nl.Tanh, "relu": nl.ReLU}
SCORES = np.array([2.0, 1.0, 0.5])  # (3,), what goes into the softmax


def value_and_slope(activation, x):
    """y = f(x) and dy/dx, both (N,): `backward` multiplies with the slope, so backward of ones is the slope."""
    return activation.forward(x), activation.backward(np.ones_like(x))


def softmax_gradients(x):
    """∂yₖ/∂xⱼ (K, K), row k for output k: backward of a vector that is 1 at k and 0 elsewhere."""
    softmax = nl.Softmax()
    softmax.forward(x)
    return np.array([softmax.backward(unit) for unit in np.eye(len(x))])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the picture")
    parser.add_argument("--quick", action="store_true", help="accepted for the sake of CI; this is always quick")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)

    for name, x in (("sigmoid", np.linspace(-100, 100, 10)), ("tanh", np.linspace(-1, 1, 10))):
        y, slope = value_and_slope(ELEMENTWISE[name](), x)  # (10,), (10,)
        print(f"{name:7}        x            y        slope")
        for row in zip(x, y, slope):
            print("       {:9.3f}  {:11.6g}  {:11.3g}".format(*row))

    probabilities = nl.Softmax().forward(SCORES)  # (3,)
    gradients = softmax_gradients(SCORES)  # (3, 3)
    print(f"\nsoftmax({SCORES}) = {probabilities.round(4)}, sum {probabilities.sum():.4f}")
    print("gradient of   by x₁     by x₂     by x₃")
    for k, row in enumerate(gradients, 1):
        print(f"         y{k}  " + "  ".join(f"{slope:+.4f}" for slope in row))
    print("\n" + compare_with_pytorch(gradients))

    draw(probabilities, gradients).savefig(out / "03_activations.png")

    assert np.allclose(probabilities, [0.6285, 0.2312, 0.1402], atol=5e-5)
    assert np.allclose(gradients, np.diag(probabilities) - np.outer(probabilities, probabilities))
    assert np.allclose(gradients.sum(axis=1), 0)  # one loses what the other gains
    assert (np.sign(gradients) == 2 * np.eye(3) - 1).all()  # positive for itself, negative for the others
    assert value_and_slope(nl.Sigmoid(), np.array([-1000.0, 0.0, 1000.0]))[1].tolist() == [0, 0.25, 0]  # no NaN


def compare_with_pytorch(gradients):
    """One line that says whether PyTorch finds the same values and slopes."""
    try:
        import torch
    except ImportError:
        return "PyTorch is not installed: nothing to compare with"
    x = np.linspace(-100, 100, 10)
    for name, activation in ELEMENTWISE.items():
        t = torch.tensor(x, requires_grad=True)
        expected = getattr(torch, name)(t)
        (expected_slope,) = torch.autograd.grad(expected.sum(), t)
        y, slope = value_and_slope(activation(), x)
        assert np.allclose(y, expected.detach().numpy(), rtol=1e-12, atol=1e-15), name
        assert np.allclose(slope, expected_slope.numpy(), rtol=1e-12, atol=1e-15), name
    jacobian = torch.autograd.functional.jacobian(lambda t: torch.softmax(t, 0), torch.tensor(SCORES))
    assert np.allclose(gradients, jacobian.numpy(), rtol=1e-12, atol=1e-15)
    return f"PyTorch {torch.__version__} finds the same values and the same gradients"


def draw(probabilities, gradients):
    figure, axes = plt.subplots(2, 3, figsize=(11, 6.4), dpi=150, layout="constrained")
    titles = ("Sigmoid, slope y (1 − y)", "Tanh, slope 1 − y²", "ReLU, slope 1 or 0")
    for ax, name, title in zip(axes[0], ELEMENTWISE, titles):
        nl.plots.activations(name, ax=ax).set(title=title, xlabel="x", ylabel="y (solid), dy/dx (dashed)")
        ax.get_legend().remove()  # the axis label says the same

    ax = axes[1, 0]
    bars = ax.bar(["x₁ = 2", "x₂ = 1", "x₃ = 0.5"], probabilities, color=nl.plots.COLOURS[:3], width=0.65)
    ax.bar_label(bars, fmt="%.4f", padding=3)
    ax.set(title="Softmax: shares of a whole", ylabel="y", ylim=(0, 0.75))
    ax.spines[["top", "right"]].set_visible(False)

    ax = axes[1, 1]
    x1 = np.linspace(-4, 6, 201)  # (201,)
    rows = np.column_stack([x1, np.full_like(x1, SCORES[1]), np.full_like(x1, SCORES[2])])  # (201, 3)
    curves = nl.Softmax().forward(rows).T  # (3, 201)
    for curve, colour, text, place in zip(curves, nl.plots.COLOURS, ("y₁", "y₂", "y₃"), (160, 20, 20)):
        ax.plot(x1, curve, color=colour, linewidth=2)
        ax.annotate(text, (x1[place], curve[place]), (0, -14), textcoords="offset points", color=colour)
    ax.axvline(SCORES[0], color="#BBBBBB", linewidth=0.8, zorder=0)
    ax.set(title="Softmax as only x₁ grows", xlabel="x₁  (x₂ = 1, x₃ = 0.5)", ylabel="y", ylim=(-0.02, 1.02))
    ax.spines[["top", "right"]].set_visible(False)

    ax = axes[1, 2]
    ax.imshow(gradients, cmap=nl.plots.SIGNED, vmin=-0.3, vmax=0.3, aspect="auto")
    for (k, j), slope in np.ndenumerate(gradients):
        text = f"{slope:+.4f}".replace("-", "−")
        ax.text(j, k, text, ha="center", va="center", color="white" if abs(slope) > 0.2 else "black")
    ax.set(title="Softmax: gradients of the outputs")
    ax.set_xticks(range(3), ["by x₁", "by x₂", "by x₃"])
    ax.set_yticks(range(3), ["y₁", "y₂", "y₃"])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return figure


if __name__ == "__main__":
    main()

"""Scaling: give every input mean 0 and standard deviation 1 before training, or the net learns slowly or not at all.

The slope of a weight is a sum of errors times inputs. So an input a hundred times as large has slopes a hundred times
as large, and every weight has the same learning rate. Take a line without a constant, h(x) = w₁x₁ + w₂x₂, and x₂ six
times as large as x₁. The loss is then a valley, 36 times as steep along w₂ as along w₁ (the curvature has x²):

    J(w) = 1/m Σ (w₁x₁ + w₂x₂ − t)²        d²J/dw₁² = 2/m Σ x₁²        d²J/dw₂² = 2/m Σ x₂²

A learning rate above 2 / (the larger curvature) runs away along w₂, as in lesson 1, and one below it creeps along w₁.
The best that one rate can do is 2 / (the sum of both): a step then keeps (36 − 1) / (36 + 1) of the distance. With both
inputs divided by their deviations the valley is a round bowl, and a single step is nearly there.

A mean that is not 0 makes a valley, too: all weights of a neuron then want to move together with its bias. And
a net has one more reason. What goes into a hidden neuron should be about as large as 1, where tanh bends: the tanh of
hundreds is 1 or −1 whatever comes in, and its slope is 0.

So it is with 13 measurements of wines, of which the largest, proline, is about 750, and the smallest about 0.4. The
means and deviations are those of the rows for training: to take them of all rows would be to look at the test. Where
columns of large numbers are left, nnlite gives a warning before the first epoch (ScaleWarning), here for the first two
ways. `nl.datasets.wine()` has done all this, `nl.TableClassifier` and the command line do it for your own table, and in
a pipeline scikit-learn's StandardScaler does. Targets of a regression want it, too (lesson 15).

To try: take relu in place of tanh; put batch_norm=True in the net; add a fifth way, with one measurement a thousand
times as large: (mean, deviation / np.array([1000] + [1] * 12)).

    python examples/21_scaling.py --out out
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import nnlite as nl

EPOCHS = 50
RATES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)


def valley(scale, steps=60):
    """The loss of a line on inputs divided by `scale`, its least place, and the descent with the best rate for it."""
    rng = np.random.Generator(np.random.PCG64(0))
    x = rng.standard_normal((200, 2)) * [1, 6] / scale  # (200, 2)
    bottom = np.array([2, 0.4]) * scale  # (2,)
    t = x @ bottom  # (200,), of a line that fits exactly
    rate = 2 / np.sum(2 * np.mean(x**2, axis=0))  # 2 / (the sum of both curvatures)

    def loss(w):
        return np.mean((x @ w - t) ** 2)

    def slope(w):
        return 2 * x.T @ (x @ w - t) / len(x)

    return loss, bottom, nl.gradient_descent(slope, start=[0, 0], lr=rate, steps=steps)


def best_training(x, y, test, device):
    """(loss, rate, trainer) with the rate whose loss is least at the end."""
    trained = []
    for rate in RATES:
        net = nl.mlp([13, 16, 3], hidden="tanh", output="softmax", device=device, seed=0)
        trainer = nl.Trainer(net, "cce", nl.SGD(lr=rate), metrics=["accuracy"])
        try:
            history = trainer.fit(x, y, EPOCHS, batch_size=32, validation_data=test, progress=False)
        except nl.DivergedError:
            continue
        trained.append((np.mean(history["loss"][-5:]), rate, trainer))
    return min(trained, key=lambda each: each[0])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the picture")
    parser.add_argument("--quick", action="store_true", help="accepted for the sake of CI; this is always quick")
    parser.add_argument("--device", default="cpu", help="numpy, numba, cupy, cpu, gpu or auto")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)

    valleys = {"x₂ six times as large": valley([1, 1]), "both divided by their deviations": valley([1, 6])}
    print("a line on two inputs, each with its best learning rate")
    for name, (loss, _, descent) in valleys.items():
        losses = descent.values(loss)
        print(f"  {name:34} loss {losses[0]:.2f}, after 1 step {losses[1]:6.2g}, after 60 steps {losses[-1]:6.2g}")

    wine = nl.datasets.wine(standardise=False)  # x (142, 13) and (36, 13), y (142,) and (36,)
    mean, deviation = wine.x_train.mean(axis=0), wine.x_train.std(axis=0)  # (13,), (13,)
    ways = {
        "as measured": (0, 1),
        "minus the mean": (mean, 1),
        "divided by the deviation": (0, deviation),
        "both": (mean, deviation),
    }
    print(f"\n13 measurements of wines, {EPOCHS} epochs; of the rates {RATES} the one with the least loss")
    print(f"  {'the measurements':26} {'rate':>6} {'loss':>8} {'test wines right':>17}")
    histories = {}
    for name, (shift, scale) in ways.items():
        test = (wine.x_test - shift) / scale, wine.y_test
        loss, rate, trainer = best_training((wine.x_train - shift) / scale, wine.y_train, test, arguments.device)
        histories[name] = trainer.history
        print(f"  {name:26} {rate:6g} {loss:8.3f} {trainer.evaluate(*test)['accuracy']:17.0%}")

    draw(valleys, histories).savefig(arguments.out / "21_scaling.png")
    measured, scaled = (descent.values(loss) for loss, _, descent in valleys.values())
    assert measured[60] > 0.001 * measured[0] and scaled[1] < 0.05 * scaled[0]
    assert histories["both"]["val_accuracy"][-1] >= 0.9 > 0.6 > histories["as measured"]["val_accuracy"][-1]


def draw(valleys, histories):
    figure, axes = plt.subplots(1, 3, figsize=(14, 4.6), dpi=140, layout="constrained")
    for ax, (name, (loss, bottom, descent)) in zip(axes, valleys.items()):
        descent.plot(loss, ax=ax).set(title=f"60 steps, {name}", xlabel="w₁", ylabel="w₂")
        ax.plot(*bottom, "k*", markersize=12)  # the bottom
    for colour, (name, history) in zip(nl.plots.COLOURS[3::-1], histories.items()):
        axes[2].semilogy(np.arange(1, EPOCHS + 1), history["loss"], color=colour, label=name)
    axes[2].set(title="13 measurements of wines", xlabel="epoch", ylabel="loss")
    axes[2].legend(frameon=False, title="the measurements", loc="upper left", bbox_to_anchor=(1, 1))
    axes[2].spines[["top", "right"]].set_visible(False)
    return figure


if __name__ == "__main__":
    main()

"""Schedule and decay: the usual regression tutorial of PyTorch, in which the loop becomes one call.

Ten inputs are drawn at random, and only the first five of them matter (Friedman 1991). The noise has a standard
deviation of 1, and so no net can come nearer than that to values that it has not seen:

    t = 10 sin(π x₁ x₂) + 20 (x₃ − ½)² + 10 x₄ + 5 x₅ + noise

A net of 4,929 parameters learns the noise of 300 rows by heart. Two remedies are added here, one after the other. A
schedule lets the learning rate fall along half a cosine (Loshchilov and Hutter 2017): large steps lead to the valley,
small ones settle in it. By itself this helps little, since there is noise in what the net settles on.
Weight decay makes all weights a little smaller in each step (AdamW, Loshchilov and Hutter 2019), so that only those
stay large which the slopes ask for again and again. These are above all the weights of x₁, x₂ and x₃, whose curves
take many neurons. The straight lines of x₄ and x₅ need few, and their weights are hardly larger than those of the
inputs that do not matter. The decay of 0.3 is thirty times the usual 0.01, which changes little on so few rows; choose
yours by rows held back.

In PyTorch, an epoch is a loop over a DataLoader, with zero_grad, the loss, backward and step in it, and scheduler.step
behind it. Here the schedule takes the place of the learning rate, and `fit` is the loop. AdamW takes the same steps as
PyTorch's, and decays biases too; decay_biases=False leaves them out.

To try: take DECAY = 0.01 and 1, and 30 rows in place of 300.

    python examples/15_weight_decay.py --out out
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import nnlite as nl

EPOCHS, RATE, DECAY, NOISE = 100, 0.01, 0.3, 1.0


def friedman(rng, rows):
    """x (rows, 10), of mean 0 and variance 1, and t (rows,)."""
    x = rng.uniform(size=(rows, 10))  # (rows, 10)
    smooth = 10 * np.sin(np.pi * x[:, 0] * x[:, 1]) + 20 * (x[:, 2] - 0.5) ** 2 + 10 * x[:, 3] + 5 * x[:, 4]
    return (x - 0.5) * np.sqrt(12), smooth + NOISE * rng.standard_normal(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the picture")
    parser.add_argument("--quick", action="store_true", help="accepted for the sake of CI; this is always quick")
    parser.add_argument("--device", default="cpu", help="numpy, numba, cupy, cpu, gpu or auto")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)

    rng = np.random.Generator(np.random.PCG64(0))
    (x, t), (x_test, t_test) = friedman(rng, 300), friedman(rng, 2000)
    mean, scale = t.mean(), t.std()  # the net learns (t − mean) / scale, whose size is about 1
    t, t_test = (t - mean) / scale, (t_test - mean) / scale

    cosine = nl.schedules.Cosine(RATE, length=EPOCHS)
    recipes = {
        "Adam": nl.Adam(lr=RATE),
        "Adam, schedule": nl.Adam(lr=cosine),
        "AdamW, schedule, decay": nl.AdamW(lr=cosine, weight_decay=DECAY),
    }
    print(f"root mean squared error  {'its own rows':>12} {'unseen rows':>12}   weights of x₁ … x₄   of x₅ … x₁₀")
    curves, weights = {}, {}
    for name, optimizer in recipes.items():
        net = nl.mlp([10, 64, 64, 1], hidden="tanh", device=arguments.device, seed=0)
        trainer = nl.Trainer(net, "mse", optimizer, metrics=["rmse"])
        history = trainer.fit(x, t, epochs=EPOCHS, validation_data=(x_test, t_test), progress=False)
        curves[name] = scale * np.array(history["val_rmse"])  # (EPOCHS,), in units of t
        weights[name] = np.sqrt((net.state_dict()["0.W"] ** 2).mean(axis=1))  # (10,): of each input, the typical size
        sizes = weights[name][:4].mean(), weights[name][4:].mean()
        own = scale * trainer.evaluate(x, t)["rmse"]
        print(f"{name:24} {own:12.2f} {curves[name][-1]:12.2f}   {sizes[0]:18.2f} {sizes[1]:13.2f}")

    draw(curves, weights).savefig(arguments.out / "15_weight_decay.png")
    plain, scheduled, decayed = (curve[-1] for curve in curves.values())
    assert NOISE < decayed < 0.95 * scheduled < 0.95 * plain
    assert sizes[0] > 1.5 * sizes[1]


def draw(curves, weights):
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.4), dpi=140, layout="constrained")
    colours = (nl.plots.COLOURS[3], nl.plots.COLOURS[1], nl.plots.COLOURS[0])
    for i, (colour, (name, curve)) in enumerate(zip(colours, curves.items())):
        left.plot(np.arange(1, len(curve) + 1), curve, color=colour, label=name)
        right.bar(np.arange(1, 11) + 0.27 * (i - 1), weights[name], width=0.25, color=colour)
    left.axhline(NOISE, color=nl.plots.COLOURS[6], linestyle="--", label="the noise alone")
    left.set(title="How far from 2,000 unseen rows", xlabel="epoch", ylabel="root mean squared error", ylim=(0.9, 3.2))
    left.legend(frameon=False)
    right.set(title="Decay leaves the weights that are asked for", ylabel="typical weight in the first layer")
    right.set_xticks(range(1, 11), [f"x{digit}" for digit in "₁₂₃₄₅₆₇₈₉"] + ["x₁₀"])
    for ax in (left, right):
        ax.spines[["top", "right"]].set_visible(False)
    return figure


if __name__ == "__main__":
    main()

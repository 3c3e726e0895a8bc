"""Spirals: watch a net draw its borders, epoch by epoch.

Three arms wind around each other, so no straight line helps; the net has to bend its borders along them. At first it
cuts the plane into slices like a cake, and a third of its answers are right, as if it guessed. Then the borders begin
to follow the arms, and soon nearly all answers are right. Much later they grow wrinkles: the training loss still falls,
because the net now bends towards single points, but on other points it answers no better.

Training can go on where it stopped: each call of `fit` on the same trainer continues, and between the calls we draw
what the net answers at each point of the plane.

There are three answers, so the net has three outputs, which softmax turns into probabilities. The loss for these is the
cross-entropy ("cce"), −ln of the probability that the net gave to the right answer: 0 when it was sure and right, large
when it was sure and wrong. With the squared error, a neuron that is sure and wrong hardly learns, as lesson 5 showed.
Here the flat slope of softmax cancels out: the error signal of what goes into it is just p − t.

A step sees 32 of the 600 points, and an epoch is 19 steps, in a new order each time. The optimizer is Adam (Kingma and
Ba 2015): gradient descent with a step length of its own for every parameter, taken from the slopes that it has seen.

The points that it is judged by come from the same arms but were never trained on.

To try: take hidden="relu"; take loss="mse"; take one hidden layer in place of two; add noise to the points.

    python examples/08_spirals.py --out out
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt

import nnlite as nl


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the picture")
    parser.add_argument("--quick", action="store_true", help="fewer epochs")
    parser.add_argument("--device", default="cpu", help="numpy, numba, cupy, cpu, gpu or auto")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    stops = (1, 5, 10, 20, 30, 40, 50, 60) if arguments.quick else (1, 10, 20, 25, 30, 40, 100, 400)

    x, y = nl.datasets.spirals(n=600, turns=1.0, seed=0)  # (600, 2), (600,)
    unseen = nl.datasets.spirals(n=600, turns=1.0, seed=1)
    net = nl.mlp([2, 32, 32, 3], hidden="tanh", output="softmax", device=arguments.device, seed=0)
    trainer = nl.Trainer(net, loss="cce", optimizer=nl.Adam(lr=0.01), metrics=["accuracy"])

    figure, axes = plt.subplots(2, 4, figsize=(12, 6.4), dpi=140, layout="constrained", sharex=True, sharey=True)
    print("epoch    loss   accuracy   on unseen points")
    done = 0
    for ax, epoch in zip(axes.flat, stops):
        history = trainer.fit(x, y, epochs=epoch - done, batch_size=32, progress=False)
        done = epoch
        accuracy = trainer.evaluate(*unseen)["accuracy"]
        print(f"{epoch:5d}  {history['loss'][-1]:6.3f}   {history['accuracy'][-1]:8.3f}   {accuracy:16.3f}")
        nl.plots.decision_boundary(net, x[::3], y[::3], ax=ax)  # every third point, or they hide the borders
        ax.set(title=f"epoch {epoch}: {accuracy:.0%} right", xlabel="", ylabel="")
        ax.get_legend().remove()
    figure.supxlabel("x₁")
    figure.supylabel("x₂")
    figure.savefig(arguments.out / "08_spirals.png")

    assert accuracy > (0.85 if arguments.quick else 0.95)


if __name__ == "__main__":
    main()

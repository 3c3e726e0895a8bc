"""Several labels at once: a point may lie in one circle, in two, in all three or in none.

In the lessons before, a row had exactly one class, and softmax divided one certainty among all. Here each label is a
question of its own, with yes or no for an answer: so each output has its own sigmoid, and the loss ("bce") is the mean
of the cross-entropies of all answers. The target is a row of zeros and ones. Nothing else changes, and all questions
share the hidden layers.

How often is the net right? That depends on what is counted. "accuracy" counts answers. A metric with average=None has a
column for each label, such as recall_2. And a row is right as a whole only if all of its answers are; a function of
one's own can count that. The rarer a label is, the less its accuracy says: who always answers no is often right.

In the picture, each label has a colour of its own, and where the net says yes to several of them, their colours mix.
The circles themselves are dashed. Within the solid lines, the probability is more than ½.

To try: count how many rows are right as a whole with output="softmax" in place of the sigmoids, and read what nnlite
says.

    python examples/16_multi_label.py --out out
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import to_rgb

import nnlite as nl

CENTRES = np.array([[-0.45, 0.3], [0.45, 0.3], [0.0, -0.55]])  # (3, 2)
RADII = np.array([0.75, 0.75, 0.5])  # (3,)
PAINT = ("#56B4E9", "#F0E442", "#CC79A7")  # blue, yellow and pink, of which the first two make green


def inside(x):
    """Points x (N, 2) -> y (N, 3), 1 for each circle in which the point lies and 0 for the others."""
    return (np.linalg.norm(x[:, None] - CENTRES, axis=2) < RADII).astype(float)


def whole_rows(y, prediction):
    """The share of rows in which every answer is right, for y and prediction (N, 3)."""
    return ((prediction > 0.5) == (y > 0.5)).all(axis=1).mean()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the picture")
    parser.add_argument("--quick", action="store_true", help="60 epochs instead of 150")
    parser.add_argument("--device", default="cpu", help="numpy, numba, cupy, cpu, gpu or auto")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    epochs = 60 if arguments.quick else 150

    rng = np.random.Generator(np.random.PCG64(0))
    x, x_test = rng.uniform(-1.4, 1.4, (1000, 2)), rng.uniform(-1.4, 1.4, (5000, 2))
    y, y_test = inside(x + 0.03 * rng.standard_normal(x.shape)), inside(x_test)  # (1000, 3), (5000, 3)

    net = nl.mlp([2, 32, 32, 3], hidden="tanh", output="sigmoid", device=arguments.device, seed=0)
    each = [metric(average=None) for metric in (nl.metrics.Precision, nl.metrics.Recall, nl.metrics.F1)]
    adam = nl.Adam(lr=nl.schedules.Cosine(0.01, length=epochs))
    trainer = nl.Trainer(net, loss="bce", optimizer=adam, metrics=["accuracy", *each, whole_rows])
    trainer.fit(x, y, epochs=epochs, batch_size=32, progress=False)
    measured = trainer.evaluate(x_test, y_test)

    print("label   yes in   precision   recall      F1")
    for k in range(3):
        scores = [measured[f"{name}_{k}"] for name in ("precision", "recall", "f1")]
        print(f"{k:5}   {y_test[:, k].mean():6.1%}   " + "{:9.3f}   {:6.3f}   {:5.3f}".format(*scores))
    always_no = whole_rows(y_test, 0 * y_test), 1 - y_test.mean()
    print(f"right answers {measured['accuracy']:.1%} (always no: {always_no[1]:.1%}), ", end="")
    print(f"rows without a wrong answer {measured['whole_rows']:.1%} (always no: {always_no[0]:.1%})")

    draw(net, x, y).savefig(arguments.out / "16_multi_label.png")
    assert min(measured[f"f1_{k}"] for k in range(3)) > 0.9
    assert always_no[0] + 0.3 < measured["whole_rows"] < measured["accuracy"]


def draw(net, x, y):
    places = [["mixed", 0, 1], ["mixed", 2, "rows"]]
    figure, axes = plt.subplot_mosaic(places, figsize=(12, 6.2), dpi=140, layout="constrained", width_ratios=(2, 1, 1))
    line = np.linspace(-1.4, 1.4, 281)  # (281,)
    grid = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)  # (281², 2)
    answers = net.predict(grid).reshape(281, 281, 3)  # the probability of each label
    ink = 1 - np.array([to_rgb(colour) for colour in PAINT])  # (3, 3): what each colour takes from white
    images = [1 - answers[..., k, None] * ink[k] for k in range(3)]  # (281, 281, 3) each
    for name, image in zip((0, 1, 2, "mixed"), [*images, np.prod(1 - answers[..., None] * ink, axis=2)]):
        axes[name].imshow(image, extent=(-1.4, 1.4, -1.4, 1.4), origin="lower")
    axes["mixed"].set_title("What the net says of each point")
    for k, (centre, radius) in enumerate(zip(CENTRES, RADII)):
        axes[k].contour(line, line, answers[..., k], levels=[0.5], colors=nl.plots.INK, linewidths=1.5)
        axes[k].set_title(f"label {k}")
        for ax in (axes["mixed"], axes[k]):
            ax.add_patch(plt.Circle(centre, radius, fill=False, linestyle="--", color=nl.plots.INK, linewidth=0.8))
    painted = np.prod(1 - y[..., None] * ink, axis=1)  # (1000, 3)
    axes["rows"].scatter(x[:, 0], x[:, 1], s=7, c=painted, edgecolors="#999999", linewidths=0.3)
    axes["rows"].set(title="the rows it was trained on", xlim=(-1.4, 1.4), ylim=(-1.4, 1.4), aspect="equal")
    for ax in axes.values():
        ax.set(xticks=[], yticks=[])
    return figure


if __name__ == "__main__":
    main()

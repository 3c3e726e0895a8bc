"""Rare classes: what class weights change, and what they do not.

One row in twelve is of class 1, as with failures, frauds and diseases, and the classes overlap. A net that wants to be
right as often as possible answers "no" where it is in doubt, and overlooks many of the rare class. Its accuracy says
nothing of that: always "no" is right in eleven of twelve rows. Two other numbers do:

    precision: of the rows with the answer "yes", the share that are of class 1
    recall: of the rows of class 1, the share with the answer "yes"

With class_weight="balanced", a row of the rare class counts as much more as it is rarer, so that both classes weigh the
same in the loss. The border moves: recall rises, precision falls. Which is better depends on what a miss costs and what
a false alarm costs; {0: 1, 1: 5} says that a miss costs five times as much.

Weights teach the net nothing new. It puts the rows into nearly the same order as before (average precision), and so a
lower threshold than ½ does nearly the same as weights. The third line of the table shows that: the net without weights,
and "yes" from one in twelve on. What weights cost: the outputs are no longer the frequencies of class 1.

To try: make the class rarer, one row in fifty; take class_weight={0: 1, 1: 5}; choose the threshold by rows held back.

    python examples/17_class_weights.py --out out
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import nnlite as nl


def imbalanced(n, seed):
    """Two half circles of n points, of whose class 1 only every eleventh is kept: x (N, 2), y (N,)."""
    x, y = nl.datasets.moons(n=n, noise=0.35, seed=seed)
    kept = (y == 0) | (np.cumsum(y) % 11 == 0)  # (n,)
    return x[kept], y[kept]


def at_threshold(probability, y, threshold):
    """(accuracy, precision, recall) of the answers "yes" above a threshold, for probability (N, 1) and y (N,)."""
    yes = probability[:, 0] > threshold  # (N,)
    return (yes == y).mean(), y[yes].mean(), yes[y == 1].mean()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the picture")
    parser.add_argument("--quick", action="store_true", help="accepted for the sake of CI; this is always quick")
    parser.add_argument("--device", default="cpu", help="numpy, numba, cupy, cpu, gpu or auto")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)

    x, y = imbalanced(4000, seed=0)  # (2181, 2), (2181,)
    x_test, y_test = imbalanced(20000, seed=1)
    share = y.mean()
    print(f"{share:.1%} of {len(y)} rows are of class 1")
    print(f"{'':24} accuracy  precision  recall  average precision  mean output")
    nets, results, outputs = {}, {}, {}
    for name, weights in (("without weights", None), ("balanced weights", "balanced")):
        nets[name] = nl.mlp([2, 16, 16, 1], hidden="tanh", output="sigmoid", device=arguments.device, seed=0)
        metrics = ["accuracy", "precision", "recall", "average_precision"]
        trainer = nl.Trainer(nets[name], loss="bce", optimizer=nl.Adam(lr=0.01), metrics=metrics)
        trainer.fit(x, y, epochs=60, class_weight=weights, progress=False)
        measured = trainer.evaluate(x_test, y_test)
        results[name], outputs[name] = [measured[metric] for metric in metrics], nets[name].predict(x_test)  # (N, 1)
    moved = f"without, threshold {share:.2f}"
    results[moved] = [*at_threshold(outputs["without weights"], y_test, share), results["without weights"][3]]
    outputs[moved] = outputs["without weights"]
    for name, row in results.items():
        print(f"{name:24} " + "{:8.3f}  {:9.3f}  {:6.3f}  {:17.3f}".format(*row) + f"  {outputs[name].mean():11.3f}")

    draw(nets, x, y, outputs, y_test).savefig(arguments.out / "17_class_weights.png")
    (_, precision, recall, order), (_, precision_2, recall_2, order_2), (_, precision_3, recall_3, _) = results.values()
    assert recall_2 > recall + 0.15 and precision_2 < precision - 0.15
    assert abs(order_2 - order) < 0.05 and max(abs(recall_3 - recall_2), abs(precision_3 - precision_2)) < 0.1
    assert abs(outputs["without weights"].mean() - y_test.mean()) < 0.03 < outputs["balanced weights"].mean() - share


def draw(nets, x, y, outputs, y_test):
    figure, axes = plt.subplots(1, 3, figsize=(14, 4.5), dpi=140, layout="constrained")
    lines = ((nl.plots.COLOURS[3], "-"), (nl.plots.COLOURS[2], "--"))
    for ax, (colour, style), (name, net) in zip(axes, lines, nets.items()):
        nl.plots.decision_boundary(net, x[::3], y[::3], ax=ax).set(title=name, xlabel="x₁", ylabel="x₂")
        thresholds = np.quantile(outputs[name], np.linspace(0.5, 0.97, 100))  # (100,)
        curve = [at_threshold(outputs[name], y_test, threshold) for threshold in thresholds]
        _, precision, recall = np.transpose(curve)  # (100,) each
        axes[2].plot(recall, precision, style, color=colour, label=name)
        _, precision, recall = at_threshold(outputs[name], y_test, 0.5)
        axes[2].plot(recall, precision, "o", color=colour, markersize=9)
        axes[2].annotate("threshold ½", (recall, precision), (-76, -12), textcoords="offset points", color=colour)
    axes[2].set(title="All thresholds: one and the same curve, nearly", xlabel="recall", ylabel="precision")
    axes[2].legend(frameon=False, loc="lower left")
    axes[2].spines[["top", "right"]].set_visible(False)
    return figure


if __name__ == "__main__":
    main()

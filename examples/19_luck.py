"""Luck: train 64 nets that differ in their seed alone, and see what a single result is worth.

The seed decides two things: which first weights are drawn, and in which order rows are shuffled. Nothing about it
is better or worse, and yet every seed ends in another net, which is right about other images. One result is one draw.
How far draws lie apart, their standard deviation, is what a difference between two recipes must be held against, and
it is found by training more than once. `nl.fit_many` trains all of them side by side: on a CPU one on each core, on a
GPU one in each of its blocks, each as if it were trained alone.

Here a net with batch norm (lesson 14) competes with one without, on 539 images of digits. Over 64 seeds it is better,
by less than a result changes from seed to seed: the mean of n results is known to about the deviation / √n. Who trains
each of them once and takes the better one is often wrong, as the table says. It would be worse still to try many seeds
and to report the best: that is the luck of the draw, and on other images it is gone. The division into images to learn
from and images held back is a draw as well: with five others, batch norm gained 0.3 to 0.6 percentage points, and both
recipes were up to one point worse.

Luck can be used, too. The nets are wrong about different images, and so the mean of their probabilities is right more
often than they are: an ensemble. Eight nets bring most of what many bring, and as much as the choice of the recipe.

To try: give the second recipe dropout=0.2 in place of batch norm; take LEARN_FROM = 200: how large is the deviation
then?

    python examples/19_luck.py --out out
"""

import argparse
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import MultipleLocator, PercentFormatter

import nnlite as nl

NETS, EPOCHS = 64, 60
LEARN_FROM = 539  # images, at most
PLAIN = {"hidden": "relu", "init": "he_normal"}
RECIPES = {"without": PLAIN, "batch norm": PLAIN | {"batch_norm": True}}
SIZES = (1, 2, 4, 8, 16, 32)  # of ensembles


def trained(data, recipe, device):
    """NETS trainers, whose networks have the seeds 0, 1, 2 …"""
    nets = [nl.mlp([64, 32, 10], output="softmax", device=device, seed=seed, **recipe) for seed in range(NETS)]
    trainers = [nl.Trainer(net, "cce", nl.Adam(lr=0.003), metrics=["accuracy"]) for net in nets]
    nl.fit_many(trainers, data.x_train[:LEARN_FROM], data.y_train[:LEARN_FROM], EPOCHS, progress=False)
    return trainers


def right_together(predictions, y, size):
    """The share of right answers of ensembles of so many nets, each net in one of them: (NETS / size,)."""
    means = predictions.reshape(-1, size, *predictions.shape[1:]).mean(axis=1)  # (NETS / size, rows, 10)
    return np.mean(means.argmax(axis=2) == y, axis=1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the picture")
    parser.add_argument("--quick", action="store_true", help="accepted for the sake of CI; this is always quick")
    parser.add_argument("--device", default="cpu", help="numpy, numba, cupy, cpu, gpu or auto")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)

    data = nl.datasets.digits(test=0.7)  # x (539, 64) and (1258, 64), y (539,) and (1258,)
    right, together = {}, {}
    print(
        f"test images right, {NETS} nets of each recipe\n{'':12} {'worst':>7} {'mean':>7} {'best':>7} {'deviation':>10}"
    )
    for name, recipe in RECIPES.items():
        start = time.perf_counter()
        trainers = trained(data, recipe, arguments.device)
        seconds = time.perf_counter() - start
        predictions = np.array([trainer.network.predict(data.x_test) for trainer in trainers])  # (NETS, 1258, 10)
        together[name] = [right_together(predictions, data.y_test, size) for size in SIZES]
        right[name] = results = together[name][0]  # (NETS,)
        words = [f"{value:.1%}".rjust(7) for value in (results.min(), results.mean(), results.max())]
        print(f"{name:12} {' '.join(words)} {results.std(ddof=1):10.2%}   trained in {seconds:.1f} s")

    (_, second), (plain, other) = right, right.values()
    difference = 100 * (other.mean() - plain.mean())  # in percentage points
    error = 100 * np.sqrt((plain.var(ddof=1) + other.var(ddof=1)) / NETS)
    wrong = np.mean(other[:, None] < plain[None, :])  # of all pairs of one net each
    print(f"\n{second}: a gain of {difference:.2f} percentage points, give or take {error:.2f}")
    print(f"of all pairs of one net of each recipe, {wrong:.0%} say that it loses")
    print(f"\nthe mean of the probabilities of {'':8}" + "".join(f"{size:7}" for size in SIZES) + " nets")
    for name in RECIPES:
        shares = "".join(f"{group.mean():7.1%}" for group in together[name])
        print(f"{name:40} {shares}")

    draw(right, together).savefig(arguments.out / "19_luck.png")
    assert difference > 0 and 0.1 < wrong < 0.5
    assert all(groups[3].mean() > groups[0].mean() + 0.002 for groups in together.values())  # eight nets and one


def draw(right, together):
    figure, (above, ensembles) = plt.subplots(1, 2, figsize=(11, 4.4), dpi=140, layout="constrained")
    results = np.concatenate([*right.values()])  # (2 · NETS,)
    images = 1258  # a result is a whole number of them
    bins = np.arange(results.min() * images - 0.5, results.max() * images + 2, 2) / images
    for colour, name in zip((nl.plots.COLOURS[3], nl.plots.COLOURS[0]), right):
        above.hist(right[name], bins, color=colour, alpha=0.55, label=name)
        above.axvline(right[name].mean(), color=colour, linewidth=2)
        ensembles.plot(SIZES, [group.mean() for group in together[name]], "o-", color=colour, label=name)
        ends = [(group.min(), group.max()) for group in together[name]]
        ensembles.fill_between(SIZES, *np.transpose(ends), color=colour, alpha=0.18)
    above.set(title=f"{NETS} nets of each recipe, and their means", xlabel="test images right", ylabel="nets")
    above.legend(frameon=False, loc="upper left")
    ensembles.set(title="The mean of several nets", xlabel="nets in an ensemble", ylabel="test images right")
    ensembles.set_xscale("log", base=2)
    ensembles.set_xticks(SIZES, [str(size) for size in SIZES])
    ensembles.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1), title="mean, worst and best")
    for axis in (above.xaxis, ensembles.yaxis):
        axis.set_major_locator(MultipleLocator(0.005))
        axis.set_major_formatter(PercentFormatter(1, decimals=1))
    for ax in (above, ensembles):
        ax.spines[["top", "right"]].set_visible(False)
    return figure


if __name__ == "__main__":
    main()

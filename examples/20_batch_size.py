"""Batch size: how many rows for one step? Few give many rough steps, many give few steps that are nearly exact.

The slope of the loss is a mean over all rows. A step takes the mean over some of them, drawn at random, as an estimate.
As with any mean of n draws, its error falls with √n: four times as many rows, half the noise. So 64 rows cost 64 times
as much to multiply as one and are only eight times as exact, and many rough steps get further than few exact ones.
That speaks for small batches: more steps in an epoch.

Two things speak for large ones. With less noise the learning rate may be larger, at first by nearly the same factor as
the batch, until the valley's walls set the limit (lessons 1 and 18), and from there on more rows are of no use. And
a processor does many rows in less time than one after the other: an epoch takes less. So there is a best batch for the
clock, and it is neither one row nor all of them. Where each call costs far more than here, as in most frameworks and on
a GPU, it is larger.

The table trains the same net to the same loss, which an epoch measures while the weights move, each time with the rate
that needs the fewest epochs, of four to each power of ten (0.1, 0.18, 0.32, 0.56, 1 …); of several, the smallest.

To try: --device numpy, where a step costs some 70 µs of Python, and all of this a minute or two: which batch is
the best then? Count steps in place of epochs; take nl.Adam, with a tenth of the rates that are tried.

    python examples/20_batch_size.py --out out
"""

import argparse
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import NullFormatter, PercentFormatter

import nnlite as nl

SIZES = (1, 4, 16, 64, 256, 1438)
GOAL, MOST = 0.1, 200  # the loss to reach, and the epochs to try for it


def make_net(device):
    return nl.mlp([64, 64, 10], init="he_normal", output="softmax", device=device, seed=0)


def noise(data, size, draws=100):
    """How far a batch's slope lies from that of all rows, as a share of the latter's length: the mean of many draws."""
    net, loss, target = make_net("numpy"), nl.CategoricalCrossEntropy(), np.eye(10)[data.y_train]  # (1438, 10)
    rng = np.random.Generator(np.random.PCG64(0))

    def slope(rows):
        loss.forward(net.forward(data.x_train[rows], training=True), target[rows])
        net.backward(loss.backward())
        return net.gradients.copy()  # (P,)

    exact = slope(np.arange(len(target)))
    far = [np.linalg.norm(slope(rng.permutation(len(target))[:size]) - exact) for _ in range(draws)]
    return np.mean(far) / np.linalg.norm(exact)


def training(data, size, device):
    """(epochs to the goal, rate, ms for an epoch, losses), for the rate with the fewest epochs."""
    fewest, chosen = MOST + 1, None
    for rate in 10.0 ** np.arange(-2, 0.6, 0.25):
        trainer, losses = nl.Trainer(make_net(device), "cce", nl.SGD(lr=rate)), [np.inf]
        try:
            while min(losses) > GOAL and len(losses) < fewest:
                losses += trainer.fit(data.x_train, data.y_train, 1, batch_size=size, progress=False)["loss"]
        except nl.DivergedError:
            continue
        if min(losses) <= GOAL:
            fewest, chosen = len(losses) - 1, (rate, trainer, losses[1:])
    assert chosen, f"no rate has come to a loss of {GOAL} in {MOST} epochs"
    rate, trainer, losses = chosen
    start = time.perf_counter()
    trainer.fit(data.x_train, data.y_train, 20, batch_size=size, progress=False)
    return fewest, rate, 1e3 * (time.perf_counter() - start) / 20, losses


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the picture")
    parser.add_argument("--quick", action="store_true", help="accepted for the sake of CI; this is always quick")
    parser.add_argument("--device", default="cpu", help="numpy, numba, cupy, cpu, gpu or auto")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)

    data = nl.datasets.digits()  # x (1438, 64) and (359, 64), y (1438,) and (359,)
    print(f"{len(data.x_train)} images, until the loss of an epoch is {GOAL}")
    print(
        f"{'batch':>5} {'noise of a slope':>17} {'best rate':>10} {'ms an epoch':>12} {'epochs':>7} {'ms in all':>10}"
    )
    noises, runs = [], []
    for size in SIZES:
        noises.append(noise(data, size))
        runs.append(training(data, size, arguments.device))
        epochs, rate, ms, _ = runs[-1]
        print(f"{size:5} {noises[-1]:17.0%} {rate:10.2g} {ms:12.2f} {epochs:7} {epochs * ms:10.1f}")

    draw(noises, runs).savefig(arguments.out / "20_batch_size.png")
    assert np.allclose(np.divide(noises[:4], noises[1:5]), 2, rtol=0.2)  # four times the rows, half the noise
    assert runs[-1][0] > 5 * runs[2][0]  # all rows at once need many more epochs than 16


def draw(noises, runs):
    figure, axes = plt.subplots(1, 3, figsize=(14, 4.4), dpi=140, layout="constrained")
    shades = plt.get_cmap("viridis")(np.linspace(0, 0.9, len(SIZES)))  # (sizes, 4)
    root = noises[0] / np.sqrt(SIZES)  # (sizes,)
    axes[0].loglog(SIZES[:-1], root[:-1], color=nl.plots.COLOURS[6], linestyle="--", label="as 1/√rows")
    axes[0].loglog(SIZES[:-1], noises[:-1], "o", color=nl.plots.COLOURS[0], label="measured")
    axes[0].set(title="A batch's slope beside that of all rows", xlabel="rows in a batch", ylabel="distance")
    axes[0].yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes[0].yaxis.set_minor_formatter(NullFormatter())
    axes[0].set_yticks([0.3, 1, 3])
    axes[0].legend(frameon=False)
    for ax, unit in ((axes[1], "epochs"), (axes[2], "milliseconds")):
        for shade, size, (epochs, rate, ms, losses) in zip(shades, SIZES, runs):
            passed = np.arange(1, epochs + 1) * (1 if unit == "epochs" else ms)  # (epochs,)
            label = f"{size}, rate {rate:.2g}"
            ax.loglog(passed, losses, "o-", markersize=3, color=shade, label=label)
        ax.axhline(GOAL, color=nl.plots.COLOURS[6], linewidth=0.8, linestyle="--")
        ax.set(title=f"Learning by {unit}", xlabel=unit, ylabel="loss")
    axes[2].legend(frameon=False, title="rows in a batch", loc="upper left", bbox_to_anchor=(1, 1))
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    return figure


if __name__ == "__main__":
    main()

"""Devices: the same training on NumPy, Numba and CuPy. Which is fastest, and do they agree?

One word decides where a net computes: "numpy" calls one library routine after the other, "numba" compiles the loops for
this processor, "cupy" works on an NVIDIA graphics card. The seed gives the same first weights and the same shuffles
everywhere, so all must arrive at the same loss, up to the rounding of 32-bit numbers.

Each call costs a device something before it computes anything, a graphics card more than a processor. A small net is
mostly such cost; a wide one is mostly matrix products. So look at both before buying hardware.

Starting a device and compiling its kernels happens once. It is done before the clock runs, by one epoch on another net,
and shown in a column of its own.

    python examples/10_devices.py --out out
"""

import argparse
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import nnlite as nl

NETS = {  # sizes, batch size, epochs
    "small, 64-32-10": ([64, 32, 10], 32, 40),
    "wide, 64-1024-1024-10": ([64, 1024, 1024, 10], 256, 5),
}


def train(device, sizes, batch_size, epochs, data):
    """(seconds, the last epoch's loss) of one training."""
    net = nl.mlp(sizes, init="he_normal", output="softmax", device=device, seed=0)
    trainer = nl.Trainer(net, loss="cce", optimizer=nl.SGD(lr=0.05))
    start = time.perf_counter()
    # the loss is a number in main memory: to have it is to have waited for the device
    history = trainer.fit(data.x_train, data.y_train, epochs=epochs, batch_size=batch_size, progress=False)
    return time.perf_counter() - start, history["loss"][-1]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the picture")
    parser.add_argument("--quick", action="store_true", help="2 epochs, once instead of 3 times")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    repeats = 1 if arguments.quick else 3

    data = nl.datasets.digits()  # x (1438, 64), y (1438,)
    found = nl.devices()
    for name, (available, detail) in found.items():
        print(f"{name:6} {'✓' if available else '–'} {detail}")
    present = [name for name, (available, _) in found.items() if available]

    warm_up = {}  # device -> seconds
    for name in present:
        start = time.perf_counter()
        train(name, [64, 32, 10], 32, 1, data)
        warm_up[name] = time.perf_counter() - start

    print(f"\n{'net':22} {'device':7} {'warm-up s':>9} {'seconds':>9} {'samples a second':>17} {'last loss':>11}")
    rates = {}  # net -> device -> samples a second
    losses = {}  # the same way
    for title, (sizes, batch_size, epochs) in NETS.items():
        epochs = 2 if arguments.quick else epochs
        rates[title], losses[title] = {}, {}
        for name in present:
            runs = [train(name, sizes, batch_size, epochs, data) for _ in range(repeats)]
            seconds = np.median([seconds for seconds, _ in runs])
            losses[title][name] = runs[-1][1]
            rates[title][name] = epochs * len(data.x_train) / seconds
            line = f"{warm_up[name]:9.2f} {seconds:9.3f} {rates[title][name]:17,.0f} {losses[title][name]:11.7f}"
            print(f"{title:22} {name:7} {line}", flush=True)
        # the order of additions differs between devices, and training carries each rounding error on
        assert np.allclose(list(losses[title].values()), losses[title]["numpy"], rtol=1e-3), losses

    draw(rates, losses).savefig(arguments.out / "10_devices.png")


def draw(rates, losses):
    figure, axes = plt.subplots(1, len(rates), figsize=(10, 4.2), dpi=150, layout="constrained")
    colours = dict(zip(nl.devices(), nl.plots.COLOURS))
    for ax, (title, row) in zip(axes, rates.items()):
        labels = [f"{name}\nlast loss {losses[title][name]:.5f}" for name in row]
        bars = ax.bar(labels, list(row.values()), color=[colours[name] for name in row], width=0.6)
        ax.bar_label(bars, fmt="{:,.0f}", padding=3)
        ax.set(title=title, ylabel="samples a second (more is better)")
        ax.set(xlim=(-0.6, len(row) - 0.4), ylim=(0, 1.15 * max(row.values())))
        ax.yaxis.set_major_formatter("{x:,.0f}")
        ax.spines[["top", "right"]].set_visible(False)
    return figure


if __name__ == "__main__":
    main()

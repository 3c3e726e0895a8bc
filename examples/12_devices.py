"""Devices: the same training on NumPy, Numba and CuPy. Which is fastest, from what size of net on, and do they agree?

One word decides where a net computes: "numpy" calls one library routine after the other, "numba" compiles the loops for
this processor, "cupy" works on an NVIDIA graphics card. The seed gives the same first weights and the same shuffles
everywhere, so all must arrive at the same loss, up to the rounding of 32-bit numbers.

Each step has a fixed cost before anything is computed, and it is higher on a graphics card than on a processor. A small
net spends most of its time on this cost. A wide net spends it on matrix products, which are four times the work for
twice the width. Where two lines cross, as those of a card and a processor do, another device becomes the fastest: look
there before buying hardware. NumPy's products run on threads of their own library, which on a busy machine wait for
each other: with OPENBLAS_NUM_THREADS=1 in the environment, NumPy may be many times as fast as it is here.

Starting a device and compiling its kernels happens once. It is done before the clock runs, by one epoch on another net.

To try: nnlite bench asks the same of your machine, for nets of any size.

    python examples/12_devices.py --out out
"""

import argparse
import time
from itertools import groupby
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import nnlite as nl

EPOCHS = {16: 100, 64: 50, 256: 20, 1024: 4}  # width of the two hidden layers -> how long it is trained


def train(device, width, epochs, data):
    """(samples a second, the last epoch's loss) of one training."""
    net = nl.mlp([64, width, width, 10], init="he_normal", output="softmax", device=device, seed=0)
    trainer = nl.Trainer(net, loss="cce", optimizer=nl.SGD(lr=0.05))
    start = time.perf_counter()
    # the loss is a number in main memory, so fit has waited for the device
    history = trainer.fit(data.x_train, data.y_train, epochs=epochs, batch_size=64, progress=False)
    return epochs * len(data.x_train) / (time.perf_counter() - start), history["loss"][-1]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the picture")
    parser.add_argument("--quick", action="store_true", help="2 epochs of the three smaller widths, once, not 3 times")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    widths = list(EPOCHS)[:3] if arguments.quick else list(EPOCHS)
    repeats = 1 if arguments.quick else 3

    data = nl.datasets.digits()  # x (1438, 64), y (1438,)
    found = nl.devices()
    for name, (available, detail) in found.items():
        print(f"{name:6} {'✓' if available else '–'} {detail}")
    present = [name for name, (available, _) in found.items() if available]
    for name in present:
        train(name, 8, 1, data)  # starts the device and compiles its kernels

    print(f"\n{'width':>5}  {'device':7} {'samples a second':>17} {'last loss':>11}")
    rates: dict[str, list[float]] = {name: [] for name in present}  # device -> samples a second, for each width
    for width in widths:
        losses = []
        for name in present:
            runs = [train(name, width, 2 if arguments.quick else EPOCHS[width], data) for _ in range(repeats)]
            rates[name].append(np.median([rate for rate, _ in runs]))
            losses.append(runs[-1][1])
            print(f"{width:5}  {name:7} {rates[name][-1]:17,.0f} {losses[-1]:11.7f}", flush=True)
        # the order of additions differs between devices, and training carries each rounding error on
        assert np.allclose(losses, losses[0], rtol=1e-3), (width, losses)

    print()
    fastest = [max(present, key=lambda name: rates[name][i]) for i in range(len(widths))]
    for name, group in groupby(zip(widths, fastest), key=lambda pair: pair[1]):
        print(f"from a width of {next(group)[0]} on: {name}")
    draw(widths, rates).savefig(arguments.out / "12_devices.png")


def draw(widths, rates):
    figure, ax = plt.subplots(figsize=(7, 4.4), dpi=150, layout="constrained")
    colours = dict(zip(nl.devices(), nl.plots.COLOURS))
    for name, row in rates.items():
        ax.plot(widths, row, marker="o", color=colours[name], label=name)
    ax.set(xscale="log", yscale="log", xlabel="width of two hidden layers", ylabel="samples a second (more is better)")
    ax.set_xticks(widths, widths)
    ax.minorticks_off()
    ax.yaxis.set_major_formatter("{x:,.0f}")
    ax.set_title("Training on the handwritten digits, 64 at a time")
    ax.legend(frameon=False)
    ax.spines[["top", "right"]].set_visible(False)
    return figure


if __name__ == "__main__":
    main()

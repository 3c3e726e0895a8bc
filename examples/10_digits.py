"""Digits: read handwriting, 8 × 8 grey dots at a time.

An image is a row of 64 numbers between 0 and 1. The net does not know that they form a square, or which dots are
neighbours; it finds out what it needs from 1,438 examples. Each row of the training data is used once an epoch, in
batches of 32 and in a new order. The hidden neurons are ReLUs. He's rule for their first weights (He et al. 2015) lets
the numbers neither grow nor shrink from layer to layer.

Loss and accuracy are drawn at the end. The training loss keeps falling. The loss on the 359 images held back stops
falling: from there on the net only learns its own examples by heart. The picture shows what it read in some of the
images held back, the ones it misread first.

To try: train with batch_size=1 and with all rows in one batch; repeat it with five seeds and see how far apart the
answers are; keep the net by net.save("digits.safetensors"), and nl.load it in another program.

    python examples/10_digits.py --out out
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import nnlite as nl


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the picture")
    parser.add_argument("--quick", action="store_true", help="20 epochs instead of 60")
    parser.add_argument("--device", default="cpu", help="numpy, numba, cupy, cpu, gpu or auto")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    epochs = 20 if arguments.quick else 60

    data = nl.datasets.digits()  # x (1438, 64) and (359, 64), y (1438,) and (359,)
    net = nl.mlp([64, 64, 10], hidden="relu", init="he_normal", output="softmax", device=arguments.device, seed=0)
    trainer = nl.Trainer(net, loss="cce", optimizer=nl.SGD(lr=0.1, momentum=0.9), metrics=["accuracy"])
    held_back = (data.x_test, data.y_test)
    history = trainer.fit(data.x_train, data.y_train, epochs=epochs, batch_size=32, validation_data=held_back)

    print("epoch   loss    accuracy   held back: loss   accuracy")
    for epoch in sorted({1, 2, 5, 10, 20, epochs}):
        row = (history[name][epoch - 1] for name in ("loss", "accuracy", "val_loss", "val_accuracy"))
        print(f"{epoch:5d}  " + "{:6.4f}   {:8.3f}   {:15.4f}   {:8.3f}".format(*row))

    draw(net, data, history).savefig(arguments.out / "10_digits.png")
    assert history["val_accuracy"][-1] >= 0.96


def draw(net, data, history):
    figure = plt.figure(figsize=(12, 5), dpi=140, layout="constrained")
    ((left, right),) = figure.subfigures(1, 2, squeeze=False, width_ratios=(1, 1.25))
    nl.plots.history(history, ax=left.subplots())

    probabilities = net.predict(data.x_test)  # (359, 10)
    read = probabilities.argmax(axis=1)  # (359,)
    wrong_first = np.argsort(read == data.y_test, kind="stable")  # (359,)
    misread = np.count_nonzero(read != data.y_test)
    right.suptitle(f"{misread} of {len(read)} held-back images misread (✗ orange), and some of the others")
    for ax, i in zip(right.subplots(4, 7).flat, wrong_first):
        ax.imshow(data.x_test[i].reshape(8, 8), cmap="gray_r")
        ax.set(xticks=[], yticks=[])
        if read[i] == data.y_test[i]:
            ax.set_title(f"{read[i]}", fontsize=10)
            ax.spines[:].set_color("#CCCCCC")
        else:
            ax.set_title(f"✗ {read[i]}, is {data.y_test[i]}", fontsize=10, color=nl.plots.COLOURS[3], weight="bold")
            ax.spines[:].set(color=nl.plots.COLOURS[3], linewidth=2.5)
    return figure


if __name__ == "__main__":
    main()

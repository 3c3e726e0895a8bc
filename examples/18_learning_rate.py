"""The learning rate: find a good one in at most a hundred steps, before the long training begins.

Too small a learning rate wastes the epochs, too large a one throws the parameters about. Between the two lie some
powers of ten, and which ones they are depends on the net, the data, the batches and the optimizer. The range test
(Smith 2017) finds them: it trains a copy of the net, and each step has a rate that is a little larger than the last
step's. At first the loss hardly moves. Then it falls, from rate to rate faster, and at last it rises, as the steps have
become longer than the valley is wide. A tenth of the rate at which the loss, smoothed, is least is what `lr_range_test`
suggests: there the steps are long, but not yet at the edge. The copy is thrown away, and the net and its shuffles are
as they were.

Then the suggestion is tried, beside rates that are smaller and larger by powers of ten: the net, its first weights and
the order of rows are the same each time, and only the rate differs. Rates that are too small come down slowly. Ten
times the suggestion is at the edge: it may be faster at first, but its steps are too long for what comes then. Its loss
jumps to and fro and stays higher, and how many of the images held back it gets right is a matter of luck: in one epoch
as many as with the suggestion, in another far fewer. So the table has the worst and the best of the last five epochs.
Beyond it, the net learns little or nothing.

So it is with Adam on these images. The suggestion is on the safe side: in other settings three times as much was nearly
always better at first, and plain gradient descent learned these images best with ten times as much. Try three and ten
times as much, and let rows held back decide. The test finds the power of ten, not the last digit, and a schedule
(lesson 15) goes through many rates.

To try: take nl.SGD() in place of Adam, with which the largest rates end in a loss that is no number (DivergedError);
BATCH = 8, and 128: where does the edge move?

    python examples/18_learning_rate.py --out out
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import nnlite as nl

EPOCHS, LAST, BATCH = 10, 5, 32  # LAST: the epochs whose answers are compared


def make_trainer(device):
    net = nl.mlp([64, 64, 64, 64, 10], init="he_normal", output="softmax", device=device, seed=0)
    return nl.Trainer(net, loss="cce", optimizer=nl.Adam(), metrics=["accuracy"])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the picture")
    parser.add_argument("--quick", action="store_true", help="accepted for the sake of CI; this is always quick")
    parser.add_argument("--device", default="cpu", help="numpy, numba, cupy, cpu, gpu or auto")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)

    data = nl.datasets.digits()  # x (1438, 64) and (359, 64), y (1438,) and (359,)
    trainer = make_trainer(arguments.device)
    found = nl.lr_range_test(trainer, data.x_train, data.y_train, batch_size=BATCH)
    print(f"{len(found.rates)} steps up to a rate of {found.rates[-1]:.2g}; suggested: {found.suggestion:.2g}\n")

    held_back = f"of the images held back, epochs {EPOCHS - LAST + 1} to {EPOCHS}"
    print(f"learning rate   {'loss after 3 epochs':>19}   {f'after {EPOCHS}':>8}   right {held_back}")
    histories, right = {}, {}
    for power in (-3, -2, -1, 0, 1, 2):
        trainer = make_trainer(arguments.device)
        trainer.optimizer.lr = lr = found.suggestion * 10.0**power
        try:
            test = data.x_test, data.y_test
            trainer.fit(data.x_train, data.y_train, EPOCHS, batch_size=BATCH, validation_data=test, progress=False)
        except nl.DivergedError:
            print(f"{lr:13.2g}   diverged after {trainer.history.epochs} epochs")
            continue
        histories[power] = trainer.history["loss"]
        right[power] = sorted(trainer.history["val_accuracy"][-LAST:])
        answers = f"{right[power][0]:.1%} to {right[power][-1]:.1%}"
        print(f"{lr:13.2g}   {histories[power][2]:19.3f}   {histories[power][-1]:8.4f}   {answers:>16}")

    draw(found, histories).savefig(arguments.out / "18_learning_rate.png")
    assert histories[0][-1] == min(losses[-1] for losses in histories.values())
    assert right[0][0] >= 0.95 and right[0][0] > right[1][0]


def draw(found, histories):
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.6), dpi=140, layout="constrained")
    nl.plots.range_test(found, ax=left).set_title("The range test: each step has a larger rate")
    shades = plt.get_cmap("viridis")(np.linspace(0, 0.9, 6))  # (6, 4)
    for power, losses in histories.items():
        chosen = {"color": nl.plots.COLOURS[3], "linewidth": 3} if power == 0 else {"color": shades[power + 3]}
        label = f"{found.suggestion * 10.0**power:.2g}" + (", suggested" if power == 0 else "")
        right.semilogy(np.arange(1, len(losses) + 1), losses, label=label, **chosen)
    right.set(title="Training with these rates", xlabel="epoch", ylabel="loss")
    right.legend(frameon=False, title="learning rate", loc="upper left", bbox_to_anchor=(1, 1))
    right.spines[["top", "right"]].set_visible(False)
    return figure


if __name__ == "__main__":
    main()

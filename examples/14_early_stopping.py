"""Early stopping: how long to train is decided by rows that the net does not train on.

This is the usual tutorial of Keras, on the digits. A net that trains for long enough reads all of its own images, and
its loss goes to 0. On other images the loss falls, and then mostly turns and rises: the net is wrong as seldom as
before, but more and more sure of itself where it is wrong. That is seen the better, the fewer the images: these are 539
of the 1,797, and a fifth of the rows is held back (validation_split), and callbacks look at the loss on these after
each epoch:

- ReduceLROnPlateau halves the learning rate when the loss has not fallen for some epochs,
- EarlyStopping ends the training when even that does not help, and brings the parameters of the best epoch back,
- Checkpoint keeps the best state in a file, which another program can load,
- and a function of one's own looks too: this one writes the learning rates down.

The guarded net also has two layers that make its curve turn later. BatchNorm gives what goes into each hidden neuron
mean 0 and variance 1 over a batch (Ioffe and Szegedy 2015). Dropout silences three in ten of the hidden neurons in each
step, others each time, so that none can rely on another (Srivastava et al. 2014). In predictions, none is silenced:
this is why its loss on its own rows, which is measured in training, starts above that on the rows held back. Most of
the gain here is BatchNorm's; with dropout alone the test loss is no lower than without. Try one at a time
(batch_norm=True, dropout=0.3 below).

The rows held back have had a say in the training, and so the last word has a third set that had none, the test images.

To try: give the guarded net only one of the two layers; give early stopping less patience; change the seed.

    python examples/14_early_stopping.py --out out
"""

import argparse
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import nnlite as nl


def train(data, device, epochs, callbacks=(), **layers):
    """A trainer that has been trained on four fifths of the rows for training."""
    net = nl.mlp([64, 128, 64, 10], init="he_normal", output="softmax", device=device, seed=0, **layers)
    trainer = nl.Trainer(net, loss="cce", optimizer=nl.Adam(lr=0.003), metrics=["accuracy"])
    fitting = {"epochs": epochs, "batch_size": 32, "validation_split": 0.2, "progress": False}
    trainer.fit(data.x_train, data.y_train, callbacks=callbacks, **fitting)
    return trainer


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the picture")
    parser.add_argument("--quick", action="store_true", help="accepted for the sake of CI; this is always quick")
    parser.add_argument("--device", default="cpu", help="numpy, numba, cupy, cpu, gpu or auto")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)

    data = nl.datasets.digits(test=0.7)  # x (539, 64) and (1258, 64), y (539,) and (1258,)
    plain = train(data, arguments.device, epochs=100)

    rates: list[float] = []  # the learning rate after each epoch
    early, plateau = nl.EarlyStopping(patience=20), nl.ReduceLROnPlateau(factor=0.5, patience=6)
    with tempfile.TemporaryDirectory() as folder:  # yours would be one that stays
        checkpoint = nl.Checkpoint(Path(folder, "digits.safetensors"), monitor="val_loss")
        callbacks = [plateau, early, checkpoint, lambda trainer, epoch: rates.append(trainer.optimizer.lr)]
        guarded = train(data, arguments.device, 300, callbacks, batch_norm=True, dropout=0.3)
        loaded = nl.load(checkpoint.best_path, device=arguments.device)

    print(f"{'':12} {'epoch':>6} {'loss':>8} {'validation':>11} {'test':>8} {'test: right':>12}")
    results = []
    best = 1 + int(np.argmin(guarded.history["val_loss"]))
    for name, trainer, epoch in (("plain", plain, plain.history.epochs), ("guarded", guarded, best)):
        history = trainer.history
        loss, validation = history["loss"][epoch - 1], history["val_loss"][epoch - 1]
        results.append(test := trainer.evaluate(data.x_test, data.y_test))
        print(f"{name:12} {epoch:6} {loss:8.4f} {validation:11.4f} {test['loss']:8.4f} {test['accuracy']:12.1%}")
    print(f"it was stopped after epoch {early.stopped_epoch}, {early.patience} after the best one, {early.best_epoch}")

    draw(plain.history, guarded.history, rates, best).savefig(arguments.out / "14_early_stopping.png")
    assert early.best_epoch == best and early.stopped_epoch == best + 20 == guarded.history.epochs == len(rates)
    assert np.array_equal(loaded.predict(data.x_test), guarded.network.predict(data.x_test))  # the same epoch's
    assert results[1]["loss"] < 0.8 * results[0]["loss"] and results[1]["accuracy"] >= 0.96


def draw(plain, guarded, rates, best):
    figure, (above, below) = plt.subplots(
        2, 1, figsize=(9, 6.2), dpi=140, layout="constrained", sharex=True, height_ratios=(3, 1)
    )
    for history, colour, name in ((plain, nl.plots.COLOURS[3], "plain"), (guarded, nl.plots.COLOURS[0], "guarded")):
        epochs = np.arange(1, history.epochs + 1)  # (epochs,)
        above.plot(epochs, history["val_loss"], color=colour, linewidth=2.2, label=f"{name}, rows held back")
        above.plot(epochs, history["loss"], color=colour, linewidth=1, linestyle=":", label=f"{name}, its own rows")
    least = guarded["val_loss"][best - 1]
    above.plot(best, least, "o", color=nl.plots.COLOURS[0], markersize=10)
    arrow = {"arrowstyle": "->", "color": nl.plots.INK}
    text = f"epoch {best}, the best:\nits parameters are kept"
    above.annotate(text, (best, least), (best - 12, 0.3), arrowprops=arrow)
    above.set(title="The loss on rows held back says when to stop", ylabel="loss", ylim=(0, 0.6))
    above.legend(frameon=False)
    below.step(np.arange(1, len(rates) + 1), rates, where="mid", color=nl.plots.COLOURS[0])
    below.set(ylim=(0, 1.1 * rates[0]), xlabel="epoch", ylabel="learning rate")
    for ax in (above, below):
        ax.axvline(len(rates), color=nl.plots.COLOURS[6], linewidth=0.8, linestyle="--")
        ax.spines[["top", "right"]].set_visible(False)
    return figure


if __name__ == "__main__":
    main()

"""Iris: three species told apart by four measurements, the oldest data set of its kind (Anderson 1935, Fisher 1936).

Three classes again, so three outputs, softmax and cross-entropy: answering ⅓ for each class costs ln 3 = 1.10. The set
is so small that every step can use all of it, and so the curve of the loss is smooth. Each column is standardised by
the rows for training, (x − mean) / standard deviation, which `nl.datasets.iris` has done: nets learn badly from columns
of other sizes. The steps have momentum: each of them goes on with 0.9 of the one before it, like a ball that rolls
downhill.

30 of the 150 flowers are held back. Only these show whether the net has learned species or memorised flowers. Here they
show both: after some 70 epochs their loss rises again, as the net goes on to memorise the flowers in between (lesson 14
says when to stop), and a net without hidden neurons would do as well. The confusion matrix shows which species the net
confuses: setosa is easy, the other two overlap.

To try: leave the columns as they are (standardise=False), and take the hidden layer away.

    python examples/09_iris.py --out out
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt

import nnlite as nl

SPECIES = ("setosa", "versicolor", "virginica")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the picture")
    parser.add_argument("--quick", action="store_true", help="accepted for the sake of CI; this is always quick")
    parser.add_argument("--device", default="cpu", help="numpy, numba, cupy, cpu, gpu or auto")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)

    data = nl.datasets.iris()  # x (120, 4) and (30, 4), y (120,) and (30,)
    net = nl.mlp([4, 8, 3], hidden="tanh", output="softmax", device=arguments.device, seed=0)
    trainer = nl.Trainer(net, loss="cce", optimizer=nl.SGD(lr=0.2, momentum=0.9), metrics=["accuracy"])
    held_back = (data.x_test, data.y_test)
    history = trainer.fit(
        data.x_train, data.y_train, epochs=200, batch_size=120, validation_data=held_back, progress=False
    )
    print(net.summary())

    print("\nepoch   loss   accuracy   on the 30 held back")
    for epoch in (1, 5, 10, 20, 50, 200):
        loss, accuracy, unseen = (history[name][epoch - 1] for name in ("loss", "accuracy", "val_accuracy"))
        print(f"{epoch:5d}  {loss:5.3f}   {accuracy:8.3f}   {unseen:19.3f}")

    probabilities = net.predict(data.x_test)  # (30, 3)
    matrix = nl.metrics.confusion_matrix(probabilities, data.y_test)  # (3, 3)
    print("\ntrue species taken for  " + "  ".join(f"{name:>10}" for name in SPECIES))
    for name, row in zip(SPECIES, matrix):
        print(f"{name:22}  " + "  ".join(f"{count:10d}" for count in row))

    figure, axes = plt.subplots(1, 3, figsize=(13, 4.4), dpi=140, layout="constrained", width_ratios=(1.15, 1, 0.95))
    nl.plots.history(history, ax=axes[0])
    nl.plots.confusion_matrix(matrix, labels=SPECIES, ax=axes[1]).set_title("Held-back flowers")
    nl.plots.network(net, ax=axes[2])
    figure.savefig(arguments.out / "09_iris.png")

    assert history["val_accuracy"][-1] >= 0.9
    assert abs(matrix.trace() / matrix.sum() - history["val_accuracy"][-1]) < 1e-9  # two ways to count


if __name__ == "__main__":
    main()

"""MNIST: 70,000 handwritten digits of 28 × 28 dots, the yardstick of small nets (LeCun et al. 1998).

784 dots go in, 256 hidden neurons look for patterns in them, 10 outputs say how probable each digit is. The net trains
on 60,000 images. It is tested on 10,000 others, by other writers, and reads about 98 % of them right.

The weights that lead into one hidden neuron are 784 numbers, one for each dot, so they can be shown as an image: red
where ink excites the neuron, blue where ink silences it. They start as noise. What appears are strokes and bows: nobody
told the net to look for them.

The data is read from $NNLITE_DATA/mnist/ if that variable is set. Otherwise it is downloaded once.

To try: take the hidden layer away: some 92 % are still read right, and the pictures of the weights show why.

    python examples/11_mnist.py --out out
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt

import nnlite as nl


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the picture")
    parser.add_argument("--quick", action="store_true", help="10,000 images and 4 epochs, for at least 92 %%")
    parser.add_argument("--device", default="cpu", help="numpy, numba, cupy, cpu, gpu or auto")
    parser.add_argument("--seed", type=int, default=0, help="of the first weights and the shuffles")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows, epochs, wanted = (10_000, 2, 0.92) if arguments.quick else (60_000, 4, 0.975)

    data = nl.datasets.mnist()  # x (60000, 784) and (10000, 784), y (60000,) and (10000,)
    x, y, test = data.x_train[:rows], data.y_train[:rows], (data.x_test, data.y_test)
    # small first weights and some decay: otherwise the weights of dots without ink stay noise in the picture
    net = nl.mlp(
        [784, 256, 10],
        output="softmax",
        init=nl.initializers.uniform(-0.03, 0.03),
        device=arguments.device,
        seed=arguments.seed,
    )
    trainer = nl.Trainer(
        net, loss="cce", optimizer=nl.SGD(lr=0.1, momentum=0.9, weight_decay=1e-4), metrics=["accuracy"]
    )
    history = dict(trainer.fit(x, y, epochs=epochs, batch_size=128, validation_data=test))
    trainer.optimizer.lr = 0.01  # large steps lead there fast, small ones settle at the bottom
    settled = trainer.fit(x, y, epochs=2, batch_size=128, validation_data=test)
    history = {name: values + settled[name] for name, values in history.items()}

    print("epoch   loss    accuracy   test: loss   accuracy")
    for epoch, row in enumerate(zip(*(history[n] for n in ("loss", "accuracy", "val_loss", "val_accuracy"))), 1):
        print(f"{epoch:5d}  " + "{:6.4f}   {:8.4f}   {:10.4f}   {:8.4f}".format(*row))

    probabilities = net.predict(data.x_test)  # (10000, 10)
    matrix = nl.metrics.confusion_matrix(probabilities, data.y_test)  # (10, 10)
    draw(net, history, matrix).savefig(arguments.out / "11_mnist.png")
    assert history["val_accuracy"][-1] >= wanted


def draw(net, history, matrix):
    figure = plt.figure(figsize=(13, 7.4), dpi=140, layout="constrained")
    ((left, right),) = figure.subfigures(1, 2, squeeze=False, width_ratios=(1, 1.35))
    above, below = left.subplots(2, 1, height_ratios=(1, 1.25))
    nl.plots.history(history, ax=above).set_title("")
    nl.plots.confusion_matrix(matrix, ax=below)
    nl.plots.weights(net, layer=0, ax=right.subplots())
    return figure


if __name__ == "__main__":
    main()

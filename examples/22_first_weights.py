"""First weights: of the right size, a deep net learns; too small, too large or all equal, and it does not.

Before the first step, weights are drawn at random. All 0 will not do: the hidden neurons of a layer would then
all compute the same, get the same slopes, and stay alike for ever. How large they should be follows from one sum.
A neuron adds up n inputs, each times a weight. If the weights are drawn independently of each other, with mean 0 and
some variance, which is the square of their standard deviation, then

    the mean of its square = n · (the weights' variance) · (the mean square of the inputs)

so that the signal keeps its size if the variance is 1/n (LeCun et al. 1998). The error that goes back through the same
weights keeps its size in the same way. With less, each layer makes both smaller, always by the same factor, and of ten
layers its tenth power is left. With more, tanh is pushed to 1 and −1, so that little of an image is left but signs, and
the error grows from layer to layer. ReLU passes half of what comes in, and keeps the size with twice the variance, 2/n
(He et al. 2015). A sigmoid's slope is ¼ at most, and so the error shrinks in each layer, with these weights and with
most others, and what tells one image from another shrinks as fast: for many years, nets with more than a layer or two
of them would hardly learn.

Ten hidden layers, then, with first weights of different sizes. Images of digits go through them, and an error
of size 1, drawn at random, comes back. Of the outputs, the table has how much they differ from image to image, and of
the error its size, both as standard deviations; and what 20 epochs of training make of it.

Not all that shrinks is lost. With ReLU and 1/n, a thirtieth of the error is left, and Adam makes that good, since it
divides slopes by their size (lesson 23): it begins later, and ends as well. With plain gradient descent, the first and
the last of these nets do not learn at all. With one hidden layer all of them learn, and with batch norm, which gives
the signal its size anew in each layer (lesson 14), too. If `nl.mlp` is not told what to take, it takes glorot_uniform,
a compromise between n inputs and n outputs.

To try: batch_norm=True, or DEPTH = 1; nl.SGD(lr=0.1) in place of Adam; init="zeros"; nl.initializers.uniform(-1, 1)
with relu, whose outputs grow from layer to layer.

    python examples/22_first_weights.py --out out
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import nnlite as nl

DEPTH, EPOCHS = 10, 20
RECIPES = {  # what the picture calls it: the activation, and how the weights are drawn
    "tanh, U(−0.02, 0.02)": ("tanh", nl.initializers.uniform(-0.02, 0.02)),
    "tanh, U(−1, 1)": ("tanh", nl.initializers.uniform(-1, 1)),
    "tanh, variance 1/n": ("tanh", "lecun_normal"),
    "relu, variance 1/n": ("relu", "lecun_normal"),
    "relu, variance 2/n": ("relu", "he_normal"),
    "sigmoid, variance 1/n": ("sigmoid", "lecun_normal"),
}


def make_net(hidden, init, device):
    return nl.mlp([64, *[64] * DEPTH, 10], hidden=hidden, output="softmax", init=init, device=device, seed=0)


def spreads(net, x, dy):
    """The deviations of each hidden layer's outputs over the rows, and of the error that comes back: (DEPTH,) each."""
    *layers, _ = net.layers  # all but the softmax: Dense, activation, Dense, activation … Dense
    outputs, errors = [], []
    for layer in layers:
        x = layer.forward(x)
        outputs.append(x.std(axis=0).mean())  # of each neuron over the rows, and the mean over neurons
    for layer in reversed(layers):
        errors.append(dy.std())  # of what comes back to this layer's outputs
        dy = layer.backward(dy)
    return outputs[1:-1:2], errors[::-1][1:-1:2]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the picture")
    parser.add_argument("--quick", action="store_true", help="accepted for the sake of CI; this is always quick")
    parser.add_argument("--device", default="cpu", help="numpy, numba, cupy, cpu, gpu or auto")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)

    data = nl.datasets.digits()  # x (1438, 64) and (359, 64), y (1438,) and (359,)
    x = data.x_train[:256]  # (256, 64)
    dy = np.random.Generator(np.random.PCG64(0)).standard_normal((256, 10))  # (256, 10)
    test = data.x_test, data.y_test

    print(f"{'':22} outputs differ in        the error back at       after {EPOCHS} epochs")
    last = f"layer {DEPTH}"
    print(f"{'':22} {'layer 1':>9} {last:>10}   {last:>9} {'layer 1':>9}   {'loss':>8} {'right':>7}")
    measured = {}
    for name, (hidden, init) in RECIPES.items():
        outputs, errors = spreads(make_net(hidden, init, "numpy").to(dtype="float64"), x, dy)
        trainer = nl.Trainer(make_net(hidden, init, arguments.device), "cce", nl.Adam(), metrics=["accuracy"])
        history = trainer.fit(data.x_train, data.y_train, EPOCHS, validation_data=test, progress=False)
        measured[name] = outputs, errors, history["val_accuracy"]
        arrived = f"{outputs[0]:9.1g} {outputs[-1]:10.1g}   {errors[-1]:9.1g} {errors[0]:9.1g}"
        print(f"{name:22} {arrived}   {history['loss'][-1]:8.4f} {history['val_accuracy'][-1]:7.1%}")

    draw(measured).savefig(arguments.out / "22_first_weights.png")
    right = {name: np.median(accuracies[-5:]) for name, (_, _, accuracies) in measured.items()}
    assert min(right["tanh, variance 1/n"], right["relu, variance 2/n"]) > 0.93
    assert max(right["tanh, U(−0.02, 0.02)"], right["tanh, U(−1, 1)"], right["sigmoid, variance 1/n"]) < 0.7
    outputs, errors, _ = measured["relu, variance 2/n"]
    assert outputs[-1] > 0.3 * outputs[0] and errors[0] > 0.3 * errors[-1]


def draw(measured):
    figure, axes = plt.subplots(1, 3, figsize=(14, 4.4), dpi=140, layout="constrained")
    for colour, (name, curves) in zip(nl.plots.COLOURS, measured.items()):
        for ax, curve in zip(axes, curves):
            ax.plot(np.arange(1, len(curve) + 1), curve, color=colour, linewidth=2, label=name)
    axes[0].set(
        title="Images on their way forward", xlabel="hidden layer", ylabel="how much outputs differ", yscale="log"
    )
    axes[1].set(title="An error of size 1 on its way back", xlabel="hidden layer", ylabel="size", yscale="log")
    axes[1].invert_xaxis()
    axes[2].set(title="Training", xlabel="epoch", ylabel="test images right", ylim=(0, 1))
    axes[2].legend(frameon=False, title="activation, first weights", loc="upper left", bbox_to_anchor=(1, 1))
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    return figure


if __name__ == "__main__":
    main()

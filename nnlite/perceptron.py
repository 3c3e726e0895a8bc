"""A multilayer perceptron in one call."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from . import elsewhere, gate
from .activation import Activation
from .activations import Identity, activation
from .initializers import Initializer
from .layers import Dense, Layer
from .network import Seed, Sequential
from .noise import Dropout
from .normalization import BatchNorm


@elsewhere.answered(elsewhere.MLP, usage="nl.mlp([4, 8, 2]) has 4 inputs, 8 hidden units and 2 outputs")
def mlp(
    sizes: Sequence[int],
    hidden: str | Activation | Sequence[str | Activation] = "relu",
    output: str | Activation = "identity",
    init: str | Initializer = "glorot_uniform",
    device: str = "cpu",
    dtype: Any = "float32",
    seed: Seed = 0,
    threads: int | None = None,
    dropout: float = 0.0,
    batch_norm: bool = False,
) -> Sequential:
    """A multilayer perceptron in one call: sizes [inputs, hidden …, outputs], with a Dense between neighbours.

    `hidden` is the activation after all hidden layers, or a list with one for each; `output` is the activation after
    the last layer. Each is a name, or a layer such as nl.LeakyReLU(0.2), of which the network gets copies. With
    `batch_norm`, there is a BatchNorm before the activation of every hidden layer, whose Dense then needs no bias; with
    `dropout`, there is a Dropout of this rate after it. ValueError for an unknown name or a list of the wrong length.

    >>> nl.mlp([784, 128, 10], output="softmax", device="numpy").layers
    (Dense(784, 128), ReLU(), Dense(128, 10), Softmax())
    """
    if not isinstance(sizes, Sequence) or isinstance(sizes, str) or len(sizes) < 2:
        raise ValueError(
            f"sizes={sizes!r} must list at least the number of inputs and of outputs, such as [784, 128, 10]"
        )
    if isinstance(hidden, (str, Activation)) or not isinstance(hidden, Iterable):
        hidden = [hidden] * (len(sizes) - 2)
    names = list(hidden)
    if len(names) != len(sizes) - 2:
        raise ValueError(f"hidden={hidden!r} names {len(names)} activations for {len(sizes) - 2} hidden layers")
    layers: list[Layer] = []
    gate.number(dropout, "dropout", least=0, below=1)
    for inputs, outputs, name in zip(sizes, sizes[1:], names):
        layers.append(Dense(inputs, outputs, init, bias=not batch_norm))
        layers += [BatchNorm(outputs)] if batch_norm else []
        layers.append(activation(name, "hidden"))
        layers += [Dropout(dropout)] if dropout else []
    layers += [Dense(sizes[-2], sizes[-1], init), activation(output, "output")]
    if isinstance(layers[-1], Identity):
        layers.pop()
    return Sequential(*layers, device=device, dtype=dtype, seed=seed, threads=threads)

"""What is trained: seven nets from tiny to wide by plain SGD, and three with all that people add to it.

Every peer is given exactly this.
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Extras:
    """What a training has beside plain SGD: here nothing."""

    optimizer: str = "sgd"  # "adam", or "adamw" with a decay of 0.01
    cosine: int = 0  # number of steps within which the learning rate falls to 0 as a cosine; 0 for none
    dropout: float = 0.0  # the rate after each hidden layer
    batch_norm: bool = False  # before each hidden activation, in the place of the bias
    weighted: bool = False  # rows have weights
    accuracy: bool = False  # it is measured in every epoch

    def __str__(self) -> str:
        words = [{"sgd": "", "adam": "Adam", "adamw": "AdamW"}[self.optimizer], "cosine schedule" * bool(self.cosine)]
        words += [f"dropout {self.dropout}" * bool(self.dropout), "batch norm" * self.batch_norm]
        return ", ".join(filter(None, [*words, "weighted rows" * self.weighted, "accuracy" * self.accuracy]))


PLAIN = Extras()

Train = Callable[[int, bool], list[float]]  # (epochs, shuffle) -> mean loss of each epoch


@dataclass(frozen=True)
class Problem:
    """A net with first weights, and the rows it is trained on."""

    sizes: tuple[int, ...]
    hidden: str  # activation of the hidden layers
    output: str  # activation of the last layer; "softmax" goes with "cce"
    loss: str  # "mse" or "cce"
    lr: float
    batch_size: int
    x: np.ndarray  # (N, inputs)
    y: np.ndarray  # (N, outputs), or labels (N,) for "cce"
    weights: dict[str, np.ndarray]  # "0.W" (inputs, outputs), "0.b" (outputs,), "2.W", … as nnlite's state_dict
    source: str = "synthetic"  # where the rows come from
    extras: Extras = PLAIN
    weight: np.ndarray | None = None  # (N,), of each row

    @property
    def full_batch(self) -> bool:
        """Whether one batch holds all rows, so that there is nothing to shuffle or to gather."""
        return self.batch_size >= len(self.x)

    @property
    def steps(self) -> int:
        """Training steps in an epoch; the last batch may be short."""
        return math.ceil(len(self.x) / self.batch_size)

    def head(self, rows: int) -> Problem:
        """The same net on the first rows only."""
        weight = None if self.weight is None else self.weight[:rows].copy()
        return replace(self, x=self.x[:rows].copy(), y=self.y[:rows].copy(), weight=weight)

    def without_dropout(self) -> Problem:
        """The same where nothing is left to chance but the order of rows."""
        return replace(self, extras=replace(self.extras, dropout=0.0))

    def rates(self, first: int, steps: int) -> np.ndarray:
        """The learning rates of so many steps from this one on, in float64."""
        if not self.extras.cosine:
            return np.full(steps, self.lr)
        part = np.minimum(np.arange(first, first + steps) / self.extras.cosine, 1)
        return self.lr * (1 + np.cos(np.pi * part)) / 2

    def astype(self, dtype: str) -> Problem:
        """The same in another precision; labels stay integers."""
        y = self.y if self.y.dtype.kind == "i" else self.y.astype(dtype, copy=False)
        weights = {name: array.astype(dtype) for name, array in self.weights.items()}
        weight = None if self.weight is None else self.weight.astype(dtype, copy=False)
        return replace(self, x=self.x.astype(dtype, copy=False), y=y, weights=weights, weight=weight)


def activations_of(problem: Problem) -> list[str]:
    """The name of each layer's activation."""
    return [problem.hidden] * (len(problem.sizes) - 2) + [problem.output]


def layers_of(problem: Problem) -> list[tuple[np.ndarray, np.ndarray]]:
    """The first W (inputs, outputs) and b (outputs,) of each layer."""
    return [(problem.weights[f"{2 * i}.W"], problem.weights[f"{2 * i}.b"]) for i in range(len(problem.sizes) - 1)]


@dataclass(frozen=True)
class Workload:
    """A net, how it is trained, and where its data come from."""

    sizes: tuple[int, ...]
    hidden: str
    output: str
    loss: str
    lr: float
    batch_size: int
    data: Callable[[], tuple[np.ndarray, np.ndarray, str]]  # -> x, y, source
    rows: int | None = None  # only so many of them
    proof_steps: int = 30  # how many steps must give the same loss on all sides
    extras: Extras = PLAIN

    @property
    def title(self) -> str:
        """Such as "64-32-10 relu/softmax, batch 32, CE", and its extras."""
        activations = self.hidden if self.output in (self.hidden, "identity") else f"{self.hidden}/{self.output}"
        loss = {"mse": "MSE", "cce": "CE"}[self.loss]
        what = f"{'-'.join(map(str, self.sizes))} {activations}, batch {self.batch_size:,}, {loss}"
        return f"{what}: {self.extras}" if self.extras != PLAIN else what

    def multiply_adds(self, training: bool) -> int:
        """Those of the layers' products for a row, in training with those of the gradients."""
        layers = [inputs * outputs for inputs, outputs in zip(self.sizes, self.sizes[1:])]
        return 3 * sum(layers) - layers[0] if training else sum(layers)  # the data need no gradient

    def problem(self) -> Problem:
        """With data and first weights, in float32."""
        import nnlite as nl

        x, y, source = self.data()
        x, y = x[: self.rows], y[: self.rows]
        net = nl.mlp(self.sizes, self.hidden, self.output, device="numpy", dtype="float64", seed=0)
        settings = (self.sizes, self.hidden, self.output, self.loss, self.lr, self.batch_size)
        weight = np.random.default_rng(1).uniform(0.5, 2.0, len(x)) if self.extras.weighted else None
        return Problem(*settings, x, y, net.state_dict(), source, self.extras, weight).astype("float32")


def xor() -> tuple[np.ndarray, np.ndarray, str]:
    """The four rows of the logic gate, one target column."""
    import nnlite as nl

    x, y = nl.datasets.logic_gate("xor")
    return np.asarray(x, np.float64), np.asarray(y, np.float64).reshape(4, 1), "all four rows"


def digits() -> tuple[np.ndarray, np.ndarray, str]:
    """1,438 handwritten digits of 8 x 8 grey values, 0 to 9 by turns.

    So any few of the first rows hold all ten: scikit-learn gives a net as many outputs as it sees classes.
    """
    import nnlite as nl

    split = nl.datasets.digits()
    y = split.y_train.astype(np.int64)
    turn = np.zeros(len(y), int)  # of each row, among those of its class
    for label in np.unique(y):
        turn[y == label] = np.arange(np.count_nonzero(y == label))
    order = np.lexsort((y, turn))
    return split.x_train[order], y[order], "scikit-learn's digits"


def table() -> tuple[np.ndarray, np.ndarray, str]:
    """2,048 rows of 13 columns and a smooth function of them."""
    x = np.random.default_rng(0).standard_normal((2048, 13))
    return x, np.sin(x[:, :1]) + x[:, 1:2] * x[:, 2:3] / 2, "synthetic"


@functools.cache
def mnist() -> tuple[np.ndarray, np.ndarray, str]:
    """60,000 images of 28 x 28: MNIST where NNLITE_DATA names its folder, else noise of that shape."""
    if os.environ.get("NNLITE_DATA"):
        import nnlite as nl

        split = nl.datasets.mnist()
        return split.x_train, split.y_train.astype(np.int64), "MNIST"
    rng = np.random.default_rng(0)
    return rng.random((60_000, 784), np.float32), rng.integers(10, size=60_000), "noise of MNIST's shape"


def squares() -> tuple[np.ndarray, np.ndarray, str]:
    """10,000 matrices of 2 x 2, and their squares."""
    x = np.random.default_rng(0).uniform(-1, 1, (10_000, 2, 2))
    return x.reshape(-1, 4), (x @ x).reshape(-1, 4), "synthetic"


WORKLOADS: dict[str, Workload] = {
    "xor": Workload((2, 3, 1), "sigmoid", "sigmoid", "mse", 1.0, 4, xor),
    "digits": Workload((64, 32, 10), "relu", "softmax", "cce", 0.1, 32, digits),
    "tabular": Workload((13, 64, 64, 1), "tanh", "identity", "mse", 0.05, 32, table),
    "mnist-128": Workload((784, 128, 10), "relu", "softmax", "cce", 0.1, 64, mnist),
    "mnist-256": Workload((784, 256, 10), "sigmoid", "softmax", "cce", 0.1, 200, mnist),
    "wide": Workload((784, 2048, 2048, 10), "relu", "softmax", "cce", 0.05, 512, mnist, rows=5120, proof_steps=6),
    "chain": Workload((4, 32, 16, 4), "tanh", "identity", "mse", 0.05, 10_000, squares),
    "digits-adam": Workload(
        *((64, 32, 10), "relu", "softmax", "cce", 0.003, 32, digits),
        extras=Extras("adam", dropout=0.2, accuracy=True),
    ),
    "tabular-adamw": Workload(
        *((13, 64, 64, 1), "tanh", "identity", "mse", 0.003, 32, table),
        extras=Extras("adamw", cosine=6400, weighted=True),
    ),
    "mnist-norm": Workload(
        *((784, 128, 10), "relu", "softmax", "cce", 0.1, 64, mnist),
        extras=Extras(batch_norm=True, accuracy=True),
    ),
}

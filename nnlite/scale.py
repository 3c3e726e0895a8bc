"""Numbers from which a net learns little, or which it cannot reach: a warning before the first epoch."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from . import gate
from .activations import ReLU, Sigmoid, Softmax, Softplus, Tanh
from .layers import Dense, Layer
from .loss import Loss
from .network import Sequential

FAR = 100  # a column is told if a quarter of its numbers are larger than this
FEW = 16  # rows that are looked at
REACH: dict[type[Layer], tuple[float, float]] = {  # what comes out of a last layer
    Sigmoid: (0, 1),
    Softmax: (0, 1),
    Tanh: (-1, 1),
    ReLU: (0, np.inf),
    Softplus: (0, np.inf),
}


class ScaleWarning(UserWarning):
    """A net will probably learn little or nothing from these numbers: they are far from 1, or out of its reach."""


def tell_of_scale(network: Sequential, loss: Loss, x: Any, target: Any) -> None:
    """ScaleWarning for a column of large numbers in x (N, inputs) or target (N, outputs), or a target out of reach.

    Some rows show that. Nothing is said of x if a layer before the first Dense may change the numbers, nor of targets
    that are no amounts.
    """
    said: list[str] = []
    if isinstance(network.layers[0], Dense):
        said += _far(_few(network, x), "x", f"or put nl.BatchNorm({network.inputs}) first")
    if loss.target == "real":
        few, last = _few(network, target), network.layers[-1]
        low, high = REACH.get(type(last), (-np.inf, np.inf))
        beyond = np.maximum(low - few, 0) + np.maximum(few - high, 0)
        if beyond.mean() > 0.1 * few.std() + 1e-6:  # more than noise about the end
            reach = f"{low:g} … {high:g}" if np.isfinite(high) else f"{low:g} and above"
            said.append(f"y has numbers outside {reach}, which {last!r} cannot give: scale them, or leave it out")
        elif isinstance(last, Dense):
            said += _far(few, "y", "and undo that in predictions")
    for text in said:
        warnings.warn(text, ScaleWarning, stacklevel=gate.level_of_caller())


def _few(network: Sequential, array: Any) -> np.ndarray:
    """Some of the rows in float64; 0 for what was not measured."""
    few = network.backend.to_numpy(array[:: max(1, len(array) // FEW)])
    return np.nan_to_num(few.astype(np.float64))


def _far(few: np.ndarray, name: str, instead: str) -> Iterator[str]:
    sizes = np.quantile(np.abs(few), 0.75, axis=0)  # (columns,)
    far, largest = int(np.count_nonzero(sizes > FAR)), int(np.argmax(sizes))
    if far:
        size = 10.0 ** round(np.log10(sizes[largest]))  # roughly, so that Python tells it once and not for each fold
        others = f", and {far - 1} more of the {len(sizes)} columns are like it" * (far > 1)
        yield (
            f"column {largest} of {name} has numbers of about {size:,g}{others}: a net learns from numbers of about "
            "1. Subtract the mean and divide by the standard deviation of each column, as the rows for training have "
            f"them (lesson 21), {instead}"
        )

"""Columns of every size are brought to mean 0 and deviation 1, and the scales then go into a network's weights.

N rows, D features, K outputs
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..files import CorruptFileError
from ..network import Sequential

INDICATOR = 0.5  # what a column of 0 and 1 is divided by
LARGEST = 1e149  # of numbers whose differences can be squared, and the squares of a billion rows added up


class Scale(NamedTuple):
    """Mean μ and standard deviation σ of each column (D,); σ is 1 where a column never changes."""

    mean: np.ndarray
    deviation: np.ndarray

    @classmethod
    def of(cls, x: np.ndarray) -> Scale:
        """The scale of the rows x (N, D); ValueError if a column has numbers too large to be squared."""
        with np.errstate(over="ignore", invalid="ignore"):
            from_first = x - x[0]  # keeps the digits of 1e9 ± 1e-3, and makes a constant column exactly 0
            mean, deviation = x[0] + from_first.mean(axis=0), from_first.std(axis=0)
        # A column of 0 and 1 keeps its size. Divided by its deviation, a rare 1 would be larger than any other number.
        deviation = np.where(((x == 0) | (x == 1)).all(axis=0), INDICATOR, deviation)
        if not np.isfinite(deviation).all():
            raise ValueError(f"column {int(np.argmin(np.isfinite(deviation))) + 1} has numbers too large to be squared")
        return cls(mean, np.where(deviation == 0, 1.0, deviation))

    def apply(self, x: np.ndarray) -> np.ndarray:
        """(x − μ) / σ, (N, D)."""
        return (x - self.mean) / self.deviation


def too_large(values: np.ndarray) -> bool:
    """Whether there are numbers that cannot be scaled, since their squares would be infinite; NaN is none."""
    return bool((np.abs(values) > LARGEST).any())


def fold(net: Sequential, inputs: Scale, outputs: Scale | None = None) -> None:
    """Let a network trained on scaled columns read raw ones and answer in raw ones: the scales go into its weights.

    ((x − μ)/σ) W + b = x W′ + b′ with W′ = W/σ, b′ = b − (μ/σ) W for the first Dense layer;
    (h W + b) σ + μ = h W′ + b′ with W′ = W σ, b′ = b σ + μ for the last, if the network ends in it.
    """
    state = net.state_dict()
    names = [name.removesuffix(".W") for name in state if name.endswith(".W")]
    W, b = state[f"{names[0]}.W"], state[f"{names[0]}.b"]  # (D, units), (units,)
    b -= (inputs.mean / inputs.deviation) @ W
    W /= inputs.deviation[:, None]
    if outputs is not None:
        W, b = state[f"{names[-1]}.W"], state[f"{names[-1]}.b"]  # (units, K), (K,)
        W *= outputs.deviation
        b *= outputs.deviation
        b += outputs.mean
    net.load_state_dict(state)


def fold_noted(net: Sequential, path: str) -> None:
    """`fold` with the scales that a checkpoint of `nnlite train` notes; CorruptFileError if they do not fit."""
    scales = net.notes.get("scales") if isinstance(net.notes, dict) else None
    if scales is None:
        return
    try:
        x_scale, y_scale = (each and Scale(*np.array(each, np.float64)) for each in scales)
        if x_scale:
            fold(net, x_scale, y_scale)
    except (TypeError, ValueError, IndexError) as error:
        raise CorruptFileError(f"{path}: the scales of its columns do not fit the network: {error}") from error

"""Layers that change their x at random in training, and not at all in predictions.

What is drawn for a row depends on the network's seed, the number of steps made so far, and the place of the row in the
batch. It is the same on every device, and however threads and processes divide the rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .attaching import AfterForward
from .devices import Device
from .gate import number
from .layers import Layer


class Noise(Layer):
    """What these layers share: a key of their own, and a count of how often they have drawn."""

    draws: Any  # (1,), how often the layer has drawn
    key = 0
    first_row = 0  # the place in the batch of the first row of x

    def __init__(self, *, device: str | Device = "numpy") -> None:
        super().__init__(device=device)
        self.state = {"draws": np.zeros(1, np.int64)}

    def initial(self, rng: np.random.Generator) -> Mapping[str, np.ndarray]:
        self.key = int(rng.integers(2**32))
        return {}


class Dropout(Noise):
    """In training, each number is set to 0 with probability `rate`, and the others are divided by 1 − rate, so that
    their mean stays the same; in predictions, y = x (Srivastava et al. 2014, "inverted" dropout).

    x, y (N, K). 0 ≤ rate < 1, or else ValueError.

    >>> layer = nl.Dropout(0.5)
    >>> layer.training = True  # a Trainer does that
    >>> layer.forward(np.ones((1, 6)))
    array([[2., 0., 0., 2., 0., 0.]])
    """

    kept = ("mask",)
    mask: Any = AfterForward()  # (N, K), of the last forward; None if that forward dropped nothing

    def __init__(self, rate: float = 0.5, *, device: str | Device = "numpy") -> None:
        super().__init__(device=device)
        self.rate = number(rate, "rate", least=0, below=1)

    def forward(self, x: Any) -> Any:
        if not self.training:
            self.mask = None
            return x
        y, self.mask = self.ops.dropout(x, self.draws, self.key, self.rate, self.first_row)
        self.ops.count_step(self.draws)
        return y

    def backward(self, dy: Any) -> Any:
        return dy if self.mask is None else self.ops.dropout_backward(dy, self.mask)

    def config(self) -> dict[str, Any]:
        return {"rate": self.rate}


class GaussianNoise(Noise):
    """In training, y = x + noise, with independent noise of mean 0 and standard deviation `deviation` on every number;
    in predictions, y = x (Bishop 1995, "Training with noise is equivalent to Tikhonov regularization").

    x, y (N, K). deviation > 0, or else ValueError. The noise is a sum of twelve uniform numbers, which is as good as
    normal within ±6 standard deviations and never beyond; the kernel `gaussian_noise` tells why.
    """

    def __init__(self, deviation: float = 0.1, *, device: str | Device = "numpy") -> None:
        super().__init__(device=device)
        self.deviation = number(deviation, "deviation", above=0)

    def forward(self, x: Any) -> Any:
        if not self.training:
            return x
        y = self.ops.gaussian_noise(x, self.draws, self.key, self.deviation, self.first_row)
        self.ops.count_step(self.draws)
        return y

    def backward(self, dy: Any) -> Any:
        return dy

    def config(self) -> dict[str, Any]:
        return {"deviation": self.deviation}

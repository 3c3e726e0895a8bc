"""The learning-rate range test: which learning rates train a network, found within some hundred steps (Smith 2017)."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import gate
from .divergence import quiet
from .schedules import Exponential
from .steps import Steps
from .trainer import Trainer

WORSE = 4.0  # the test ends once the smoothed loss is so many times its least value


@dataclass(frozen=True)
class RangeTest:
    """What `lr_range_test` found: the loss (steps,) of each batch, at a learning rate of rates (steps,)."""

    rates: np.ndarray
    losses: np.ndarray

    @property
    def smooth(self) -> np.ndarray:
        """The losses (steps,), each a mean over its neighbours, nearer ones with more weight."""
        width = max(2, len(self.losses) // 20)
        place = np.arange(len(self.losses))
        near = np.exp(-0.5 * ((place - place[:, None]) / width) ** 2)  # (steps, steps)
        return near @ self.losses / near.sum(axis=1)

"""Metrics of probabilities: how far they are from what came true."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..devices import Ops
from ..loss import Loss
from ..network import Sequential
from .answers import AnswerMetric
from .metric import mean_of, weights_of


class LogLoss(AnswerMetric):
    """−1/N Σ t ln p over the classes; for yes-or-no outputs −1/NK Σ t ln p + (1 − t) ln(1 − p).

    p is kept 2⁻⁵² away from 0 and 1.
    """

    name, better = "log_loss", "min"
    probable = True

    def measure(self, prediction: np.ndarray, target: np.ndarray, weight: np.ndarray | None = None) -> float:
        weights, least = weights_of(target, weight), np.finfo(np.float64).eps
        p = np.clip(prediction, least, 1 - least)
        if self._kind(target.shape[1]) == "class":
            return mean_of(-(target * np.log(p)).sum(axis=1), weights[:, 0])
        return mean_of(-(target * np.log(p) + (1 - target) * np.log(1 - p)), weights)


class Brier(AnswerMetric):
    """The mean of Σₖ (p − t)², from 0 to 2 for several classes; of two classes, and of yes-or-no outputs, half of it.

    Half of it is (p − t)² of one class, from 0 to 1 (Brier 1950; as in scikit-learn's brier_score_loss).
    """

    name, better = "brier", "min"
    probable = True
    summed = 1  # the number of outputs over which squares are summed; over others, the mean is taken

    def for_loss(self, loss: Loss, network: Sequential) -> Brier:
        found = super().for_loss(loss, network)
        found.summed = found._summed(network.outputs or 1)
        return found

    def add(self, ops: Ops, prediction: Any, target: Any, sums: Any) -> None:
        ops.add_squared_errors(prediction, target, sums)

    def value(self, sums: np.ndarray) -> float:
        return self.summed * float(sums[0] / sums[1])

    def measure(self, prediction: np.ndarray, target: np.ndarray, weight: np.ndarray | None = None) -> float:
        mean = mean_of(np.square(prediction - target), weights_of(target, weight))
        return self._summed(target.shape[1]) * mean

    def _summed(self, outputs: int) -> int:
        return outputs if self._kind(outputs) == "class" and outputs > 2 else 1

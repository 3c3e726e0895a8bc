"""Metrics of order: whether rows that are of a class get larger outputs than others. They need all rows at once.

With several classes, or several yes-or-no outputs, each output is measured by itself, against all others, and the
result is the mean. Of two classes, the second one is measured. An output with rows of one kind alone says nothing about
their order, and is left out; without any other, the result is NaN.
"""

from __future__ import annotations

import numpy as np

from .answers import AnswerMetric
from .metric import weights_of


class RankingMetric(AnswerMetric):
    """The base class of metrics of order; a new one writes `of_groups`."""

    bordered = False

    def of_groups(self, positive: np.ndarray, negative: np.ndarray) -> float:
        """The metric from the weights of rows of the class and of the others (G,), for growing values of the output."""
        raise NotImplementedError(f"{type(self).__name__} has no of_groups")

    def measure(self, prediction: np.ndarray, target: np.ndarray, weight: np.ndarray | None = None) -> float:
        weights, outputs = weights_of(target, weight), target.shape[1]
        if self._kind(outputs) == "class":
            true = np.arange(outputs) == target.argmax(axis=1)[:, None]
        else:
            true = target > 0.5
        one = outputs == 2 and self._kind(outputs) == "class"
        found = []
        for k in [1] if one else range(outputs):
            positive, negative = grouped(prediction[:, k], true[:, k], weights[:, k])
            if positive.any() and negative.any():
                found.append(self.of_groups(positive, negative))
        return float(np.mean(found)) if found else float("nan")


class ROCAUC(RankingMetric):
    """The area below the ROC curve: how likely a row of the class has a larger output than another row.

    Equal outputs count half. It is exact, not from a fixed number of thresholds (Hanley and McNeil 1982).

    >>> nl.metrics.ROCAUC()([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1])
    0.75
    """

    name, better = "roc_auc", "max"

    def of_groups(self, positive: np.ndarray, negative: np.ndarray) -> float:
        below = np.cumsum(negative) - negative / 2
        return float(positive @ below / (positive.sum() * negative.sum()))


class AveragePrecision(RankingMetric):
    """The area below the curve of precision over recall, as steps: Σ precision · increase of recall."""

    name, better = "average_precision", "max"

    def of_groups(self, positive: np.ndarray, negative: np.ndarray) -> float:
        positive, negative = positive[::-1], negative[::-1]
        hits, found = np.cumsum(positive), np.cumsum(positive + negative)
        precision = np.divide(hits, found, out=np.zeros(len(hits)), where=found > 0)
        return float(positive @ precision / positive.sum())


def grouped(values: np.ndarray, true: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values, whether they are of the class, and weights (N,) -> weights of those that are, and of the others (G,).

    There is one group for each different value, in growing order.
    """
    order = np.argsort(values)
    values, weights = values[order], weights[order]
    positive = np.where(true[order], weights, 0.0)
    starts = np.flatnonzero(np.append(True, values[1:] != values[:-1]))
    of_class, all_rows = np.add.reduceat(positive, starts), np.add.reduceat(weights, starts)
    return of_class, all_rows - of_class

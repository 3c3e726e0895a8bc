"""Metrics from counts for each class: how many rows are of it, how many were taken for it, and how many rightly."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .. import gate
from ..devices import Ops
from .answers import AnswerMetric
from .metric import weights_of


class Counts(NamedTuple):
    """For each class, counts or sums of weights (K,). A yes-or-no answer is a class: those that say yes."""

    hits: np.ndarray  # rows of the class that were taken for it
    found: np.ndarray  # rows that were taken for it
    true: np.ndarray  # rows of the class
    rows: np.ndarray


class ConfusionMetric(AnswerMetric):
    """The base class of metrics from counts; a new one writes `scores`.

    `average` says how the scores of the classes become one number: "macro" is their mean, "weighted" their mean with
    the numbers of rows of each class as weights, "micro" the score of all classes counted together. With None, each
    class has its own column, such as "recall_3" for class 3. A class without rows that was never predicted is left out
    of a mean, as in scikit-learn; a yes-or-no output is not. A score without any rows is 0.
    """

    def __init__(
        self,
        average: str | None = "macro",
        kind: str | None = None,
        from_logits: bool = False,
        ignore_nan: bool = False,
    ) -> None:
        super().__init__(kind, from_logits, ignore_nan)
        allowed = ("macro", "micro", "weighted")
        self.average = None if average is None else gate.one_of(average, allowed, "average")

    def scores(self, counts: Counts) -> np.ndarray:
        """The score of each class (K,)."""
        raise NotImplementedError(f"{type(self).__name__} has no scores")

    def names(self, outputs: int) -> list[str]:
        alone = self.average is not None or outputs == 1
        return [self.name] if alone else [f"{self.name}_{k}" for k in range(outputs)]

    def shape(self, outputs: int) -> tuple[int, ...]:
        return (7, outputs)

    def add(self, ops: Ops, prediction: Any, target: Any, sums: Any) -> None:
        ops.add_confusions(prediction, target, self._kind(prediction.shape[1]) == "class", sums)

    def value(self, sums: np.ndarray) -> Any:
        of_half, of_zero, above_half, above_zero, true, below, rows = sums
        zero = self.from_logits or below.any()
        return self.averaged(Counts(of_zero if zero else of_half, above_zero if zero else above_half, true, rows))

    def measure(self, prediction: np.ndarray, target: np.ndarray, weight: np.ndarray | None = None) -> Any:
        outputs = target.shape[1]
        if self._kind(outputs) == "class":
            w = weights_of(target[:, :1], weight)[:, 0]  # (N,)
            found, true = prediction.argmax(axis=1), target.argmax(axis=1)
            hits = np.bincount(true, w * (found == true), outputs)
            taken, there = np.bincount(found, w, outputs), np.bincount(true, w, outputs)
            return self.averaged(Counts(hits, taken, there, np.full(outputs, w.sum())))
        weights = weights_of(target, weight)  # (N, K)
        yes, true = prediction > self._border(target), target > 0.5
        return self.averaged(Counts(*((each * weights).sum(axis=0) for each in (yes & true, yes, true, True))))

    def averaged(self, counts: Counts) -> Any:
        """One number, or a list of one for each class."""
        if self.average == "micro":
            return float(self.scores(Counts(*(each.sum(keepdims=True) for each in counts)))[0])
        scores, outputs = self.scores(counts), len(counts.true)
        if self.average is None:
            return float(scores[0]) if outputs == 1 else scores.tolist()
        weights = counts.true
        if self.average == "macro":
            weights = (counts.found + counts.true > 0) * 1.0 if self._kind(outputs) == "class" else np.ones(outputs)
        return float(share(np.array([scores @ weights]), np.array([weights.sum()]))[0])


class Precision(ConfusionMetric):
    """Of the rows that were taken for a class, the share that are of it: hits / found.

    >>> nl.metrics.Precision(average=None)([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]], [0, 1, 1])
    [0.5, 1.0]
    """

    name, better = "precision", "max"

    def scores(self, counts: Counts) -> np.ndarray:
        return share(counts.hits, counts.found)


class Recall(ConfusionMetric):
    """Of the rows of a class, the share that were taken for it: hits / true. It is also called sensitivity."""

    name, better = "recall", "max"

    def scores(self, counts: Counts) -> np.ndarray:
        return share(counts.hits, counts.true)


class Specificity(ConfusionMetric):
    """Of the rows that are not of a class, the share that were not taken for it."""

    name, better = "specificity", "max"

    def scores(self, counts: Counts) -> np.ndarray:
        others = counts.rows - counts.true
        return share(others - (counts.found - counts.hits), others)


class F1(ConfusionMetric):
    """The harmonic mean of precision and recall: 2 hits / (found + true)."""

    name, better = "f1", "max"

    def scores(self, counts: Counts) -> np.ndarray:
        return share(2 * counts.hits, counts.found + counts.true)


class BalancedAccuracy(ConfusionMetric):
    """The mean of the recalls of all classes that have rows, so that rare classes count like frequent ones.

    For yes-or-no outputs, yes and no are the classes.
    """

    name, better = "balanced_accuracy", "max"

    def __init__(self, kind: str | None = None, from_logits: bool = False, ignore_nan: bool = False) -> None:
        super().__init__("macro", kind, from_logits, ignore_nan)

    def averaged(self, counts: Counts) -> float:
        hits, true = counts.hits, counts.true
        if self._kind(len(true)) == "each":
            others = counts.rows - true
            hits, true = np.append(hits, others - (counts.found - counts.hits)), np.append(true, others)
        return float((hits[true > 0] / true[true > 0]).mean())


def share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole (K,), and 0 where the whole is 0."""
    return np.divide(part, whole, out=np.zeros(len(whole)), where=whole > 0)

"""Metrics of answers: which class a prediction gives, or which yes-or-no answers, and whether that is right."""

from __future__ import annotations

import copy
from typing import Any, TypeVar

import numpy as np

from .. import gate
from ..blocks import Chain
from ..devices import Ops
from ..loss import Loss
from ..network import Sequential
from .metric import HOST, Metric, mean_of, rows_of, weights_of
from .targets import classes, of_classes, refuse_logits, refuse_unless, two_sided

T = TypeVar("T", bound="AnswerMetric")


class AnswerMetric(Metric):
    """The base class of metrics of answers. `kind` says what an answer is:

    - "class": a row is an answer. It is the class of its largest output.
    - "each": every number is a yes-or-no answer. It is yes above ½, or above 0 if the targets are −1 and +1.

    With None, the loss of a Trainer decides: "class" for categorical and "each" for binary cross-entropy; for other
    losses "each" for one output and "class" for several. Without a Trainer, the target decides: labels and one-hot rows
    are classes, other rows of two values are yes-or-no answers. For other targets, an error says what to use instead.
    Yes-or-no predictions before their sigmoid need from_logits=True, unless the loss of a Trainer says so already.
    """

    bordered = True  # whether it is decided at ½ or 0 what a yes-or-no prediction says
    probable = False  # whether predictions must be probabilities

    def __init__(self, kind: str | None = None, from_logits: bool = False, ignore_nan: bool = False) -> None:
        super().__init__(ignore_nan)
        self.kind = None if kind is None else gate.one_of(kind, ("class", "each"), "kind")
        self.from_logits = bool(from_logits)
        self.checked = True  # whether `check` looks at a target; not if the loss already does

    def for_loss(self: T, loss: Loss, network: Sequential) -> T:
        # Such a loss takes no other target.
        sure = {"class": "class", "probability": "each", "side": "each"}.get(loss.target)
        found = copy.copy(self)
        found.kind = self.kind or sure or self._kind(network.outputs or 1)
        found.checked = found.kind != sure
        # A loss on logits hands its metrics the probabilities.
        found.from_logits = loss.target == "side" or (self.from_logits and not (loss.from_logits and loss.link))
        if self.probable:
            last: Any = network.layers[-1]
            while type(last) is Chain:
                last = last.layers[-1]
            if not getattr(loss.link if loss.from_logits and loss.link else last, "probabilities", False):
                raise ValueError(
                    f"{self.name} is about probabilities, which a network that ends in {last!r} does not give with "
                    f"this loss: end it in {'Softmax' if found._kind(network.outputs or 1) == 'class' else 'Sigmoid'}()"
                )
        return found

    def check(self, target: Any, name: str = "y") -> None:
        target = target[~np.isnan(target).any(axis=1)]
        if not self.checked or not len(target):
            return
        if self._kind(target.shape[1]) == "each":
            refuse_unless(
                two_sided(target), target, name, f"{self.name} counts yes-or-no targets, 0 and 1 or −1 and +1"
            )
        elif not of_classes(target):
            if two_sided(target):
                raise ValueError(
                    f"{name} has rows with several classes or none, but {self.name} takes the largest output for the "
                    f'class: count each output by nl.metrics.{type(self).__name__}(kind="each"), and train with loss '
                    '"bce"'
                )
            refuse_unless(False, target, name, f"{self.name} counts labels or one-hot rows")

    def __call__(self, prediction: Any, target: Any, sample_weight: Any = None) -> Any:
        p, t, w = rows_of(prediction, target, sample_weight, self.ignore_nan)
        known = ~np.isnan(t).any(axis=1)
        p, t, w = p[known], t[known], None if w is None else w[known]
        metric = copy.copy(self)
        each = p.shape[1] == 1 or (two_sided(t) and not of_classes(t))
        metric.kind = self.kind or ("each" if each else "class")
        metric.check(t, "target")
        if self.probable or (self.bordered and metric._kind(p.shape[1]) == "each"):
            refuse_logits(p, t, self.from_logits, type(self).__name__)
        return metric.measure(p, t, w)

    def _kind(self, outputs: int) -> str:
        return "each" if outputs == 1 else self.kind or "class"

    def _border(self, target: np.ndarray) -> float:
        """The prediction above which a yes-or-no answer is yes."""
        return 0.0 if self.from_logits or (target < 0).any() else 0.5


class Accuracy(AnswerMetric):
    """The share of right answers: of rows, or of yes-or-no answers; `kind` says which (see AnswerMetric).

    >>> nl.metrics.Accuracy()([[0.9, 0.1], [0.2, 0.8]], [0, 0])
    0.5
    >>> nl.metrics.Accuracy()([[0.9, 0.7], [0.2, 0.8]], [[1, 1], [0, 0]])
    0.75
    """

    name, better = "accuracy", "max"

    def shape(self, outputs: int) -> tuple[int, ...]:
        return (2,) if self._kind(outputs) == "class" else (4,)

    def add(self, ops: Ops, prediction: Any, target: Any, sums: Any) -> None:
        kernel = ops.add_hits if self._kind(prediction.shape[1]) == "class" else ops.add_sides
        kernel(prediction, target, sums)

    def value(self, sums: np.ndarray) -> float:
        if len(sums) == 2:
            return super().value(sums)
        of_half, of_zero, below, count = sums
        return float((of_zero if below or self.from_logits else of_half) / count)

    def measure(self, prediction: np.ndarray, target: np.ndarray, weight: np.ndarray | None = None) -> float:
        if self._kind(target.shape[1]) == "class":
            hits = prediction.argmax(axis=1) == target.argmax(axis=1)
            return mean_of(hits, weights_of(target[:, :1], weight)[:, 0])
        return mean_of((prediction > self._border(target)) == (target > 0.5), weights_of(target, weight))


class TopKAccuracy(AnswerMetric):
    """The share of rows whose class is among the k largest outputs.

    Of equal outputs, the one further right comes first, as in scikit-learn. Its name is "top_5_accuracy" for k=5.
    """

    better = "max"

    def __init__(self, k: int = 5, ignore_nan: bool = False) -> None:
        super().__init__("class", ignore_nan=ignore_nan)
        self.k = gate.integer(k, "k")
        self.name = f"top_{k}_accuracy"

    def for_loss(self, loss: Loss, network: Sequential) -> TopKAccuracy:
        if self.k >= (network.outputs or 1):
            raise ValueError(f"{self.name} of {network.outputs} outputs is always 1: choose k below their number")
        return super().for_loss(loss, network)

    def measure(self, prediction: np.ndarray, target: np.ndarray, weight: np.ndarray | None = None) -> float:
        labels = target.argmax(axis=1)[:, None]
        of_class = np.take_along_axis(prediction, labels, axis=1)
        further = np.arange(prediction.shape[1]) > labels
        before = (prediction > of_class) | ((prediction == of_class) & further)
        return mean_of(before.sum(axis=1) < self.k, weights_of(target[:, :1], weight)[:, 0])


def _count_of_classes(prediction: Any, target: Any) -> int:
    """How many classes there are if both are labels (N,), whole numbers from 0 on; else 0."""
    both = [np.asarray(HOST.to_numpy(gate.numeric(each, HOST, "labels"))) for each in (prediction, target)]
    if any(each.ndim != 1 or each.dtype.kind not in "iu" or each.size == 0 or each.min() < 0 for each in both):
        return 0
    return int(max(each.max() for each in both)) + 1


def confusion_matrix(prediction: Any, target: Any, from_logits: bool = False) -> np.ndarray:
    """Counts (K, K): how often each true class (row) was predicted as each class (column).

    prediction: probabilities (N, K), (N, 1) or (N,); target: the same shape, or labels (N,). Both may be labels, whole
    numbers (N,); scikit-learn's function takes the targets first. With one output, class 1 is above ½. It is above 0
    if the targets are −1 and +1, or if from_logits=True says that predictions are values before the sigmoid. ValueError
    for targets that are not classes.

    >>> nl.metrics.confusion_matrix([[0.9, 0.1], [0.2, 0.8]], [0, 0])
    array([[1, 1],
           [0, 0]])
    """
    if (count := _count_of_classes(prediction, target)) > 2:
        prediction = gate.one_hot(prediction, count, "prediction")
    p, t, _ = rows_of(prediction, target)
    each = p.shape[1] == 1
    if not each and not of_classes(t) and two_sided(t):
        raise ValueError(
            "target has rows with several classes or none; take one matrix for each output k: "
            "confusion_matrix(prediction[:, k], target[:, k])"
        )
    refuse_unless(two_sided(t) if each else of_classes(t), t, "target", "a confusion matrix counts classes")
    counts = np.zeros((max(p.shape[1], 2),) * 2, np.int64)
    if each:
        refuse_logits(p, t, from_logits, "confusion_matrix")
        border = 0 if (t < 0).any() else 0.5
        np.add.at(counts, (classes(t, border), classes(p, 0 if from_logits else border)), 1)
    else:
        np.add.at(counts, (classes(t), classes(p)), 1)
    return counts

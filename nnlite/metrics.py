"""Metrics: numbers that tell a person how good predictions are, from sums that add up over batches.

A metric gets prediction and target, both (N, K), of each batch and adds its share to a few float64 sums. It turns the
sums of all batches into one number. So an epoch's value is that of all its rows, not a mean over its batches.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np

from . import gate
from .devices import Ops, get_device
from .loss import Loss
from .network import Sequential

HOST = get_device("numpy")


class Metric:
    """The base class of all metrics. A new metric sets `name` and writes `add` and, where it needs, `value`.

    `name` is the name of its column in the history. It must not be "loss" or begin with "val_". With ignore_nan=True,
    targets of NaN were not measured, and do not count; in a Trainer, the loss says whether there may be such targets.
    """

    name = "metric"
    better: str | None = None  # which values are: "min" for small ones, "max" for large ones, None if nobody has said
    ignore_nan = False

    def __init__(self, ignore_nan: bool = False) -> None:
        self.ignore_nan = bool(ignore_nan)

    def shape(self, outputs: int) -> tuple[int, ...]:
        """The shape of the sums for this number of outputs."""
        return (2,)

    def for_loss(self, loss: Loss, network: Sequential) -> Metric:
        """The metric that a Trainer with this loss and network uses: a changed copy if the metric depends on them."""
        return self

    def check(self, target: Any, name: str = "y") -> None:
        """ValueError for a target (N, K) for which this metric has no meaning."""

    def add(self, ops: Ops, prediction: Any, target: Any, sums: Any) -> None:
        """Add the share of prediction, target (N, K) to the sums in place; with kernels only, it can be recorded."""
        raise NotImplementedError(f"{type(self).__name__} has no add")

    def merge(self, sums: np.ndarray, more: np.ndarray) -> np.ndarray:
        """The sums of all rows, from the sums of some rows and the sums of the others."""
        return sums + more

    def value(self, sums: np.ndarray) -> float:
        """The metric of all rows that were added; here the first sum divided by the second."""
        return float(sums[0] / sums[1])

    def __call__(self, prediction: Any, target: Any) -> float:
        """The metric of these predictions (N, K) or (N,) against targets of the same shape or labels (N,)."""
        p, t = _pair(prediction, target, self.ignore_nan)
        sums = np.zeros(self.shape(p.shape[1]))
        self.add(HOST.ops, p, t, sums)
        return self.value(sums)


class Accuracy(Metric):
    """The share of right answers. `kind` says what an answer is:

    - "class": a row is an answer. It is right if its largest output is at the target's class.
    - "each": every number is a yes-or-no answer. It is right if it is on the target's side of ½, or of 0 if the targets
      are −1 and +1.

    With None, the loss of a Trainer decides: "class" for categorical and "each" for binary cross-entropy; for other
    losses "each" for one output and "class" for several. Without a Trainer, the target decides: labels and one-hot rows
    are classes, other rows of two values are yes-or-no answers. For other targets, an error says what to use instead.
    Yes-or-no predictions before their sigmoid need from_logits=True, unless the loss of a Trainer says so already.

    >>> nl.metrics.Accuracy()([[0.9, 0.1], [0.2, 0.8]], [0, 0])
    0.5
    >>> nl.metrics.Accuracy()([[0.9, 0.7], [0.2, 0.8]], [[1, 1], [0, 0]])
    0.75
    """

    name, better = "accuracy", "max"

    def __init__(self, kind: str | None = None, from_logits: bool = False, ignore_nan: bool = False) -> None:
        super().__init__(ignore_nan)
        self.kind = None if kind is None else gate.one_of(kind, ("class", "each"), "kind")
        self.from_logits = bool(from_logits)
        self.checked = True  # whether `check` looks at a target; not if the loss already does

    def for_loss(self, loss: Loss, network: Sequential) -> Metric:
        # Such a loss takes no other target.
        sure = {"class": "class", "probability": "each", "side": "each"}.get(loss.target)
        found = copy.copy(self)
        found.kind = self.kind or sure or self._kind(network.outputs or 1)
        found.checked = found.kind != sure
        # A loss on logits hands its metrics the probabilities.
        found.from_logits = loss.target == "side" or (self.from_logits and not (loss.from_logits and loss.link))
        return found

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

    def check(self, target: Any, name: str = "y") -> None:
        target = target[~np.isnan(target).any(axis=1)]
        if not self.checked or not len(target):
            return
        if self._kind(target.shape[1]) == "each":
            _refuse_unless(_two_sided(target), target, name, "accuracy counts yes-or-no targets, 0 and 1 or −1 and +1")
        elif not _of_classes(target):
            if _two_sided(target):
                raise ValueError(
                    f"{name} has rows with several classes or none, but accuracy takes the largest output for the "
                    'class: count each output by nl.metrics.Accuracy("each"), and train with loss "bce"'
                )
            _refuse_unless(False, target, name, "accuracy counts labels or one-hot rows")

    def __call__(self, prediction: Any, target: Any) -> float:
        p, t = _pair(prediction, target, self.ignore_nan)
        known = ~np.isnan(t).any(axis=1)
        p, t = p[known], t[known]
        kind = "each" if p.shape[1] == 1 or (_two_sided(t) and not _of_classes(t)) else "class"
        metric = Accuracy(self.kind or kind, self.from_logits)
        metric.check(t, "target")
        if metric._kind(p.shape[1]) == "each":
            _refuse_logits(p, t, self.from_logits, "Accuracy")
        sums = np.zeros(metric.shape(p.shape[1]))
        metric.add(HOST.ops, p, t, sums)
        return metric.value(sums)

    def _kind(self, outputs: int) -> str:
        return "each" if outputs == 1 else self.kind or "class"


class MeanAbsoluteError(Metric):
    """MAE = 1/NK Σ |p − t|."""

    name, better = "mae", "min"

    def add(self, ops: Ops, prediction: Any, target: Any, sums: Any) -> None:
        ops.add_absolute_errors(prediction, target, sums)


class RootMeanSquaredError(Metric):
    """RMSE = √(1/NK Σ (p − t)²), in the unit of the target."""

    name, better = "rmse", "min"

    def add(self, ops: Ops, prediction: Any, target: Any, sums: Any) -> None:
        ops.add_squared_errors(prediction, target, sums)

    def value(self, sums: np.ndarray) -> float:
        return float(np.sqrt(sums[0] / sums[1]))


class R2(Metric):
    """R² = 1 − Σ (t − p)² / Σ (t − t̄)², averaged over the outputs: 1 is perfect, 0 as good as the mean.

    An output whose target never changes counts as 1 if the prediction is exact, else as 0 (as in scikit-learn's
    r2_score). The spread may be small beside the mean, down to the precision of float64, or in training of the
    network's dtype.
    """

    name, better = "r2", "max"

    def shape(self, outputs: int) -> tuple[int, ...]:
        return (5, outputs)

    def add(self, ops: Ops, prediction: Any, target: Any, sums: Any) -> None:
        ops.add_spreads(prediction, target, sums)

    def merge(self, sums: np.ndarray, more: np.ndarray) -> np.ndarray:
        errors, first, mean, spread, rows = more
        if not sums[4].any() or not rows.any():
            return sums + more
        apart, total = first - sums[1] + (mean - sums[2]), sums[4] + rows  # apart: second mean − first mean
        grown = sums[3] + spread + apart * apart * (sums[4] * rows / total)
        return np.stack([sums[0] + errors, sums[1], sums[2] + apart * (rows / total), grown, total])

    def value(self, sums: np.ndarray) -> float:
        errors, _, _, spread, _ = sums
        constant = spread == 0
        ratio = errors / np.where(constant, 1, spread)
        return float(np.where(constant, (errors == 0) * 1.0, 1 - ratio).mean())


METRICS: dict[str, type[Metric]] = {m.name: m for m in (Accuracy, MeanAbsoluteError, RootMeanSquaredError, R2)}


def metric(name: str | Metric) -> Metric:
    """A metric by its lower-case name, or the given metric itself."""
    return name if isinstance(name, Metric) else gate.choose(METRICS, name, "metric")()


def chosen(metrics: Sequence[str | Metric], loss: Loss, network: Sequential) -> list[Metric]:
    """The metrics of a Trainer with this loss and network; ValueError for a name that is not allowed or used twice."""
    found = [metric(each).for_loss(loss, network) for each in metrics]
    names = [each.name for each in found]
    for i, name in enumerate(names):
        if not isinstance(name, str) or name == "loss" or name.startswith("val_"):
            raise ValueError(
                f"metrics[{i}] has the name {name!r}, which a metric must not have; give it another `name`"
            )
        if name in names[:i]:
            raise ValueError(f"metrics has {name!r} twice; give one of them another `name`")
    return found


def confusion_matrix(prediction: Any, target: Any, from_logits: bool = False) -> np.ndarray:
    """Counts (K, K): how often each true class (row) was predicted as each class (column).

    prediction: probabilities (N, K), (N, 1) or (N,); target: the same shape, or labels (N,). With one output, class 1
    is above ½. It is above 0 if the targets are −1 and +1, or if from_logits=True says that predictions are values
    before the sigmoid. ValueError for targets that are not classes.

    >>> nl.metrics.confusion_matrix([[0.9, 0.1], [0.2, 0.8]], [0, 0])
    array([[1, 1],
           [0, 0]])
    """
    p, t = _pair(prediction, target)
    each = p.shape[1] == 1
    if not each and not _of_classes(t) and _two_sided(t):
        raise ValueError(
            "target has rows with several classes or none; take one matrix for each output k: "
            "confusion_matrix(prediction[:, k], target[:, k])"
        )
    _refuse_unless(_two_sided(t) if each else _of_classes(t), t, "target", "a confusion matrix counts classes")
    counts = np.zeros((max(p.shape[1], 2),) * 2, np.int64)
    if each:
        _refuse_logits(p, t, from_logits, "confusion_matrix")
        border = 0 if (t < 0).any() else 0.5
        np.add.at(counts, (classes(t, border), classes(p, 0 if from_logits else border)), 1)
    else:
        np.add.at(counts, (classes(t), classes(p)), 1)
    return counts


def classes(outputs: np.ndarray, border: float = 0.5) -> np.ndarray:
    """(N, K) -> the class of each row (N,): the largest output, or for one output whether it is above the border."""
    return outputs.argmax(axis=1) if outputs.shape[1] > 1 else (outputs[:, 0] > border).astype(np.intp)


# ---- what a target is ---------------------------------------------------------------------------------------------


def _two_sided(target: Any) -> bool:
    """Whether all numbers are equally far from ½, such as 0 and 1 or 0.1 and 0.9, or from 0, such as −1 and 1."""
    for middle, most in ((0.5, 0.5), (0.0, 1.0)):
        apart = np.abs(target - middle)
        least, largest = float(apart.min()), float(apart.max())
        if largest - least <= 1e-3 and least > 1e-3 and largest <= most + 1e-3:
            return True
    return False


def _of_classes(target: Any) -> bool:
    """Whether every row (N, K) has one class: probabilities that sum to 1, or two values, the larger one once."""
    if bool((target >= 0).all()) and bool((np.abs(target.sum(axis=1) - 1) <= 1e-3).all()):
        return True
    if not _two_sided(target):
        return False
    border = 0.0 if bool((target < 0).any()) else 0.5
    return bool(((target > border).sum(axis=1) == 1).all())


def _refuse_unless(fits: bool, target: Any, name: str, what: str) -> None:
    if not fits:
        row = ", ".join(f"{value:.6g}" for value in target[int(np.argmax(_strange(target)))].tolist())
        raise ValueError(
            f"{what}, but {name} has {row if target.shape[1] == 1 else f'the row [{row}]'}; "
            "for numbers take the metrics 'r2', 'rmse' or 'mae'"
        )


def _strange(target: Any) -> Any:
    """Which rows (N,) show best that a target is not classes: rows with a number other than −1, 0 and 1."""
    return ((target != 0) & (np.abs(target) != 1)).any(axis=1)


def _refuse_logits(p: np.ndarray, t: np.ndarray, from_logits: bool, of: str) -> None:
    """Like the losses, refuse a prediction that cannot be a probability, unless the targets are −1 and +1."""
    if not from_logits and not (t < 0).any() and ((p < 0) | (p > 1 + 1e-6)).any():
        raise ValueError(
            f"prediction has values outside 0 … 1, which {of} expects; for values before the Sigmoid use "
            "from_logits=True"
        )


def _pair(prediction: Any, target: Any, missing: bool = False) -> tuple[np.ndarray, np.ndarray]:
    p = gate.numeric(prediction, HOST, "prediction")
    p = gate.samples(p.reshape(len(p), -1) if p.ndim == 1 else p, HOST, np.float64, name="prediction")
    return p, gate.targets(target, p.shape, HOST, np.float64, name="target", missing=missing)

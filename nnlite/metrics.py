"""Metrics: what a person wants to know of predictions, from sums that add up over batches.

A metric adds its share of each batch, (prediction, target) both (N, K), to a few sums in float64, and turns the sums of
all batches into one number; so an epoch's value is that of all its rows, not a mean of its batches.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import gate
from .devices.numpy.device import NumpyDevice

HOST = NumpyDevice()


class Metric:
    """What all metrics share. A new one sets `name` and writes `add` and `value`."""

    name = "metric"

    def shape(self, outputs: int) -> tuple[int, ...]:
        """The shape of the sums for so many outputs."""
        return (2,)

    def add(self, ops: Any, prediction: Any, target: Any, sums: Any) -> None:
        """Add the share of prediction, target (N, K) to the sums, in place; called with kernels, it can be recorded."""
        raise NotImplementedError(f"{type(self).__name__} has no add")

    def merge(self, sums: np.ndarray, more: np.ndarray) -> np.ndarray:
        """The sums of all rows, from the sums of some and of the others."""
        return sums + more

    def value(self, sums: np.ndarray) -> float:
        """The metric of all rows that were added; here the first sum by the second."""
        return float(sums[0] / sums[1])

    def __call__(self, prediction: Any, target: Any) -> float:
        """The metric of these predictions (N, K) or (N,) against targets of that shape or labels (N,)."""
        p, t = _pair(prediction, target)
        sums = np.zeros(self.shape(p.shape[1]))
        self.add(HOST.ops, p, t, sums)
        return self.value(sums)


class Accuracy(Metric):
    """The share of rows whose largest output is the target's; for one output, whose side of ½ is.

    >>> nl.metrics.Accuracy()([[0.9, 0.1], [0.2, 0.8]], [0, 0])
    0.5
    """

    name = "accuracy"

    def add(self, ops: Any, prediction: Any, target: Any, sums: Any) -> None:
        ops.add_hits(prediction, target, sums)


class MeanAbsoluteError(Metric):
    """MAE = 1/NK Σ |p − t|."""

    name = "mae"

    def add(self, ops: Any, prediction: Any, target: Any, sums: Any) -> None:
        ops.add_absolute_errors(prediction, target, sums)


class RootMeanSquaredError(Metric):
    """RMSE = √(1/NK Σ (p − t)²), in the unit of the target."""

    name = "rmse"

    def add(self, ops: Any, prediction: Any, target: Any, sums: Any) -> None:
        ops.add_squared_errors(prediction, target, sums)

    def value(self, sums: np.ndarray) -> float:
        return float(np.sqrt(sums[0] / sums[1]))


class R2(Metric):
    """R² = 1 − Σ (t − p)² / Σ (t − t̄)², the mean of it over the outputs: 1 is perfect, 0 as good as the mean.

    An output whose target never changes counts as 1 if it is met exactly, else as 0 (as scikit-learn's r2_score). The
    spread may be as small beside the mean as float64 can tell apart; in training, as the network's dtype can.
    """

    name = "r2"

    def shape(self, outputs: int) -> tuple[int, ...]:
        return (5, outputs)

    def add(self, ops: Any, prediction: Any, target: Any, sums: Any) -> None:
        ops.add_spreads(prediction, target, sums)

    def merge(self, sums: np.ndarray, more: np.ndarray) -> np.ndarray:
        errors, first, mean, spread, rows = more
        if not sums[4].any() or not rows.any():
            return sums + more
        apart, total = first - sums[1] + (mean - sums[2]), sums[4] + rows  # apart: the second mean from the first one
        grown = sums[3] + spread + apart * apart * (sums[4] * rows / total)
        return np.stack([sums[0] + errors, sums[1], sums[2] + apart * (rows / total), grown, total])

    def value(self, sums: np.ndarray) -> float:
        errors, _, _, spread, _ = sums
        constant = spread == 0
        ratio = errors / np.where(constant, 1, spread)
        return float(np.where(constant, (errors == 0) * 1.0, 1 - ratio).mean())


METRICS: dict[str, type[Metric]] = {m.name: m for m in (Accuracy, MeanAbsoluteError, RootMeanSquaredError, R2)}


def metric(name: str | Metric) -> Metric:
    """A metric by its lower-case name, or the one given."""
    return name if isinstance(name, Metric) else gate.choose(METRICS, name, "metric")()


def confusion_matrix(prediction: Any, target: Any) -> np.ndarray:
    """How often each class (row) was taken for each (column): counts (K, K).

    prediction (N, K), (N, 1) or (N,) probabilities; target of that shape or labels (N,).

    >>> nl.metrics.confusion_matrix([[0.9, 0.1], [0.2, 0.8]], [0, 0])
    array([[1, 1],
           [0, 0]])
    """
    p, t = _pair(prediction, target)
    size = max(p.shape[1], 2)
    counts = np.zeros((size, size), np.int64)
    np.add.at(counts, (classes(t), classes(p)), 1)
    return counts


def classes(outputs: np.ndarray) -> np.ndarray:
    """(N, K) -> the class of each row (N,): the largest output, or for one output whether it is above ½."""
    return outputs.argmax(axis=1) if outputs.shape[1] > 1 else (outputs[:, 0] > 0.5).astype(np.intp)


def _pair(prediction: Any, target: Any) -> tuple[np.ndarray, np.ndarray]:
    p = gate.numeric(prediction, HOST, "prediction")
    p = gate.samples(p.reshape(len(p), -1) if p.ndim == 1 else p, HOST, np.float64, name="prediction")
    return p, gate.targets(target, p.shape, HOST, np.float64, name="target")

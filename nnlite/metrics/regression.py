"""Metrics of numbers: how far predictions are from targets, and how much of the targets' spread they explain."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..devices import Ops
from .metric import Metric, mean_of, weights_of


class MeanAbsoluteError(Metric):
    """MAE = 1/NK Σ |p − t|."""

    name, better = "mae", "min"

    def add(self, ops: Ops, prediction: Any, target: Any, sums: Any) -> None:
        ops.add_absolute_errors(prediction, target, sums)

    def measure(self, prediction: np.ndarray, target: np.ndarray, weight: np.ndarray | None = None) -> float:
        return mean_of(np.abs(prediction - target), weights_of(target, weight))


class RootMeanSquaredError(Metric):
    """RMSE = √(1/NK Σ (p − t)²), in the unit of the target."""

    name, better = "rmse", "min"

    def add(self, ops: Ops, prediction: Any, target: Any, sums: Any) -> None:
        ops.add_squared_errors(prediction, target, sums)

    def value(self, sums: np.ndarray) -> float:
        return float(np.sqrt(sums[0] / sums[1]))

    def measure(self, prediction: np.ndarray, target: np.ndarray, weight: np.ndarray | None = None) -> float:
        return float(np.sqrt(mean_of(np.square(prediction - target), weights_of(target, weight))))


class R2(Metric):
    """R² = 1 − Σ (t − p)² / Σ (t − t̄)², averaged over the outputs: 1 is perfect, 0 as good as the mean.

    An output whose target never changes counts as 1 if the prediction is exact, else as 0 (as in scikit-learn's
    r2_score); one of which no target was measured does not count. The spread may be small beside the mean, down to the
    precision of float64, or in training of the network's dtype.
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
        share = rows / np.where(total > 0, total, 1)
        grown = sums[3] + spread + apart * apart * (sums[4] * share)
        return np.stack([sums[0] + errors, sums[1], sums[2] + apart * share, grown, total])

    def value(self, sums: np.ndarray) -> float:
        errors, _, _, spread, rows = sums
        return explained(errors, spread, rows > 0)

    def measure(self, prediction: np.ndarray, target: np.ndarray, weight: np.ndarray | None = None) -> float:
        w = weights_of(target, weight)
        errors = (w * np.square(np.where(w > 0, prediction - target, 0))).sum(axis=0)
        return explained(errors, spreads(target, w), w.sum(axis=0) > 0)


class ExplainedVariance(Metric):
    """1 − Var(t − p) / Var(t), averaged over the outputs: R² but for a constant that is added to all predictions."""

    name, better = "explained_variance", "max"

    def measure(self, prediction: np.ndarray, target: np.ndarray, weight: np.ndarray | None = None) -> float:
        w = weights_of(target, weight)
        return explained(spreads(target - prediction, w), spreads(target, w), w.sum(axis=0) > 0)


class MeanAbsolutePercentageError(Metric):
    """MAPE = 1/NK Σ |p − t| / |t|: 0.1 is ten per cent. A target of 0 counts as 2⁻⁵² here, so the result is huge."""

    name, better = "mape", "min"

    def measure(self, prediction: np.ndarray, target: np.ndarray, weight: np.ndarray | None = None) -> float:
        size = np.maximum(np.abs(target), np.finfo(np.float64).eps)
        return mean_of(np.abs(prediction - target) / size, weights_of(target, weight))


class MaxError(Metric):
    """The largest |p − t| of all rows and outputs; of rows with weights, of those whose weight is not 0."""

    name, better = "max_error", "min"

    def measure(self, prediction: np.ndarray, target: np.ndarray, weight: np.ndarray | None = None) -> float:
        return float(np.abs(prediction - target)[weights_of(target, weight) > 0].max())


def spreads(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Σ w (v − v̄)² of each column (K,), for values and weights (N, K)."""
    first = np.take_along_axis(values, (weights > 0).argmax(axis=0)[None], axis=0)  # (1, K), of the rows that count
    values = np.where(weights > 0, values - first, 0)  # exactly 0 for a column that never changes
    mean = (weights * values).sum(axis=0) / np.maximum(weights.sum(axis=0), np.finfo(np.float64).tiny)
    return (weights * np.square(values - mean)).sum(axis=0)


def explained(errors: np.ndarray, spread: np.ndarray, known: np.ndarray) -> float:
    """1 − errors / spread, averaged over the known outputs of all (K,); without a spread 1 if there is no error, or 0.

    An output is known if one of its targets was measured.
    """
    constant = spread == 0
    ratio = errors / np.where(constant, 1, spread)
    return float(np.where(constant, (errors == 0) * 1.0, 1 - ratio)[known].mean())

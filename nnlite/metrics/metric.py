"""What all metrics share: numbers that tell a person how good predictions are.

A metric is a formula over all rows, `measure`. Many metrics can also be computed from a few sums that add up over
batches, which a device adds up while it trains: they have `add`, and `value` turns the sums of all batches into the
number. So an epoch's value is that of all its rows, not a mean over its batches. A metric that has no `add`, and any
metric of rows with weights, gets the predictions of all rows at the end of an epoch.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import gate
from ..arguments import shown
from ..devices import Ops, get_device
from ..loss import Loss
from ..network import Sequential

HOST = get_device("numpy")


class Metric:
    """The base class of all metrics. A new metric sets `name`, and writes `measure`, or `add` and `value`, or all.

    `name` is the name of its column in the history. It must not be "loss" or begin with "val_". With ignore_nan=True,
    targets of NaN were not measured, and do not count; in a Trainer, the loss says whether there may be such targets.
    """

    __repr__ = shown
    name = "metric"
    better: str | None = None  # which values are: "min" for small ones, "max" for large ones, None if nobody has said
    ignore_nan = False

    def __init__(self, ignore_nan: bool = False) -> None:
        self.ignore_nan = bool(ignore_nan)

    def names(self, outputs: int) -> list[str]:
        """The names of its columns for this number of outputs: `name`, or one for each number that `value` gives."""
        return [self.name]

    def for_loss(self, loss: Loss, network: Sequential) -> Metric:
        """The metric that a Trainer with this loss and network uses: a changed copy if the metric depends on them."""
        return self

    def check(self, target: Any, name: str = "y") -> None:
        """ValueError for a target (N, K) for which this metric has no meaning."""

    # ---- over all rows at once ------------------------------------------------------------------------------------

    def measure(self, prediction: np.ndarray, target: np.ndarray, weight: np.ndarray | None = None) -> Any:
        """The metric of all rows: prediction, target (N, K), and the weights (N,) of the rows, or None for 1 each."""
        if weight is not None:
            raise NotImplementedError(f"{type(self).__name__} has no measure, so rows cannot have weights")
        sums = np.zeros(self.shape(prediction.shape[1]))
        self.add(HOST.ops, prediction, target, sums)
        return self.value(sums)

    @property
    def takes_weights(self) -> bool:
        """Whether it can measure rows with weights."""
        return type(self).measure is not Metric.measure

    def __call__(self, prediction: Any, target: Any, sample_weight: Any = None) -> Any:
        """The metric of these predictions (N, K) or (N,) against targets of the same shape or labels (N,)."""
        return self.measure(*rows_of(prediction, target, sample_weight, self.ignore_nan))

    # ---- from sums of batches -------------------------------------------------------------------------------------

    @property
    def has_sums(self) -> bool:
        """Whether it can be computed from sums over batches."""
        return type(self).add is not Metric.add

    def shape(self, outputs: int) -> tuple[int, ...]:
        """The shape of the sums for this number of outputs."""
        return (2,)

    def add(self, ops: Ops, prediction: Any, target: Any, sums: Any) -> None:
        """Add the share of prediction, target (N, K) to the sums in place; with kernels only, it can be recorded."""
        raise NotImplementedError(f"{type(self).__name__} has no add")

    def merge(self, sums: np.ndarray, more: np.ndarray) -> np.ndarray:
        """The sums of all rows, from the sums of some rows and the sums of the others."""
        return sums + more

    def value(self, sums: np.ndarray) -> Any:
        """The metric of all rows that were added; here the first sum divided by the second."""
        return float(sums[0] / sums[1])


def rows_of(
    prediction: Any, target: Any, sample_weight: Any = None, missing: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """What a user hands over -> prediction, target (N, K) and weight (N,) or None, in float64."""
    p = gate.numeric(prediction, HOST, "prediction")
    p = gate.samples(p.reshape(len(p), -1) if p.ndim == 1 else p, HOST, np.float64, name="prediction")
    t = gate.targets(target, p.shape, HOST, np.float64, name="target", missing=missing)
    return p, t, None if sample_weight is None else gate.row_weights(sample_weight, len(p))


def weights_of(target: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
    """The weight of each number of the target (N, K): 0 for NaN, or else that of its row, or 1."""
    known = ~np.isnan(target)
    return known * 1.0 if weight is None else known * weight[:, None]


def mean_of(values: np.ndarray, weights: np.ndarray) -> float:
    """The mean of values with weights; values without weight may be NaN."""
    return float((np.where(weights > 0, values, 0) * weights).sum() / weights.sum())

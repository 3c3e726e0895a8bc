"""Weights of rows: how much each row counts in the loss, in its gradient and in the metrics.

A weighted mean is Σ wₙ ℓₙ / Σ wₙ: over a batch for the gradient, and over all rows for the history. So a row of weight
0 counts as if it were not there, and a row of weight 2 as if it were there twice. All of this is known before a step,
since the order of rows is drawn beforehand: the weights are put into this order, each beside its share of the weights
of its batch, and a step only multiplies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from . import gate
from .datasets import split
from .devices import Device
from .gate import HOST
from .metrics import FunctionMetric, Metric
from .metrics.targets import of_classes, two_sided
from .sums import Rows

ClassWeight = str | Mapping[Any, float] | None
Names = tuple[str, ...]  # of the arguments x, y and sample_weight
NAMES: Names = ("x", "y", "sample_weight")


@dataclass(frozen=True)
class Data:
    """Rows behind the gate: x (N, inputs), target (N, outputs), and weight (N,) in main memory, or None for 1 each."""

    x: Any
    target: Any
    weight: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.x)

    @property
    def count(self) -> float:
        """Σ wₙ over the rows, or their number if all count alike. ValueError if no row counts."""
        if self.weight is None:
            return len(self)
        total = float(self.counts.sum())
        if total == 0:
            what = "no row with a weight above 0 has a target that was measured"
            raise ValueError(what if self.weight.any() else "all weights are 0, so that no row counts")
        return total

    @cached_property
    def counts(self) -> np.ndarray:
        """The weight (N,) of each row, times the share of its targets that were measured."""
        missing = np.isnan(self.host_target)
        if self.weight is not None and not missing.any():
            return self.weight
        return (1 - missing.mean(axis=1)) * (1 if self.weight is None else self.weight)

    @cached_property
    def host_target(self) -> np.ndarray:
        """The target (N, outputs) in main memory, in float64."""
        return HOST.asarray(self.target, np.float64)

    def weighed(self, weight: Any, dtype: Any, name: str = "sample_weight") -> Data:
        """The same rows with these weights, which may be None; ValueError unless they fit."""
        return self if weight is None else Data(self.x, self.target, gate.row_weights(weight, len(self), dtype, name))

    # ---- what a step reads and writes -----------------------------------------------------------------------------

    def arrays(self, device: Device, collects: bool) -> dict[str, Any]:
        """The segments of an evaluation: the rows in their order."""
        found = {"x": self.x, "target": self.target} | self.extra(device, len(self), collects)
        if self.weight is not None:
            found["row_weights"] = device.asarray(np.stack([self.weight, self.weight], axis=1), self.target.dtype)
        return found

    def extra(self, device: Device, size: int, collects: bool) -> dict[str, Any]:
        """Segments for the weights of so many rows, if there are any, and for their predictions if these are needed."""
        found = {}
        if self.weight is not None:
            found["row_weights"] = device.zeros((size, 2), self.target.dtype)
        if collects:
            found["answer"] = device.empty((size, self.target.shape[1]), self.target.dtype)
        return found

    def in_order(self, order: np.ndarray, batch: int, mean: bool, dtype: Any = np.float64) -> np.ndarray:
        """What a step reads (epochs · N, 2), for orders (epochs, N) of the rows: weights, and shares of their batches.

        If the loss is not a mean, the second number is the weight again. The share of a batch without weight is 0.
        """
        assert self.weight is not None
        weight, found = self.weight[order], np.empty((*order.shape, 2), dtype)  # (epochs, N), (epochs, N, 2)
        found[..., 0] = found[..., 1] = weight
        if mean:
            starts = np.arange(0, len(self), batch)
            counts = weight if self.counts is self.weight else self.counts[order]
            totals = np.add.reduceat(counts, starts, axis=1)  # (epochs, batches)
            factors = np.divide(1.0, totals, out=np.zeros_like(totals), where=totals > 0)
            np.multiply(weight, np.repeat(factors, np.diff(starts, append=len(self)), axis=1), out=found[..., 1])
        return found.reshape(-1, 2)

    def collected(self, prediction: np.ndarray, order: np.ndarray | None = None) -> list[Rows]:
        """All rows with these predictions (N, outputs), which lie in this order of the rows (N,) if there is one."""
        found = np.empty(prediction.shape)
        found[slice(None) if order is None else order] = prediction
        return [(found, self.host_target, self.weight)]

    # ---- weights by class, and rows for validation ----------------------------------------------------------------

    def by_class(self, class_weight: ClassWeight) -> Data:
        """The same rows, with weights also by their classes: "balanced", or {label: weight} with 1 for other labels.

        Balanced weights are Σ w / (classes · Σ w of the class). ValueError for targets that are not classes.
        """
        if class_weight is None:
            return self
        labels, known = self._labels()
        present = self.counts if self.weight is not None else self.counts > 0
        if isinstance(class_weight, str):
            gate.one_of(class_weight, ("balanced",), "class_weight")
            totals = np.bincount(labels, present, max(known.values()) + 1)
            factors = present.sum() / (np.count_nonzero(totals) * np.where(totals > 0, totals, 1))
        elif isinstance(class_weight, Mapping):
            unknown = [label for label in class_weight if label not in known]
            if unknown:
                raise ValueError(f"class_weight has the label {unknown[0]!r}, but the labels are {sorted(known)}")
            factors = np.ones(max(known.values()) + 1)
            for label, factor in class_weight.items():
                factors[known[label]] = gate.number(factor, f"class_weight of {label}", least=0)
        else:
            raise TypeError(f'class_weight must be "balanced" or a dictionary {{label: weight}}, not {class_weight!r}')
        return Data(self.x, self.target, factors[labels] * (1 if self.weight is None else self.weight))

    def divided(self, share: float, seed: int) -> tuple[Data, Data]:
        """The rows for training, and a share of the rows for validation: the same rows for the same seed.

        Rows are picked at random, the same share of every class if there are classes: the last rows of data that are
        sorted would be unlike the others.
        """
        share = gate.number(share, "validation_split", above=0, below=1)
        if not 0 < round(share * len(self)) < len(self):
            raise ValueError(f"validation_split={share} of {len(self)} rows leaves none for training or for validation")
        classes = self._labels()[0] if _are_classes(self.host_target) else None
        parts = split(np.arange(len(self)), np.zeros(len(self)) if classes is None else classes, share, seed)
        return self._taken(np.sort(parts.x_train)), self._taken(np.sort(parts.x_test))

    def that_count(self, missing: bool) -> Data:
        """The rows that count: of a weight above 0, and, if targets may be `missing`, with one that was measured.

        A batch of others would be a step, too: momentum and decay move the parameters also without a gradient.
        """
        if self.weight is None and not missing:
            return self
        places = np.flatnonzero(self.counts)
        return self if len(places) in (0, len(self)) else self._taken(places)

    def _taken(self, places: np.ndarray) -> Data:
        """Some of the rows."""
        return Data(self.x[places], self.target[places], None if self.weight is None else self.weight[places])

    def _labels(self) -> tuple[np.ndarray, dict[int, int]]:
        """The class of each row (N,), and the class of each label; ValueError if the target has no classes.

        A row whose target was not measured has any class.
        """
        target = self.host_target
        if not _are_classes(target):
            raise ValueError("class_weight is for classes, which y does not have: weigh its rows by sample_weight=")
        if target.shape[1] > 1:
            seen = np.where(np.isnan(target), -1, target)  # argmax would take the first NaN for the largest
            return seen.argmax(axis=1), {k: k for k in range(target.shape[1])}
        if (target < 0).any():
            return (target[:, 0] > 0).astype(np.intp), {-1: 0, 1: 1}
        ones = target[:, 0] > 0.5
        return ones.astype(np.intp), {0: 0, 1: 1} if not ones.all() else {0: 0, 1: 1, -1: 0}


def _are_classes(target: np.ndarray) -> bool:
    """Whether a target (N, K) has classes, but for rows of NaN: one in each row, or for one output yes or no."""
    known = target[~np.isnan(target).any(axis=1)]
    return len(known) > 0 and (two_sided(known) if target.shape[1] == 1 else of_classes(known))


def joined(parts: Sequence[Rows]) -> list[Rows]:
    """The rows of several parts as those of one; [] for none."""
    if len(parts) < 2:
        return list(parts)
    prediction, target, weight = zip(*parts)
    return [(np.concatenate(prediction), np.concatenate(target), None if weight[0] is None else np.concatenate(weight))]


# ---- what does not go together -------------------------------------------------------------------------------------


def refuse_weights(metrics: Sequence[Metric]) -> None:
    """ValueError for a metric that cannot measure rows with weights."""
    for metric in metrics:
        if not metric.takes_weights:
            remedy = "write its `measure(prediction, target, weight)`"
            if isinstance(metric, FunctionMetric):
                remedy = "give the function an argument sample_weight"
            raise ValueError(f"the metric {metric.name!r} does not take weights of rows: {remedy}, or leave it out")


def refuse_together(
    chunks: bool, y: Any, validation_data: Any, validation_split: float, weight: Any, class_weight: ClassWeight
) -> None:
    """ValueError for arguments of a fit that do not go together."""
    if validation_split and validation_data is not None:
        raise ValueError("validation_split and validation_data are two ways to say the same: leave one out")
    if chunks and validation_split:
        raise ValueError("validation_split needs all rows at once, but these are taken in chunks: use validation_data")
    if chunks and class_weight == "balanced":
        raise ValueError(
            'class_weight="balanced" needs all labels at once, but the rows are taken in chunks: hand over '
            "{label: weight}"
        )
    if chunks and y is None and weight is not None:
        raise ValueError("with chunks, sample_weight is a part of each chunk: (x, y, sample_weight)")

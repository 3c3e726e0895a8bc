"""The sums of an epoch: what a step adds up for the loss and for each metric, and the numbers that become of them.

A metric that has no sums, and any metric of rows with weights, is computed from the predictions of all rows instead.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from . import gate
from .devices import view
from .loss import Loss
from .metrics import Metric
from .network import Sequential

Rows = tuple[np.ndarray, np.ndarray, "np.ndarray | None"]  # of an epoch: prediction, target (N, K), weight (N,)


def names_of(metrics: Sequence[Metric], network: Sequential) -> list[str]:
    """The names of what an epoch measures: the loss, then each metric."""
    outputs = network.outputs or 0
    return ["loss", *(name for metric in metrics for name in metric.names(outputs))]


class Sums:
    """What a step has of sums: S float64 numbers, first those of the loss, then those of each metric."""

    network: Sequential
    loss: Loss
    metrics: Sequence[Metric]
    weighted: bool

    def sums_up(self, metric: Metric) -> bool:
        """Whether a metric is computed from sums over batches, and not from the predictions of all rows."""
        return metric.has_sums and not self.weighted

    @property
    def collects(self) -> bool:
        """Whether a metric needs the predictions of all rows."""
        return not all(map(self.sums_up, self.metrics))

    def shapes(self, outputs: int) -> list[tuple[int, ...]]:
        """The shapes of these sums, for so many outputs."""
        of_metrics = [metric.shape(outputs) if self.sums_up(metric) else (0,) for metric in self.metrics]
        return [(2 if self.loss.ignore_nan else 1,), *of_metrics]

    def size(self, outputs: int) -> int:
        """The number S of all sums together."""
        return sum(map(math.prod, self.shapes(outputs)))

    def parts(self, sums: Any, outputs: int) -> list[Any]:
        """Views of the sums (S,), an array or a symbol: one for the loss and one for each metric."""
        parts, start = [], 0
        names = ["loss", *(metric.name for metric in self.metrics)]
        for name, shape in zip(names, self.shapes(outputs)):
            parts.append(view(sums, name, start, shape))
            start += math.prod(shape)
        return parts

    def merged(self, sums: Sequence[np.ndarray], outputs: int) -> np.ndarray:
        """The sums (S,) over all rows, from the sums (S,) over each group of rows."""
        total, *others = sums
        for more in others:
            mine, its = self.parts(total, outputs), self.parts(more, outputs)
            pairs = [both for both in zip(self.metrics, mine[1:], its[1:]) if self.sums_up(both[0])]
            total = np.concatenate([mine[0] + its[0], *(m.merge(a, b).ravel() for m, a, b in pairs)])
        return total

    def values(self, sums: np.ndarray, count: float, outputs: int, rows: Sequence[Rows] = ()) -> dict[str, float]:
        """The sums (S,) over so many rows, or so much weight -> the loss and the metrics, by name."""
        found = self.values_of_epochs(sums[None], count, outputs, rows)
        return {name: values[0] for name, values in found.items()}

    def values_of_epochs(
        self, sums: np.ndarray, count: float, outputs: int, rows: Sequence[Rows] = ()
    ) -> dict[str, list[float]]:
        """The same for many epochs, from sums (epochs, S): a small net makes millions of them in a second.

        `rows` has the predictions of each epoch if a metric needs them.
        """
        total = sums[:, 1] if self.loss.ignore_nan and not self.weighted else count
        found = {"loss": (sums[:, 0] * self.loss.per_sample(outputs) / total).tolist()}
        start, *sizes = map(math.prod, self.shapes(outputs))
        for metric, size in zip(self.metrics, sizes):
            if self.sums_up(metric):
                shape = metric.shape(outputs)
                values = [metric.value(each.reshape(shape)) for each in sums[:, start : start + size]]
            else:
                values = [metric.measure(*each) for each in rows]
            names = metric.names(outputs)
            for value in values[-1:] if len(names) == 1 else ():
                gate.answer(value, f"the metric {names[0]}")
            found |= {names[0]: values} if len(names) == 1 else dict(zip(names, map(list, zip(*values))))
            start += size
        return found

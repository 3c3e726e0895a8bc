"""One step: a batch through the network and the loss, back again, and a move of the parameters.

A step reads and writes only arrays: the data, the parameters, the gradients, the slots of the optimizer, the state of
the layers, and the epoch's sums. `step.on(ops, arrays)` is a twin: the same step with other kernels on other arrays. A
twin with a recorder and symbols is used to record the step (programs.py). The original is never changed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from .devices import Ops, view
from .loss import Loss
from .metrics import Metric
from .network import Sequential
from .optimizers import Optimizer
from .twins import settings, twin_of


@dataclass(frozen=True)
class Step:
    """The parts of a step. `depth` layers come before the loss, which may compute the last activation inside."""

    network: Sequential
    loss: Loss
    optimizer: Optimizer
    metrics: Sequence[Metric]
    depth: int

    def train(self, data: Mapping[str, Any], n: int) -> None:
        """Take the next n rows, learn from them, and add them to the epoch's sums. This is recorded for a fit."""
        ops = self.network.ops
        x = ops.take_rows(data["x"], data["order"], data["position"], n)  # (n, inputs)
        target = ops.take_rows(data["target"], data["order"], data["position"], n)  # (n, outputs)
        if "rates" in data:  # of a schedule
            ops.take_rate(data["rates"], self.optimizer.clock, self.optimizer.rate)
        outputs, losses = self.learn(x, target)
        self.count(outputs, losses, target, data["sums"])
        ops.advance(data["position"], n)

    def evaluate(self, data: Mapping[str, Any], n: int) -> None:
        """Add the next n rows to the sums, in the order of the data. This is recorded for an evaluation."""
        ops = self.network.ops
        x = ops.read_rows(data["x"], data["position"], n)  # (n, inputs)
        target = ops.read_rows(data["target"], data["position"], n)  # (n, outputs)
        outputs = self.network.propagate(x, self.depth)
        self.count(outputs, self.loss.measure(outputs, target), target, data["sums"])
        ops.advance(data["position"], n)

    def learn(self, x: Any, target: Any) -> tuple[Any, Any]:
        """Update the parameters with one batch -> the outputs (n, outputs) and losses (n,) from before the update."""
        outputs, losses, _ = self.slope(x, target)
        self.optimizer.step()  # moves network.parameters (P,)
        return outputs, losses

    def slope(self, x: Any, target: Any, input_gradient: bool = False) -> tuple[Any, Any, Any]:
        """Fill network.gradients (P,) from one batch -> outputs (n, outputs), losses (n,), dx (n, inputs) or None."""
        outputs = self.network.propagate(x, self.depth)  # (n, outputs)
        losses = self.loss.measure(outputs, target)  # (n,)
        dx = self.network.backpropagate(self.loss.backward(), self.depth, input_gradient)
        return outputs, losses, dx

    def count(self, outputs: Any, losses: Any, target: Any, sums: Any) -> None:
        """Add a batch to the sums (S,): first the loss, then each metric."""
        loss, *others = self.parts(sums, target.shape[1])
        self.count_losses(losses, loss)
        if self.metrics:
            prediction = self.loss.predictions(outputs)  # (n, outputs)
            for metric, part in zip(self.metrics, others):
                metric.add(self.network.ops, prediction, target, part)

    def count_losses(self, losses: Any, sums: Any) -> None:
        """Add the losses (n,) of a batch to the first of these sums; with ignore_nan, known shares to the second."""
        ops = self.network.ops
        ops.add_losses(losses, view(sums, "loss", 0, (1,)))
        if self.loss.ignore_nan:
            ops.add_losses(self.loss.known, view(sums, "known", 1, (1,)))

    # ---- the same step elsewhere -------------------------------------------------------------------------------

    def arrays(self) -> dict[str, Any]:
        """All arrays that a step keeps for the next one, by name. Copies of them are an exact checkpoint."""
        return {**self.network.arrays(), **self.optimizer.arrays()}

    def on(self, ops: Ops, arrays: Mapping[str, Any], training: bool = True) -> Step:
        """A twin of the step, with these kernels on these arrays. The step itself is not changed."""
        network = self.network.on(ops, arrays, training)
        optimizer = self.optimizer.on(network, arrays) if training else self.optimizer
        metrics = tuple(map(twin_of, self.metrics))
        return replace(self, network=network, loss=self.loss.on(ops), optimizer=optimizer, metrics=metrics)

    def training_on(self, ops: Ops, arrays: Mapping[str, Any]) -> Callable[[int], None]:
        """`train` with these kernels on these arrays, which include the data."""
        return partial(self.on(ops, arrays).train, arrays)

    def evaluation_on(self, ops: Ops, arrays: Mapping[str, Any]) -> Callable[[int], None]:
        """`evaluate` with these kernels on these arrays, which include the data."""
        return partial(self.on(ops, arrays, training=False).evaluate, arrays)

    def settings(self) -> tuple[Any, ...]:
        """All plain values that a recorded step contains. After one of them has changed, the step is recorded anew."""
        parts = (*self.network.layers, self.loss, self.optimizer, *self.metrics)
        return (*settings(*parts), self.depth, self.network.threads)

    # ---- sums ----------------------------------------------------------------------------------------------------

    @property
    def names(self) -> list[str]:
        """The names of the sums of an epoch: the loss, then each metric."""
        return ["loss", *(metric.name for metric in self.metrics)]

    def shapes(self, outputs: int) -> list[tuple[int, ...]]:
        """The shapes of these sums, for so many outputs."""
        return [(2 if self.loss.ignore_nan else 1,), *(metric.shape(outputs) for metric in self.metrics)]

    def size(self, outputs: int) -> int:
        """The number S of all sums together."""
        return sum(map(math.prod, self.shapes(outputs)))

    def parts(self, sums: Any, outputs: int) -> list[Any]:
        """Views of the sums (S,), an array or a symbol: one for the loss and one for each metric."""
        parts, start = [], 0
        for name, shape in zip(self.names, self.shapes(outputs)):
            parts.append(view(sums, name, start, shape))
            start += math.prod(shape)
        return parts

    def merged(self, sums: Sequence[np.ndarray], outputs: int) -> np.ndarray:
        """The sums (S,) over all rows, from the sums (S,) over each group of rows."""
        total, *others = sums
        for more in others:
            mine, its = self.parts(total, outputs), self.parts(more, outputs)
            merged = [mine[0] + its[0], *(m.merge(a, b).ravel() for m, a, b in zip(self.metrics, mine[1:], its[1:]))]
            total = np.concatenate(merged)
        return total

    def values(self, sums: np.ndarray, rows: int, outputs: int) -> dict[str, float]:
        """The sums (S,) over so many rows -> the loss and the metrics, by name."""
        return {name: values[0] for name, values in self.values_of_epochs(sums[None], rows, outputs).items()}

    def values_of_epochs(self, sums: np.ndarray, rows: int, outputs: int) -> dict[str, list[float]]:
        """The same for many epochs, from sums (epochs, S): a small net makes millions of them in a second."""
        count = sums[:, 1] if self.loss.ignore_nan else rows
        found = {"loss": (sums[:, 0] * self.loss.per_sample(outputs) / count).tolist()}
        start, *sizes = map(math.prod, self.shapes(outputs))
        for metric, size in zip(self.metrics, sizes):
            shape = metric.shape(outputs)
            found[metric.name] = [metric.value(each.reshape(shape)) for each in sums[:, start : start + size]]
            start += size
        return found

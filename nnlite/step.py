"""One step: a batch through the network and the loss, back again, and a move of the parameters.

A step reads and writes only arrays: the data, the parameters, the gradients, the slots of the optimizer, the state of
the layers, and the epoch's sums. `step.on(ops, arrays)` is a twin: the same step with other kernels on other arrays. A
twin with a recorder and symbols is used to record the step (programs.py). The original is never changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from .devices import Ops, view
from .loss import Loss
from .metrics import Metric
from .network import Sequential
from .optimizers import Optimizer
from .sums import Sums
from .twins import settings, twin_of


@dataclass(frozen=True)
class Step(Sums):
    """The parts of a step. `depth` layers come before the loss, which may compute the last activation inside."""

    network: Sequential
    loss: Loss
    optimizer: Optimizer
    metrics: Sequence[Metric]
    depth: int
    weighted: bool = False  # whether rows have weights

    def train(self, data: Mapping[str, Any], n: int) -> None:
        """Take the next n rows, learn from them, and add them to the epoch's sums. This is recorded for a fit."""
        ops = self.network.ops
        x = ops.take_rows(data["x"], data["order"], data["position"], n)  # (n, inputs)
        target = ops.take_rows(data["target"], data["order"], data["position"], n)  # (n, outputs)
        if "rates" in data:  # of a schedule
            ops.take_rate(data["rates"], self.optimizer.clock, self.optimizer.rate)
        outputs, losses = self.learn(x, target, self.row_weights(data, n))
        self.count(outputs, losses, target, data)
        ops.advance(data["position"], n)

    def evaluate(self, data: Mapping[str, Any], n: int) -> None:
        """Add the next n rows to the sums, in the order of the data. This is recorded for an evaluation."""
        ops = self.network.ops
        x = ops.read_rows(data["x"], data["position"], n)  # (n, inputs)
        target = ops.read_rows(data["target"], data["position"], n)  # (n, outputs)
        outputs = self.network.propagate(x, self.depth)
        self.count(outputs, self.loss.measure(outputs, target, self.row_weights(data, n)), target, data)
        ops.advance(data["position"], n)

    def row_weights(self, data: Mapping[str, Any], n: int) -> Any:
        """(n, 2): the weight of each of the next n rows and its share of the batch; None if all weigh the same."""
        return self.network.ops.read_rows(data["row_weights"], data["position"], n) if self.weighted else None

    def learn(self, x: Any, target: Any, row_weights: Any = None) -> tuple[Any, Any]:
        """Update the parameters with one batch -> the outputs (n, outputs) and losses (n,) from before the update."""
        outputs, losses, _ = self.slope(x, target, row_weights=row_weights)
        self.optimizer.step()  # moves network.parameters (P,)
        return outputs, losses

    def slope(self, x: Any, target: Any, input_gradient: bool = False, row_weights: Any = None) -> tuple[Any, Any, Any]:
        """Fill network.gradients (P,) from one batch -> outputs (n, outputs), losses (n,), dx (n, inputs) or None."""
        outputs = self.network.propagate(x, self.depth)  # (n, outputs)
        losses = self.loss.measure(outputs, target, row_weights)  # (n,)
        dx = self.network.backpropagate(self.loss.backward(), self.depth, input_gradient)
        return outputs, losses, dx

    def count(self, outputs: Any, losses: Any, target: Any, data: Mapping[str, Any]) -> None:
        """Add a batch to the sums (S,): first the loss, then each metric. A metric without sums gets `answer` later."""
        loss, *others = self.parts(data["sums"], target.shape[1])
        self.count_losses(losses, loss)
        if self.metrics:
            ops, prediction = self.network.ops, self.loss.predictions(outputs)  # (n, outputs)
            for metric, part in zip(self.metrics, others):
                if self.sums_up(metric):
                    metric.add(ops, prediction, target, part)
            if self.collects:
                ops.write_rows(prediction, data["position"], data["answer"])

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
        return (*settings(*parts), self.depth, self.weighted, self.network.threads)

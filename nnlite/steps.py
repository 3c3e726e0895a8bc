"""Steps of training: one is recorded, and the device runs it as often as asked; or Python does, where it cannot be.

A trainer's step reads and writes nothing but arrays: the data, the order of its rows and how far it is, parameters,
gradients, what the optimizer remembers, and the epoch's sums. So it can be run with symbols in their places, which
writes down the calls of kernels (devices/common/recording.py), and the device can then repeat them without Python.
"""

from __future__ import annotations

import contextlib
import math
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from .devices.common.arena import Arena
from .devices.common.recording import NotRecordableError, Recorder, Symbol, Tape
from .layers import Layer
from .losses import Loss
from .metrics import Metric
from .optimizers import Optimizer

if TYPE_CHECKING:
    from .trainer import Trainer

LONGEST_CALL = 0.2  # seconds that the device may be out of Python: so that Ctrl-C and the bar are not kept waiting
MOST_INDICES = 200_000  # in the order of rows of several epochs, which are drawn together


class Steps:
    """The steps of a trainer over x (N, inputs), target (N, outputs) in batches, an epoch or many at a time."""

    def __init__(self, trainer: Trainer, x: Any, target: Any, batch_size: int, epochs: int) -> None:
        self.trainer, self.rows = trainer, len(x)
        self.batch = min(batch_size, self.rows)
        self.per_epoch, self.rest = -(-self.rows // self.batch), self.rows % self.batch
        self.window = max(1, min(epochs, MOST_INDICES // self.rows))  # epochs whose order is drawn at once
        net, optimizer = trainer.network, trainer.optimizer
        zeros = net.backend.zeros
        self.shapes = sum_shapes(trainer, target.shape[1])
        self.arena = Arena(
            net.backend,
            net.dtype,
            {
                "x": x,
                "target": target,
                "order": zeros(self.window * self.rows, np.int64),
                "position": zeros(1, np.int64),
                "parameters": net.parameters,
                "gradients": net.gradients,
                **{name: getattr(optimizer, name) for name in optimizer.arrays},
                **{f"{i}.{name}": getattr(net.layers[i], name) for i, name in self._counters()},
                "sums": zeros(sum(math.prod(shape) for shape in self.shapes), np.float64),
            },
        )
        self.position = self.arena.segments["position"]
        self.order = np.zeros((self.window, self.rows), np.int64)  # drawn here, then taken to where the steps read it
        self.history = np.zeros((self.window, len(self.arena.segments["sums"])))  # the finished epochs' sums
        self.tape: Tape | None = None
        self.replay = (trainer.replay != "eager" and self._recorded()) or self
        self.plan = "every step made in Python"
        self.pace = 1.0  # steps that a call may take

    def refill(self, x: Any, target: Any) -> None:
        """Other data of the same shape, into the arrays that the steps were made for."""
        self.arena.segments["x"][...] = x
        self.arena.segments["target"][...] = target

    # ---- a window of epochs -------------------------------------------------------------------------------------

    def start(self, epochs: int, shuffles: np.random.Generator | None) -> None:
        """Draw the order of rows for the next epochs, at most `window` of them."""
        self.epochs = epochs
        order = self.order[:epochs]
        order[...] = np.arange(self.rows)
        if shuffles is not None:
            shuffles.permuted(order, axis=1, out=order)
        self.arena.segments["order"][: order.size] = self.trainer.network.backend.asarray(order.ravel())
        self.position[...] = 0
        self.arena.segments["sums"][...] = 0

    def calls(self) -> Iterator[tuple[int, int, int]]:
        """Run the window in calls of at most LONGEST_CALL seconds -> each one's first step, where it came, its goal."""
        first, last = 0, self.epochs * self.per_epoch
        while first < last:
            goal = min(last, first + max(1, int(self.pace)))
            start = time.perf_counter()
            came = self.replay.run(first, goal, self.per_epoch, self.history)
            seconds = time.perf_counter() - start
            steps = goal - first
            self.pace = min(8 * steps, steps * LONGEST_CALL / max(seconds, 1e-9))
            yield first, came, goal
            first = goal

    def finished(self) -> np.ndarray:
        """The sums of the window's finished epochs (done, S)."""
        failed = not math.isfinite(self.arena.segments["sums"][0])  # then the last step does not count
        return self.history[: (int(self.position[0]) - failed) // self.rows]

    # ---- eager ---------------------------------------------------------------------------------------------------

    def run(self, first: int, last: int, per_epoch: int, history: np.ndarray) -> int:
        """What a replay does, in Python: for steps that cannot be recorded."""
        to_numpy = self.trainer.network.backend.to_numpy
        data = self._data(self.arena.view, self._symbols())
        sums = self.arena.segments["sums"]
        for step in range(first, last):
            end_of_epoch = (step + 1) % per_epoch == 0
            self.trainer._step(data, self.rest if end_of_epoch and self.rest else self.batch)
            if not math.isfinite(sums[0]):
                return step
            if end_of_epoch:
                history[step // per_epoch] = to_numpy(sums)
                sums[...] = 0
        return last

    # ---- recorded ------------------------------------------------------------------------------------------------

    def _recorded(self) -> Any:
        """The device's replay of the step, or None if it cannot be recorded, which is said."""
        try:
            self.tape = self._record(self.batch)
            short = self._record(self.rest) if self.rest else None
            net = self.trainer.network
            replay = net.backend.replay(self.tape, short, self.arena, net.threads, self.trainer.replay)
            net.recorded = (self.batch, self.arena.bytes)
            return replay
        except NOT_RECORDED as error:
            self.tape = None
            message = f"{_culprit(error)} cannot be recorded, so every step is made in Python: {error}"
            warnings.warn(message, EagerWarning, stacklevel=4)
            return None

    def _record(self, rows: int) -> Tape:
        symbols = self._symbols()
        net = self.trainer.network
        recorder = Recorder(net.ops, net.dtype)
        with _restored(net, *net.layers, self.trainer.loss, self.trainer.optimizer, *self.trainer.metrics):
            net.ops = recorder
            net.parameters, net.gradients = symbols["parameters"], symbols["gradients"]
            net.hand_out(
                recorder,
                lambda name, start, size, shape: (
                    symbols["parameters"].part(name, start, shape),
                    symbols["gradients"].part(name.replace(".", ".d"), start, shape),
                ),
            )
            self.trainer.loss.use(recorder)
            for name in self.trainer.optimizer.arrays:
                setattr(self.trainer.optimizer, name, symbols[name])
            for i, name in self._counters():
                setattr(net.layers[i], name, symbols[f"{i}.{name}"])
            self.trainer._step(self._data(lambda symbol: symbol, symbols), rows)
        return recorder.tape

    def _counters(self) -> list[tuple[int, str]]:
        """Number of the layer and name of everything with which layers count."""
        return [(i, name) for i, layer in enumerate(self.trainer.network.layers) for name in layer.counters]

    def _symbols(self) -> dict[str, Symbol]:
        segments = self.arena.segments
        return {name: Symbol(name, a.shape, a.dtype, name, 0) for name, a in segments.items() if name != "results"}

    def _data(self, of: Callable[[Symbol], Any], symbols: dict[str, Symbol]) -> SimpleNamespace:
        """What a step takes, as symbols or as arrays."""
        parts, start = [], 0
        for name, shape in zip(["loss", *(m.name for m in self.trainer.metrics)], self.shapes):
            parts.append(of(symbols["sums"].part(name, start, shape)))
            start += math.prod(shape)
        given = {name: of(symbols[name]) for name in ("x", "target", "order", "position")}
        return SimpleNamespace(**given, sums=parts)


def sum_shapes(trainer: Trainer, outputs: int) -> list[tuple[int, ...]]:
    """The shapes of what an epoch sums up: the loss, then what each metric needs."""
    return [(1,), *(metric.shape(outputs) for metric in trainer.metrics)]


def epoch_values(trainer: Trainer, sums: np.ndarray, rows: int, outputs: int) -> dict[str, list[float]]:
    """The sums (E, S) of E epochs over so many rows -> loss and metrics, name -> one value an epoch."""
    columns = {"loss": (sums[:, 0] * (trainer.loss.per_sample(outputs) / rows)).tolist()}
    start = 1
    for metric, shape in zip(trainer.metrics, sum_shapes(trainer, outputs)[1:]):
        size = math.prod(shape)
        columns[metric.name] = [metric.value(row.reshape(shape)) for row in sums[:, start : start + size]]
        start += size
    return columns


def merged(trainer: Trainer, sums: np.ndarray, more: np.ndarray, outputs: int) -> np.ndarray:
    """The sums (S,) over all rows, from those of some rows and of the others."""
    parts, start = [sums[:1] + more[:1]], 1
    for metric, shape in zip(trainer.metrics, sum_shapes(trainer, outputs)[1:]):
        part = slice(start, start + math.prod(shape))
        parts.append(metric.merge(sums[part].reshape(shape), more[part].reshape(shape)).ravel())
        start = part.stop
    return np.concatenate(parts)


class EagerWarning(UserWarning):
    """A step could not be recorded; training is right, but not fast."""


# What a step may raise that asks an array for numbers while there are only symbols.
NOT_RECORDED = (NotRecordableError, TypeError, AttributeError)


@contextlib.contextmanager
def _restored(*objects: Any) -> Iterator[None]:
    """Put every attribute of these objects back at the end."""
    saved = [dict(vars(each)) for each in objects]
    try:
        yield
    finally:
        for each, attributes in zip(objects, saved):
            vars(each).clear()
            vars(each).update(attributes)


def _culprit(error: BaseException) -> str:
    """The layer, loss, metric or optimizer in whose method the error arose."""
    parts = (Layer, Loss, Metric, Optimizer)
    names = [
        type(frame.f_locals["self"]).__name__
        for frame, _ in traceback.walk_tb(error.__traceback__)
        if isinstance(frame.f_locals.get("self"), parts)
    ]
    return names[-1] if names else "the step"

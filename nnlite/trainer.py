"""The trainer: batches through the network, the loss, back again, and a step of the optimizer."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from . import gate
from .activations import Identity, ReLU, Sigmoid, Softmax, Softplus, Tanh, TanhOffset
from .chunks import Chunks
from .devices.common.recording import Tape
from .history import History
from .layers import Dense
from .losses import BinaryCrossEntropy, CategoricalCrossEntropy, Loss
from .losses import loss as loss_named
from .metrics import Metric, chosen
from .network import Sequential
from .optimizers import SGD, Optimizer
from .optimizers import optimizer as optimizer_named
from .progress import Bar
from .steps import Steps, epoch_values, merged, sum_shapes


class DivergedError(ArithmeticError):
    """The loss or a parameter stopped being finite; the network is back at parameters whose loss was finite.

    `epoch` and `batch` say where, both counted from 1.
    """

    def __init__(self, message: str, epoch: int, batch: int) -> None:
        super().__init__(message)
        self.epoch, self.batch = epoch, batch


class Trainer:
    """Trains a network on arrays by gradient descent on batches.

    `loss`, `optimizer` and `metrics` are objects or lower-case names; the optimizer defaults to SGD(lr=0.01). A network
    that ends in Softmax under categorical cross-entropy, or in Sigmoid under binary, is trained from the values before
    it, which is the same function, but stable. Shuffles come from the network's seed. A step is recorded once and run
    by the device; replay="eager" makes every step in Python, and on cupy "graph" and "persistent" force one of its two
    ways. After a fit, `print(trainer.tape)` shows the step, `trainer.plan()` how it was run.

    >>> x, y = nl.datasets.logic_gate("and")
    >>> trainer = nl.Trainer(nl.mlp([2, 1], output="sigmoid", device="numpy"), loss="mse", optimizer=nl.SGD(lr=5.0))
    >>> history = trainer.fit(x, y, epochs=500, batch_size=4, progress=False)
    >>> trainer.network.predict(x).round().ravel()
    array([0., 0., 0., 1.], dtype=float32)
    """

    def __init__(
        self,
        network: Sequential,
        loss: str | Loss = "mse",
        optimizer: str | Optimizer | None = None,
        metrics: Sequence[str | Metric] = (),
        replay: str = "auto",
    ) -> None:
        if not isinstance(network, Sequential):
            raise TypeError(f"network must be a Sequential, not {network!r}")
        if network.outputs is None:
            raise ValueError("the network has no Dense layer, so there is nothing to train")
        if isinstance(metrics, str):
            raise TypeError(f'metrics must be a list such as ["{metrics}"], not the text {metrics!r}')
        self.network = network
        self.loss, self.depth = _from_logits(network, loss if isinstance(loss, Loss) else loss_named(loss))
        if optimizer is None:
            optimizer = SGD()
        self.optimizer = optimizer if isinstance(optimizer, Optimizer) else optimizer_named(optimizer)
        self.metrics = chosen(metrics, self.loss, network)
        self.replay = gate.one_of(replay, ("auto", "eager", "graph", "persistent"), "replay")
        if self.replay != "eager":
            network.backend.refuse(self.replay)
        self.optimizer.bind(network)
        self.history = History()
        self.tape: Tape | None = None  # what the last fit replayed; None before, and if it could not be recorded
        self._plan = "nothing has been trained yet"
        self._shuffles = np.random.Generator(np.random.PCG64(network.seed))

    def plan(self) -> str:
        """How the device ran the steps of the last fit, and why so."""
        return self._plan

    # ---- one step -----------------------------------------------------------------------------------------------

    def _learn(self, x: Any, target: Any) -> tuple[Any, Any]:
        """One step of gradient descent on a batch -> the network's outputs (n, outputs) and losses (n,) before it."""
        with self.network.in_training():
            outputs = self.network.propagate(x, self.depth)  # x (n, inputs) -> (n, outputs)
        losses = self.loss.measure(outputs, target)  # (n,)
        self.network.backpropagate(self.loss.backward(), self.depth)  # fills network.gradients (P,)
        self.optimizer.step()  # moves network.parameters (P,)
        return outputs, losses

    def _step(self, data: Any, n: int) -> None:
        """The next n rows: taken, learned from, and counted in the epoch's sums. This is what is recorded."""
        ops = self.network.ops
        x = ops.take_rows(data.x, data.order, data.position, n)  # (n, inputs)
        target = ops.take_rows(data.target, data.order, data.position, n)  # (n, outputs)
        outputs, losses = self._learn(x, target)
        self._count(outputs, losses, target, data.sums)
        ops.advance(data.position, n)

    def _count(self, outputs: Any, losses: Any, target: Any, sums: Sequence[Any]) -> None:
        self.network.ops.add_losses(losses, sums[0])
        if self.metrics:
            prediction = self.loss.predictions(outputs)  # (n, outputs)
            for metric, shares in zip(self.metrics, sums[1:]):
                metric.add(self.network.ops, prediction, target, shares)

    def step(self, x: Any, y: Any) -> float:
        """One step of gradient descent on x (N, inputs), y (N, outputs) or (N,); returns the loss before the update."""
        with _quiet(), self.network.backend.explained():
            x, target = self._data(x, y)
            before = self.network.parameters.copy()
            _, losses = self._learn(x, target)
        loss = self.loss.reduce(losses, target.shape[1])
        if not math.isfinite(loss) or not np.isfinite(self.network.parameters).all():
            raise self._diverged(loss, before, 1, 1)
        return loss

    # ---- many steps -----------------------------------------------------------------------------------------------

    def fit(
        self,
        x: Any,
        y: Any = None,
        epochs: int = 1,
        batch_size: int = 32,
        shuffle: bool = True,
        validation_data: tuple[Any, Any] | None = None,
        progress: bool = True,
    ) -> History:
        """Train on x (N, inputs) and y (N, outputs), numbers (N,) for one output, or integer labels (N,) for several.

        Every epoch sees every row once, in a new order if `shuffle`; the last batch may be short. The history has the
        mean loss and the metrics over the epoch's rows as they were trained, and "val_…" of `validation_data` after
        each epoch. `progress` shows a bar on stderr. DivergedError when loss or parameters stop being finite.

        A numpy.memmap that fits into half of the free memory trains as a plain array does. A larger one, and arrays
        that do not fit onto a GPU, are taken in chunks whose rows come from all over the data in every epoch (of a
        file, in blocks of 64 KiB). Chunks of your own, without y, are an iterable of pairs (x, y), or a function that
        makes one for each epoch: rows are then shuffled within a chunk only, so each should have rows of every kind.
        """
        epochs, batch_size = gate.integer(epochs, "epochs", least=0), gate.integer(batch_size, "batch_size")
        backend = self.network.backend
        with backend.explained():
            chunks = Chunks.of(x, y, self.network.dtype.itemsize, epochs, backend.room())
            if chunks is None:
                x, target = self._data(x, y)
        validation = None if validation_data is None else self._validation(validation_data)
        self.history = History()
        self.optimizer.bind(self.network)
        if epochs == 0:
            return self.history
        shuffles, done = self._shuffles if shuffle else None, 0
        with _quiet(), backend.explained(), Bar(epochs, chunks.rows if chunks else len(x), progress) as bar:
            if chunks:
                runs = self._parts(chunks, epochs, batch_size, shuffles, bar)
            else:
                runs = self._whole(x, target, epochs, batch_size, shuffles, bar, one_by_one=validation is not None)
            for made in runs:
                if validation:
                    found = self._evaluate(*validation, 4096)
                    self.history.extend({f"val_{name}": [value] for name, value in found.items()})
                done += made
                bar.show(done, self.history.last())
        return self.history

    def _whole(
        self, x: Any, target: Any, epochs: int, batch_size: int, shuffles: Any, bar: Bar, one_by_one: bool
    ) -> Iterator[int]:
        """Epochs over all data, several in one go unless `one_by_one` -> how many were made, each time."""
        steps, safe, done = self._steps(x, target, batch_size, epochs, bar), _Safe(self.network), 0
        while done < epochs:
            window = 1 if one_by_one else min(epochs - done, steps.window)
            steps.start(window, shuffles)
            try:
                self._run(steps, done, done * steps.rows, safe, bar)
            finally:  # also of a training that is interrupted
                self.history.extend(epoch_values(self, steps.finished(), steps.rows, self.network.outputs or 0))
            yield window
            done += window

    def _parts(self, chunks: Chunks, epochs: int, batch_size: int, shuffles: Any, bar: Bar) -> Iterator[int]:
        """Epochs over all chunks -> 1 for each. Chunks of as many rows as the one before use the same steps again."""
        steps, safe = None, _Safe(self.network)
        for done in range(epochs):
            total, rows, before = None, 0, bar.rows
            for i, chunk in enumerate(chunks.epoch(shuffles)):
                x, target = self._data(*chunk, names=(f"x of chunk {i}", f"y of chunk {i}"))
                if steps is not None and steps.rows == len(x):
                    steps.refill(x, target)
                else:
                    steps = self._steps(x.copy(), target.copy(), batch_size, 1, bar)  # memory that may be filled again
                steps.start(1, shuffles)
                self._run(steps, done, before + rows, safe, bar)
                sums, rows = steps.finished()[0], rows + len(x)
                total = sums.copy() if total is None else merged(self, total, sums, self.network.outputs or 0)
            assert total is not None  # an epoch has one chunk or more
            self.history.extend(epoch_values(self, total[None], rows, self.network.outputs or 0))
            yield 1

    def _steps(self, x: Any, target: Any, batch_size: int, epochs: int, bar: Bar) -> Steps:
        with bar.waiting("compiling for this CPU, which is kept for later"):
            steps = Steps(self, x, target, batch_size, epochs)
        self.tape, self._plan = steps.tape, steps.replay.plan
        return steps

    def evaluate(self, x: Any, y: Any, batch_size: int | None = None) -> dict[str, float]:
        """The loss and the metrics over these rows, without training: {"loss": …, "accuracy": …}."""
        size = 4096 if batch_size is None else gate.integer(batch_size, "batch_size")
        with self.network.backend.explained():
            return self._evaluate(*self._data(x, y), size)

    def _run(self, steps: Steps, done: int, before: int, safe: _Safe, bar: Bar) -> None:
        """Run a window, after `done` epochs and `before` rows; DivergedError where something stops being finite."""
        for first, came, goal in steps.calls():
            if came < goal or not np.isfinite(self.network.parameters).all():
                stop = min(came, goal - 1)
                loss = float(steps.arena.segments["sums"][0])
                kept = safe.proven(came > first)
                raise self._diverged(loss, kept, done + stop // steps.per_epoch + 1, stop % steps.per_epoch + 1)
            safe.keep()
            bar.advance(before + int(steps.position[0]))

    def _evaluate(self, x: Any, target: Any, batch_size: int) -> dict[str, float]:
        net, columns = self.network, target.shape[1]
        sums = [net.backend.zeros(shape, np.float64) for shape in sum_shapes(self, columns)]
        for start in range(0, len(x), batch_size):
            batch_target = target[start : start + batch_size]  # (n, outputs)
            outputs = net.propagate(x[start : start + batch_size], self.depth)
            self._count(outputs, self.loss.measure(outputs, batch_target), batch_target, sums)
        flat = np.concatenate([net.backend.to_numpy(each).ravel() for each in sums])
        return {name: value for name, (value,) in epoch_values(self, flat[None], len(x), columns).items()}

    # ---- what goes in, and what went wrong -------------------------------------------------------------------------

    def _data(self, x: Any, y: Any, names: tuple[str, str] = ("x", "y")) -> tuple[Any, Any]:
        """x (N, inputs), y -> both through the gate, y as (N, outputs)."""
        net = self.network
        self.loss.use(net.ops)
        names_of_columns = net.columns or gate.columns_of(x)
        x = net.samples(x, names[0])
        target = gate.targets(y, (len(x), net.outputs or 0), net.backend, net.dtype, self.loss.target, names[1])
        for metric in self.metrics:
            metric.check(target, names[1])
        net.columns = names_of_columns  # not of data that were refused
        return x, target

    def _validation(self, data: Any) -> tuple[Any, Any]:
        if not isinstance(data, (tuple, list)) or len(data) != 2:
            raise ValueError("validation_data must be a pair (x, y)")
        return self._data(data[0], data[1], names=("validation x", "validation y"))

    def _diverged(self, loss: float, kept: Any, epoch: int, batch: int) -> DivergedError:
        self.network.parameters[...] = kept
        self.optimizer.reset()
        cause = "a parameter stopped being finite" if math.isfinite(loss) else f"the loss became {loss}"
        return DivergedError(
            f"training diverged: {cause} in epoch {epoch}, batch {batch}; the network is back at finite parameters "
            f"from before. Try a learning rate below lr={self.optimizer.lr:g}, or inputs scaled to about −1 … 1",
            epoch,
            batch,
        )

    def __repr__(self) -> str:
        return f"Trainer({self.network!r}, loss={self.loss!r}, optimizer={self.optimizer!r})"


class _Safe:
    """Parameters to go back to: the last copy from which a step was made whose loss was finite."""

    def __init__(self, network: Sequential) -> None:
        self.network = network
        self.before = self.now = network.parameters.copy()
        self.tried, self.taken = True, time.monotonic()

    def keep(self) -> None:
        """Steps have gone well: copy the parameters, at most once a second."""
        self.tried = True
        if time.monotonic() - self.taken > 1:
            self.before, self.now = self.now, self.network.parameters.copy()
            self.tried, self.taken = False, time.monotonic()

    def proven(self, stepped: bool) -> Any:
        """Parameters whose loss was finite; `stepped` if a step has gone well since the last copy."""
        return self.now if self.tried or stepped else self.before


def _quiet() -> np.errstate:
    """NumPy's warnings of overflow are silenced in training: what stops being finite ends in a DivergedError."""
    return np.errstate(over="ignore", invalid="ignore", divide="ignore")


def _from_logits(network: Sequential, loss: Loss) -> tuple[Loss, int]:
    """The loss as it is computed, and how many layers come before it; ValueError for outputs that it cannot teach."""
    last, depth = network.layers[-1], len(network.layers)
    kind, link = type(loss).__name__, loss.link
    if network.outputs == 1 and (loss.target == "class" or isinstance(last, Softmax)):
        what = "the network ends in Softmax over a single output, which is always 1"
        if loss.target == "class":
            what = f"{kind} needs one output for each class, but the network has a single one"
        raise ValueError(f"{what}: for two classes end it in Sigmoid() and use BinaryCrossEntropy")
    if link is None:
        return loss, depth
    if loss.from_logits and isinstance(last, (Sigmoid, TanhOffset, Softmax)):
        what = f"has {link.__name__} inside: take it"
        if not isinstance(last, link):
            what = f"expects values before the {link.__name__}: take {last!r}"
        raise ValueError(f"{kind}(from_logits=True) {what} from the network's end")
    if isinstance(last, link):
        if type(loss).kernel not in (BinaryCrossEntropy.kernel, CategoricalCrossEntropy.kernel):
            return loss, depth  # its own formula may know probabilities only
        stable = copy.copy(loss)
        stable.from_logits = True
        return stable, depth - 1
    strange: tuple[type, ...] = (Dense, ReLU, Identity, Softplus, Tanh)
    if loss.target == "class":
        strange += (Sigmoid, TanhOffset)  # to have every output go to 1 is the least such loss
    if not loss.from_logits and isinstance(last, strange):
        each = isinstance(last, (Sigmoid, TanhOffset))
        wanted = "probabilities that sum to 1" if each else "probabilities"
        remedy = "use BinaryCrossEntropy for outputs that are each a yes or no" if each else "take from_logits=True"
        raise ValueError(
            f"{kind} expects {wanted}, but the network ends in {last!r}: end it in {link.__name__}(), or {remedy}"
        )
    return loss, depth

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
from .devices import Tape
from .history import History
from .layers import Dense
from .losses import BinaryCrossEntropy, CategoricalCrossEntropy, Loss
from .losses import loss as loss_named
from .metrics import Metric, chosen
from .network import Sequential
from .optimizers import SGD, Optimizer
from .optimizers import optimizer as optimizer_named
from .programs import Kept, Sweep
from .progress import Bar
from .step import Step
from .steps import Steps


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
        self.network = network
        self._asked: Sequence[str | Metric] = ()
        self.loss = loss
        self.metrics = metrics
        self.optimizer = SGD() if optimizer is None else optimizer
        self.replay = gate.one_of(replay, ("auto", "eager", "graph", "persistent"), "replay")
        if self.replay != "eager":
            network.backend.refuse(self.replay)
        self.history = History()
        self.tape: Tape | None = None  # what the last fit replayed; None before, and if it could not be recorded
        self._plan = "nothing has been trained yet"
        self._kept = Kept()  # programs of earlier fits
        self._shuffles = np.random.Generator(np.random.PCG64(network.seed))

    # What it is made of may be replaced between fits, with what a new Trainer would make of it.

    @property
    def loss(self) -> Loss:
        """The loss as it is computed: before an activation that it has inside, from logits."""
        return self._loss

    @loss.setter
    def loss(self, loss: str | Loss) -> None:
        found, depth = _from_logits(self.network, loss if isinstance(loss, Loss) else loss_named(loss))
        metrics = chosen(self._asked, found, self.network)
        self._loss, self.depth, self._metrics = found, depth, tuple(metrics)

    @property
    def optimizer(self) -> Optimizer:
        return self._optimizer

    @optimizer.setter
    def optimizer(self, optimizer: str | Optimizer) -> None:
        found = optimizer if isinstance(optimizer, Optimizer) else optimizer_named(optimizer)
        found.bind(self.network)
        self._optimizer = found

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The metrics, those whose meaning follows the loss as it makes them."""
        return self._metrics

    @metrics.setter
    def metrics(self, metrics: Sequence[str | Metric]) -> None:
        if isinstance(metrics, str):
            raise TypeError(f'metrics must be a list such as ["{metrics}"], not the text {metrics!r}')
        self._asked, self._metrics = tuple(metrics), tuple(chosen(metrics, self.loss, self.network))

    def plan(self) -> str:
        """How the device ran the steps of the last fit, and why so."""
        return self._plan

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_kept": Kept(), "tape": None}  # programs are made for this process

    # ---- one step -----------------------------------------------------------------------------------------------

    def step(self, x: Any, y: Any) -> float:
        """One step of gradient descent on x (N, inputs), y (N, outputs) or (N,); returns the loss before the update."""
        with _quiet(), self.network.backend.explained():
            x, target = self._data(x, y)
            before = self.network.parameters.copy()
            step = self._step()
            _, losses = step.on(self.network.ops, step.arrays()).learn(x, target)
        loss = self.loss.reduce(losses, target.shape[1])
        if not math.isfinite(loss) or not np.isfinite(self.network.parameters).all():
            raise self._diverged(loss, before, 1, 1)
        return loss

    def _step(self) -> Step:
        """What a step consists of now: the network may have moved, and attributes may have been set."""
        self.optimizer.bind(self.network)
        return Step(self.network, self.loss.on(self.network.ops), self.optimizer, self.metrics, self.depth)

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
        self.history = history = History()  # of this fit, also if another one begins in another thread
        if epochs == 0:
            return history
        shuffles = self._shuffles if shuffle else None
        with _quiet(), backend.explained(), Bar(epochs, chunks.rows if chunks else len(x), progress) as bar:
            runs = (
                self._parts(chunks, epochs, batch_size, shuffles, bar, history, validation)
                if chunks
                else self._whole(x, target, epochs, batch_size, shuffles, bar, history, validation)
            )
            for done in runs:
                bar.show(done, history.last())
        return history

    def _whole(
        self,
        x: Any,
        target: Any,
        epochs: int,
        batch_size: int,
        shuffles: Any,
        bar: Bar,
        history: History,
        validation: Any,
    ) -> Iterator[int]:
        """Epochs over all data -> how many are done, at the end of each where there is validation, or of a window."""
        steps, safe, done = self._steps(x, target, batch_size, epochs, bar), _Safe(self.network), 0
        try:
            while done < epochs:
                window = min(epochs - done, steps.window)
                steps.start(window, shuffles, done)
                for some in [1] * window if validation else [window]:
                    self._run(steps, some, done, bar.rows, safe, bar)
                    done += some
                    self._remember(history, steps, validation)
                    yield done
        finally:
            if not validation:  # an epoch that has not been validated is not whole
                self._remember(history, steps)  # of a training that is interrupted
            steps.close()

    def _parts(
        self,
        chunks: Chunks,
        epochs: int,
        batch_size: int,
        shuffles: Any,
        bar: Bar,
        history: History,
        validation: Any,
    ) -> Iterator[int]:
        """Epochs over all chunks -> how many are done, at the end of each."""
        safe = _Safe(self.network)
        for done in range(epochs):
            sums: list[np.ndarray] = []  # of each chunk
            rows, before = 0, bar.rows
            for i, chunk in enumerate(chunks.epoch(shuffles)):
                x, target = self._data(*chunk, names=(f"x of chunk {i}", f"y of chunk {i}"))
                steps = self._steps(x, target, batch_size, 1, bar)
                try:
                    steps.start(1, shuffles, done)
                    self._run(steps, 1, done, before + rows, safe, bar)
                    sums.append(steps.finished()[0].copy())
                finally:
                    steps.close()
                rows += len(x)
            merged = self._step().merged(sums, self.network.outputs or 0)
            history.extend(self._columns(merged[None], rows, validation))
            yield done + 1

    def _steps(self, x: Any, target: Any, batch_size: int, epochs: int, bar: Bar) -> Steps:
        with bar.waiting("compiling for this CPU, which is kept for later"):
            steps = Steps(self._step(), x, target, batch_size, epochs, self.replay, self._kept)
        self.tape, self._plan = steps.program.tape, steps.program.replay.plan
        return steps

    def _run(self, steps: Steps, epochs: int, done: int, before: int, safe: _Safe, bar: Bar) -> None:
        """Run epochs of a window, after `done` epochs and `before` rows; DivergedError if anything is not finite."""
        window = done - steps.done // steps.per_epoch  # epochs before the window
        start = int(steps.program.position[0])
        for first, came, goal in steps.calls(epochs):
            if came < goal or not np.isfinite(self.network.parameters).all():
                stop = min(came, goal - 1)
                loss = float(steps.program.sums[0])
                kept = safe.proven(came > first)
                raise self._diverged(loss, kept, window + stop // steps.per_epoch + 1, stop % steps.per_epoch + 1)
            safe.keep()
            bar.advance(before + int(steps.program.position[0]) - start)

    def _remember(self, history: History, steps: Steps, validation: Any = None) -> None:
        """Add the epochs of these steps that have been finished, and are not there yet."""
        sums = steps.finished()[len(history.get("loss", ())) - steps.before :]
        if len(sums):
            history.extend(self._columns(sums, steps.rows, validation))

    def _columns(self, sums: np.ndarray, rows: int, validation: Any) -> dict[str, list[float]]:
        """Epochs of so many rows for the history, sums (epochs, S); with validation now, after the one epoch."""
        step = self._step()
        epochs = [step.values(each, rows, self.network.outputs or 0) for each in sums]
        found = {name: [values[name] for values in epochs] for name in step.names}
        seen = self._evaluate(*validation) if validation else {}
        return found | {f"val_{name}": [value] for name, value in seen.items()}

    def evaluate(self, x: Any, y: Any, batch_size: int | None = None) -> dict[str, float]:
        """The loss and the metrics over these rows, without training: {"loss": …, "accuracy": …}."""
        most = None if batch_size is None else gate.integer(batch_size, "batch_size")
        with _quiet(), self.network.backend.explained():
            return self._evaluate(*self._data(x, y), most)

    def _evaluate(self, x: Any, target: Any, most: int | None = None) -> dict[str, float]:
        """`evaluate` of x (N, inputs), target (N, outputs) that have passed the gate, at most so many rows at once."""
        step, columns = self._step(), target.shape[1]
        sums: list[np.ndarray] = []  # of each block
        if not self._evaluation(step, columns)({"x": x, "target": target}, len(x), most, sums):
            # The loss is not finite, where a program stops; the metrics are of all rows all the same.
            zeros, arrays = self.network.backend.zeros, {"x": x, "target": target} | step.arrays()
            arrays |= {"position": zeros(1, np.int64), "sums": zeros(step.size(columns), np.float64)}
            step.evaluation(self.network.ops, arrays)(len(x))
            sums = [self.network.backend.to_numpy(arrays["sums"])]
        return step.values(step.merged(sums, columns), len(x), columns)

    def _evaluation(self, step: Step, columns: int) -> Sweep:
        """What evaluates, recorded anew after something in the step has changed."""
        arrays = {name: array for name, array in self.network.arrays().items() if name != "gradients"}
        made_of = step.settings(), {name: id(array) for name, array in arrays.items()}
        kept = self._kept.take("evaluation")
        if kept is None or kept[0] != made_of:
            network = self.network
            kept = (
                made_of,
                Sweep(step.evaluation, network.backend, network.dtype, arrays, step.size(columns), network.threads),
            )
        self._kept.put("evaluation", kept)
        return kept[1]

    # ---- what goes in, and what went wrong -------------------------------------------------------------------------

    def _data(self, x: Any, y: Any, names: tuple[str, str] = ("x", "y")) -> tuple[Any, Any]:
        """x (N, inputs), y -> both through the gate, y as (N, outputs)."""
        net = self.network
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

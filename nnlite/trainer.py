"""The trainer: it takes batches through the network and the loss, and back, and moves the parameters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from . import elsewhere, gate
from .attaching import learns
from .chunks import Chunks
from .devices import Device, Kernel, Tape
from .distributed import Communicator, Ranks, SharedSteps, for_all
from .divergence import DivergedError as DivergedError
from .divergence import all_finite, diverged, snapshot
from .estimate import seconds
from .fitting import Fit
from .history import History
from .logits import from_logits
from .loss import Loss
from .losses import loss as loss_named
from .metrics import Metric, chosen
from .minimizing import METHODS, Objective
from .network import Sequential
from .optimizers import SGD, Optimizer
from .programs import KeptPrograms
from .progress import Bar
from .rules import optimizer as optimizer_named
from .step import Step
from .sweeps import Sweep


class Trainer:
    """Trains a network on arrays by gradient descent on batches.

    `loss`, `optimizer` and `metrics` are objects or lower-case names; the default optimizer is SGD(lr=0.01). A loss may
    also be a kernel of your own, prediction (N, K), target (N, K) -> losses (N), dprediction (N, K). If the
    network ends in Softmax and the loss is categorical cross-entropy, or in Sigmoid and binary cross-entropy, it is
    trained from the logits: the same function, but numerically stable. Shuffles come from the network's seed. A step is
    recorded once, and the device replays it. Started by mpirun, communicator=mpi4py.MPI.COMM_WORLD lets each process
    compute its rows of every batch (distributed.py). replay="eager" makes every step in Python; on cupy, "graph" and
    "persistent" choose one of its two ways of replay. After a fit, `print(trainer.tape)` shows the step, and
    `trainer.plan()` tells how the device ran it. ValueError for a network that does not fit the loss or a metric.

    >>> x, y = nl.datasets.logic_gate("and")
    >>> trainer = nl.Trainer(nl.mlp([2, 1], output="sigmoid", device="numpy"), loss="mse", optimizer=nl.SGD(lr=5.0))
    >>> history = trainer.fit(x, y, epochs=500, batch_size=4, progress=False)
    >>> trainer.network.predict(x).round().ravel()
    array([0., 0., 0., 1.], dtype=float32)
    """

    def __init__(
        self,
        network: Sequential,
        loss: str | Loss | Kernel = "mse",
        optimizer: str | Optimizer | None = None,
        metrics: Sequence[str | Metric] = (),
        replay: str = "auto",
        communicator: Communicator | Ranks | None = None,
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
        self.ranks = Ranks.of(communicator)
        self.history = History()
        self.tape: Tape | None = None  # of the last fit; None before any fit, or if the step was not recorded
        self._plan = "nothing has been trained yet"
        self._kept = KeptPrograms()  # programs of earlier fits
        self._seconds = 0.0  # what all fits until now would have taken as NumPy calls, as estimated
        self._shuffles = np.random.Generator(np.random.PCG64(network.seed))

    # Loss, optimizer and metrics may be replaced between fits. The effect is that of a new Trainer.

    @property
    def loss(self) -> Loss:
        """The loss that is computed, from logits if it computes the last activation inside."""
        return self._loss

    @loss.setter
    def loss(self, loss: str | Loss | Kernel) -> None:
        found, depth = from_logits(self.network, loss if isinstance(loss, Loss) else loss_named(loss))
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
        """The metrics; a name such as "accuracy" stands for the metric that fits the loss."""
        return self._metrics

    @metrics.setter
    def metrics(self, metrics: Sequence[str | Metric]) -> None:
        if isinstance(metrics, str):
            raise TypeError(f'metrics must be a list such as ["{metrics}"], not the text {metrics!r}')
        self._asked, self._metrics = tuple(metrics), tuple(chosen(metrics, self.loss, self.network))

    def plan(self) -> str:
        """How the device ran the steps of the last fit, and the reason."""
        return self._plan

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_kept": KeptPrograms(), "tape": None}  # programs are made for this process

    # ---- one step -----------------------------------------------------------------------------------------------

    def step(self, x: Any, y: Any) -> float:
        """One step of gradient descent on x (N, inputs), y (N, outputs) or (N,); returns the loss before the update.

        DivergedError if the loss or a parameter is no longer finite.
        """
        self._refuse_frozen()
        with _quiet(), self.network.backend.explained():
            x, target = self.checked(x, y)
            before = snapshot(self.network)
            step = self.new_step()
            self.optimizer.follow()
            twin = step.on(self.network.ops, step.arrays())
            _, losses = twin.learn(x, target)
        loss = twin.loss.reduce(losses, target.shape[1])
        if not math.isfinite(loss) or not all_finite(self.network):
            raise diverged(step, loss, before, 1, 1)
        return loss

    def new_step(self) -> Step:
        """A step of the present parts: since the last one, the network may have moved, or attributes have changed."""
        self.optimizer.bind(self.network)
        return Step(self.network, self.loss.on(self.network.ops), self.optimizer, self.metrics, self.depth)

    def _refuse_frozen(self) -> None:
        """ValueError for a network in which no layer learns."""
        if not any(map(learns, self.network.layers)):
            raise ValueError(
                "no layer has parameters that may be trained: set layer.trainable = True for one that is frozen"
            )

    def averaged(self) -> Sequential:
        """A copy of the network with the running mean of its parameters, for an optimizer with average=…"""
        return self.optimizer.averaged(self.network)

    # ---- many steps -----------------------------------------------------------------------------------------------

    @elsewhere.answered(elsewhere.FIT)
    @for_all
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
        """Train on x (N, inputs) and y: (N, outputs), numbers (N,) for one output, or integer labels (N,) for several.

        Every epoch uses every row once, in a new order if `shuffle`; the last batch may be shorter than `batch_size`.
        For each epoch, the history has the mean loss and the metrics, taken from each batch before its update, and as
        "val_…" those of `validation_data` (x, y) after the epoch. `progress` shows a bar on stderr. DivergedError if
        the loss or a parameter is no longer finite; ValueError or TypeError for data that do not fit.

        A numpy.memmap that fits into half of the free memory is used as a plain array. Larger ones, and arrays that do
        not fit onto a GPU, are taken in chunks; in each epoch, the rows of a chunk come from all over the data (from a
        file, in stretches of 64 KiB). x may also be your own chunks, without y: an iterable of pairs (x, y), or a
        function that returns one for each epoch. Rows are then shuffled only within a chunk, so mix all kinds of rows
        in each.
        """
        epochs, batch_size = gate.integer(epochs, "epochs", least=0), gate.integer(batch_size, "batch_size")
        progress = progress and (self.ranks is None or self.ranks.first)
        self._refuse_frozen()
        backend = self.network.backend
        with backend.explained():
            chunks = Chunks.of(x, y, self.network.dtype.itemsize, epochs, backend.room(), shared=self.ranks is not None)
            if chunks is None:
                x, target = self.checked(x, y)
        validation = None if validation_data is None else self._validation(validation_data)
        self.history = history = History()  # this fit's own, in case another thread begins a fit
        if epochs == 0:
            return history
        names = self.new_step().names
        names += [f"val_{name}" for name in names] if validation else []
        history.extend({name: [] for name in names})  # the history has all columns even if no epoch ends
        shuffles = self._shuffles if shuffle else None
        with _quiet(), backend.explained(), Bar(epochs, chunks.rows if chunks else len(x), progress) as bar:
            device = self._device_for_fit(chunks.rows if chunks else len(x), batch_size, epochs, validation)
            run = (epochs, batch_size, shuffles, validation, history, bar, self.replay, self._kept, device)
            fit = Fit(self.new_step, self.checked, self._evaluate, *run)
            if self.ranks:
                fit.steps, fit.evaluate = partial(SharedSteps, self.ranks), self.ranks.asked(fit.evaluate)
            try:
                for _ in fit.parts(chunks) if chunks else fit.whole(x, target):
                    bar.show(history)
            finally:
                if fit.program:
                    self.tape, self._plan = fit.program.tape, fit.program.replay.plan
        return history

    def _device_for_fit(self, rows: int | None, batch: int, epochs: int, validation: Any) -> Device:
        """The device for these epochs. The fits before count too: many short ones may be worth compiling."""
        if rows is None:
            return self.network.backend.for_work(math.inf)
        self._seconds += epochs * seconds(self.network, rows, batch, training=True)
        if validation:
            self._seconds += epochs * self._seconds_for_evaluation(len(validation[0]))
        return self.network.backend.for_work(self._seconds)

    def _seconds_for_evaluation(self, rows: int) -> float:
        return seconds(self.network, rows, self.network.backend.rows_at_once, training=False)

    def minimize(
        self,
        x: Any,
        y: Any,
        method: str = "lbfgs",
        iterations: int = 2000,
        tolerance: float = 1e-12,
        goal: float = 0.0,
    ) -> History:
        """Minimise the loss over all rows at once, without the optimizer -> the history, one loss an iteration.

        method "lbfgs" is for any loss and needs SciPy. "lm" (Levenberg and Marquardt) is for the loss "mse" and up to
        some thousand parameters, and far more exact. It ends when the loss is at most `goal`, falls by less than
        `tolerance` times itself, or after so many iterations. dtype="float64" of the network gives exact results.
        DivergedError if the loss is not finite.
        """
        chosen = gate.choose(METHODS, method, "method")
        limits = gate.number(tolerance, "tolerance", least=0), gate.number(goal, "goal", least=0)
        iterations = gate.integer(iterations, "iterations")
        self._refuse_frozen()
        with _quiet(), self.network.backend.explained():
            self.history = history = History(loss=[])
            objective, before = Objective(self.new_step(), *self.checked(x, y), self.replay), snapshot(self.network)
            for loss in chosen(objective, iterations, *limits):
                history.extend({"loss": [loss]})
            if not math.isfinite(loss := objective.value_and_gradient(objective.parameters)[0]):
                raise diverged(objective.step, loss, before, len(history["loss"]) + 1, 1)
        return history

    def evaluate(self, x: Any, y: Any, batch_size: int | None = None) -> dict[str, float]:
        """The loss and the metrics over x (N, inputs) and y, without training: {"loss": …, "accuracy": …}.

        At most `batch_size` rows are computed at once. ValueError or TypeError for data that do not fit.
        """
        most = None if batch_size is None else gate.integer(batch_size, "batch_size")
        with _quiet(), self.network.backend.explained():
            return self._evaluate(*self.checked(x, y), most)

    def _evaluate(self, x: Any, target: Any, most: int | None = None) -> dict[str, float]:
        """`evaluate` for x (N, inputs), target (N, outputs) that have passed the gate, at most `most` rows at once."""
        step, columns = self.new_step(), target.shape[1]
        sums: list[np.ndarray] = []  # of each group of rows
        device = self.network.backend
        if device.chooses:
            device = device.for_work(self._seconds + self._seconds_for_evaluation(len(x)))
        if not self._evaluation(step, columns, device)({"x": x, "target": target}, len(x), most, sums):
            # A program stops when the loss is not finite, but the metrics must cover all rows.
            zeros, arrays = self.network.backend.zeros, {"x": x, "target": target} | step.arrays()
            arrays |= {"position": zeros(1, np.int64), "sums": zeros(step.size(columns), np.float64)}
            step.evaluation_on(self.network.ops, arrays)(len(x))
            sums = [self.network.backend.to_numpy(arrays["sums"])]
        return step.values(step.merged(sums, columns), len(x), columns)

    def _evaluation(self, step: Step, columns: int, device: Device) -> Sweep:
        """The sweep that evaluates; it is recorded anew after a setting or an array of the step has changed."""
        arrays = {name: array for name, array in self.network.arrays().items() if name != "gradients"}
        made_of = step.settings(), {name: id(array) for name, array in arrays.items()}
        key = "evaluation", device.name
        kept = self._kept.take(key)
        if kept is None or kept[0] != made_of:
            network = self.network
            how = "eager" if self.replay == "eager" else ""
            place = device, network.dtype, arrays
            kept = made_of, Sweep(step.evaluation_on, *place, step.size(columns), network.threads, how)
        self._kept.put(key, kept)
        return kept[1]

    # ---- what goes in, and what went wrong -------------------------------------------------------------------------

    def checked(self, x: Any, y: Any, names: tuple[str, str] = ("x", "y")) -> tuple[Any, Any]:
        """Put x (N, inputs) and y through the gate -> x (N, inputs), target (N, outputs)."""
        net = self.network
        names_of_columns = net.columns or gate.columns_of(x)
        x = net.samples(x, names[0])
        kind, missing = self.loss.target, self.loss.ignore_nan
        target = gate.targets(y, (len(x), net.outputs or 0), net.backend, net.dtype, kind, names[1], missing)
        for metric in self.metrics:
            metric.check(target, names[1])
        net.columns = names_of_columns  # at the end, so that refused data do not set them
        return x, target

    def _validation(self, data: Any) -> tuple[Any, Any]:
        if not isinstance(data, (tuple, list)) or len(data) != 2:
            raise ValueError("validation_data must be a pair (x, y)")
        return self.checked(data[0], data[1], names=("validation x", "validation y"))

    def __repr__(self) -> str:
        return f"Trainer({self.network!r}, loss={self.loss!r}, optimizer={self.optimizer!r})"


def _quiet() -> np.errstate:
    """Silences NumPy's warnings during training: numbers that are not finite lead to a DivergedError instead."""
    return np.errstate(over="ignore", invalid="ignore", divide="ignore")

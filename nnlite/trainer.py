"""The trainer: it takes batches through the network and the loss, and back, and moves the parameters."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from . import elsewhere, gate
from .activations import Softmax
from .arguments import shown
from .attaching import learns
from .callback import Callback, Callbacks
from .chunks import Chunks
from .chunkwise import ChunkwiseFit
from .devices import Device, Kernel, Tape
from .distributed import share
from .divergence import DivergedError as DivergedError
from .divergence import all_finite, diverged, snapshot
from .estimate import seconds
from .evaluating import evaluated
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
from .ranks import Communicator, Ranks, for_all
from .resuming import Place, Resumable, Settings
from .rules import optimizer as optimizer_named
from .scale import tell_of_scale
from .step import Step
from .sums import names_of
from .weights import NAMES, ClassWeight, Data, Names, refuse_together, refuse_weights

if TYPE_CHECKING:
    from .explanation import Explanation


class Trainer(Resumable, elsewhere.Answering):
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

    tells_of_scale = True  # whether a ScaleWarning is given before the first epoch

    @elsewhere.answered(elsewhere.TRAINER)
    def __init__(
        self,
        network: Sequential,
        loss: str | Loss | Kernel = "mse",
        optimizer: str | Optimizer | None = None,
        metrics: Sequence[str | Metric | Callable[..., float]] = (),
        replay: str = "auto",
        communicator: Communicator | Ranks | None = None,
    ) -> None:
        if not isinstance(network, Sequential):
            raise TypeError(f"network must be a Sequential, not {network!r}")
        if network.outputs is None:
            own = "its outputs are not known: a layer of your own tells them by its `inputs` and `outputs`"
            told = own if network.parameters.size else "there is nothing to train"
            raise ValueError(f"the network has no Dense layer, so {told}")
        self.network = network
        self._asked: Sequence[str | Metric | Callable[..., float]] = ()
        self.loss = loss
        self.metrics = metrics
        self.optimizer = SGD() if optimizer is None else optimizer
        self.replay = gate.one_of(replay, ("auto", "eager", "graph", "persistent"), "replay")
        if self.replay != "eager":
            network.backend.refuse(self.replay)
        self.history = History()  # of all fits
        self.measured: tuple[str, ...] = ()  # the columns of the last fit
        self.callbacks: tuple[Callback, ...] = ()  # of the running fit
        self.stopped = False  # whether a callback has ended the last fit
        self.interrupted = False  # whether an error or an interrupt has
        self.ranks = Ranks.of(communicator)
        self.tape: Tape | None = None  # of the last fit; None before any fit, or if the step was not recorded
        self._plan = "nothing has been trained yet"
        self._kept = KeptPrograms()  # programs of earlier fits
        self._seconds = 0.0  # what all fits on device "auto" would have taken as NumPy calls, as estimated
        self._shuffles = np.random.Generator(np.random.PCG64(network.seed))

    # Loss, optimizer and metrics may be replaced between fits. The effect is that of a new Trainer.

    @property
    def loss(self) -> Loss:
        """The loss that is computed, from logits if it computes the last activation inside."""
        return self._loss

    @loss.setter
    def loss(self, loss: str | Loss | Kernel) -> None:
        if isinstance(loss, Optimizer):
            raise TypeError(f'the loss comes before the optimizer: nl.Trainer(net, "mse", {loss!r})')
        found, depth = from_logits(self.network, loss if isinstance(loss, Loss) else loss_named(loss))
        self._loss, self.depth, self._metrics = found, depth, tuple(chosen(self._asked, found, self.network))

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
    def metrics(self, metrics: Sequence[str | Metric | Callable[..., float]]) -> None:
        if isinstance(metrics, str):
            raise TypeError(f'metrics must be a list such as ["{metrics}"], not the text {metrics!r}')
        self._asked, self._metrics = tuple(metrics), tuple(chosen(metrics, self.loss, self.network))

    def plan(self) -> str:
        """How the device ran the steps of the last fit, and the reason."""
        return self._plan

    def __getstate__(self) -> dict[str, Any]:
        made_here = {"_kept": KeptPrograms(), "tape": None, "callbacks": (), "_fit": None}  # for this process
        return vars(self) | made_here

    # ---- one step -----------------------------------------------------------------------------------------------

    def step(self, x: Any, y: Any) -> float:
        """One step of gradient descent on x (N, inputs), y (N, outputs) or (N,); returns the loss before the update.

        A schedule goes on by a step, and by no epoch. DivergedError if the loss or a parameter is no longer finite.
        """
        self._refuse_frozen()
        self._unfinished = None  # it would go on from other parameters
        with _quiet(), self.network.backend.explained():
            x, target = self.checked(x, y)
            before = snapshot(self.network)
            step = self.new_step()
            self.optimizer.follow(alone=True)
            twin = step.on(self.network.ops, step.arrays())
            _, losses = twin.learn(x, target)
        loss = twin.loss.reduce(losses, target.shape[1])
        if not math.isfinite(loss) or not all_finite(self.network):
            raise diverged(step, loss, before, 1, 1)
        return loss

    def explain_step(self, x: Any, y: Any, digits: int = 4) -> Explanation:
        """One step on x (N, inputs) and y, written out with every number; the network is not changed.

        Print it, let a notebook show it, or draw it with `.plot(path)`. Every number is rounded to so many significant
        digits (2 to 10) before it is used again. ValueError for a step of more than 4,000 numbers.
        """
        from .explaining import explain

        self._refuse_frozen()
        return explain(self.new_step(), *self.checked(x, y), gate.integer(digits, "digits", least=2))

    def new_step(self, weighted: bool = False) -> Step:
        """A step of the present parts: since the last one, the network may have moved, or attributes have changed."""
        self._bring_up_to_date(weighted)
        return Step(self.network, self.loss.on(self.network.ops), self.optimizer, self.metrics, self.depth, weighted)

    def _bring_up_to_date(self, weighted: bool) -> None:
        """Let the optimizer know what the network has become; ValueError if it, or a metric, cannot go on with that."""
        self.optimizer.bind(self.network)
        if weighted:
            refuse_weights(self.metrics)

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

    @elsewhere.answered(elsewhere.FIT, elsewhere.FIT_ALIASES)
    @for_all
    def fit(
        self,
        x: Any,
        y: Any = None,
        epochs: int = 1,
        batch_size: int = 32,
        shuffle: bool = True,
        validation_data: tuple[Any, ...] | None = None,
        progress: bool = True,
        callbacks: Sequence[Callback | Callable[[Trainer, int], object]] = (),
        initial_epoch: int = 0,
        validation_split: float = 0.0,
        sample_weight: Any = None,
        class_weight: ClassWeight = None,
    ) -> History:
        """Train on x (N, inputs) and y: (N, outputs), numbers (N,) for one output, or integer labels (N,) for several.

        Every epoch uses every row once, in a new order if `shuffle`; the last batch may be shorter than `batch_size`.
        For each epoch, the history has the mean loss and the metrics, taken from each batch before its update, and as
        "val_…" those of `validation_data` (x, y) after the epoch. `progress` shows a bar on stderr. DivergedError if
        the loss or a parameter is no longer finite; ValueError or TypeError for data that do not fit.

        A later fit goes on where the last one ended: it returns the history of its own epochs, and `trainer.history`
        has all. `callbacks` look between epochs: each is a Callback or a function f(trainer, epoch). If `initial_epoch`
        is given, epochs are counted from there on, and `epochs` is the count at which training ends, as in Keras.

        A numpy.memmap that fits into half of the free memory is used as a plain array. Larger ones, and arrays that do
        not fit onto a GPU, are taken in chunks; in each epoch, the rows of a chunk come from all over the data (from a
        file, in stretches of 64 KiB). x may also be your own chunks, without y: an iterable of pairs (x, y), or a
        function that returns one for each epoch. Rows are then shuffled only within a chunk, so mix all kinds of rows
        in each.

        Row n counts sample_weight (N,) times, in loss, gradient and metrics (weights.py). In training, `class_weight`
        multiplies this by {label: weight}, or by "balanced" so that all classes weigh the same. Chunks, and
        validation_data, may have weights as a third array. validation_split=0.1 holds back a tenth of the rows, picked
        at random by the network's seed: the same rows in every fit, and the same share of every class.
        """
        epochs, batch_size = gate.integer(epochs, "epochs", least=0), gate.integer(batch_size, "batch_size")
        before = gate.integer(initial_epoch, "initial_epoch", least=0)
        first = self.ranks is None or self.ranks.first
        progress = progress and first
        going_on, backend = self._going_on(), self.network.backend
        done = going_on.history.epochs if going_on else 0
        watch = Callbacks(self, callbacks, 0 if before else self.history.epochs - done)
        self._refuse_frozen()
        with backend.explained():
            cut = going_on.in_chunks if going_on else None
            size, left = self.network.dtype.itemsize, max(epochs - before, 0)
            chunks = Chunks.of(x, y, size, left, backend.room(), sample_weight, cut, self.ranks is not None)
            refuse_together(chunks is not None, y, validation_data, validation_split, sample_weight, class_weight)
            validation = None if validation_data is None else self._validation(validation_data)
            data: Any = None  # unless they come in chunks
            missing = self.loss.ignore_nan
            if chunks is None:
                data = self.rows(x, y, sample_weight).that_count(missing)
                if validation_split:
                    data, validation = data.divided(validation_split, self.network.seed or 0)
                data = data.by_class(class_weight).that_count(False)
                _ = data.count, validation and validation.count  # refused if no row counts
                if self.tells_of_scale and first and not self.history.epochs and epochs > before:
                    tell_of_scale(self.network, self.loss, data.x, data.target)
        self._bring_up_to_date(data is not None and data.weight is not None)
        names = names_of(self.metrics, self.network)
        names += [f"val_{name}" for name in names] if validation else []
        # This fit's own, in case another thread begins a fit, with all columns even if no epoch ends.
        history = History({name: [] for name in names})
        settings = Settings(before, batch_size, shuffle, data, validation)
        if going_on:
            going_on.check(epochs, settings.found, names)
            going_on.restore(watch.all)
            history = going_on.history
        watch.looked = going_on.looked if going_on else before
        if epochs <= before:
            return history if going_on else History()
        if not self.history.keys() >= history.keys():
            self.history.extend(history)
        self.measured = tuple(names)
        rows = chunks.rows if chunks else len(data or ())
        with _quiet(), backend.explained(), Bar(epochs, rows, progress, before) as bar:
            device = self._device_for_fit(rows, batch_size, epochs - before, validation)
            kind = ChunkwiseFit if chunks else Fit
            fit = kind(
                new_step=self.new_step,
                checked=lambda *chunk, names: self.rows(*chunk, names=names).by_class(class_weight).that_count(missing),
                evaluate=self._evaluate,
                before=before,
                epochs=epochs,
                batch_size=batch_size,
                shuffles=self._shuffles if shuffle else None,
                validation=validation,
                history=history,
                whole_history=self.history,
                callbacks=watch,
                bar=bar,
                replay=self.replay,
                kept=self._kept,
                device=device,
                epochs_before=going_on.epochs_before if going_on else self.optimizer.epochs_made - before,
                settings=settings,
                seconds=self._seconds,
                going_on=going_on,
                place=Place(before),
            )
            if self.ranks:
                share(fit, self.ranks)
            try:
                with self._under_way(fit), watch, fit.held:
                    if going_on and going_on.ended:
                        self.stop()
                    for _ in fit.over(chunks or data):
                        bar.show(history)
                    if self.stopped:
                        bar.stopped(history)
            finally:
                if fit.program:
                    self.tape, self._plan = fit.program.tape, fit.program.replay.plan
        return history

    def stop(self) -> None:
        """End the running fit, after the epoch at which a callback looks; to be called by a callback."""
        self.stopped = True

    def _device_for_fit(self, rows: int | None, batch: int, epochs: int, validation: Any) -> Device:
        """The device for these epochs. The fits before count too: many short ones may be worth compiling."""
        backend = self.network.backend
        if not backend.chooses:
            return backend
        if rows is None:
            return backend.for_work(math.inf)
        self._seconds += epochs * seconds(self.network, rows, batch, training=True)
        if validation:
            self._seconds += epochs * self._seconds_for_evaluation(len(validation))
        return backend.for_work(self._seconds)

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

        method "lbfgs" is for any loss and needs SciPy. "lm" (Levenberg and Marquardt) is for "mse" and "half_mse" with
        up to some thousand parameters, and far more exact. It ends when the loss is at most `goal`, falls by less than
        `tolerance` times itself, or after so many iterations. dtype="float64" of the network gives exact results.
        DivergedError if the loss is not finite.
        """
        chosen = gate.choose(METHODS, method, "method")
        limits = gate.number(tolerance, "tolerance", least=0), gate.number(goal, "goal", least=0)
        iterations = gate.integer(iterations, "iterations")
        self._refuse_frozen()
        with _quiet(), self.network.backend.explained():
            history, self._unfinished = History(loss=[]), None
            objective, before = Objective(self.new_step(), *self.checked(x, y), self.replay), snapshot(self.network)
            for loss in chosen(objective, iterations, *limits):
                history.extend({"loss": [loss]}, self.history)
            losses = history["loss"] or [objective.value_and_gradient(objective.parameters)[0]]
            if not math.isfinite(loss := losses[-1]):
                raise diverged(objective.step, loss, before, len(history["loss"]) + 1, 1)
        return history

    @elsewhere.answered(elsewhere.EVALUATE, usage=elsewhere.ARRAYS)
    def evaluate(self, x: Any, y: Any, batch_size: int | None = None, sample_weight: Any = None) -> dict[str, float]:
        """The loss and the metrics over x (N, inputs) and y, without training: {"loss": …, "accuracy": …}.

        At most `batch_size` rows are computed at once. Row n counts sample_weight (N,) times. ValueError or TypeError
        for data that do not fit.
        """
        most = None if batch_size is None else gate.integer(batch_size, "batch_size")
        with _quiet(), self.network.backend.explained():
            return self._evaluate(self.rows(x, y, sample_weight), most)

    def _evaluate(self, data: Data, most: int | None = None) -> dict[str, float]:
        """`evaluate` for rows that have passed the gate, at most `most` of them at once."""
        device = self.network.backend
        if device.chooses:
            device = device.for_work(self._seconds + self._seconds_for_evaluation(len(data)))
        step = self.new_step(data.weight is not None)
        return evaluated(step, data, most, device, "eager" if self.replay == "eager" else "", self._kept)

    # ---- what goes in, and what went wrong -------------------------------------------------------------------------

    def checked(self, x: Any, y: Any, names: Names = NAMES) -> tuple[Any, Any]:
        """Put x (N, inputs) and y through the gate -> x (N, inputs), target (N, outputs)."""
        net = self.network
        names_of_columns = net.columns or gate.columns_of(x)
        x = net.samples(x, names[0])
        kind, missing = self.loss.target, self.loss.ignore_nan
        if kind == "probability" and isinstance(net.layers[-1], Softmax):
            kind = "class"  # since the outputs sum to 1, so must the targets
        target = gate.targets(y, (len(x), net.outputs or 0), net.backend, net.dtype, kind, names[1], missing)
        for metric in self.metrics:
            metric.check(target, names[1])
        net.columns = names_of_columns  # at the end, so that refused data do not set them
        return x, target

    def rows(self, x: Any, y: Any, sample_weight: Any = None, *, names: Names = NAMES) -> Data:
        """The same with weights of rows (N,), or None."""
        return Data(*self.checked(x, y, names)).weighed(sample_weight, self.network.dtype, names[2])

    def _validation(self, data: Any) -> Data:
        if not isinstance(data, (tuple, list)) or len(data) not in (2, 3):
            raise ValueError(f"validation_data must be a pair (x, y), or (x, y, sample_weight): {elsewhere.ARRAYS}")
        weight = data[2] if len(data) == 3 else None
        return self.rows(data[0], data[1], weight, names=tuple(f"validation {name}" for name in NAMES))

    __repr__ = shown


def _quiet() -> np.errstate:
    """Silences NumPy's warnings during training: numbers that are not finite lead to a DivergedError instead."""
    return np.errstate(over="ignore", invalid="ignore", divide="ignore")

"""Callbacks that end training, lower the learning rate, write or draw; Checkpoint has a file of its own.

The base class is in callback.py, and what waits for a value to improve in watcher.py.
"""

from __future__ import annotations

import csv
import importlib.util
import io
import math
import os
import sys
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import elsewhere, gate
from .callback import Callback as Callback
from .checkpoint import Checkpoint as Checkpoint
from .devices import get_device
from .divergence import Snapshot, snapshot
from .watcher import Watcher

FIGURE: dict[str, Any] = {"figsize": (5.2, 3.9), "dpi": 120, "layout": "constrained"}  # of a LivePlot
PAUSE = 0.5  # seconds at least between two pictures of a LivePlot, each of which takes about a tenth of a second


class EarlyStopping(Watcher):
    """Ends training after `patience` epochs in a row without improvement (Prechelt 1998).

    With restore_best=True, the network has the parameters and the layers' state of the best epoch, `best_epoch`, when
    the fit ends, unless an error or an interrupt ends it. If the best epoch is one of an earlier fit, that is so only
    where this callback ends the training: a loop of short fits goes on from its last epoch, until `trainer.stopped`
    tells that it is over. `stopped_epoch` tells after which epoch a fit was ended, or is None.

    >>> early = nl.EarlyStopping(patience=5, min_delta=0.001)
    """

    @elsewhere.answered(elsewhere.WATCHER, {"restore_best_weights": "restore_best"})
    def __init__(
        self,
        monitor: str | None = None,
        patience: int = 10,
        min_delta: float = 0.0,
        mode: str = "auto",
        restore_best: bool = True,
    ) -> None:
        self.restore_best = bool(restore_best)
        super().__init__(monitor, patience, min_delta, mode)

    def forget(self) -> None:
        super().forget()
        self.best_epoch: int | None = None
        self.stopped_epoch: int | None = None
        self.kept: Snapshot = {}  # parameters (P,) and the layers' state of the best epoch
        self.device = get_device("numpy")  # on which they lie
        self.first: int | None = None  # the first epoch of this fit that it has looked at
        self.going_on = False  # whether the next fit is the rest of one that was stopped

    def begin(self, trainer: Any) -> None:
        super().begin(trainer)
        if not self.going_on:
            self.stopped_epoch = self.first = None
        self.going_on = False
        device = trainer.network.backend
        if self.kept and device is not self.device:
            self.kept = {name: device.asarray(self.device.to_numpy(array)) for name, array in self.kept.items()}
        self.device = device

    def after_epoch(self, trainer: Any, epoch: int) -> None:
        self.first = self.first or epoch
        if self.improves(trainer):
            self.best_epoch, self.waited = epoch, 0
            if self.restore_best:
                self._keep(trainer.network)
            return
        self.waited += 1
        if self.waited >= self.patience:
            self.stopped_epoch, self.waited = epoch, 0  # a fit that goes on waits again
            trainer.stop()

    def _keep(self, network: Any) -> None:
        if not self.kept:
            self.kept = snapshot(network)
        arrays = network.arrays()
        for name, array in self.kept.items():
            array[...] = arrays[name]

    def end(self, trainer: Any) -> None:
        own = self.first is not None and self.best_epoch is not None and self.best_epoch >= self.first
        if (own or self.stopped_epoch is not None) and not trainer.interrupted:
            self.bring_back(trainer.network)

    def bring_back(self, network: Any) -> None:
        """Give the network the parameters and the state of the best epoch, if they were kept."""
        arrays = network.arrays()
        for name, array in self.kept.items():
            arrays[name][...] = array

    def state(self) -> dict[str, Any]:
        kept = {f"kept.{name}": self.device.to_numpy(array).copy() for name, array in self.kept.items()}
        own = {"best_epoch": self.best_epoch, "first": self.first, "stopped_epoch": self.stopped_epoch}
        return super().state() | own | kept

    def restore(self, state: Mapping[str, Any]) -> None:
        self.forget()
        super().restore(state)
        self.best_epoch, self.first, self.going_on = state["best_epoch"], state["first"], True
        self.stopped_epoch = state.get("stopped_epoch")  # which files of older versions do not have
        self.kept = {name[5:]: array.copy() for name, array in state.items() if name.startswith("kept.")}


class ReduceLROnPlateau(Watcher):
    """Multiplies the learning rate by `factor` after more than `patience` epochs in a row without improvement.

    After that it does not count for `cooldown` epochs. The rate does not fall below `least`, and not by less than 1e-8.
    These are the rules, and the rates, of PyTorch's class of this name with threshold_mode="abs".
    """

    @elsewhere.answered(elsewhere.WATCHER, {"min_lr": "least"})
    def __init__(
        self,
        monitor: str | None = None,
        factor: float = 0.1,
        patience: int = 10,
        min_delta: float = 1e-4,
        cooldown: int = 0,
        least: float = 0.0,
        mode: str = "auto",
    ) -> None:
        self.factor = gate.number(factor, "factor", above=0, below=1)
        self.cooldown, self.least = gate.integer(cooldown, "cooldown", least=0), gate.number(least, "least", least=0)
        super().__init__(monitor, patience, min_delta, mode)

    def forget(self) -> None:
        super().forget()
        self.cooling = 0  # the number of epochs for which it does not count

    def begin(self, trainer: Any) -> None:
        super().begin(trainer)
        if trainer.optimizer.schedule is not None:
            raise ValueError(
                f"ReduceLROnPlateau changes a learning rate that is a number; lr is {trainer.optimizer.schedule!r}"
            )

    def after_epoch(self, trainer: Any, epoch: int) -> None:
        self.waited = 0 if self.improves(trainer) else self.waited + 1
        if self.cooling:
            self.cooling, self.waited = self.cooling - 1, 0
        if self.waited > self.patience:
            self.cooling, self.waited = self.cooldown, 0
            lr = max(trainer.optimizer.lr * self.factor, self.least)
            if trainer.optimizer.lr - lr > 1e-8:
                trainer.optimizer.lr = lr

    def state(self) -> dict[str, Any]:
        return super().state() | {"cooling": self.cooling}

    def restore(self, state: Mapping[str, Any]) -> None:
        super().restore(state)
        self.cooling = state["cooling"]


# ---- what writes or draws --------------------------------------------------------------------------------------


class CSVLogger(Callback):
    """Writes a line for each epoch at which it looks: its number, and what was measured.

    A later fit of the same trainer goes on with the file, and so does any with append=True; the columns must then be
    the same. Each line is handed to the system before the next epoch.
    """

    writes = True

    @elsewhere.answered({}, {"filename": "path"})
    def __init__(self, path: str | Path, append: bool = False, every: int = 1) -> None:
        self.path, self.append, self.every = Path(path), bool(append), gate.integer(every, "every")
        self.epoch: int | None = None  # the last one that was written

    def begin(self, trainer: Any) -> None:
        if not trainer.history.epochs:
            self.epoch = None  # another training
        names = ["epoch", *trainer.measured]
        before = self._before()
        if before and (there := next(csv.reader([before[0].decode()]))) != names:
            raise ValueError(
                f"{self.path} has the columns {', '.join(there)}, but this fit measures {', '.join(names)}; "
                "take another file, or append=False"
            )
        if self.path.exists():
            os.truncate(self.path, sum(map(len, before)))
        if not before:
            self._write(names)

    def _before(self) -> list[bytes]:
        """The whole lines of the file with which it goes on, up to the last epoch of which it knows."""
        if (self.epoch is None and not self.append) or not self.path.exists():
            return []
        lines = [line for line in self.path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
        last = math.inf if self.epoch is None else self.epoch
        return lines[:1] + [line for line in lines[1:] if int(line.split(b",")[0]) <= last]

    def after_epoch(self, trainer: Any, epoch: int) -> None:
        self._write([epoch, *(trainer.history[name][-1] for name in trainer.measured)])
        self.epoch = epoch

    def _write(self, values: list[Any]) -> None:
        with open(self.path, "a", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerow(values)

    def state(self) -> dict[str, Any]:
        return {"epoch": self.epoch}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.epoch = state["epoch"]


class TensorBoard(Callback):
    """Writes the measured values and the learning rate for TensorBoard: `tensorboard --logdir logs` shows them.

    As in Keras, validation has a folder of its own, so that "loss" and "val_loss" are two curves of one picture. It
    needs `pip install "nnlite[tensorboard]"`, which is without TensorFlow; ImportError if that is not there.
    """

    writes = True

    @elsewhere.answered({}, {"log_dir": "directory"})
    def __init__(self, directory: str | Path = "logs", every: int = 1) -> None:
        if importlib.util.find_spec("tensorboard") is None:
            raise ImportError('nl.callbacks.TensorBoard needs a package: pip install "nnlite[tensorboard]"')
        self.directory, self.every = Path(directory), gate.integer(every, "every")

    def begin(self, trainer: Any) -> None:
        from tensorboard.summary import Writer

        validated = any(name.startswith("val_") for name in trainer.measured)
        folders = ["train", "validation"] if validated else ["train"]
        self.writers = {folder: Writer(str(self.directory / folder)) for folder in folders}

    def after_epoch(self, trainer: Any, epoch: int) -> None:
        for name in trainer.measured:
            writer = self.writers["validation" if name.startswith("val_") else "train"]
            writer.add_scalar(name.removeprefix("val_"), trainer.history[name][-1], epoch)
        self.writers["train"].add_scalar("learning_rate", trainer.optimizer.lr, epoch)
        for writer in self.writers.values():
            writer.flush()

    def end(self, trainer: Any) -> None:
        for writer in self.writers.values():
            writer.close()


class LivePlot(Callback):
    """Draws the curves of the history while training goes on: in a notebook, or in a window.

    It draws no more than twice a second, and once at the end. A window can be closed at any time. UserWarning where
    there is neither, as on a server; `figure` is the picture all the same.
    """

    writes = True

    def __init__(self, every: int = 1) -> None:
        self.every = gate.integer(every, "every")

    def begin(self, trainer: Any) -> None:
        notebook = "ipykernel" in sys.modules
        self.screen = Notebook() if notebook else Window()
        self.figure, self.drawn, self.new = self.screen.figure, -PAUSE, False
        if not self.screen.there:
            warnings.warn(
                "there is no notebook and no window to draw in: matplotlib's backend draws only into files",
                stacklevel=gate.level_of_caller(),
            )

    def after_epoch(self, trainer: Any, epoch: int) -> None:
        self.new = True
        if time.monotonic() - self.drawn >= PAUSE:
            self._draw(trainer)
            self.drawn = time.monotonic()  # a slow picture does not take up all of the time

    def end(self, trainer: Any) -> None:
        if self.new:
            self._draw(trainer)

    def _draw(self, trainer: Any) -> None:
        from . import plots

        self.new = False
        self.figure.clear()
        plots.history({name: trainer.history[name] for name in trainer.measured}, ax=self.figure.subplots())
        self.screen.show()


class Notebook:
    """An image in the output of a notebook's cell, each in the place of the one before."""

    there = True

    def __init__(self) -> None:
        from matplotlib.figure import Figure

        self.figure: Any = Figure(**FIGURE)
        self.shown: Any = None

    def show(self) -> None:
        from IPython.display import Image, display

        image = io.BytesIO()
        self.figure.savefig(image, format="png")
        if self.shown is None:
            self.shown = display(Image(image.getvalue()), display_id=True)
        else:
            self.shown.update(Image(image.getvalue()))


class Window:
    """A window of matplotlib's, if its backend has windows."""

    def __init__(self) -> None:
        import matplotlib.pyplot as plt

        self.figure: Any = plt.figure(**FIGURE)
        self.there = self.figure.canvas.required_interactive_framework is not None

    def show(self) -> None:
        import matplotlib.pyplot as plt

        if self.there and plt.fignum_exists(self.figure.number):  # else the user has closed it
            self.figure.show(warn=False)
            self.figure.canvas.draw_idle()
            self.figure.canvas.flush_events()

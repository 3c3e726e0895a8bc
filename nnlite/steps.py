"""Many steps: epochs over all rows in batches. The device runs them as a program, many epochs at a time."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from . import gate
from .culprits import culprit, reason, watched
from .devices import Arena, Device
from .programs import KeptPrograms, Program
from .step import Step
from .sums import Rows
from .weights import Data

LONGEST_RUN = 0.2  # seconds that the device may go on without Python: Ctrl-C and the progress bar wait that long
MOST_INDICES = 200_000  # of rows, in the order of the epochs of a window


class EagerWarning(UserWarning):
    """A step could not be recorded: the results are the same, but training is slow."""


class Steps:
    """Runs a step over x (N, inputs), target (N, outputs) in batches, one epoch or many at a time.

    They run on `device`, by default the network's. The program comes from `kept` if there is one that fits; `close`
    puts it back there. Rows count alike, or by their weight (N,). A window has at least `window` epochs.
    """

    def __init__(
        self,
        step: Step,
        x: Any,
        target: Any,
        batch_size: int,
        epochs: int,
        how: str = "auto",
        kept: KeptPrograms | None = None,
        device: Device | None = None,
        window: int = 1,
        weight: np.ndarray | None = None,
    ) -> None:
        self.step, self.rows, self.device = step, len(x), device or step.network.backend
        self.given, self.is_mean = Data(x, target, weight), step.loss.reduction == "mean"
        self.count = self.given.count  # the number of rows, or their weights together
        self.batch = min(batch_size, self.rows)
        self.per_epoch, self.rest = -(-self.rows // self.batch), self.rows % self.batch
        numbers_per_epoch = self.rows * (target.shape[1] if step.collects else 1)
        most = max(window, MOST_INDICES // numbers_per_epoch)  # epochs of a window
        self.window = room = max(window, min(epochs, most))  # number of epochs whose order is drawn at once
        self.order = np.zeros((self.window, self.rows), np.int64)
        order = self.order.reshape(-1)  # flat, as the kernels read it
        if not self.device.in_main_memory:  # room for longer fits, too: a graph of CUDA keeps its address
            order, room = self.device.zeros(most * self.rows, np.int64), most
        self.data: dict[str, Any] = {"x": x, "target": target, "order": order}
        self.data |= self.given.extra(self.device, room * self.rows, step.collects)
        if step.optimizer.schedule is not None:
            self.data["rates"] = self.device.zeros(room * self.per_epoch, np.float64)
        self.kept = KeptPrograms() if kept is None else kept
        self.key = (how, self.device.name, self.batch, self.rest, x.shape[1], target.shape[1])
        # An id names an array for as long as the array exists, and the arena of a kept program holds its arrays.
        self.made_of = step.settings(), {name: id(array) for name, array in step.arrays().items()}
        self.program = self._program(step, how)
        self.history = np.full((self.window, len(self.program.sums)), np.nan)  # the sums of finished epochs, else NaN
        self.before = 0  # the number of epochs before this window
        self.pace = 1.0  # the most steps in the next run of the replay

    def _program(self, step: Step, how: str) -> Program:
        """The program kept for such steps, if the step's settings and arrays have not changed; or else a new one."""
        kept = self.kept.take(self.key)
        if kept and kept[0] == self.made_of and kept[1].replay.up_to_date():
            return kept[1]
        zeros = self.device.zeros
        own = {"position": zeros(1, np.int64), "sums": zeros(step.size(self.data["target"].shape[1]), np.float64)}
        arena = Arena(self.device, step.network.dtype, {**self.data, **step.arrays(), **own})
        program = self.new_program(step, arena, how)
        if program.error is not None:
            why = f"every step is made in Python: {reason(program.error)}"
            text = f"{culprit(step, arena)} cannot be recorded, so {why}; the results are the same (docs/kernels.md)"
            warnings.warn(text, EagerWarning, stacklevel=gate.level_of_caller())
        step.network.recorded = (self.batch, arena.bytes) if program.tape else None
        return program

    def new_program(self, step: Step, arena: Arena, how: str) -> Program:
        """The program that makes such steps on this arena."""
        return Program(watched(step, step.training_on), arena, self.batch, self.rest, step.network.threads, how)

    def close(self) -> None:
        """Keep the program for later steps of this kind, without the data."""
        self.program.replay.release()
        self.kept.put(self.key, (self.made_of, self.program))

    # ---- a window of epochs -------------------------------------------------------------------------------------

    def start(self, epochs: int, shuffles: np.random.Generator | None, before: int = 0) -> None:
        """Draw the order of rows for the next epochs, at most `window` of them, after `before` earlier epochs."""
        self.history.fill(np.nan)
        self.epochs, self.done, self.before = epochs, 0, before
        order = self.order[:epochs]
        order[...] = np.arange(self.rows)
        # For `cut`; a window of one epoch ends with it in any case.
        self.drawn_by = (shuffles, shuffles.bit_generator.state) if shuffles and epochs > 1 else None
        if shuffles is not None:
            shuffles.permuted(order, axis=1, out=order)
        if not self.device.in_main_memory:
            self.data["order"][: order.size] = self.device.asarray(order.ravel())
        if "row_weights" in self.data:
            found = self.given.in_order(order, self.batch, self.is_mean, self.data["row_weights"].dtype)
            self.data["row_weights"][: order.size] = self.device.asarray(found)
        if "rates" in self.data:
            self.data["rates"][: epochs * self.per_epoch] = self.device.asarray(
                self.step.optimizer.upcoming(epochs, self.per_epoch), np.float64
            )
        self.program.start(self.data)

    def runs(self, epochs: int) -> Iterator[tuple[int, int, int]]:
        """Make the steps up to the end of so many of the window's epochs, in runs of about LONGEST_RUN seconds each.

        Yields for each run its first step, the step at which it stopped, and the step at which it should stop.
        """
        last = epochs * self.per_epoch
        while self.done < last:
            first, goal = self.done, min(last, self.done + max(1, int(self.pace)))
            start = time.perf_counter()
            came = self.program.replay.run(first, goal, self.per_epoch, self.history)
            seconds = time.perf_counter() - start
            self.pace = min(8 * (goal - first), (goal - first) * LONGEST_RUN / max(seconds, 1e-9))
            self.done = goal
            yield first, came, goal

    def cut(self) -> None:
        """End the window after the epochs made: the generator is where they alone would have left it."""
        if self.drawn_by is not None:
            generator, state = self.drawn_by
            generator.bit_generator.state = state
            generator.permuted(self.order[: self.done // self.per_epoch], axis=1)  # only to move the generator

    def finished(self) -> np.ndarray:
        """The sums (epochs, S) of the window's epochs that have been finished."""
        return self.history[: np.count_nonzero(np.isfinite(self.history[:, 0]))]

    def collected(self, first: int, end: int) -> list[Rows]:
        """The predictions of each of these of the window's epochs, with targets and weights in the order of the data.

        An empty list if no metric needs them.
        """
        found: list[Rows] = []
        for epoch in range(first, end) if "answer" in self.data else ():
            answer = self.data["answer"][epoch * self.rows : (epoch + 1) * self.rows]
            found += self.given.collected(self.device.to_numpy(answer), self.order[epoch])
        return found

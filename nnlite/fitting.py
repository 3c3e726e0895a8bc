"""One fit: epochs of batches over all data, and the history that they write. Over chunks: chunkwise.py."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .callback import Callbacks
from .devices import Device, functions_compiled
from .divergence import Safe, all_finite, diverged
from .history import History
from .interrupts import Held
from .programs import KeptPrograms, Program
from .progress import Bar
from .resuming import Place, Settings, Unfinished, set_state, state_of
from .step import Step
from .steps import Steps
from .sums import Rows
from .weights import Data


@dataclass(kw_only=True)
class Fit:
    """All that a fit needs. Its generators pause after each run of the device, when the user may see the history."""

    new_step: Callable[..., Step]  # makes a step from the trainer's present parts
    checked: Callable[..., Data]  # puts x, y and weights through the gate
    evaluate: Callable[[Data], dict[str, float]]
    before: int  # the number of epochs that count as made
    epochs: int  # the number at which training ends
    batch_size: int
    shuffles: np.random.Generator | None
    validation: Data | None
    history: History  # of this fit
    whole_history: History  # of all fits
    callbacks: Callbacks
    bar: Bar
    replay: str
    kept: KeptPrograms
    device: Device
    epochs_before: int  # what a schedule has counted, less the number of epochs of this fit that are done
    settings: Settings
    seconds: float  # of the fits before, as NumPy calls
    going_on: Unfinished | None  # a fit that was stopped, with which this one goes on
    steps: Callable[..., Steps] = Steps
    agreed: Callable[[bool], bool] = bool  # what all ranks do, if there are several
    program: Program | None = None  # the last one that ran
    step: Step | None = None  # the last one that ran
    place: Place  # where it stands
    held: Held = field(default_factory=Held)  # interrupts wait, unless somebody else's code runs

    @property
    def done(self) -> int:
        """The number of epochs that are in the history, or count as made."""
        return self.before + self.history.epochs

    def over(self, data: Any) -> Iterator[None]:
        """Epochs over all data: one at a time if there is validation, or else up to a look or the end of a window."""
        if not self.going_on and self._look(self.before):  # a callback has ended training as it began
            return
        first = done = end = self.going_on.place.done if self.going_on else self.before  # first, end: of a window
        steps = self._steps(data, self.epochs - done)
        safe = Safe(steps.step.network)
        try:
            while done < self.epochs:
                if done == end:
                    first, end = done, min(self.epochs, done + steps.window)
                    resumed = self._start(steps, end - first, Place(first))
                    if resumed:
                        done = self.done  # an epoch that was finished before the stop is looked at now
                        yield
                        if self._look(done):
                            steps.cut()
                            break
                some = min(end - done, 1 if self.validation else self.callbacks.until_look(done))
                for _ in self._run(steps, done + some - first, (first - self.before) * len(data), safe):
                    self._remember(steps)
                    yield
                done += some
                if self._look(done):
                    steps.cut()
                    break
        finally:
            if not self.validation:  # an epoch that has not been validated is not complete
                self._remember(steps)  # after an interrupt, the epochs that were finished
            steps.close()

    def _steps(self, data: Data, epochs: int) -> Steps:
        with self.held.open(), self._compiling():
            window = self.going_on.place.window(len(data)) if self.going_on else 1
            here = self.batch_size, epochs, self.replay, self.kept, self.device, window
            step = self.new_step(data.weight is not None)
            steps = self.steps(step, data.x, data.target, *here, data.weight)
        self.step, self.program = step, steps.program
        return steps

    def _start(self, steps: Steps, epochs: int, place: Place) -> bool:
        """Draw the order of a window at this place, or go on in the one in which the fit was stopped, and say so."""
        stopped = self.going_on.place if self.going_on else None
        set_state(self.shuffles, stopped.generator if stopped else None)
        self.place = place = place._replace(generator=state_of(self.shuffles))
        with stopped.entered(steps, self.epochs_before, self.done) if stopped else contextlib.nullcontext():
            steps.start(epochs, self.shuffles, place.done)
        self.place, self.going_on = place._replace(steps=steps), None
        if stopped and place.chunk < 0:
            self._remember(steps)  # an epoch that was finished, and not yet validated
        return stopped is not None

    def _look(self, done: int) -> bool:
        """Let the callbacks look after so many epochs; whether one of them ended training."""
        with self.held.open() if self.callbacks.all else contextlib.nullcontext():
            return self.agreed(self.callbacks.look(done))

    def _compiling(self) -> contextlib.AbstractContextManager[None]:
        """A context in which the bar says that, and how much, is compiled."""
        before = functions_compiled()

        def text() -> str:
            count = functions_compiled() - before
            return f"compiling for this CPU, which is kept for later{f' (function {count})' if count else ''}"

        return self.bar.waiting(text)

    def _run(self, steps: Steps, epochs: int, before: int, safe: Safe) -> Iterator[None]:
        """Run to the end of so many epochs of a window, before which were `before` rows; pauses after each run.

        DivergedError if the loss or a parameter is no longer finite.
        """
        for first, came, goal in steps.runs(epochs):
            if came < goal or not all_finite(safe.network):
                stop = min(came, goal - 1)  # the last step, if it left a parameter that is not finite
                loss = float(steps.program.sums[0])
                kept, steps.program.replay.whole = safe.proven(came > first), False
                epoch, batch = divmod(stop, steps.per_epoch)
                raise diverged(self.new_step(), loss, kept, steps.before + epoch + 1, batch + 1)
            safe.keep()
            self.bar.advance(before + int(steps.program.position[0]))
            yield
            self.held.check()

    def _remember(self, steps: Steps) -> None:
        """Write those finished epochs into the history that it does not have yet."""
        first, finished = self.done - steps.before, steps.finished()
        if first < len(finished):
            self._write(steps.step, finished[first:], steps.count, steps.collected(first, len(finished)))

    def _write(self, step: Step, sums: np.ndarray, count: float, collected: Sequence[Rows]) -> None:
        """Add epochs of a step over so many rows, or so much weight, with sums (epochs, S); validate after the last.

        `collected` has the predictions of each epoch if a metric needs them.
        """
        step.optimizer.count_epochs(self.epochs_before + self.done + len(sums))
        found = step.values_of_epochs(sums, count, step.network.outputs or 0, collected)
        seen: dict[str, float] = {}
        if self.validation:
            first = not self.history["loss"]  # in the first epoch it is compiled
            with self.held.open(), self._compiling() if first else contextlib.nullcontext():
                seen = self.evaluate(self.validation)
        self.history.extend(found | {f"val_{name}": [value] for name, value in seen.items()}, self.whole_history)

"""One fit: epochs of batches over all data or over chunks, and the history that they write."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .chunks import Chunks
from .devices import Device, functions_compiled
from .divergence import Safe, all_finite, diverged
from .history import History
from .programs import KeptPrograms, Program
from .progress import Bar
from .step import Step
from .steps import Steps


@dataclass
class Fit:
    """All that a fit needs. Its generators pause after each run of the device, when the user may see the history."""

    new_step: Callable[[], Step]  # makes a step from the trainer's present parts
    checked: Callable[..., tuple[Any, Any]]  # puts x and y through the gate
    evaluate: Callable[[Any, Any], dict[str, float]]
    epochs: int
    batch_size: int
    shuffles: np.random.Generator | None
    validation: tuple[Any, Any] | None
    history: History
    bar: Bar
    replay: str
    kept: KeptPrograms
    device: Device
    steps: Callable[..., Steps] = Steps
    program: Program | None = None  # the last one that ran

    def whole(self, x: Any, target: Any) -> Iterator[None]:
        """Epochs over all data, one at a time if there is validation, or else a window at a time."""
        steps, safe, done = self._steps(x, target, self.epochs), Safe(self.new_step().network), 0
        try:
            while done < self.epochs:
                window = min(self.epochs - done, steps.window)
                steps.start(window, self.shuffles, done)
                for some in [1] * window if self.validation else [window]:
                    for _ in self._run(steps, some, done, self.bar.rows, safe):
                        self._remember(steps)
                        yield
                    done += some
        finally:
            if not self.validation:  # an epoch that has not been validated is not complete
                self._remember(steps)  # after an interrupt, the epochs that were finished
            steps.close()

    def parts(self, chunks: Chunks) -> Iterator[None]:
        """Epochs over all chunks."""
        safe = Safe(self.new_step().network)
        for done in range(self.epochs):
            sums: list[np.ndarray] = []  # of each chunk
            rows, before = 0, self.bar.rows
            for i, chunk in enumerate(chunks.epoch(self.shuffles)):
                x, target = self.checked(*chunk, names=(f"x of chunk {i}", f"y of chunk {i}"))
                steps = self._steps(x, target, 1)
                try:
                    steps.start(1, self.shuffles, done)
                    yield from self._run(steps, 1, done, before + rows, safe)
                    sums.append(steps.finished()[0].copy())
                finally:
                    steps.close()
                rows += len(x)
            step = self.new_step()
            self._write(step.merged(sums, step.network.outputs or 0)[None], rows)
            yield

    def _steps(self, x: Any, target: Any, epochs: int) -> Steps:
        with self._compiling():
            steps = self.steps(self.new_step(), x, target, self.batch_size, epochs, self.replay, self.kept, self.device)
        self.program = steps.program
        return steps

    def _compiling(self) -> contextlib.AbstractContextManager[None]:
        """A context in which the bar says that, and how much, is compiled."""
        before = functions_compiled()

        def text() -> str:
            count = functions_compiled() - before
            return f"compiling for this CPU, which is kept for later{f' (function {count})' if count else ''}"

        return self.bar.waiting(text)

    def _run(self, steps: Steps, epochs: int, done: int, before: int, safe: Safe) -> Iterator[None]:
        """Run epochs of a window, after `done` epochs and `before` rows; pauses after each run of the device.

        DivergedError if the loss or a parameter is no longer finite.
        """
        window = done - steps.done // steps.per_epoch  # the number of epochs before the window
        start = int(steps.program.position[0])
        for first, came, goal in steps.runs(epochs):
            if came < goal or not all_finite(safe.network):
                stop = min(came, goal - 1)  # the last step, if it left a parameter that is not finite
                loss = float(steps.program.sums[0])
                kept = safe.proven(came > first)
                raise diverged(
                    self.new_step(), loss, kept, window + stop // steps.per_epoch + 1, stop % steps.per_epoch + 1
                )
            safe.keep()
            self.bar.advance(before + int(steps.program.position[0]) - start)
            yield

    def _remember(self, steps: Steps) -> None:
        """Write those finished epochs into the history that it does not have yet."""
        sums = steps.finished()[len(self.history.get("loss", ())) - steps.before :]
        if len(sums):
            self._write(sums, steps.rows)

    def _write(self, sums: np.ndarray, rows: int) -> None:
        """Add epochs of so many rows, with sums (epochs, S), to the history, and validate after the last of them."""
        step = self.new_step()
        step.optimizer.count_epochs(len(sums))
        found = step.values_of_epochs(sums, rows, step.network.outputs or 0)
        seen: dict[str, float] = {}
        if self.validation:
            with contextlib.nullcontext() if self.history["loss"] else self._compiling():  # compiled in the first epoch
                seen = self.evaluate(*self.validation)
        self.history.extend(found | {f"val_{name}": [value] for name, value in seen.items()})

"""One fit: epochs of batches over all data or over chunks, and the history that they write."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from .chunks import Chunks
from .devices import Device, functions_compiled
from .divergence import Safe, all_finite, diverged
from .history import History
from .programs import KeptPrograms, Program
from .progress import Bar
from .step import Step
from .steps import Steps
from .sums import Rows
from .weights import Data, joined


@dataclass
class Fit:
    """All that a fit needs. Its generators pause after each run of the device, when the user may see the history."""

    new_step: Callable[..., Step]  # makes a step from the trainer's present parts
    checked: Callable[..., Data]  # puts x, y and weights through the gate
    evaluate: Callable[[Data], dict[str, float]]
    epochs: int
    batch_size: int
    shuffles: np.random.Generator | None
    validation: Data | None
    history: History
    bar: Bar
    replay: str
    kept: KeptPrograms
    device: Device
    program: Program | None = None  # the last one that ran
    weighted: bool = False  # whether the rows have weights

    def whole(self, data: Data) -> Iterator[None]:
        """Epochs over all data, one at a time if there is validation, or else a window at a time."""
        steps, safe, done = self._steps(data, self.epochs), Safe(self.new_step().network), 0
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
            collected: list[Rows] = []
            rows, before, count = 0, self.bar.rows, 0.0
            for i, chunk in enumerate(chunks.epoch(self.shuffles)):
                data = self.checked(*chunk, names=tuple(f"{name} of chunk {i}" for name in ("x", "y", "sample_weight")))
                if data.weight is not None and not data.weight.any():
                    continue  # none of its rows counts
                if sums and self.weighted != (data.weight is not None):
                    raise ValueError(f"chunk {i} must have sample_weight or not, as the chunks before it")
                steps = self._steps(data, 1)
                try:
                    steps.start(1, self.shuffles, done)
                    yield from self._run(steps, 1, done, before + rows, safe)
                    sums.append(steps.finished()[0].copy())
                    collected += steps.collected(0)
                finally:
                    steps.close()
                rows, count = rows + len(data), count + steps.count
            if not sums:
                raise ValueError("sample_weight is 0 for every row, so that no row counts")
            step = self.new_step(self.weighted)
            self._write(step.merged(sums, step.network.outputs or 0)[None], count, joined(collected))
            yield

    def _steps(self, data: Data, epochs: int) -> Steps:
        self.weighted = data.weight is not None
        how = self.batch_size, epochs, self.replay, self.kept, self.device
        with self._compiling():
            steps = Steps(self.new_step(self.weighted), data.x, data.target, *how, data.weight)
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
        first, finished = len(self.history.get("loss", ())) - steps.before, steps.finished()
        if first < len(finished):
            collected = [rows for epoch in range(first, len(finished)) for rows in steps.collected(epoch)]
            self._write(finished[first:], steps.count, collected)

    def _write(self, sums: np.ndarray, count: float, collected: Sequence[Rows]) -> None:
        """Add epochs of so many rows, or so much weight, with sums (epochs, S), and validate after the last of them.

        `collected` has the predictions of each epoch if a metric needs them.
        """
        step = self.new_step(self.weighted)
        step.optimizer.count_epochs(len(sums))
        found = step.values_of_epochs(sums, count, step.network.outputs or 0, collected)
        seen: dict[str, float] = {}
        if self.validation:
            with contextlib.nullcontext() if self.history["loss"] else self._compiling():  # compiled in the first epoch
                seen = self.evaluate(self.validation)
        self.history.extend(found | {f"val_{name}": [value] for name, value in seen.items()})

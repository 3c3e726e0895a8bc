"""A fit whose data come in chunks, since they do not all lie in memory: in each epoch, one chunk after the other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .divergence import Safe
from .fitting import Fit
from .resuming import START, Place, set_state, state_of
from .weights import NAMES, joined


class ChunkwiseFit(Fit):
    """A fit with one window of steps for each chunk of each epoch."""

    def over(self, data: Any) -> Iterator[None]:
        """Epochs over all of these Chunks."""
        safe, stopped = Safe(self.new_step().network), self.going_on.place if self.going_on else self.place
        if stopped.chunk < 0:  # between two epochs, where the last one may not have been looked at
            self.place, self.going_on = stopped, None
        if self._look(self.done):
            return
        for done in range(stopped.done, self.epochs):
            sums, collected = [*stopped.sums], [*stopped.collected]
            rows, count = stopped.rows, stopped.weight
            before = self.bar.rows - stopped.rows - stopped.position
            set_state(self.shuffles, stopped.order)
            self.place = Place(done, order=state_of(self.shuffles))
            for i, chunk in enumerate(self.held.between(data.epoch(self.shuffles))):
                if i < stopped.chunk:
                    continue
                part = self.checked(*chunk, names=tuple(f"{name} of chunk {i}" for name in NAMES))
                if part.weight is not None and not part.weight.any():
                    continue  # none of its rows counts
                if self.step and self.step.weighted != (part.weight is not None):
                    raise ValueError(f"chunk {i} must have sample_weight or not, as the chunks before it")
                steps = self._steps(part, 1)
                here = self.place._replace(chunk=i, sums=tuple(sums), rows=rows, steps=None)
                try:
                    self._start(steps, 1, here._replace(weight=count, collected=joined(collected)))
                    yield from self._run(steps, 1, before + rows, safe)
                    sums.append(steps.finished()[0].copy())
                    collected += steps.collected(0, 1)
                finally:
                    steps.close()
                rows, count = rows + len(part), count + steps.count
            if self.step is None or not sums:
                raise ValueError("sample_weight is 0 for every row, so that no row counts")
            stopped, total = START, self.step.merged(sums, self.step.network.outputs or 0)
            self._write(self.step, total[None], count, joined(collected))
            yield
            if self._look(done + 1):
                break

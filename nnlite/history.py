"""The history of one fit, or of all fits of a trainer: the measured values of every epoch."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import Any, NoReturn

from . import markup
from .elsewhere import Answering

LAST = 5  # epochs in the table of a notebook


class History(dict[str, list[float]], Answering):
    """The values that fit measured: name -> one float an epoch, such as history["loss"] and history["val_accuracy"].

    It is a dict, so that other libraries take it as columns: `pandas.DataFrame(history)` has a row for each epoch.
    """

    def extend(self, columns: Mapping[str, list[float]], *others: History) -> None:
        """Add epochs, to other histories too: name -> one value for each new epoch.

        A column that lacks values, of new epochs or of earlier ones, has NaN there.
        """
        unknown = [math.nan] * len(next(iter(columns.values()), ()))
        lists: list[list[float]] = []
        added: list[list[float]] = []
        for history in (self, *others):
            if new := [name for name in columns if name not in history]:
                history.update({name: [math.nan] * history.epochs for name in new})
            lists += history.values()
            added += [columns.get(name, unknown) for name in history]
        # In one call that runs no Python, so that an interrupt leaves columns of one length, here and in the others.
        deque(map(list.extend, lists, added), maxlen=0)

    @property
    def epochs(self) -> int:
        """The number of epochs that were measured."""
        return len(next(iter(self.values()), ()))

    def last(self) -> dict[str, float]:
        """The values of the last epoch."""
        return {name: values[-1] for name, values in self.items() if values}

    def plot(self, path: Any = None) -> Any:
        """The curves over the epochs, written to `path` if one is given; returns the matplotlib Axes."""
        from . import plots

        return plots.written(plots.history(self), path)

    def _repr_html_(self) -> str:
        """The curves of the losses and the last epochs, for notebooks."""
        losses = {name: values for name, values in self.items() if name.endswith("loss")}
        rows = [
            [f"{epoch + 1:,}", *(f"{values[epoch]:.6g}" if epoch < len(values) else "" for values in self.values())]
            for epoch in range(max(0, self.epochs - LAST), self.epochs)
        ]
        caption = f"The last {LAST} of {self.epochs:,} epochs" if self.epochs > LAST else self._count()
        return markup.curves(losses) + markup.table(["epoch", *self], rows, caption, range(1 + len(self)))

    def __missing__(self, name: str) -> NoReturn:
        there = f"it has {', '.join(map(repr, self))}" if self else "no epoch has ended yet"
        raise KeyError(f"the history has no {name!r}: {there}")

    def __repr__(self) -> str:
        last = ", ".join(f"{name}={value:.4g}" for name, value in self.last().items())
        return f"<History of {self._count()}{': ' if last else ''}{last}>"

    def _count(self) -> str:
        return f"{self.epochs} epoch{'s' * (self.epochs != 1)}"

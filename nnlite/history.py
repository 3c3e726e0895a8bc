"""The history of a fit: the measured values of every epoch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn


class History(dict[str, list[float]]):
    """The values that fit measured: name -> one float an epoch, such as history["loss"] and history["val_accuracy"].

    It is a dict, so that other libraries take it as columns: `pandas.DataFrame(history)` has a row for each epoch.
    """

    def extend(self, columns: Mapping[str, list[float]]) -> None:
        """Add epochs: name -> one value for each new epoch."""
        # All at once, so that an interrupt leaves columns of one length.
        self.update({name: [*self.get(name, ()), *values] for name, values in columns.items()})

    def last(self) -> dict[str, float]:
        """The values of the last epoch."""
        return {name: values[-1] for name, values in self.items() if values}

    def plot(self, path: Any = None) -> Any:
        """The curves over the epochs, written to `path` if one is given; returns the matplotlib Axes."""
        from . import plots

        axes = plots.history(self)
        if path is not None:
            figure: Any = axes.figure
            figure.savefig(path, dpi=150)
        return axes

    def __missing__(self, name: str) -> NoReturn:
        there = f"it has {', '.join(map(repr, self))}" if self else "no epoch has ended yet"
        raise KeyError(f"the history has no {name!r}: {there}")

    def __repr__(self) -> str:
        last = ", ".join(f"{name}={value:.4g}" for name, value in self.last().items())
        epochs = len(next(iter(self.values()), []))
        return f"<History of {epochs} epochs{': ' if last else ''}{last}>"

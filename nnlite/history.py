"""The history of a fit: what was seen, an epoch after the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


class History(Mapping[str, list[float]]):
    """What fit saw: name -> one float an epoch, such as history["loss"] and history["val_accuracy"]."""

    def __init__(self) -> None:
        self._columns: dict[str, list[float]] = {}

    def extend(self, columns: Mapping[str, list[float]]) -> None:
        """Add epochs: name -> one value for each."""
        for name, values in columns.items():
            self._columns.setdefault(name, []).extend(values)

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

    def __getitem__(self, name: str) -> list[float]:
        return self._columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def __repr__(self) -> str:
        last = ", ".join(f"{name}={value:.4g}" for name, value in self.last().items())
        epochs = len(next(iter(self.values()), []))
        return f"<History of {epochs} epochs{': ' if last else ''}{last}>"

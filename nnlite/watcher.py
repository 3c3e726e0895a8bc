"""What callbacks share that wait for a measured value to improve."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from . import elsewhere, gate
from .callback import Callback
from .metrics import METRICS


class Watcher(Callback):
    """Waits for a measured value to improve by more than `min_delta`, and counts the epochs in which it did not.

    `monitor` is the name of the value, or "val_" and a name that a Trainer takes for the same metric; None is
    "val_loss", or "loss" without validation. `mode` says which values are better, "min" or "max"; "auto" knows it for
    losses and nnlite's metrics. What it remembers goes on from one fit to the next, and begins anew with a trainer that
    has no history. ValueError for a value that the fit does not measure.
    """

    def __init__(self, monitor: str | None, patience: int, min_delta: float, mode: str) -> None:
        self.monitor, self.patience = monitor, gate.integer(patience, "patience", least=0)
        self.min_delta = gate.number(min_delta, "min_delta", least=0)
        self.mode = gate.one_of(mode, ("auto", "min", "max"), "mode")
        self.forget()

    def forget(self) -> None:
        """Begin anew."""
        self.best: float | None = None  # the best value so far
        self.waited = 0  # the number of epochs since it was measured

    def begin(self, trainer: Any) -> None:
        if not trainer.history.epochs:
            self.forget()
        self.watched = self.monitor or ("val_loss" if "val_loss" in trainer.measured else "loss")
        if self.watched not in trainer.measured:
            name = str(self.watched).removeprefix("val_")
            meant = gate.meant(METRICS, name, elsewhere.METRICS)  # as a Trainer takes the names of its metrics
            known = meant and str(self.watched).removesuffix(name) + meant
            if known not in trainer.measured:
                there = ", ".join(map(repr, trainer.measured))
                hint = f": {meant}" if meant and meant not in METRICS else ""
                raise ValueError(f"monitor={self.watched!r} is not measured in this fit{hint}; there is {there}")
            self.watched = known
        self.falling = (self._better(trainer) if self.mode == "auto" else self.mode) == "min"

    def _better(self, trainer: Any) -> str:
        """Which values are better, "min" or "max"; ValueError if nobody has said."""
        name = self.watched.removeprefix("val_")
        outputs, found = trainer.network.outputs or 0, {"loss": "min"}
        found |= {each: metric.better for metric in trainer.metrics for each in metric.names(outputs)}
        if found.get(name) is None:
            raise ValueError(
                f"whether a large {name!r} is good is not known: give {type(self).__name__} mode='max' or mode='min', "
                f"or the metric better = 'max' or better = 'min'"
            )
        return str(found[name])

    def improves(self, trainer: Any) -> bool:
        """Whether the last epoch is the best so far, which is then remembered."""
        value = trainer.history[self.watched][-1]
        if self.best is None:
            better = math.isfinite(value)
        else:
            better = value < self.best - self.min_delta if self.falling else value > self.best + self.min_delta
        if better:
            self.best = value
        return better

    def state(self) -> dict[str, Any]:
        return {"best": self.best, "waited": self.waited}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.best, self.waited = state["best"], state["waited"]

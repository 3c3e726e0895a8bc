"""Schedules: learning rates that change with the number of steps or epochs made.

A schedule takes the place of a number: `nl.Adam(lr=nl.schedules.Cosine(0.01, length=20))`. Before a window of epochs
begins, the rates of all its steps are written into an array, which the recorded steps read one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from . import elsewhere, gate
from .arguments import shown


class Schedule(elsewhere.Answering):
    """The base class: `schedule(t)` gives the rates (T,) for the counts t (T,), from 0 on. A subclass writes `curve`.

    `by` says what is counted, "epoch" or "step". During the first `warmup` of them, the rate rises linearly to where
    the curve begins: at t it is (t + 1) / (warmup + 1) of that. Counts go on from one fit to the next; a call of
    `trainer.step` is a step and no epoch.

    >>> nl.schedules.Exponential(0.8, factor=0.5, warmup=3)([0, 1, 2, 3, 4, 5])
    array([0.2, 0.4, 0.6, 0.8, 0.4, 0.2])
    """

    _arguments = elsewhere.SCHEDULE

    def __init__(self, by: str = "epoch", warmup: int = 0) -> None:
        self.by = gate.one_of(by, ("epoch", "step"), "by")
        self.warmup = gate.integer(warmup, "warmup", least=0)

    def curve(self, t: np.ndarray) -> np.ndarray:
        """The rates (T,) after the warm-up, for t (T,) counted from its end."""
        raise NotImplementedError(f"{type(self).__name__} has no curve")

    def __call__(self, t: int | Sequence[int] | np.ndarray) -> np.ndarray:
        t = np.asarray(t, np.int64)
        rates = np.array(self.curve(np.maximum(t - self.warmup, 0)), np.float64)
        rates *= np.minimum((t + 1) / (self.warmup + 1), 1)
        if not (np.isfinite(rates).all() and (rates >= 0).all()):
            bad = np.flatnonzero(~(np.isfinite(rates) & (rates >= 0)))[0]
            raise ValueError(f"{self!r} gives the learning rate {rates.flat[bad]} in {self.by} {t.flat[bad]}")
        return rates

    def upcoming(self, steps: int, epochs_made: int, epochs: int, per_epoch: int) -> np.ndarray:
        """The rates (epochs · per_epoch,) of the next steps, after so many steps and epochs."""
        if self.by == "step":
            return self(np.arange(steps, steps + epochs * per_epoch))
        return np.repeat(self(np.arange(epochs_made, epochs_made + epochs)), per_epoch)

    __repr__ = shown


class StepDecay(Schedule):
    """lr · factorⁿ, with n the number of times `every` has passed: a whole number, or a list of counts."""

    def __init__(
        self, lr: float, every: int | Sequence[int], factor: float = 0.1, by: str = "epoch", warmup: int = 0
    ) -> None:
        super().__init__(by, warmup)
        self.lr, self.factor = gate.number(lr, "lr", above=0), gate.number(factor, "factor", above=0)
        self.every: int | list[int]
        if isinstance(every, Sequence) and not isinstance(every, str):
            self.every = sorted(gate.integer(each, "every") for each in every)
        else:
            self.every = gate.integer(every, "every")

    def curve(self, t: np.ndarray) -> np.ndarray:
        passed = np.searchsorted(self.every, t, "right") if isinstance(self.every, list) else t // self.every
        return self.lr * self.factor**passed


class Exponential(Schedule):
    """lr · factorᵗ."""

    def __init__(self, lr: float, factor: float, by: str = "epoch", warmup: int = 0) -> None:
        super().__init__(by, warmup)
        self.lr, self.factor = gate.number(lr, "lr", above=0), gate.number(factor, "factor", above=0)

    def curve(self, t: np.ndarray) -> np.ndarray:
        return self.lr * self.factor**t


class Polynomial(Schedule):
    """end + (lr − end) (1 − t/length)^power until t = length, then end; power 1 is a straight line."""

    def __init__(
        self, lr: float, length: int, power: float = 1.0, end: float = 0.0, by: str = "epoch", warmup: int = 0
    ) -> None:
        super().__init__(by, warmup)
        self.lr, self.end = gate.number(lr, "lr", above=0), gate.number(end, "end", least=0)
        self.length, self.power = gate.integer(length, "length"), gate.number(power, "power", above=0)

    def curve(self, t: np.ndarray) -> np.ndarray:
        return self.end + (self.lr - self.end) * (1 - np.minimum(t / self.length, 1)) ** self.power


class Cosine(Schedule):
    """end + ½ (lr − end) (1 + cos πt/length) until t = length, then end (Loshchilov and Hutter 2017).

    With restarts=True, it begins again at lr, each time `growth` times as long as before.
    """

    def __init__(
        self,
        lr: float,
        length: int,
        end: float = 0.0,
        restarts: bool = False,
        growth: int = 1,
        by: str = "epoch",
        warmup: int = 0,
    ) -> None:
        super().__init__(by, warmup)
        self.lr, self.end = gate.number(lr, "lr", above=0), gate.number(end, "end", least=0)
        self.length, self.restarts = gate.integer(length, "length"), bool(restarts)
        self.growth = gate.integer(growth, "growth")

    def curve(self, t: np.ndarray) -> np.ndarray:
        begin, length = np.zeros_like(t), np.full_like(t, self.length)
        if self.restarts and self.growth == 1:
            begin = t // self.length * self.length
        while self.restarts and self.growth > 1 and (t >= begin + length).any():
            over = t >= begin + length
            begin, length = begin + over * length, np.where(over, length * self.growth, length)
        part = np.minimum((t - begin) / length, 1)
        return self.end + (self.lr - self.end) * (1 + np.cos(np.pi * part)) / 2


class OneCycle(Schedule):
    """From lr/divide up to lr within `rise` of the length, and down to lr/(divide · divide_end), both as a cosine.

    length: the number of all steps (Smith and Topin 2018; the numbers are PyTorch's).
    """

    def __init__(
        self,
        lr: float,
        length: int,
        rise: float = 0.3,
        divide: float = 25.0,
        divide_end: float = 1e4,
        by: str = "step",
        warmup: int = 0,
    ) -> None:
        super().__init__(by, warmup)
        self.lr, self.length = gate.number(lr, "lr", above=0), gate.integer(length, "length", least=2)
        self.rise = gate.number(rise, "rise", above=0, below=1)
        self.divide, self.divide_end = (gate.number(d, "divide", above=0) for d in (divide, divide_end))

    def curve(self, t: np.ndarray) -> np.ndarray:
        last = self.length - 1
        top = min(max(self.rise * self.length - 1, 1e-9), last - 1e-9)  # the count at which the rate is lr
        start = self.lr / self.divide
        up, down = np.clip(t / top, 0, 1), np.clip((t - top) / (last - top), 0, 1)

        def between(a: float, b: float, part: np.ndarray) -> np.ndarray:
            return b + (a - b) * (1 + np.cos(np.pi * part)) / 2

        return np.where(t <= top, between(start, self.lr, up), between(self.lr, start / self.divide_end, down))


class Function(Schedule):
    """A function of your own: count -> learning rate."""

    def __init__(self, function: Callable[[int], float], by: str = "epoch", warmup: int = 0) -> None:
        super().__init__(by, warmup)
        if not callable(function):
            raise TypeError(f"function must be a function (count) -> learning rate, not {function!r}")
        self.function = function

    def curve(self, t: np.ndarray) -> np.ndarray:
        return np.array([gate.answer(self.function(n), f"{self!r}") for n in t.ravel().tolist()]).reshape(t.shape)

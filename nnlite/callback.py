"""Callbacks look at a training between its epochs, and may change it or end it.

The device trains without Python between two looks. So a callback costs nothing but its own time and, where epochs are
shorter than some microseconds, the return to Python; `every` makes looks rarer.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from . import elsewhere, gate
from .arguments import shown

# A trainer is Any here: its file imports this one, and a subclass may well write nl.Trainer.


class Callback:
    """The base class of all callbacks: a subclass writes those of the methods that it needs.

    It looks after each epoch whose number can be divided by `every`. Epochs are counted from 1 over all fits, as
    `trainer.history` does, or from `initial_epoch` + 1 if fit was given one. It may call `trainer.stop()`, set
    `trainer.optimizer.lr` to a number, and write to the network's parameters; what else it changes holds from the next
    fit on. `trainer.measured` has the names of what this fit measures.

    >>> class Halve(nl.Callback):
    ...     every = 10
    ...     def after_epoch(self, trainer, epoch):
    ...         trainer.optimizer.lr /= 2
    """

    __repr__ = shown
    every = 1
    writes = False  # whether it writes or draws, which rank 0 alone does if there are several
    saves = False  # whether it saves the trainer, and so looks, and ends, after all others

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for name in elsewhere.CALLBACK.keys() & vars(cls).keys():  # it would never be called
            raise TypeError(f"{cls.__name__}.{name}; {elsewhere.in_nnlite(elsewhere.CALLBACK[name])}")

    def begin(self, trainer: Any) -> None:
        """Called before the first epoch of a fit."""

    def after_epoch(self, trainer: Any, epoch: int) -> None:
        """Called after an epoch, which `trainer.history` has by then."""

    def end(self, trainer: Any) -> None:
        """Called when the fit ends, also by an error or an interrupt; `trainer.interrupted` tells whether by these."""

    def state(self) -> dict[str, Any]:
        """What it remembers from one look to the next: names -> values that JSON can hold, or NumPy arrays."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Remember what `state` has returned, so that a training that was stopped can go on."""


class Function(Callback):
    """A function f(trainer, epoch) as a callback; an attribute f.every says how often it looks."""

    def __init__(self, function: Callable[[Any, int], object]) -> None:
        self.function, self.every = function, getattr(function, "every", 1)

    def after_epoch(self, trainer: Any, epoch: int) -> None:
        self.function(trainer, epoch)


class Callbacks:
    """The callbacks of one fit, as a context: they begin with it, and end with it in whatever way it ends."""

    def __init__(self, trainer: Any, given: Iterable[Any], before: int) -> None:
        if isinstance(given, Callback) or callable(given):
            raise TypeError(f"callbacks must be a list such as [{given!r}], not one callback")
        self.trainer, self.begun = trainer, 0
        self.before = before  # the number of epochs before those that the fit counts
        self.looked = 0  # the number of epochs that have been looked at
        self.all = tuple(sorted(map(_callback, given), key=lambda each: each.saves))
        silent = trainer.ranks is not None and not trainer.ranks.first
        self.acting = tuple(each for each in self.all if not (each.writes and silent))
        for each in self.all:
            gate.integer(each.every, f"every of {type(each).__name__}")

    def __enter__(self) -> Callbacks:
        self.trainer.callbacks, self.trainer.stopped, self.trainer.interrupted = self.all, False, False
        try:
            for each in self.acting:
                each.begin(self.trainer)
                self.begun += 1
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def __exit__(self, *error: Any) -> None:
        if self.all:
            self.trainer.interrupted = error[0] is not None
            with contextlib.ExitStack() as ends:  # each is called, even if one before raises
                ends.callback(setattr, self.trainer, "callbacks", ())
                for each in reversed(self.acting[: self.begun]):
                    ends.callback(each.end, self.trainer)

    def until_look(self, done: int) -> int:
        """After so many epochs: the number of epochs until the next look."""
        return min((each.every - (self.before + done) % each.every for each in self.all), default=sys.maxsize)

    def look(self, done: int) -> bool:
        """Let those look, once, whose turn it is after so many epochs; whether one of them ended training."""
        new, self.looked = done > self.looked, max(done, self.looked)
        for each in self.acting if new else ():
            if (self.before + done) % each.every == 0:
                each.after_epoch(self.trainer, self.before + done)
        return bool(self.trainer.stopped)


def _callback(given: Any) -> Callback:
    if isinstance(given, type) or not (isinstance(given, Callback) or callable(given)):
        hint = f"; write {given.__name__}(…)" if isinstance(given, type) else ""
        raise TypeError(f"a callback must be a Callback or a function f(trainer, epoch), not {given!r}{hint}")
    return given if isinstance(given, Callback) else Function(given)

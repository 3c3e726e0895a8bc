"""The learning-rate range test: which learning rates train a network, found within some hundred steps (Smith 2017)."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import gate
from .estimate import seconds
from .schedules import Function
from .steps import Steps
from .trainer import Trainer

WORSE = 4.0  # the test ends when the running mean of the losses is so many times the least that it has been
MEMORY = 0.8  # of that mean


@dataclass(frozen=True)
class RangeTest:
    """What a learning-rate range test has measured: the learning rates, and the loss of the batch trained at each."""

    rates: np.ndarray  # (steps,)
    losses: np.ndarray  # (steps,)

    @property
    def smooth(self) -> np.ndarray:
        """The losses (steps,) without the noise of single batches: each a weighted mean with its neighbours."""
        place = np.arange(len(self.losses))
        width = max(1.0, 0.03 * len(place))
        weights = np.exp(-0.5 * ((place - place[:, None]) / width) ** 2)  # (steps, steps)
        return np.asarray(weights @ self.losses / weights.sum(axis=1))

    @property
    def suggestion(self) -> float:
        """A tenth of the rate at which the smoothed loss is least: training is fast there, and not yet unstable.

        It is a safe choice. Three times as much is often better, and with plain gradient descent ten times may be.
        """
        return float(self.rates[self.smooth.argmin()] / 10)

    def plot(self, path: Any = None) -> Any:
        """Loss over learning rate, written to `path` if one is given; returns the matplotlib Axes."""
        from . import plots

        return plots.written(plots.range_test(self), path)

    def __repr__(self) -> str:
        return f"<RangeTest of {len(self.rates)} steps up to lr={self.rates[-1]:.2g}: suggestion={self.suggestion:.2g}>"


def lr_range_test(
    trainer: Trainer,
    x: Any,
    y: Any,
    lowest: float = 1e-6,
    highest: float = 10.0,
    steps: int = 100,
    batch_size: int = 32,
) -> RangeTest:
    """Train a copy for so many steps at rates that rise from `lowest` to `highest`, each a constant times the last.

    It ends earlier when the loss grows. The trainer, its network and its shuffles stay as they are. x and y are as for
    `trainer.fit`. ValueError if training diverges at `lowest` already; UserWarning if the loss is least near `lowest`,
    as it is for a network that has been trained.

    >>> x, y = nl.datasets.moons(n=400, noise=0.15, seed=0)
    >>> trainer = nl.Trainer(nl.mlp([2, 16, 2], output="softmax", device="numpy", seed=0), "cce", nl.Adam())
    >>> trainer.optimizer.lr = nl.lr_range_test(trainer, x, y).suggestion
    """
    steps, batch_size = gate.integer(steps, "steps", least=2), gate.integer(batch_size, "batch_size")
    lowest = gate.number(lowest, "lowest", above=0)
    highest = gate.number(highest, "highest", above=lowest)
    if not isinstance(trainer, Trainer):
        raise TypeError(f"trainer must be a Trainer, not {trainer!r}")
    copied = copy.deepcopy(trainer)
    copied.metrics = ()
    factor = (highest / lowest) ** (1 / (steps - 1))
    # A schedule is asked for whole epochs, in which there may be far more steps.
    copied.optimizer.lr = schedule = Function(lambda step: lowest * factor ** min(step, steps - 1), by="step")
    copied.optimizer.clock[...] = 0  # the trainer's own schedule may have counted already
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"), copied.network.backend.explained():
        losses = _until_worse(_losses(copied, *copied.checked(x, y), steps, batch_size))
    if len(losses) < 2:
        raise ValueError(f"training diverges at lowest={lowest:g} already: take a smaller one, or scale the inputs")
    found = RangeTest(schedule(np.arange(len(losses))), np.array(losses))
    if found.suggestion < lowest:
        warnings.warn(
            f"the loss is least at {10 * found.suggestion:.2g}, one of the first rates, so this test suggests nothing: "
            f"the network may be trained already, or lowest={lowest:g} is too large",
            stacklevel=gate.level_of_caller(),
        )
    return found


def _losses(trainer: Trainer, x: Any, target: Any, steps: int, batch_size: int) -> Iterator[float]:
    """The loss of the batch of each step, up to the last one at which it is finite."""
    step, device = trainer.new_step(), trainer.network.backend
    device = device.for_work(seconds(trainer.network, steps * batch_size, batch_size, training=True))
    run = Steps(step, x, target, batch_size, -(-steps // -(-len(x) // batch_size)), trainer.replay, device=device)
    shuffles = np.random.Generator(np.random.PCG64(trainer.network.seed))
    made, before = 0, np.zeros(len(run.program.sums))  # before: sums (S,) of the epoch
    try:
        while made < steps:
            run.start(min(run.window, -(-(steps - made) // run.per_epoch)), shuffles)
            for _, came, goal in run.runs(run.epochs):
                if came < goal or made == steps:
                    return
                run.pace = 1.0  # of steps in the next run of the device
                epoch, place = divmod(goal - 1, run.per_epoch)
                ends = place == run.per_epoch - 1
                sums = run.history[epoch] if ends else np.array(device.to_numpy(run.program.sums))
                rows = run.rest if ends and run.rest else run.batch
                yield step.values_of_epochs((sums - before)[None], rows, target.shape[1])["loss"][0]
                made, before = made + 1, np.zeros_like(sums) if ends else sums
    finally:
        run.close()


def _until_worse(losses: Iterator[float]) -> list[float]:
    found: list[float] = []
    mean = least = np.inf
    for loss in losses:
        found.append(loss)
        mean = loss if len(found) == 1 else MEMORY * mean + (1 - MEMORY) * loss
        least = min(least, mean)
        if mean > WORSE * least:
            break
    return found

"""Divergence: what happens when the loss or a parameter is not finite any more, and the way back."""

from __future__ import annotations

import math
import time
from typing import Any

from . import gate
from .network import Sequential
from .step import Step

Snapshot = dict[str, Any]  # parameters (P,) and the layers' state, by name


class DivergedError(ArithmeticError):
    """The loss or a parameter is no longer finite. The network is back at parameters with a finite loss.

    `epoch` and `batch` tell where it happened; both are counted from 1.
    """

    def __init__(self, message: str, epoch: int, batch: int) -> None:
        super().__init__(message)
        self.epoch, self.batch = epoch, batch


def snapshot(network: Sequential) -> Snapshot:
    """Copies of the network's parameters and of its layers' state."""
    return {name: array.copy() for name, array in network.arrays().items() if name != "gradients"}


def all_finite(network: Sequential) -> bool:
    """Whether all parameters and all numbers of the layers' state are finite."""
    return all(gate.all_finite(array) for name, array in network.arrays().items() if name != "gradients")


def diverged(step: Step, loss: float, before: Snapshot, epoch: int, batch: int) -> DivergedError:
    """Go back to these parameters and state; the error returned tells what happened, and where."""
    for name, array in before.items():
        step.network.arrays()[name][...] = array
    step.network.gradients[...] = 0  # those of a layer that is frozen next would stay NaN
    step.optimizer.reset()
    cause = "a parameter stopped being finite" if math.isfinite(loss) else f"the loss became {loss}"
    return DivergedError(
        f"training diverged: {cause} in epoch {epoch}, batch {batch}; the network is back at finite parameters "
        f"from before. Try a learning rate below lr={step.optimizer.lr:g}, or inputs scaled to about −1 … 1",
        epoch,
        batch,
    )


class Safe:
    """What to go back to: the last copy of parameters and state from which a step with a finite loss has been made."""

    def __init__(self, network: Sequential) -> None:
        self.network = network
        self.before = self.now = snapshot(network)
        self.tried, self.taken = True, time.monotonic()

    def keep(self) -> None:
        """To be called after good steps: copy parameters and state, at most once a second."""
        self.tried = True
        if time.monotonic() - self.taken > 1:
            self.before, self.now = self.now, snapshot(self.network)
            self.tried, self.taken = False, time.monotonic()

    def proven(self, stepped: bool) -> Snapshot:
        """Parameters with a finite loss, and state. `stepped` tells whether a step since the last copy went well."""
        return self.now if self.tried or stepped else self.before

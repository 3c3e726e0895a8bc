"""How a step is evaluated on rows without training: recorded once, and run for all rows that come."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np

from .devices import Device
from .programs import KeptPrograms
from .step import Step
from .sweeps import Sweep
from .weights import Data


class Scores(dict[str, float]):
    """What an evaluation measured: name -> value."""

    def __missing__(self, name: str) -> NoReturn:
        there = ", ".join(map(repr, self))
        raise KeyError(f"evaluate measured {there}, but no {name!r}: metrics are named to nl.Trainer(…, metrics=[…])")


def evaluated(step: Step, data: Data, most: int | None, device: Device, how: str, programs: KeptPrograms) -> Scores:
    """The loss and the metrics of a step, by name, over rows that have passed the gate, at most `most` at once."""
    columns, home = data.target.shape[1], step.network.backend
    given, sums = data.arrays(home, step.collects), list[np.ndarray]()  # sums of each group of rows
    if not _sweep(step, columns, device, how, programs)(given, len(data), most, sums):
        # A program stops when the loss is not finite, but the metrics must cover all rows.
        arrays: dict[str, Any] = given | step.arrays()
        arrays |= {"position": home.zeros(1, np.int64), "sums": home.zeros(step.size(columns), np.float64)}
        step.evaluation_on(step.network.ops, arrays)(len(data))
        sums = [home.to_numpy(arrays["sums"])]
    collected = data.collected(device.to_numpy(given["answer"])) if step.collects else []
    return Scores(step.values(step.merged(sums, columns), data.count, columns, collected))


def _sweep(step: Step, columns: int, device: Device, how: str, programs: KeptPrograms) -> Sweep:
    """The sweep that evaluates; it is recorded anew after a setting or an array of the step has changed."""
    network = step.network
    arrays = {name: array for name, array in network.arrays().items() if name != "gradients"}
    made_of = step.settings(), {name: id(array) for name, array in arrays.items()}
    key = "evaluation", device.name, step.weighted
    kept = programs.take(key)
    if kept is None or kept[0] != made_of or not kept[1].up_to_date():
        place = device, network.dtype, arrays
        kept = made_of, Sweep(step.evaluation_on, *place, step.size(columns), network.threads, how)
    programs.put(key, kept)
    sweep: Sweep = kept[1]
    return sweep

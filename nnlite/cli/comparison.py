"""Compare the devices of this machine: check that they train a net alike, then time them in turns.

Nothing is printed: `measure` returns numbers, and `verdict` explains them in words. Every training is an ordinary
Trainer.fit in float32 with cross-entropy and plain SGD, on rows that `measure` makes.
"""

from __future__ import annotations

import math
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from itertools import groupby, takewhile
from typing import NamedTuple

import numpy as np

from ..devices import ALIASES, DeviceError, devices, get_device
from ..optimizers import SGD
from ..perceptron import mlp
from ..trainer import DivergedError, Trainer

REPEATS = 3  # of every measurement; the devices take turns, so that a slow moment of the machine affects all of them
PAUSE = 0.1  # seconds before each run: BLAS threads keep a core busy for some 30 ms after their last work
ENOUGH = 1.05  # times as fast; with a smaller lead, the next run may say the opposite
TOLERANCE = 1e-4  # relative difference between two devices' losses of an epoch; rounding in float32 stays below it
RATE = 0.01  # learning rate; from 0.03 on, the loss of the widest net grows


class Net(NamedTuple):
    """A net to train: sizes from the input to the classes, with ReLU between; rows is a multiple of the batch size."""

    name: str
    sizes: tuple[int, ...]
    batch: int
    rows: int = 2048

    @property
    def shape(self) -> str:
        return "-".join(map(str, self.sizes))

    @property
    def width(self) -> int:
        """The width of the first hidden layer."""
        return self.sizes[1]

    @property
    def place(self) -> int:
        """Its place in its sweep: the batch size or the width."""
        return self.batch if self.name == "batches" else self.width


NETS = (
    Net("small", (64, 32, 10), batch=32),
    Net("medium", (784, 128, 10), batch=64),
    Net("large", (784, 1024, 1024, 10), batch=256),
)
SWEEP = tuple(Net("sweep", (784, w, 10), batch=256, rows=1024) for w in (32, 128, 512, 2048, 4096))
BATCHES = tuple(Net("batches", (784, 512, 10), batch=b, rows=4096) for b in (16, 64, 256, 1024, 4096))


class Measured(NamedTuple):
    """The time that one device needs for one net."""

    net: Net
    device: str
    runs: tuple[float, ...]  # seconds for one step, a number for each repeat
    first_use: float  # seconds to import, build, compile and run the first few steps

    @property
    def seconds(self) -> float:
        """Seconds for one step: the median of the runs."""
        return statistics.median(self.runs)

    @property
    def rate(self) -> float:
        """Samples a second: the batch size divided by the seconds for one step."""
        return self.net.batch / self.seconds

    def beats(self, other: Measured) -> bool:
        """Whether it is clearly faster: its slowest run beats the other's fastest, and it is ENOUGH times as fast."""
        return max(self.runs) < min(other.runs) and ENOUGH * self.seconds < other.seconds


def chosen(names: Sequence[str] | None) -> list[str]:
    """Names or aliases, or None for all available devices -> device names in the order of nl.devices(), each once."""
    found = devices()
    asked = {ALIASES.get(name, name) for name in names or [name for name in found if found[name].available]}
    for name in sorted(asked - found.keys()):
        raise ValueError(f"--devices {name!r} is not known; choose from {', '.join([*found, *ALIASES])}")
    for name in asked:
        if not found[name].available:
            get_device(name)  # raises an error that says why and what to do
    return [name for name in found if name in asked]


def pair(names: Sequence[str]) -> list[str]:
    """The two devices that a sweep compares: numba, or the first if numba is missing, and the last of the others."""
    if len(names) < 2:
        raise ValueError(f"--sweep compares two devices, but there is only {names[0]}; see nnlite info")
    first = "numba" if "numba" in names else names[0]
    return [first, next(name for name in reversed(names) if name != first)]


def measure(net: Net, names: Sequence[str], seconds: float) -> list[Measured]:
    """Check that the devices train this net alike, then time each of them REPEATS times for about `seconds`."""
    rng = np.random.Generator(np.random.PCG64(0))
    x = rng.standard_normal((net.rows, net.sizes[0]), dtype=np.float32)
    y = x[:, : net.sizes[-1]].argmax(axis=1)  # (rows,): labels that can be learned
    few = net.batch * 5 // 2  # rows: two batches and a short one
    trainers, losses, first_use = {}, {}, {}
    for name in names:
        start = time.perf_counter()
        network = mlp(net.sizes, "relu", "softmax", "he_normal", name, "float32", seed=0)
        trainers[name] = Trainer(network, "cce", SGD(lr=RATE))
        try:
            losses[name] = trainers[name].fit(x[:few], y[:few], 3, net.batch, progress=False)["loss"]
        except DivergedError:
            losses[name] = [math.nan]
        first_use[name] = time.perf_counter() - start
    _alike(net, losses)

    def fit(name: str, epochs: int) -> float:
        time.sleep(PAUSE)
        start = time.perf_counter()
        trainers[name].fit(x, y, epochs, net.batch, progress=False)
        return time.perf_counter() - start

    epochs = dict.fromkeys(names, 1)
    for name in names:  # find how many epochs fill the time; the shorter runs are the warm-up
        while (took := fit(name, epochs[name])) < seconds / 2:
            epochs[name] = math.ceil(epochs[name] * min(100.0, seconds / took))
    steps = {name: epochs[name] * net.rows // net.batch for name in names}
    rounds = [{name: fit(name, epochs[name]) / steps[name] for name in names} for _ in range(REPEATS)]
    return [Measured(net, name, tuple(times[name] for times in rounds), first_use[name]) for name in names]


def _alike(net: Net, losses: dict[str, list[float]]) -> None:
    """Raise DeviceError unless all devices had the same losses in every epoch; NaN is never the same."""
    (first, expected), *others = losses.items()
    for name, found in others:
        if not np.allclose(found, expected, rtol=TOLERANCE, atol=0):
            raise DeviceError(
                f"devices {first!r} and {name!r} do not compute the same, so their speeds mean nothing: after the same "
                f"steps of the {net.name} net the losses are {expected[-1]:.7g} and {found[-1]:.7g}"
            )


def by_net(measured: Sequence[Measured]) -> list[list[Measured]]:
    """A list for each net, with the fastest device first."""
    groups = groupby(measured, key=lambda each: each.net)
    return [sorted(group, key=lambda each: each.seconds) for _, group in groups]


def crossing(sweep: Sequence[Measured]) -> tuple[str, int] | None:
    """The device that wins at a sweep's end, and the width or batch from which it leads; None if none wins there."""
    nets = by_net(sweep)
    if not nets or not nets[-1][0].beats(nets[-1][1]):
        return None
    name = nets[-1][0].device
    ahead = list(takewhile(lambda rows: rows[0].device == name, reversed(nets)))
    return name, ahead[-1][0].net.place


def verdict(
    measured: Sequence[Measured], sweep: Sequence[Measured] = (), batches: Sequence[Measured] = ()
) -> list[str]:
    """Explain the numbers: a line for each net, a line for each sweep, and a last line with the device to use."""
    nets = by_net(measured)
    leaders = [[each.device for each in rows if not rows[0].beats(each)] for rows in nets]
    lead = Counter(name for names in leaders for name in names)
    lines, take = [], dict[str, list[str]]()  # device -> names of nets
    for rows, names in zip(nets, leaders):
        told = " and ".join(names) + (" are too close to tell apart" if len(names) > 1 else " is fastest")
        others = [f"{_times(rows[0], each)} as fast as {each.device}" for each in rows if each.device not in names]
        lines.append(f"{rows[0].net.name} {rows[0].net.shape}: {', '.join([told, *others])}")
        take.setdefault(max(names, key=lambda name: lead[name]), []).append(rows[0].net.name)
    if sweep:
        lines.append(f"hidden width, batch {sweep[0].net.batch}: {_of_sweep(sweep, 'width')}")
    if batches:
        lines.append(f"batch size, hidden width {batches[0].net.width}: {_of_sweep(batches, 'batch size')}")
    if len(nets[0]) == 1:
        return [*lines, f"only {measured[0].device} was measured: there is nothing to choose from"]
    found = crossing(sweep)
    if len(take) == 1 and (found is None or found[0] in take):
        return [*lines, f"take {next(iter(take))}, at every size"]
    advice = ", ".join(f"{name} for {' and '.join(sizes)} nets" for name, sizes in take.items())
    wide = f", {found[0]} for hidden layers of {found[1]} and more" if found and found[0] not in take else ""
    return [*lines, f"take {advice}{wide}"]


def _of_sweep(sweep: Sequence[Measured], what: str) -> str:
    """Say which of two devices wins, from which size on, and by how much at that size and at the end."""
    at, found = {rows[0].net.place: rows for rows in by_net(sweep)}, crossing(sweep)
    least, most = min(at), max(at)
    if found is None:
        return f"{' and '.join(each.device for each in at[most])} are too close to tell apart at {most}"
    name, start = found
    best, other = at[start]
    where = f"from {start} on" if start > least else f"at every {what}"
    told = f"{name} wins {where}, {_times(best, other)} as fast as {other.device} at {start}"
    told += f" and {_times(*at[most])} at {most}" if start < most else ""
    below = [rows for place, rows in at.items() if place < start and rows[0].device != name]
    gap = max(below, key=lambda rows: rows[1].seconds / rows[0].seconds, default=None)
    return f"{told}; below, {other.device} is up to {_times(*gap)} as fast" if gap else told


def _times(fast: Measured, slow: Measured) -> str:
    ratio = slow.seconds / fast.seconds
    return f"{ratio:,.0f} times" if ratio >= 100 else f"{ratio:.3g} times"

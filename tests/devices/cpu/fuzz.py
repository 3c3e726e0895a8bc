"""Random nets trained on numba, every array against memory that may not be touched, and on numpy: equal results.

    python tests/devices/cpu/fuzz.py --nets 10000 --first 0

A net follows from its seed. Its arrays end, or begin, at a page of memory that may be neither read nor written: the
data, parameters, gradients, sums, and every single result of a step, which otherwise lie beside each other. So a loop
that goes past its array by one number ends the process, after the seed has been printed.
"""

# ruff: noqa: T201  (a script)

from __future__ import annotations

import argparse
import ctypes
import faulthandler
import itertools
import math
import mmap
import re
import sys
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import replace
from unittest import mock

import numpy as np

import nnlite as nl
from nnlite import sweeps
from nnlite.devices.common.arena import ALIGNMENT, Arena
from nnlite.devices.cpu.device import NumbaDevice
from nnlite.devices.cpu.limits import CpuLimits

PAGE = mmap.PAGESIZE
HIDDEN = ("identity", "relu", "sigmoid", "softplus", "tanh", "tanh_offset")
# loss -> activations that its predictions may come from
LOSSES = {
    "mse": HIDDEN,
    "half_mse": HIDDEN,
    # Not from relu: gradients of this loss are multiples of one number, of which a bias may become the sum 0, or what
    # rounding makes of it; and there the derivative of relu jumps.
    "mae": [name for name in HIDDEN if name != "relu"],
    "bce": ("sigmoid", "tanh_offset", "softmax"),
    "cce": ("softmax",),
}
FORBIDDEN = 0  # PROT_NONE


def guarded(shape, dtype, at_the_end):
    """Zeros that end, or else begin, at a page that may not be touched; there is one on either side."""
    dtype, count = np.dtype(dtype), math.prod(np.atleast_1d(shape).tolist())
    pages = max(1, -(-count * dtype.itemsize // PAGE))
    memory = mmap.mmap(-1, (pages + 2) * PAGE)  # given back when no array is left that lies in it
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    system = ctypes.CDLL(None, use_errno=True)
    for page in (start, start + (pages + 1) * PAGE):
        if system.mprotect(ctypes.c_void_p(page), ctypes.c_size_t(PAGE), FORBIDDEN):
            raise OSError(ctypes.get_errno(), "mprotect")
    offset = PAGE + (pages * PAGE - count * dtype.itemsize) * at_the_end
    return np.frombuffer(memory, dtype, count, offset).reshape(shape)


class Guards:
    """With this, a numba device's arrays lie beside memory that may not be touched, each result of a step by itself.

    at_the_end: whether it lies after the arrays, else before them. padded: whether a result has the whole vectors that
    the arena gives it, or ends with its last number.
    """

    def __init__(self, at_the_end, padded):
        self.at_the_end, self.padded, self.numbers = at_the_end, padded, itertools.count()

    def zeros(self, shape, dtype):
        return guarded(shape, dtype, self.at_the_end)

    def copy(self, array):
        copy = self.zeros(array.shape, array.dtype)
        copy[...] = array
        return copy

    def place(self, arena, segment, *tapes):
        """As Arena.place, but nothing is used twice."""
        results = {id(r): r for calls in tapes for call, _ in calls for r in call.results if r.segment == segment}
        unit = ALIGNMENT // np.dtype(arena.dtype).itemsize if self.padded else 1
        apart = max((-(-r.size // unit) * unit for r in results.values()), default=0)
        for result in results.values():
            result.room, result.offset = -(-result.size // unit) * unit, 0
            result.segment = f"{segment} {next(self.numbers)}"
            size = result.room + (apart if segment == "tile" else 0)  # of two threads
            arena.segments[result.segment] = self.zeros(size, arena.dtype)
        arena.reserve(segment, 1)
        return apart

    def arena(self, made, device, dtype, segments):
        """The data of a step into guarded memory, if they are not there."""
        guards = {"x", "target"} & set(segments)
        assert guards
        copies = {name: self.copy(segments[name]) for name in guards}
        _arena_init(made, device, dtype, {**segments, **copies})

    def __enter__(self):
        self.stack = ExitStack()
        for owner, name, new in (
            (NumbaDevice, "zeros", lambda device, *a: self.zeros(*a)),
            (NumbaDevice, "empty", lambda device, *a: self.zeros(*a)),
            (Arena, "place", lambda arena, *a: self.place(arena, *a)),
            (Arena, "__init__", lambda arena, *a: self.arena(arena, *a)),
        ):
            self.stack.enter_context(mock.patch.object(owner, name, new))

    def __exit__(self, *error):
        self.stack.close()


_arena_init = Arena.__init__


class Net:
    """A random net, its data and how it is trained."""

    def __init__(self, seed):
        rng = self.rng = np.random.default_rng(seed)
        self.dtype = str(rng.choice(["float32", "float64"]))
        self.loss = str(rng.choice(list(LOSSES)))
        self.sizes = self.widths()
        self.hidden = [str(rng.choice(HIDDEN)) for _ in self.sizes[1:-1]]
        self.output = str(rng.choice(LOSSES[self.loss]))
        if self.output == "softmax" and self.sizes[-1] == 1:
            self.sizes[-1] = 2
        self.dropout = float(rng.choice([0, 0, 0, 0.4]))
        self.rows = int(rng.choice([rng.integers(1, 40), rng.integers(1, 1300)]))
        self.batch = max(int(rng.integers(1, 1 + rng.choice([16, 130, 1300]))), -(-self.rows // 12))
        self.epochs = int(rng.integers(1, 4))
        self.shuffle = bool(rng.integers(2))
        self.chunks = int(rng.choice([1, 1, 1, 2, 3]))
        self.threads = int(rng.integers(1, 3))
        self.many = bool(rng.integers(2))  # whether even a small net is worth two threads
        self.tile = int(rng.choice([64, 8, 16, 24])), int(rng.choice([48_000, 4_000]))
        metrics = rng.permutation(["accuracy", "mae", "rmse", "r2"])
        metrics = [name for name in metrics if name != "accuracy" or self.loss in ("bce", "cce")]  # targets are classes
        self.metrics = [str(name) for name in metrics[: rng.integers(0, 3)] if name != "r2" or self.rows > 2]
        self.decay = float(rng.choice([0, 0, 0.01]))
        self.optimizer = str(rng.choice(["plain", "plain", "momentum", "adam"]))
        if self.dtype == "float32" and self.optimizer == "adam":
            # Adam divides a gradient by its own size: one that is nothing but rounding moves a parameter by a whole
            # step, here one way and there the other. In float64 such gradients are far below its epsilon.
            self.optimizer = "plain"
        self.at_the_end, self.padded = bool(rng.integers(4)), bool(rng.integers(2))
        self.seed = seed
        # One that no other follows: a gradient through several, which may cancel out, is mostly rounding.
        kinds = ["", "", "", "layer norm", "residual", "noise", "frozen"] + ["batch norm"] * (self.batch > 1)
        self.block = str(rng.choice(kinds)) if self.hidden else ""

    def blocks(self, columns):
        """A block for the last hidden layer."""
        made = {
            "layer norm": lambda: nl.LayerNorm(columns, epsilon=0.1),
            "batch norm": lambda: nl.BatchNorm(columns, epsilon=0.1),
            "residual": lambda: nl.Residual(nl.Dense(columns, 7), nl.Tanh(), nl.Dense(7, columns)),
            "noise": lambda: nl.GaussianNoise(0.1),
            "frozen": lambda: nl.Dense(columns, columns),
        }
        layers = [made[self.block]()] if self.block else []
        if self.block == "frozen":
            layers[0].trainable = False
        return layers

    def widths(self):
        """Inputs, hidden layers, outputs."""
        rng, depth = self.rng, self.rng.integers(0, 4)
        widest = rng.choice([9, 40, 120])
        return [int(rng.integers(1, 1 + most)) for most in (widest, *[widest] * depth, rng.choice([1, 5, 40, 120]))]

    def data(self):
        rng, outputs = np.random.default_rng(self.seed + 1), self.sizes[-1]
        x = rng.standard_normal((self.rows, self.sizes[0]))
        if self.loss == "cce" or (self.loss, self.output) == ("bce", "softmax"):
            y = np.eye(outputs)[rng.integers(0, outputs, self.rows)]
        elif self.loss == "bce":
            y = rng.integers(0, 2, (self.rows, outputs)).astype(float)
        else:
            y = rng.standard_normal((self.rows, outputs))
        return x.astype(self.dtype), y.astype(self.dtype)

    def step(self):
        """The optimizer, slow enough for rounding not to grow from step to step."""
        if self.optimizer == "adam":
            return nl.Adam(lr=1e-3)
        return nl.SGD(lr=0.02, momentum=0.9 * (self.optimizer == "momentum"), weight_decay=self.decay)

    def train(self, device, place=np.array):
        """-> history, with an evaluation, parameters (P,), predictions (N, outputs), trainer.

        place: copies data to where they may be read from.
        """
        layers = []
        for i, (inputs, outputs) in enumerate(itertools.pairwise(self.sizes)):
            blocks = self.blocks(outputs) if i == len(self.hidden) - 1 else []
            layers += [nl.Dense(inputs, outputs), *blocks, nl.activations.activation([*self.hidden, self.output][i])]
            if self.dropout and i < len(self.hidden):
                layers.append(nl.Dropout(self.dropout))
        net = nl.Sequential(*layers, device=device, dtype=self.dtype, seed=self.seed)
        net.threads = self.threads  # more than the machine has, too
        trainer = nl.Trainer(net, self.loss, self.step(), self.metrics if self.chunks == 1 else [])
        x, y = self.data()
        settings = {"epochs": self.epochs, "batch_size": self.batch, "shuffle": self.shuffle, "progress": False}
        parts = min(self.chunks, self.rows)
        chunks = list(zip(np.array_split(x, parts), np.array_split(y, parts)))
        history = trainer.fit(*([chunks] if self.chunks > 1 else [x, y]), **settings)
        evaluated = trainer.evaluate(place(x), place(y)), trainer.evaluate(place(x), place(y), self.batch)
        history = history | {f"{name} evaluated": [each[name] for each in evaluated] for name in evaluated[0]}
        answers = [
            net.predict(place(x[-rows:]), size) for rows, size in ((self.rows, None), (self.rows // 2 + 1, self.batch))
        ]
        return history, net.parameters.copy(), np.concatenate(answers), trainer

    def check(self):
        """Train it both ways; AssertionError where they disagree."""
        expected, parameters, predictions, _ = self.train("numpy")
        size, number = self.tile
        limits = CpuLimits(smallest_tile=size, tile_bytes=number)
        if self.many:
            limits = replace(limits, worth_threads=0)
        guards = Guards(self.at_the_end, self.padded)
        with guards, mock.patch.object(sweeps, "WORTH_A_THREAD", 1e-9 if self.many else sweeps.WORTH_A_THREAD):
            found, moved, answers, trainer = self.train(NumbaDevice(limits), guards.copy)
        assert trainer.plan().startswith("compiled"), trainer.plan()
        # float64: a million times its rounding. float32: a thousand times, for sums of some hundred numbers over some
        # dozen steps, of which each begins where the one before was off.
        tolerance = 1e-9 if self.dtype == "float64" else 1e-4
        np.testing.assert_allclose(moved, parameters, rtol=0, atol=tolerance * max(1, abs(parameters).max()))
        np.testing.assert_allclose(answers, predictions, rtol=0, atol=tolerance * max(1, abs(predictions).max()))
        for name, values in expected.items():
            # Two outputs that are equal but for rounding may change places: a hit more or less.
            hits = 2.5 / self.rows if name.startswith("accuracy") and self.dtype == "float32" else 0
            scale = max(1, np.abs(values).max())
            np.testing.assert_allclose(found[name], values, rtol=0, atol=tolerance * scale + hits, err_msg=name)
        return trainer.plan()

    def __str__(self):
        told = {name: value for name, value in vars(self).items() if name not in ("rng", "seed")}
        return f"net {self.seed}: {told}"


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nets", type=int, default=500)
    parser.add_argument("--first", type=int, default=0, help="the seed of the first net")
    parser.add_argument("--seconds", type=float, default=math.inf, help="begin no net after so many")
    given = parser.parse_args(arguments)
    faulthandler.enable()
    failures, plans, start = [], Counter(), time.monotonic()
    for seed in range(given.first, given.first + given.nets):
        if time.monotonic() - start > given.seconds:
            break
        print(f"net {seed}", flush=True)
        net = Net(seed)
        try:
            plan = net.check()
            plans[re.sub(" of [0-9]+ rows", "", plan)] += 1
        except Exception as error:
            failures.append(seed)
            print(f"FAILED {net}\n{type(error).__name__}: {error}", flush=True)
    print(f"{plans.total()} nets agree, {len(failures)} do not {failures or ''} ({time.monotonic() - start:.0f} s)")
    print("\n".join(f"{count:6} by {plan}" for plan, count in plans.items()))
    return min(1, len(failures))


if __name__ == "__main__":
    sys.exit(main())

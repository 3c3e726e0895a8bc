"""Many processes train one network: each computes some rows of every batch, and MPI sums up their gradients.

A process is called a rank. All ranks run the same program on the same data; `Trainer(…, communicator=MPI.COMM_WORLD)`
is all that they write for it. A step is recorded as two programs that run by turns: rows, forward, loss, backward; then
optimizer, advance. Between them, one Allreduce sums up the gradients of the ranks. The loss is a mean over the batch,
so each rank first scales its gradient by its share of the batch's rows. The sum is the gradient of the whole batch, and
every rank makes the step that one process alone would have made. Where rows have weights, their shares of the batch are
known before the step, and the gradients are summed up as they are.

Noise is drawn by the place of a row in the whole batch. Sums of an epoch stay with each rank until it ends; what a file
needs, of sums and predictions, all ranks have after each run.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from .attaching import family
from .culprits import watched
from .devices import Arena, Ops, Replay, Tape
from .noise import Noise
from .normalization import BatchNorm
from .programs import Program
from .ranks import Ranks, SharedHeld
from .step import Step
from .steps import Steps
from .sums import names_of

EXTRA = 2  # numbers that are summed up beside the gradient


def share(fit: Any, ranks: Ranks) -> None:
    """Let all ranks make the steps of this fit together, and do between them what rank 0 does."""
    # Checksums there are of a sample. SharedSteps compares all rows, and only rank 0 reads those for validation.
    settings = {name: value for name, value in fit.settings.found.items() if "checksum" not in name}
    callbacks = [type(each).__name__ for each in fit.callbacks.all]
    ranks.agree(task="training", callbacks=callbacks, epochs=fit.epochs, **settings)
    fit.steps, fit.evaluate = partial(SharedSteps, ranks), ranks.asked(fit.evaluate)
    fit.agreed, fit.held = partial(agreed, fit, ranks), SharedHeld(ranks)


def agreed(fit: Any, ranks: Ranks, ends: bool) -> bool:
    """After a look: whether training ends, as rank 0 says. ValueError unless all have the same learning rate."""
    ranks.agree(task="training", learning_rate=fit.callbacks.trainer.optimizer.constant_lr)
    return bool(ranks.communicator.bcast(ends))


class SharedSteps(Steps):
    """Steps that all ranks make together, each on its rows of every batch."""

    def __init__(self, ranks: Ranks, step: Step, x: Any, target: Any, batch_size: int, epochs: int, *how: Any) -> None:
        refuse(step)
        measured = names_of(step.metrics, step.network)
        weight, data = how[-1], {"x": x, "y": target}
        given = {"rows": len(x), "columns": x.shape[1], "outputs": target.shape[1]}
        given |= {"parameters": len(step.network.parameters), "seed": step.network.seed, "measured": measured}
        given["learning_rate"] = step.optimizer.constant_lr  # None for a schedule
        given["sum_of_weights"] = None if weight is None else float(weight.sum())
        given["keys_of_noise"] = [layer.key for layer in layers_of(step) if isinstance(layer, Noise)]
        for name, array in (data if weight is None else data | {"weights": weight}).items():
            given[f"checksum_of_{name}"] = zlib.crc32(np.ascontiguousarray(array).data)
        ranks.meet(step.arrays(), **given)
        self.ranks = ranks
        super().__init__(step, x, target, batch_size, epochs, *how)

    def new_program(self, step: Step, arena: Arena, how: str) -> Program:
        return SharedProgram(self.ranks, step, arena, self.batch, self.rest, how)

    def start(self, epochs: int, shuffles: np.random.Generator | None, before: int = 0) -> None:
        if shuffles is not None:
            shuffles.bit_generator.state = self.ranks.communicator.bcast(shuffles.bit_generator.state)
        super().start(epochs, shuffles, before)
        if "answer" in self.data:
            self.data["answer"][...] = 0  # each rank writes its own rows, and a run ends with the sum over all ranks

    def runs(self, epochs: int) -> Iterator[tuple[int, int, int]]:
        for run in super().runs(epochs):
            self.pace = self.ranks.communicator.bcast(self.pace)  # a rank's own clock must not decide where it pauses
            yield run


def refuse(step: Step) -> None:
    """ValueError for a step that no rank can make on some rows of a batch."""
    network = step.network
    if not network.backend.in_main_memory:
        raise ValueError(f"communicator= is for networks in main memory, on numpy or numba, not {network.backend.name}")
    if network.seed is None:
        raise ValueError("communicator= needs a seed of the network, so that all ranks draw the same shuffles")
    for layer in layers_of(step):
        if isinstance(layer, BatchNorm) and layer.trainable:
            raise ValueError(
                "BatchNorm takes its means over the whole batch, of which a rank of a communicator has only some rows: "
                "take nl.LayerNorm, or freeze it (layer.trainable = False)"
            )


def layers_of(step: Step) -> Iterator[Any]:
    """All layers of the step's network, also those inside of others."""
    return (layer for outer in step.network.layers for _, layer in family(outer))


class SharedProgram(Program):
    """The two programs of a step, in the form of one."""

    def __init__(self, ranks: Ranks, step: Step, arena: Arena, batch: int, rest: int, how: str) -> None:
        zeros, threads = arena.device.zeros, step.network.threads
        total = zeros(arena.segments["gradients"].size + EXTRA, arena.dtype)  # the sums over all ranks
        others = {"gradients": total[:-EXTRA], "sums": zeros(1, np.float64)}
        moved = Arena(arena.device, arena.dtype, arena.segments | others)
        batches = [(*ranks.rows_of(size), size) for size in (batch, rest or batch)]
        mine, my_rest = (stop - start for start, stop, _ in batches)
        own = batch, rest if my_rest else 0
        slope = Program(watched(step, partial(slope_on, step, ranks)), arena, *own, threads, how) if mine else None
        move = Program(watched(step, partial(move_on, step)), moved, batch, rest, threads, how)
        self.arena, self.rows, self.rest = arena, batch, rest
        self.position, self.sums = arena.segments["position"], arena.segments["sums"]
        programs = [each for each in (slope, move) if each]
        self.error = next((each.error for each in programs if each.error), None)
        tapes = [each.tape.calls for each in programs if each.tape]
        self.tape = Tape([call for calls in tapes for call in calls]) if len(tapes) == len(programs) else None
        self.replay = Turns(ranks, step, arena, slope, move, batches, total)


def slope_on(step: Step, ranks: Ranks, ops: Ops, arrays: Mapping[str, Any]) -> Callable[[int], None]:
    """The first half of `step.train`, with these kernels on these arrays: the gradient of this rank's rows; the sums.

    The position is at the first of its rows, of a batch of n rows in all.
    """
    twin = step.on(ops, arrays)

    def slope(n: int) -> None:
        start, stop = ranks.rows_of(n)
        m = stop - start
        for layer in layers_of(twin):
            if isinstance(layer, Noise):
                layer.first_row = start
        x = ops.take_rows(arrays["x"], arrays["order"], arrays["position"], m)  # (m, inputs)
        target = ops.take_rows(arrays["target"], arrays["order"], arrays["position"], m)  # (m, outputs)
        outputs, losses, _ = twin.slope(x, target, row_weights=twin.row_weights(arrays, m))
        twin.count(outputs, losses, target, arrays)

    return slope


def move_on(step: Step, ops: Ops, arrays: Mapping[str, Any]) -> Callable[[int], None]:
    """The second half of it: a move of the parameters, and the position after a batch of n rows."""
    optimizer = step.on(ops, arrays).optimizer

    def move(n: int) -> None:
        if "rates" in arrays:
            ops.take_rate(arrays["rates"], optimizer.clock, optimizer.rate)
        optimizer.step()
        ops.advance(arrays["position"], n)

    return move


class Turns(Replay):
    """Runs the two programs by turns, and sums up over all ranks between them.

    `batches` has the start and end of this rank's rows, and the number of all rows: in a full batch, and in an epoch's
    last one. `total` (P + 2,) receives the sums over all ranks: the gradient, its weight, and 0 if all is finite.
    `every` (ranks, S) has the sums of the epoch under way, of each rank, after a run.
    """

    def __init__(
        self,
        ranks: Ranks,
        step: Step,
        arena: Arena,
        slope: Program | None,
        move: Program,
        batches: Sequence[tuple[int, int, int]],
        total: np.ndarray,
    ) -> None:
        self.ranks, self.slope, self.move, self.batches, self.total = ranks, slope, move, batches, total
        self.step, self.arena, self.mine = step, arena, np.zeros_like(total)
        self.every = np.zeros((ranks.size, len(arena.segments["sums"])))
        some_wait = min(rows for *_, rows in batches) < ranks.size  # for a batch in which they have no rows
        state = step.network.arrays().keys() - {"parameters", "gradients"} if some_wait else ()
        self.followed = [arena.segments[name] for name in sorted(state)]  # what rank 0 tells the others after an epoch
        self.columns = self.arena.segments["target"].shape[1]
        here = slope.replay.plan if slope else "not even one row of a batch"
        self.plan = f"{ranks.size} ranks sum up {len(total) - EXTRA:,} gradients in each step; this one: {here}"

    def point(self, data: Mapping[str, Any]) -> None:
        super().point(data)
        for program in filter(None, (self.slope, self.move)):
            program.replay.point(data)
        self.every[...] = 0

    def release(self) -> None:
        super().release()
        for program in filter(None, (self.slope, self.move)):
            program.replay.release()

    @property
    def current(self) -> np.ndarray:
        return self.step.merged(list(self.every), self.columns)

    @current.setter
    def current(self, sums: Any) -> None:
        self.every[0] = sums  # of rank 0, which goes on with those of all
        self.arena.segments["sums"][...] = self.every[self.ranks.rank]

    def run(self, first: int, last: int, per_epoch: int, history: np.ndarray) -> int:
        own, unused = np.zeros_like(history), np.zeros((len(history), 1))  # own: the sums of this rank
        self.whole, begin = False, int(self.arena.segments["position"][0])
        for number in range(first, last):
            epoch, ends = number // per_epoch, (number + 1) % per_epoch == 0
            self._compute(number, per_epoch, own)
            self.ranks.communicator.Allreduce(self.mine, self.total)
            if not math.isfinite(self.total[-1]):
                self.arena.segments["sums"][0] = self.total[-1]
                self._share_answer(begin)
                return number
            if self._counts_known:
                self.total[:-EXTRA] /= self.total[-2] or 1
            self.move.replay.run(number, number + 1, per_epoch, unused)
            if ends:
                history[epoch] = self.step.merged(list(self._gathered(own[epoch])), self.columns)
                for array in self.followed:
                    self.ranks.communicator.Bcast(array)
        self.every[...] = self._gathered(self.arena.segments["sums"]) if last % per_epoch else 0
        self._share_answer(begin)
        self.whole = True
        if last > first:
            self.arena.segments["gradients"][...] = self.total[:-EXTRA]
        return last

    def _compute(self, number: int, per_epoch: int, own: np.ndarray) -> None:
        """Fill `mine` with this rank's share of the gradient in this step."""
        epoch, ends = number // per_epoch, (number + 1) % per_epoch == 0
        start, stop, rows = self.batches[ends]
        segments, finite = self.arena.segments, True
        sums, before = segments["sums"], segments["sums"].copy() if self._counts_known else None
        if self.slope and start < stop:
            segments["position"] += start
            finite = self.slope.replay.run(number, number + 1, per_epoch, own) > number
            segments["position"] -= start
        elif ends:
            own[epoch], sums[...] = sums, 0
        shared_out = self.step.loss.reduction != "mean" or self.step.weighted  # the gradient is a share of the batch's
        weight = 1.0 if shared_out else (stop - start) / rows
        if before is not None:
            weight = float((own[epoch] if ends else sums)[1] - before[1])
        if start < stop:
            np.multiply(segments["gradients"], weight, out=self.mine[:-EXTRA])
        else:
            self.mine[:-EXTRA] = 0
        self.mine[-2], self.mine[-1] = weight, 0.0 if finite else sums[0]

    @property
    def _counts_known(self) -> bool:
        """Whether the loss is a mean over those targets that were measured: how many these are, no rank knows alone."""
        return self.step.loss.ignore_nan and self.step.loss.reduction == "mean" and not self.step.weighted

    def _gathered(self, sums: np.ndarray) -> np.ndarray:
        """The sums (ranks, S) of each rank, from those (S,) of this one."""
        found = np.empty_like(self.every)
        self.ranks.communicator.Allgather(sums, found)
        return found

    def _share_answer(self, begin: int) -> None:
        """Complete the predictions of the rows from `begin` to the present position, if a metric needs them."""
        if self.step.collects:
            rows = self.arena.segments["answer"][begin : int(self.arena.segments["position"][0])]  # (rows, outputs)
            self.ranks.communicator.Allreduce(rows.copy(), rows)

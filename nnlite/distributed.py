"""Many processes train one network: each computes some rows of every batch, and MPI sums up their gradients.

A process is called a rank. All ranks run the same program on the same data; `Trainer(…, communicator=MPI.COMM_WORLD)`
is all that they write for it. A step is recorded as two programs that run by turns: rows, forward, loss, backward; then
optimizer, advance. Between them, one Allreduce sums up the gradients of the ranks. The loss is a mean over the batch,
so each rank first scales its gradient by its share of the batch's rows. The sum is the gradient of the whole batch, and
every rank makes the step that one process alone would have made.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, ParamSpec, Protocol, TypeVar

import numpy as np

from .attaching import family
from .devices import Arena, Ops, Replay, Tape
from .divergence import DivergedError
from .noise import Noise
from .normalization import BatchNorm
from .programs import Program
from .step import Step
from .steps import Steps

P = ParamSpec("P")
R = TypeVar("R")

STARTED = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE")  # where mpirun of Open MPI, and of MPICH, says how many it has started

EXTRA = 2  # numbers that are summed up beside the gradient


class Communicator(Protocol):
    """What is used of mpi4py's communicators. Names with a capital are for arrays, the others for any object."""

    def Get_rank(self) -> int: ...  # noqa: N802
    def Get_size(self) -> int: ...  # noqa: N802
    def Allreduce(self, sendbuf: Any, recvbuf: Any) -> None: ...  # noqa: N802
    def Allgather(self, sendbuf: Any, recvbuf: Any) -> None: ...  # noqa: N802
    def Bcast(self, buf: Any, root: int = 0) -> None: ...  # noqa: N802
    def Abort(self, errorcode: int = 0) -> Any: ...  # noqa: N802
    def allgather(self, sendobj: Any) -> list[Any]: ...
    def bcast(self, obj: Any, root: int = 0) -> Any: ...


class RankError(RuntimeError):
    """Another rank has failed before the training began; the message has its number and its error."""


def world() -> Any | None:
    """The communicator of all processes that mpirun has started, or None for a process that was started alone."""
    if not any(int(os.environ.get(name, "1")) > 1 for name in STARTED):
        return None
    try:
        from mpi4py import MPI
    except ImportError as error:
        raise ImportError(f'to train with mpirun, nnlite needs mpi4py: pip install "nnlite[mpi]" ({error})') from error
    return MPI.COMM_WORLD


class Ranks:
    """All ranks of a communicator, as one of them sees them."""

    def __init__(self, communicator: Communicator) -> None:
        self.communicator = communicator
        self.rank, self.size = communicator.Get_rank(), communicator.Get_size()
        self.first = self.rank == 0
        self._inside = self._met = self._done = False  # in a `together`: has met the others; needs them no more
        self._common: BaseException | None = None  # an error that all ranks raise
        self._arrays: list[Any] = []  # what is to be equal on all ranks

    @classmethod
    def of(cls, communicator: Communicator | Ranks | None) -> Ranks | None:
        """The ranks of this communicator, or None for a single one, which trains as if there were none."""
        ranks = communicator if isinstance(communicator, Ranks) or communicator is None else cls(communicator)
        return ranks if ranks and ranks.size > 1 else None

    def rows_of(self, batch: int) -> tuple[int, int]:
        """The start and the end of this rank's rows in a batch of so many: as many as other ranks have, or one more."""
        each, more = divmod(batch, self.size)
        start = each * self.rank + min(self.rank, more)
        return start, start + each + (self.rank < more)

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """A block that all ranks enter. If one of them fails in it, the others do not wait for it for ever.

        An error before they have met is told to the others, which raise RankError there. Later, they may be in the
        middle of a step, which nothing but MPI's Abort can end: it ends all ranks, after the traceback was printed.
        After a `together` within this one, the ranks need each other no more: an error is then raised as it is.
        """
        if self._inside:
            yield
            self._done = True
            return
        self._inside, self._met, self._done, self._common = True, False, False, None
        try:
            yield
        except DivergedError:  # which all ranks raise, since they see the same sums
            self._copy()  # each has gone back to parameters of its own choice
            raise
        except BaseException as error:
            if error is not self._common and not self._done:
                if self._met or not isinstance(error, Exception):
                    self._abort(traceback.format_exc())
                self.communicator.allgather(f"{type(error).__name__}: {error}")
            raise
        finally:
            self._inside, self._arrays = False, []

    def _abort(self, text: str) -> None:
        """End all ranks, after this text was printed."""
        if sys.__stderr__ is not None:
            sys.__stderr__.write(f"rank {self.rank} failed, and ends all others:\n{text}")
            sys.__stderr__.flush()
            time.sleep(0.2)  # seconds: mpirun of MPICH drops what it has not read until then
        self.communicator.Abort(1)

    def meet(self, given: tuple[Any, ...], arrays: Mapping[str, Any]) -> None:
        """Wait for all ranks, which must have been given the same, and for the first time copy rank 0's arrays to all.

        ValueError if they were given different things, RankError if one of them has failed.
        """
        found = self.communicator.allgather(given)
        failed = [f"rank {rank} failed: {its}" for rank, its in enumerate(found) if isinstance(its, str)]
        other = [f"rank {rank} has {its}" for rank, its in enumerate(found) if its != found[0]]
        if failed:
            self._common = RankError("; ".join(failed))
        elif other:
            what = "rows, columns, outputs, parameters, batch_size, epochs, sums and seed"
            self._common = ValueError(f"all ranks must train alike, but {what} are {found[0]} on rank 0; {other[0]}")
        if self._common:
            raise self._common
        if not self._met:
            self._met, self._arrays = True, list(arrays.values())
            self._copy()

    def _copy(self) -> None:
        for array in self._arrays:
            self.communicator.Bcast(array)

    def refuse_resumed(self, fit: object) -> None:
        """ValueError for a fit that was stopped: of an epoch's sums, a file has those of one rank."""
        if fit:
            raise ValueError("a fit that was stopped cannot go on with a communicator; load the network: nl.load(path)")

    def asked(self, evaluate: Callable[P, R]) -> Callable[P, R]:
        """The same function, which rank 0 alone calls, and tells the others the answer."""

        @functools.wraps(evaluate)
        def answer(*operands: P.args, **options: P.kwargs) -> R:
            found: R = self.communicator.bcast(evaluate(*operands, **options) if self.first else None)
            return found

        return answer


def for_all(fit: Callable[P, R]) -> Callable[P, R]:
    """A method of a Trainer that all of its ranks, if it has any, call together."""

    @functools.wraps(fit)
    def fitted(*operands: P.args, **options: P.kwargs) -> R:
        trainer: Any = operands[0]
        if trainer.ranks is None:
            return fit(*operands, **options)
        with trainer.ranks.together():
            return fit(*operands, **options)

    return fitted


class SharedSteps(Steps):
    """Steps that all ranks make together, each on its rows of every batch."""

    def __init__(self, ranks: Ranks, step: Step, x: Any, target: Any, batch_size: int, epochs: int, *how: Any) -> None:
        refuse(step, how[-1] is not None)
        sizes = len(x), x.shape[1], target.shape[1], len(step.network.parameters)
        ranks.meet((*sizes, batch_size, epochs, step.names, step.network.seed), step.arrays())
        self.ranks = ranks
        super().__init__(step, x, target, batch_size, epochs, *how)

    def new_program(self, step: Step, arena: Arena, how: str) -> Program:
        return SharedProgram(self.ranks, step, arena, self.batch, self.rest, how)

    def start(self, epochs: int, shuffles: np.random.Generator | None, before: int = 0) -> None:
        if shuffles is not None:
            shuffles.bit_generator.state = self.ranks.communicator.bcast(shuffles.bit_generator.state)
        super().start(epochs, shuffles, before)

    def runs(self, epochs: int) -> Iterator[tuple[int, int, int]]:
        for run in super().runs(epochs):
            self.pace = self.ranks.communicator.bcast(self.pace)  # a rank's own clock must not decide where it pauses
            yield run


def refuse(step: Step, weighted: bool) -> None:
    """ValueError for a step that no rank can make on some rows of a batch."""
    network = step.network
    if weighted:
        raise ValueError("communicator= does not go together with weights of rows")
    if step.collects:
        names = ", ".join(metric.name for metric in step.metrics if not metric.has_sums)
        raise ValueError(f"communicator= does not go together with {names}, which needs the predictions of all rows")
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
        own = mine, my_rest if rest else 0
        slope = Program(partial(slope_on, step, ranks), arena, *own, threads, how) if mine else None
        move = Program(partial(move_on, step), moved, batch, rest, threads, how)
        self.arena, self.rows, self.rest = arena, batch, rest
        self.position, self.sums = arena.segments["position"], arena.segments["sums"]
        programs = [each for each in (slope, move) if each]
        self.error = next((each.error for each in programs if each.error), None)
        tapes = [each.tape.calls for each in programs if each.tape]
        self.tape = Tape([call for calls in tapes for call in calls]) if len(tapes) == len(programs) else None
        self.replay = Turns(ranks, step, arena, slope, move, batches, total)


def slope_on(step: Step, ranks: Ranks, ops: Ops, arrays: Mapping[str, Any]) -> Callable[[int], None]:
    """The first half of `step.train`, with these kernels on these arrays: the gradient of the next rows; the sums."""
    twin = step.on(ops, arrays)
    for layer in layers_of(twin):
        if isinstance(layer, Noise):  # each rank draws its own: its first row must not get the noise of the batch's
            layer.key = (layer.key + ranks.rank * 0x9E3779B9) % 2**32

    def slope(n: int) -> None:
        x = ops.take_rows(arrays["x"], arrays["order"], arrays["position"], n)  # (n, inputs)
        target = ops.take_rows(arrays["target"], arrays["order"], arrays["position"], n)  # (n, outputs)
        outputs, losses, _ = twin.slope(x, target)
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
        self.columns = self.arena.segments["target"].shape[1]
        here = slope.replay.plan if slope else "not even one row of a batch"
        self.plan = f"{ranks.size} ranks sum up {len(total) - EXTRA:,} gradients in each step; this one: {here}"

    def point(self, data: Mapping[str, Any]) -> None:
        for program in filter(None, (self.slope, self.move)):
            program.replay.point(data)

    def release(self) -> None:
        for program in filter(None, (self.slope, self.move)):
            program.replay.release()

    def run(self, first: int, last: int, per_epoch: int, history: np.ndarray) -> int:
        own, unused = np.zeros_like(history), np.zeros((len(history), 1))  # own: the sums of this rank
        for number in range(first, last):
            epoch, ends = number // per_epoch, (number + 1) % per_epoch == 0
            self._compute(number, per_epoch, own)
            self.ranks.communicator.Allreduce(self.mine, self.total)
            if not math.isfinite(self.total[-1]):
                self.arena.segments["sums"][0] = self.total[-1]
                return number
            if self._counts_known:
                self.total[:-EXTRA] /= self.total[-2] or 1
            self.move.replay.run(number, number + 1, per_epoch, unused)
            if ends:
                history[epoch] = self._merged(own[epoch])
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
        weight = (stop - start) / rows if self.step.loss.reduction == "mean" else 1.0
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
        return self.step.loss.ignore_nan and self.step.loss.reduction == "mean"

    def _merged(self, sums: np.ndarray) -> np.ndarray:
        """The sums (S,) of all ranks, from those of this one."""
        found = np.empty((self.ranks.size, len(sums)))
        self.ranks.communicator.Allgather(sums, found)
        return self.step.merged(list(found), self.columns)

"""Processes that run the same program, as each of them sees the others: what they tell each other, and how they end.

A process is called a rank. It waits for the others wherever they exchange something, so one that fails must tell them,
or else they would wait for ever.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ParamSpec, Protocol, TypeVar

from .divergence import DivergedError
from .interrupts import Held

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

GRACE = 10.0  # seconds after an interrupt in which rank 0 ends all ranks, before another one does
STARTED = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE")  # where mpirun of Open MPI, and of MPICH, says how many it has started


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
        self._inside = self.met = self.done = False  # in a `together`: has met the others; needs them no more
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
        After a fit within this block, the ranks need each other no more: an error is then raised as it is.
        """
        if self._inside:
            yield
            return
        self._inside, self.met, self.done, self._common = True, False, False, None
        try:
            yield
            if not self.met:
                self.agree(task="ended")
        except DivergedError:  # which all ranks raise, since they see the same sums
            self._copy()  # each has gone back to parameters of its own choice
            raise
        except BaseException as error:
            if error is not self._common and not self.done:
                if not isinstance(error, Exception):
                    time.sleep(0 if self.first else GRACE)  # rank 0 may have something to save, and then ends all
                    self._abort(f"{type(error).__name__}: {error}\n")
                if self.met:
                    self._abort(traceback.format_exc())
                self.communicator.allgather(f"{type(error).__name__}: {error}")
            raise
        finally:
            self._inside, self._arrays = False, []

    def _abort(self, text: str) -> None:
        """End all ranks, after this text was printed."""
        if sys.__stderr__ is not None:
            sys.__stderr__.write(f"rank {self.rank} ends all others:\n{text}")
            sys.__stderr__.flush()
            time.sleep(0.2)  # seconds: mpirun of MPICH drops what it has not read until then
        self.communicator.Abort(1)

    def agree(self, **given: Any) -> None:
        """Wait for all ranks. ValueError if they have not been given the same, RankError if one of them has failed."""
        found = self.communicator.allgather(given)
        failed = [f"rank {rank} failed: {its}" for rank, its in enumerate(found) if isinstance(its, str)]
        if failed:
            self._common = RankError("; ".join(failed))
            raise self._common
        for rank, its in enumerate(found):
            for name in {**found[0], **its}:
                first, other = found[0].get(name), its.get(name)
                if first != other:
                    text = f"{name} is {first} on rank 0, and {other} on rank {rank}"
                    self._common = ValueError(f"all ranks must do the same, but {text}")
                    raise self._common

    def meet(self, arrays: Mapping[str, Any], **given: Any) -> None:
        """Let all ranks agree on this before they train, and for the first time copy rank 0's arrays to all."""
        self.agree(task="training", **given)
        if not self.met:
            self.met, self._arrays = True, list(arrays.values())
            self._copy()

    def _copy(self) -> None:
        for array in self._arrays:
            self.communicator.Bcast(array)

    def asked(self, evaluate: Callable[P, R]) -> Callable[P, R]:
        """The same function, which rank 0 alone calls, and tells the others the answer."""

        @functools.wraps(evaluate)
        def answer(*operands: P.args, **options: P.kwargs) -> R:
            found: R = self.communicator.bcast(evaluate(*operands, **options) if self.first else None)
            return found

        return answer


@contextlib.contextmanager
def reading(ranks: Ranks | None) -> Iterator[None]:
    """A block in which each rank, if there are several, reads a file that rank 0 may have written just before."""
    if ranks is None:
        yield
        return
    with ranks.together():
        ranks.agree(task="reading")
        yield


class SharedHeld(Held):
    """Interrupts that wait until all ranks have finished the same step; all hear what one of them has heard."""

    def __init__(self, ranks: Ranks) -> None:
        self.ranks = ranks

    def check(self) -> None:
        if self.ranks.met:
            heard = self.ranks.communicator.allgather(self.came and self.came[0])
            number = next(filter(None, heard), None)
            if number in self.before and not self.came:
                self.came = number, None
        super().check()

    def between(self, items: Iterable[T]) -> Iterator[T]:
        """The same items; ValueError where some ranks have one more than the others, which would wait for it."""
        end: Any = object()
        for number, item in enumerate(itertools.chain(super().between(items), [end])):
            self.ranks.agree(task="training", **{f"chunk {number}": "missing" if item is end else "there"})
            if item is not end:
                yield item


def for_all(fit: Callable[P, R]) -> Callable[P, R]:
    """A method of a Trainer that all of its ranks, if it has any, call together."""

    @functools.wraps(fit)
    def fitted(*operands: P.args, **options: P.kwargs) -> R:
        __tracebackhide__ = True  # IPython and pytest leave this frame out
        trainer: Any = operands[0]
        if trainer.ranks is None:
            return fit(*operands, **options)
        with trainer.ranks.together():
            answer = fit(*operands, **options)
            trainer.ranks.done = trainer.ranks.met
            return answer

    return fitted

"""Replay by a CUDA graph of several steps. A node takes about a microsecond, so some are made of two calls.

Graphs have addresses in them, so they are captured anew for data at other addresses. Plain gradient descent is fused
with the products that make its gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from ..common.arena import DATA, Arena
from ..common.planning import fuse, meets
from ..common.recording import Call, Tape
from ..common.reference import KERNELS
from ..device import Replay
from ..numpy.replay import placed
from .cublas import ALONE
from .machine import BACK_WITH_BIAS, WITH_BIAS, Machine

BIAS_SGD = KERNELS["linear_backward_bias"].with_sgd
Places = dict[str, tuple[int, tuple[int, ...]]]


class GraphReplay(Replay):
    """Three CUDA graphs, whose nodes are calls: one of many steps, one of a single step, one that ends an epoch."""

    def __init__(self, machine: Machine, tapes: Sequence[Tape], arena: Arena, why: str, steps: int) -> None:
        self.machine, self.arena, self.cupy, self.steps = machine, arena, machine.cupy, steps
        # The calls of each tape, and those of its end
        self.ordered = [self._with_ends(fuse(tape.calls)) for tape in tapes]
        in_time = ([*calls, *filter(None, ends)] for calls, ends in self.ordered)
        arena.place("results", *([(call, time) for time, call in enumerate(calls)] for calls in in_time))
        self.batch = next((int(call.operands[1]) for call in tapes[0].calls if call.name == "advance"), 0)  # rows
        answers = (call.operands[0] for tape in tapes for call in tape.calls if call.name == "write_rows")
        self.answered = sum(map(len, answers))  # rows of answers that a step of each tape writes
        self.own = machine.own  # kept, since the graphs use it
        self.pairs = [self._backward_pairs(calls) | self._take_pairs(calls) for calls, _ in self.ordered]
        self.history = machine.cupy.zeros((1, len(arena.segments["sums"])), np.float64)
        self.state = machine.cupy.zeros(2, np.int64)  # finite steps, finished epochs
        self.stream = machine.cupy.cuda.Stream(non_blocking=True)
        self.graphs: tuple[Any, Any, Any] | None = None
        self.places: Places | None = None  # for which they were captured: segment -> address and shape
        self.plan = f"CUDA graph of {steps} steps of {len(tapes[0])} calls: {why}; products by " + (
            f"cuBLAS in {machine.precision}" if self.own.cublas else "a kernel of our own, since there is no cuBLAS"
        )

    def run(self, first: int, last: int, per_epoch: int, history: np.ndarray) -> int:
        order, x = (len(self.arena.segments.get(name, ())) for name in ("order", "x"))
        most = max(len(history), order // max(x, 1))  # epochs: the next fit, of more of them, needs no other room
        if len(self.history) < most:
            self.history = self.cupy.zeros((most, history.shape[1]), np.float64)
            self.places = None
        self.prepare()
        assert self.graphs is not None
        many, one, closing = self.graphs
        self.state[...] = 0
        self.cupy.cuda.get_current_stream().synchronize()  # our stream must see all writes made on that one
        step = first
        while step < last:
            end = min(last, (step // per_epoch + 1) * per_epoch)  # end of the epoch, or of this run
            closes = end % per_epoch == 0
            for _ in range((end - step - closes) // self.steps):
                many.launch(self.stream)
            for _ in range((end - step - closes) % self.steps):
                one.launch(self.stream)
            if closes:
                closing.launch(self.stream)
            step = end
        self.stream.synchronize()
        went_well, ended = self.arena.device.to_numpy(self.state).tolist()
        start, came = first // per_epoch, first + went_well
        if ended:
            history[start : start + ended] = self.arena.device.to_numpy(self.history[:ended])
        if came < last:  # later steps do not count: the position is the end of the first bad step
            rows = len(self.arena.segments["x"])
            epochs, steps = divmod(came + 1, per_epoch)
            self.arena.segments["position"][...] = epochs * rows + min(rows, steps * self.batch)
        return came

    def point(self, data: Mapping[str, Any]) -> None:
        super().point(data)
        if self.places != self._places():
            self.places = None

    def prepare(self) -> None:
        """Capture the graphs if the data have moved. CuPy's memory pool often gives the same address again."""
        if self.own is not self.machine.own:  # another thread made the graphs, and may be using its own
            self.places = None
        if self.places is None:
            self._make()
            self.places = self._places()

    def _places(self) -> Places:
        segments = self.arena.segments
        return {name: (self.machine.address(segments[name]), segments[name].shape) for name in DATA if name in segments}

    def _make(self) -> None:
        """Capture the three graphs. First, a step of each tape is made and undone, so that all is compiled, loaded and
        reserved.
        """
        self.own = self.machine.own
        self.forward = [self._forward_pairs(calls) for calls, _ in self.ordered]
        # The calls of each tape, with arrays in the place of symbols, and those of its end
        self.calls = [[placed(call, self.arena) for call in calls] for calls, _ in self.ordered]
        self.ends = [[call and placed(call, self.arena) for call in ends] for _, ends in self.ordered]
        # They begin at the first row and the first rate: too few may be left where a fit goes on that was stopped.
        segments = self.arena.segments
        kept = {name: array.copy() for name, array in segments.items() if name not in DATA}
        answer = segments["answer"][: self.answered] if self.answered else None
        answer_before = None if answer is None else answer.copy()
        segments["position"][...] = 0
        if "rates" in segments:
            segments["clock"][1:2] = segments["clock"][:1]
        self.cupy.cuda.get_current_stream().synchronize()
        with self.stream:
            for which in range(len(self.calls)):
                self._step(which, end_of_epoch=False)  # so that nothing is written to the history
        self.stream.synchronize()
        for name, array in kept.items():
            segments[name][...] = array
        if answer is not None:
            answer[...] = answer_before
        closing = len(self.calls) - 1
        self.graphs = self._capture(0, self.steps, False), self._capture(0, 1, False), self._capture(closing, 1, True)
        self.calls, self.ends = [], []  # or the data would stay, and the next ones could not take their place

    def _capture(self, which: int, steps: int, end_of_epoch: bool) -> Any:
        def work() -> None:
            for _ in range(steps):
                self._step(which, end_of_epoch)

        return captured(self.stream, work)

    @staticmethod
    def _with_ends(calls: Sequence[Call]) -> tuple[list[Call], list[Call | None]]:
        """The calls, and apart from them two that the end of a step does: add_losses to the first sum, and advance."""
        of_losses = (call for call in calls if call.name == "add_losses" and not call.operands[1].offset)
        ends = [next(of_losses, None), calls[-1] if calls[-1].name == "advance" else None]
        return [call for call in calls if not any(call is end for end in ends)], ends

    @staticmethod
    def _take_pairs(calls: Sequence[Call]) -> dict[int, int]:
        """Index of a take_rows -> index of the one after it, for the first two: x and the target."""
        return {0: 1} if [call.name for call in calls[:2]] == ["take_rows"] * 2 else {}

    def _forward_pairs(self, calls: Sequence[Call]) -> dict[int, int]:
        """Index of a linear call -> index of the activation after it, if that alone reads its result, by cuBLAS."""
        pairs = {}
        for i, (call, after) in enumerate(pairwise(calls)):
            if call.name == "linear" and after.name in WITH_BIAS and self.machine.by_cublas(call):
                readers = [other for other in calls if any(value is call.results[0] for value in other.operands)]
                if readers == [after]:
                    pairs[i] = i + 1
        return pairs

    @staticmethod
    def _backward_pairs(calls: Sequence[Call]) -> dict[int, int]:
        """Index of an activation's backward -> index of the call that sums its result for the bias, if nobody between
        them needs the bias as it was.
        """
        makers = {id(call.results[0]): i for i, call in enumerate(calls) if call.name in BACK_WITH_BIAS}
        of_bias = [(i, call) for i, call in enumerate(calls) if call.name in ("linear_backward_bias", BIAS_SGD)]
        pairs = ((makers[id(call.operands[0])], i) for i, call in of_bias if id(call.operands[0]) in makers)
        return {first: i for first, i in pairs if not any(meets(calls[i], call) for call in calls[first + 1 : i])}

    def _step(self, which: int, end_of_epoch: bool) -> None:
        """Launch a step of the full or the short tape, and its end."""
        for launch, calls in self._launches(which):
            launch(*calls)
        sums, address = self.arena.segments["sums"], self.machine.address
        words = (address(sums), len(sums), address(self.history), address(self.state), int(end_of_epoch))
        losses, advance = self.ends[which]
        self.machine.end_step(losses, advance, *words)

    def _launches(self, which: int) -> Iterator[tuple[Callable[..., None], Sequence[Call]]]:
        """All calls of the full or the short tape, with what launches them: pairs go together in one kernel."""
        calls, forward, pairs = self.calls[which], self.forward[which], self.pairs[which]
        for i, call in enumerate(calls):
            if i in forward:
                yield self.machine.product_and_activation, (call, calls[forward[i]])
            elif i in pairs and call.name == "take_rows":
                yield self.machine.take_both, (call, calls[pairs[i]])
            elif i in pairs:
                yield self.machine.backward_and_bias, (call, calls[pairs[i]])
            elif i not in forward.values() and i not in pairs.values():
                yield self.machine.run, (call,)


def captured(stream: Any, work: Callable[[], None]) -> Any:
    """The graph of all that `work` launches on a stream."""
    with ALONE, stream:
        stream.begin_capture()
        try:
            work()
        finally:
            graph = stream.end_capture()
    return graph

"""Which part of a step cannot be recorded, and why: for the warning."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import zip_longest
from typing import Any

from .architecture import families
from .devices import CALL_KERNELS, Arena, NotRecordableError, Recorder, Symbol, Tape
from .programs import NOT_RECORDED, Make
from .step import Step
from .twins import of_users

STATE = "a number that changes must be in an array: in `state` of a layer, in `slots` or `numbers` of an optimizer"


def reason(error: Exception) -> str:
    """Why it cannot be recorded, in words for somebody who has never heard of symbols."""
    if "not part of what is being recorded" in str(error):
        return f"{error}; arrays of a layer are those that its `shapes` and its `state` name"
    if "Symbol" not in str(error):
        return str(error)
    return f"{error}, where a Symbol stands for an array that is only being recorded; {CALL_KERNELS}"


def culprit(step: Step, arena: Arena) -> str:
    """The name of the layer, loss, metric or optimizer that cannot be recorded: each is tried, in a step's order."""
    symbols = arena.symbols()
    twin = step.on(Recorder(arena.device.ops, arena.dtype), symbols)
    layers = twin.network.layers[: twin.depth]
    x, target = (Symbol(name, (1, *symbols[name].shape[1:]), arena.dtype, name) for name in ("x", "target"))
    part: Any = twin
    try:
        for part in layers:
            x = part.forward(x)
        part = twin.loss
        part.measure(x, target)
        dy = part.backward()
        for part in reversed(layers):
            dy = part.backward(dy)
        part = twin.optimizer
        part.step()
        prediction = twin.loss.predictions(x)
        for part, sums in zip(twin.metrics, twin.parts(symbols["sums"], target.shape[1])[1:]):
            if twin.sums_up(part):
                part.add(twin.network.ops, prediction, target, sums)
    except NOT_RECORDED:
        return type(part).__name__
    return "the step"


def watched(step: Step, make: Make) -> Make:
    """The same `make`; NotRecordableError from a user's own parts of the step that record other calls in the next."""
    layers = (layer for _, layer in families(step.network.layers))
    if not any(of_users(type(part)) for part in (*layers, step.loss, step.optimizer, *step.metrics)):
        return make

    def making(ops: Any, arrays: Mapping[str, Any]) -> Callable[[int], None]:
        process = make(ops, arrays)

        def twice(n: int) -> None:
            process(n)
            tape, ops.tape = ops.tape, Tape()
            process(n)
            later, ops.tape = ops.tape, tape
            for call, other in zip_longest(tape.calls, later.calls):
                if call is None or other is None or plain(call) != plain(other):
                    first, second = (" ".join(str(each).split()) for each in (call, other))
                    raise NotRecordableError(f"one step calls {first}, and the next one {second}; {STATE}")

        return twice if isinstance(ops, Recorder) else process

    return making


def plain(call: Any) -> tuple[str, ...]:
    """A call's name and its plain numbers, as texts."""
    return call.name, *(repr(value) for value in call.operands if not isinstance(value, Symbol))

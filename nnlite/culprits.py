"""Which part of a step cannot be recorded, for the warning."""

from __future__ import annotations

from typing import Any

from .devices import CALL_KERNELS, Arena, Recorder, Symbol
from .programs import NOT_RECORDED
from .step import Step


def reason(error: Exception) -> str:
    """Why it cannot be recorded, in words for somebody who has never heard of symbols."""
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

"""How a network predicts: what its layers do to some rows is recorded once, and run for all rows that come."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from .attaching import family
from .devices import Device, Ops
from .estimate import seconds
from .layers import Layer
from .sweeps import Sweep
from .twins import changeable, of_users, outside, settings


class Recorded(NamedTuple):
    """The recorded predictions of a network, and of what they were made."""

    sweep: Sweep
    made_of: Any  # the settings of the layers, and the number of threads
    checked: Any  # the state of `Layer.changes` for which they are up to date; None to compare them before each use
    around: Mapping[type, Any]  # what the layers' classes, if they are the user's own, took from outside

    def up_to_date(self, now: Any) -> bool:
        """Whether nothing has changed since, as far as can be seen without a look at every attribute."""
        return (
            self.checked == now
            and (not self.around or all(outside(kind) == taken for kind, taken in self.around.items()))
            and self.sweep.up_to_date()
        )


class Predictor:
    """Keeps the recorded predictions of one network; they are recorded anew after a layer has changed."""

    def __init__(self) -> None:
        self.recorded: dict[str, Recorded] = {}  # by the name of the device

    def __call__(self, network: Any, rows: Any, most: int | None) -> Any:
        """Answers (N, outputs) to rows (N, inputs), at most so many at once.

        None for a network whose widths only the data tell, and if a number of the rows is not finite.
        """
        if network.inputs is None or network.outputs is None:
            return None
        device = network.backend
        if device.chooses:
            device = device.for_work(seconds(network, len(rows), most or device.rows_at_once, training=False))
        answer = device.empty((len(rows), network.outputs), network.dtype)
        return answer if self._sweep(network, device)({"x": rows, "answer": answer}, len(rows), most) else None

    def _sweep(self, network: Any, device: Device) -> Sweep:
        recorded, now = self.recorded.get(device.name), (Layer.changes, network.threads)
        if recorded is not None and recorded.up_to_date(now):
            return recorded.sweep
        arrays = network.arrays()
        frozen = network.on(network.ops, arrays)  # a twin, which no other thread can change before it is recorded
        made_of = settings(*frozen.layers), network.threads
        if recorded is not None and recorded.made_of == made_of and recorded.sweep.up_to_date():
            sweep = recorded.sweep
        else:
            del arrays["gradients"]
            sweep = Sweep(partial(answering, frozen), device, network.dtype, arrays, 1, network.threads)
        kinds = {type(layer) for outer in frozen.layers for _, layer in family(outer)}
        around = {kind: outside(kind) for kind in kinds if of_users(kind)}
        checked = None if any(map(changeable, frozen.layers)) else now
        # In one assignment, since other threads may be predicting.
        self.recorded[device.name] = Recorded(sweep, made_of, checked, around)
        return sweep


def answering(network: Any, ops: Ops, arrays: Mapping[str, Any]) -> Callable[[int], None]:
    """What answers the next n rows, with these kernels on these arrays, which have the data among them."""
    return partial(answer, network.on(ops, arrays), arrays)


def answer(network: Any, data: Mapping[str, Any], n: int) -> None:
    """Write the answers to the next n rows. This is recorded for predictions."""
    ops = network.ops
    x = ops.read_rows(data["x"], data["position"], n)  # (n, inputs)
    ops.add_losses(ops.finite_rows(x), data["sums"])  # a NaN in the sums ends the replay
    y = network.propagate(x)
    if y.shape[1:] != data["answer"].shape[1:]:
        raise ValueError(
            f"the last layer gave an array of shape {y.shape}, but by outputs_for of the layers it has "
            f"{network.outputs} columns: a layer that changes their number says so in outputs_for"
        )
    ops.write_rows(y, data["position"], data["answer"])  # (n, outputs)
    ops.advance(data["position"], n)

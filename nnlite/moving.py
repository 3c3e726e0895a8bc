"""What all optimizers share beside their rule: arrays, learning rate, decay, limits, and averages of the weights.

All of it is a keyword argument, and none of it costs anything unless it is asked for: the calls are then not made.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypedDict, TypeVar

import numpy as np

from . import elsewhere, gate
from .arguments import arguments, shown
from .devices import Ops, view
from .network import Sequential
from .schedules import Schedule
from .twins import twin_of

M = TypeVar("M", bound="Moving")
Factors = Mapping[int | str, float]
Stretches = Sequence[tuple[int, int]]  # (start, size) of parts of the flat arrays


USAGE = "a Trainer hands it the network's parameters: nl.SGD(lr=0.1)"


class Options(TypedDict, total=False):
    """The keyword arguments of all optimizers, for a type checker."""

    weight_decay: float
    l1: float
    decoupled: bool
    decay_biases: bool
    clip_value: float | None
    clip_norm: float | None
    max_norm: float | None
    lr_factors: Factors | None
    average: float | None


class Moving(elsewhere.Answering):
    """An optimizer without its rule.

    lr: the learning rate, a number or a schedule (schedules.py).
    weight_decay: λ w is added to dw; if `decoupled`, w shrinks by lr λ w instead, apart from the rule.
    l1: the same with l1 · sign(w), always added to dw.
    decay_biases=False: only matrices decay, not biases, nor the scales and shifts of a normalisation.
    clip_value: numbers of dw are brought into −clip_value … clip_value, before all else.
    clip_norm: dw is shortened to this length, taken over all parameters that are not frozen, before any decay.
    max_norm: after the step, the weights of each unit are shortened to this length.
    lr_factors: {layer's number, or parameter's name such as "2.W": factor of the learning rate}; 0 keeps it as it is.
    average: decay of a running mean of the parameters over the steps, such as 0.999; see `trainer.averaged()`.
    """

    slots: tuple[str, ...] = ()  # names of the arrays (P,) that the rule keeps, zero at first
    numbers: Mapping[str, int] = {}  # names of the small arrays that the rule keeps, zero at first, and their sizes
    rate: Any  # (1,), the learning rate on the device
    steps: Any  # (1,), how many steps were made, for the rules that count them
    before: Any  # (P,), the parameters before a step whose moves get factors
    factors: Any  # (P,), of the learning rate
    averages: Any  # (P,), running mean of the parameters
    clock: Any  # (3,), of a schedule: see the kernel `take_rate`
    schedule: Schedule | None = None  # a twin has none: it takes its rates from an array
    network: Sequential | None = None
    usual: Options = {}  # noqa: RUF012 - what a class hands on that has other defaults than these
    weight_decay, l1, decoupled, decay_biases = 0.0, 0.0, False, True
    clip_value: float | None = None
    clip_norm: float | None = None
    max_norm: float | None = None
    lr_factors: Factors = {}  # noqa: RUF012
    average: float | None = None

    _arguments, _usage = elsewhere.OPTIMIZER, USAGE

    def __init__(
        self,
        lr: float | Schedule,
        *,
        weight_decay: float = 0.0,
        l1: float = 0.0,
        decoupled: bool = False,
        decay_biases: bool = True,
        clip_value: float | None = None,
        clip_norm: float | None = None,
        max_norm: float | None = None,
        lr_factors: Factors | None = None,
        average: float | None = None,
    ) -> None:
        self.lr = lr
        given: dict[str, Any] = {"decoupled": bool(decoupled), "decay_biases": bool(decay_biases)}
        given["weight_decay"] = gate.number(weight_decay, "weight_decay", least=0)
        given["l1"] = gate.number(l1, "l1", least=0)
        for name, value in (("clip_value", clip_value), ("clip_norm", clip_norm), ("max_norm", max_norm)):
            given[name] = None if value is None else gate.number(value, name, above=0)
        given["average"] = None if average is None else gate.number(average, "average", least=0, below=1)
        factors = (lr_factors or {}).items()
        given["lr_factors"] = {key: gate.number(value, f"lr_factors[{key!r}]", least=0) for key, value in factors}
        # Only what is asked for becomes an attribute of the object, since every fit looks at all of these.
        vars(self).update({name: value for name, value in given.items() if value != getattr(Moving, name)})

    # ---- before and after the rule --------------------------------------------------------------------------------

    def prepare(self, ops: Ops, w: Any, dw: Any, stretches: Stretches) -> None:
        """Limit dw, and let w decay, in these stretches: all but the parameters of frozen layers."""
        if self.clip_value is not None:
            ops.clip_values(dw, self.clip_value)
        if self.clip_norm is not None:
            for start, size in self._frozen(stretches):
                ops.clip_values(part(dw, start, size), 0.0)  # what was left there does not count
            ops.clip_norm(dw, self.clip_norm)
        if self.lr_factors:
            ops.remember(w, self.before)
        for start, size in self._decaying(stretches) if self.weight_decay or self.l1 else ():
            w_part, dw_part = part(w, start, size), part(dw, start, size)
            if self.weight_decay and self.decoupled:
                ops.shrink(w_part, self.rate, self.weight_decay)
            elif self.weight_decay:
                ops.add_decay(dw_part, w_part, self.weight_decay)
            if self.l1:
                ops.add_l1(dw_part, w_part, self.l1)

    def finish(self, ops: Ops, w: Any, stretches: Stretches) -> None:
        """After the rule: factors of the learning rate, limited norms, and averages."""
        if self.lr_factors:
            ops.scale_move(w, self.before, self.factors)
        if self.max_norm is not None:
            for name, start, _, shape in self._matrices(stretches):
                ops.limit_norms(view(w, name, start, shape), self.max_norm)
        if self.average is not None:
            ops.average_weights(w, self.averages, self.steps, self.average)

    def within(self: M, start: int, size: int) -> M:
        """This optimizer with a stretch of each array that has a number for each parameter."""
        if self.network is None or size == len(self.network.parameters):
            return self
        twin = twin_of(self)
        whole = [name for name in self.names if name not in self._sizes]
        vars(twin).update({name: part(vars(self)[name], start, size) for name in whole})
        return twin

    def _decaying(self, stretches: Stretches) -> Stretches:
        """(start, size) of all that decays."""
        return stretches if self.decay_biases else [(start, size) for _, start, size, _ in self._matrices(stretches)]

    def _matrices(self, stretches: Stretches) -> Iterator[tuple[str, int, int, tuple[int, ...]]]:
        """The segments of parameters in these stretches that are matrices."""
        assert self.network is not None
        for segment in self.network.segments():
            if len(segment[3]) > 1 and any(first <= segment[1] < first + size for first, size in stretches):
                yield segment

    def _frozen(self, stretches: Stretches) -> Stretches:
        """(start, size) of what lies before, between and after these stretches."""
        assert self.network is not None
        ends = [0, *(start + size for start, size in stretches)]
        starts = [*(start for start, _ in stretches), len(self.network.parameters)]
        return [(end, start - end) for end, start in zip(ends, starts) if start > end]

    # ---- arrays ---------------------------------------------------------------------------------------------------

    def bind(self, network: Sequential) -> None:
        """Work on this network's parameters. Call it again after the network has moved to another device or dtype."""
        if self.network is not None and self.network is not network:
            raise ValueError(f"this {type(self).__name__} already trains another network; make a new one")
        self._refuse_lr(self._lr, network)
        factors = self._factors(network) if self.lr_factors else None
        self.network = network
        device, dtype = network.backend, network.dtype
        for name in self.names:
            kind = np.dtype(np.int64) if name == "clock" else dtype
            old = vars(self).get(name)  # stays the same object if nothing has moved: programs know it by its id
            new = device.zeros(self._sizes.get(name, len(network.parameters)), kind) if old is None else old
            vars(self)[name] = device.asarray(new, kind)
        self.rate[...] = self.lr
        if factors is not None:
            self.factors[...] = device.asarray(factors, dtype)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all arrays that a step reads or changes besides parameters and gradients."""
        factors = ("before", "factors") if self.lr_factors else ()
        averages = ("averages",) if self.average is not None else ()
        clock = ("clock",) if self.schedule or "clock" in vars(self) else ()
        return ("rate", "steps", *self.slots, *self.numbers, *factors, *averages, *clock)

    @property
    def _sizes(self) -> dict[str, int]:
        """The sizes of those of these arrays that have not a number for each parameter."""
        return {"rate": 1, "steps": 1, "clock": 3, **self.numbers}

    def arrays(self) -> dict[str, Any]:
        """These arrays, by name."""
        return {name: vars(self)[name] for name in self.names}

    def on(self: M, network: Sequential, arrays: Mapping[str, Any]) -> M:
        """The twin of this optimizer for this network on these arrays. This optimizer is not changed."""
        twin = twin_of(self)
        vars(twin).update({name: arrays[name] for name in self.names}, network=network, schedule=None)
        return twin

    def reset(self) -> None:
        """Forget what the rule remembers, and the averages."""
        if self.network is not None:
            for name in self.names:
                if name not in ("rate", "factors", "clock"):
                    vars(self)[name][...] = 0

    def averaged(self, network: Sequential) -> Sequential:
        """A copy of the network with the averages as its parameters; ValueError if there are none."""
        if self.average is None:
            raise ValueError("there are no averages: give the optimizer a decay for them, such as average=0.999")
        if "averages" not in vars(self) or not self.steps[0]:
            raise ValueError("there are no averages yet, since no step has been made")
        copied = network.copy()
        copied.parameters[...] = self.averages
        return copied

    def _factors(self, network: Sequential) -> np.ndarray:
        """The factors (P,) of the learning rate; ValueError for a layer or a parameter that there is not."""
        factors, places = np.ones(len(network.parameters)), list(network.segments())
        for key, factor in self.lr_factors.items():
            meant = [place for place in places if key == place[0] or str(key) == place[0].split(".")[0]]
            if not meant:
                known = ", ".join(name for name, *_ in places)
                raise ValueError(f"lr_factors has {key!r}, but the parameters of the network are {known}")
            for _, start, size, _ in meant:
                factors[start : start + size] = factor
        return factors

    def config(self) -> dict[str, Any]:
        """The arguments that make this optimizer again."""
        found = arguments(self)
        return found | ({"lr": self.schedule or self._lr} if "lr" in found else {})

    # ---- learning rate --------------------------------------------------------------------------------------------

    @property
    def lr(self) -> float:
        """The learning rate of the next step; a number or a schedule may be assigned between steps."""
        if self._lr is not None:
            return self._lr
        if self.schedule is None:
            raise ValueError("a rule reads self.rate, an array, where lr is a schedule, and not self.lr")
        return float(self.schedule.upcoming(*self._made(), 1, 1)[0])

    @lr.setter
    def lr(self, value: float | Schedule) -> None:
        schedule = value if isinstance(value, Schedule) else None
        number = None if isinstance(value, Schedule) else gate.number(value, "lr", above=0)
        if self.network is not None:
            self._refuse_lr(number, self.network)
        self._lr = number
        if schedule is not self.schedule:
            self.schedule = schedule
        if self.network is not None:
            self.bind(self.network)  # makes the clock if it is new

    @property
    def constant_lr(self) -> float | None:
        """The learning rate; None if it is a schedule."""
        return self._lr

    def follow(self, alone: bool = False) -> None:
        """Set the rate for one step that is made outside of a recorded program, and count the step.

        A step `alone` belongs to no epoch, which a schedule by epochs waits for in vain.
        """
        if self.schedule is not None:
            if alone and self.schedule.by == "epoch":
                warnings.warn(
                    f"{self.schedule!r} goes by epochs, and single steps make none, so that the learning rate stays "
                    f'{self.lr}: take by="step", or set trainer.optimizer.lr yourself',
                    stacklevel=gate.level_of_caller(),
                )
            self.rate[...] = self.lr
            self.clock[0] += 1

    def upcoming(self, epochs: int, per_epoch: int) -> np.ndarray:
        """The rates (epochs · per_epoch,) of the steps that a program makes next."""
        assert self.schedule is not None
        self.clock[1] = self.clock[0]
        return self.schedule.upcoming(*self._made(), epochs, per_epoch)

    def count_epochs(self, epochs: int) -> None:
        """Tell a schedule how many epochs have been finished in all."""
        if self.schedule is not None:
            self.clock[2] = epochs

    @property
    def epochs_made(self) -> int:
        """How many epochs have been finished in all; 0 without a schedule."""
        return self._made()[1] if self.schedule is not None else 0

    @contextlib.contextmanager
    def at_window(self, epochs: int) -> Iterator[None]:
        """In this block, the clock stands where it stood before the present window, after so many epochs."""
        if self.schedule is None:
            yield
            return
        now = self.clock.copy()
        try:
            self.clock[0], self.clock[2] = now[1], epochs
            yield
        finally:
            self.clock[...] = now

    def _made(self) -> tuple[int, int]:
        """How many steps and epochs were made."""
        clock = vars(self).get("clock")
        if clock is None or self.network is None:
            return 0, 0
        steps, _, epochs = self.network.backend.to_numpy(clock).tolist()
        return steps, epochs

    @staticmethod
    def _refuse_lr(lr: float | None, network: Sequential) -> None:
        """ValueError for a learning rate that the network's dtype would make 0 or infinite or round to fewer digits."""
        limits = np.finfo(network.dtype)
        if lr is not None and not float(limits.smallest_normal) <= lr <= float(limits.max):
            raise ValueError(
                f"lr={lr} is too {'small' if lr < 1 else 'large'} for {network.dtype}, the network's dtype, which goes "
                f"from {limits.smallest_normal:.2g} to {limits.max:.2g}"
            )

    def __repr__(self) -> str:
        return shown(self, always=("lr",), **self.usual)


def part(flat: Any, start: int, size: int) -> Any:
    """A stretch of a flat array or symbol; the whole of it is the array itself."""
    return flat if size == len(flat) else view(flat, getattr(flat, "name", ""), start, (size,))

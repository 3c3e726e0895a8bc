"""Optimizers move the parameters by their gradients. A subclass writes only its rule.

The rule works on flat arrays: w holds all parameters (P,), dw their gradients (P,), and each name in `slots` has an
array (P,). Learning rate and step counter are one-element arrays, so that a step changes no Python state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from . import gate
from .devices import Ops, view
from .network import Sequential
from .twins import twin_of


class Optimizer:
    """The base class of all optimizers: learning rate, weight decay, and the arrays in which a rule keeps values."""

    slots: tuple[str, ...] = ()  # names of the arrays (P,) that the rule keeps, zero at first
    counts = False  # whether the rule reads `steps`, with the present step counted
    rate: Any  # (1,), the learning rate on the device
    steps: Any  # (1,), how many steps were made, for the rules that read it

    def __init__(self, lr: float, weight_decay: float = 0.0, decay_biases: bool = True) -> None:
        self._lr = gate.number(lr, "lr", above=0)
        self.weight_decay = gate.number(weight_decay, "weight_decay", least=0)
        self.decay_biases = bool(decay_biases)
        self.network: Sequential | None = None

    def rule(self, ops: Ops, w: Any, dw: Any) -> None:
        """Move w (P,) in place by the gradient dw (P,).

        If layers are frozen, it is called once for each stretch of parameters between them, and P is its size.
        """
        raise NotImplementedError(f"{type(self).__name__} has no rule")

    def step(self) -> None:
        """Make one step: w moves, and dw may be changed."""
        if self.network is None:
            raise RuntimeError("the optimizer has no network yet: hand it to a Trainer, or call bind(network)")
        ops, w, dw = self.network.ops, self.network.parameters, self.network.gradients
        stretches = self.network.trained()  # all parameters in one, unless layers are frozen
        if self.weight_decay:
            for start, size in stretches if self.decay_biases else self._without_biases(self.network, stretches):
                ops.add_decay(part(dw, start, size), part(w, start, size), self.weight_decay)
        if self.counts and stretches:
            ops.count_step(self.steps)
        for start, size in stretches:
            self._within(start, size).rule(ops, part(w, start, size), part(dw, start, size))

    def _within(self, start: int, size: int) -> Optimizer:
        """This optimizer with a stretch of each slot."""
        if self.network is None or size == len(self.network.parameters):
            return self
        twin = twin_of(self)
        vars(twin).update({name: part(vars(self)[name], start, size) for name in self.slots})
        return twin

    @staticmethod
    def _without_biases(network: Sequential, stretches: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        """(start, size) of each parameter in these stretches that is a matrix."""
        return [
            (start, size)
            for _, start, size, shape in network.segments()
            if len(shape) > 1 and any(first <= start < first + length for first, length in stretches)
        ]

    def bind(self, network: Sequential) -> None:
        """Work on this network's parameters. Call it again after the network has moved to another device or dtype."""
        if self.network is not None and self.network is not network:
            raise ValueError(f"this {type(self).__name__} already trains another network; make a new one")
        self._refuse_lr(self._lr, network)
        self.network = network
        device, dtype = network.backend, network.dtype
        for name in self.names:
            size = len(network.parameters) if name in self.slots else 1
            old = vars(self).get(name)  # stays the same object if nothing has moved: programs know it by its id
            vars(self)[name] = device.zeros(size, dtype) if old is None else device.asarray(old, dtype)
        self.rate[...] = self._lr

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all arrays that a step reads or changes besides parameters and gradients."""
        return ("rate", "steps", *self.slots)

    def arrays(self) -> dict[str, Any]:
        """These arrays, by name."""
        return {name: vars(self)[name] for name in self.names}

    def on(self, network: Sequential, arrays: Mapping[str, Any]) -> Optimizer:
        """The twin of this optimizer for this network on these arrays. This optimizer is not changed."""
        twin = twin_of(self)
        vars(twin).update({name: arrays[name] for name in self.names}, network=network)
        return twin

    def reset(self) -> None:
        """Forget what the rule remembers."""
        if self.network is not None:
            for name in ("steps", *self.slots):
                getattr(self, name)[...] = 0

    @property
    def lr(self) -> float:
        """The learning rate; may be set between steps."""
        return self._lr

    @lr.setter
    def lr(self, value: float) -> None:
        value = gate.number(value, "lr", above=0)
        if self.network is not None:
            self._refuse_lr(value, self.network)
            self.rate[...] = value
        self._lr = value

    @staticmethod
    def _refuse_lr(lr: float, network: Sequential) -> None:
        """ValueError for a learning rate that the network's dtype would make 0 or infinite or round to fewer digits."""
        limits = np.finfo(network.dtype)
        if not float(limits.smallest_normal) <= lr <= float(limits.max):
            raise ValueError(
                f"lr={lr} is too {'small' if lr < 1 else 'large'} for {network.dtype}, the network's dtype, which goes "
                f"from {limits.smallest_normal:.2g} to {limits.max:.2g}"
            )

    def __repr__(self) -> str:
        return f"{type(self).__name__}(lr={self.lr})"


def part(flat: Any, start: int, size: int) -> Any:
    """A stretch of a flat array or symbol; the whole of it is the array itself."""
    return flat if size == len(flat) else view(flat, getattr(flat, "name", ""), start, (size,))


class SGD(Optimizer):
    """Gradient descent: w ← w − lr dw (Robbins and Monro 1951, on a batch at a time).

    With momentum μ: v ← μ v + dw, w ← w − lr v (Polyak 1964); nesterov looks ahead, w ← w − lr (dw + μ v) (Nesterov
    1983). weight_decay λ adds λ w to dw, also for biases, as in PyTorch; decay_biases=False leaves biases out.
    """

    in_arrays = ("_lr",)  # settings that a step reads from an array (`rate`): a change needs no new recording
    velocity: Any  # (P,)

    def __init__(
        self,
        lr: float = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        decay_biases: bool = True,
    ) -> None:
        super().__init__(lr, weight_decay, decay_biases)
        self._nesterov = bool(nesterov)
        self.momentum = momentum

    @property
    def momentum(self) -> float:
        """μ; may be set between steps."""
        return self._momentum

    @momentum.setter
    def momentum(self, value: float) -> None:
        value = gate.number(value, "momentum", least=0, below=1)
        _refuse_nesterov(self._nesterov, value)
        self._momentum = value
        self.slots = ("velocity",) if value else ()
        if not value:
            self.__dict__.pop("velocity", None)  # a momentum that is set again later starts from 0
        if self.network is not None:
            self.bind(self.network)  # creates the velocity if it is new

    @property
    def nesterov(self) -> bool:
        """Whether it looks ahead; may be set between steps."""
        return self._nesterov

    @nesterov.setter
    def nesterov(self, value: bool) -> None:
        _refuse_nesterov(bool(value), self._momentum)
        self._nesterov = bool(value)

    def rule(self, ops: Ops, w: Any, dw: Any) -> None:
        if self.momentum:
            ops.momentum_step(w, dw, self.velocity, self.rate, self.momentum, self.nesterov)
        else:
            ops.sgd_step(w, dw, self.rate)


def _refuse_nesterov(nesterov: bool, momentum: float) -> None:
    if nesterov and not momentum:
        raise ValueError("nesterov=True needs a momentum above 0, such as 0.9")


class Adam(Optimizer):
    """Steps scaled by running means of dw and dw²: w ← w − lr m̂ / (√v̂ + ε) (Kingma and Ba 2015, algorithm 1).

    weight_decay λ adds λ w to dw before that, also for biases; decay_biases=False leaves biases out.
    """

    slots = ("m", "v")
    counts = True
    in_arrays = ("_lr",)
    m: Any  # (P,), running mean of dw
    v: Any  # (P,), running mean of dw²

    def __init__(
        self,
        lr: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
        decay_biases: bool = True,
    ) -> None:
        super().__init__(lr, weight_decay, decay_biases)
        self.beta1 = gate.number(beta1, "beta1", least=0, below=1)
        self.beta2 = gate.number(beta2, "beta2", least=0, below=1)
        self.epsilon = gate.number(epsilon, "epsilon", above=0)

    def rule(self, ops: Ops, w: Any, dw: Any) -> None:
        ops.adam_step(w, dw, self.m, self.v, self.steps, self.rate, self.beta1, self.beta2, self.epsilon)


OPTIMIZERS: dict[str, type[Optimizer]] = {"sgd": SGD, "adam": Adam}


def optimizer(name: str) -> Optimizer:
    """A new optimizer by its lower-case name, with its own default learning rate."""
    return gate.choose(OPTIMIZERS, name, "optimizer")()  # type: ignore[call-arg]

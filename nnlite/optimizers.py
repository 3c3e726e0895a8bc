"""Optimizers move the parameters by their gradients. A subclass writes only its rule.

The rule works on flat arrays: w holds all parameters (P,), dw their gradients (P,), and each name in `slots` has an
array (P,). Learning rate and step counter are one-element arrays, so that a step changes no Python state. What all
optimizers share beside their rule is in moving.py, and more rules are in rules.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import gate
from .devices import Ops
from .moving import Moving, Options, part
from .schedules import Schedule

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Optimizer(Moving):
    """The base class of all optimizers. The keyword arguments of all are those of `nl.optimizers.Moving`."""

    in_arrays: tuple[str, ...] = ()  # settings that a step reads from an array: a change needs no new recording
    counts = False  # whether the rule reads `steps`, with the present step counted

    def rule(self, ops: Ops, w: Any, dw: Any) -> None:
        """Move w (P,) in place by the gradient dw (P,).

        If layers are frozen, it is called once for each stretch of parameters between them, and P is its size.
        """
        raise NotImplementedError(f"{type(self).__name__} has no rule")

    def once(self, ops: Ops) -> None:
        """Called before the rule, once a step: here it works out the numbers that are the same for all parameters."""

    def step(self) -> None:
        """Make one step: w moves, and dw may be changed."""
        if self.network is None:
            raise RuntimeError("the optimizer has no network yet: hand it to a Trainer, or call bind(network)")
        ops, w, dw = self.network.ops, self.network.parameters, self.network.gradients
        stretches = self.network.trained()  # all parameters in one, unless layers are frozen
        self.follow()
        self.prepare(ops, w, dw, stretches)
        if self.counts or self.average is not None:
            ops.count_step(self.steps)
        self.once(ops)
        for start, size in stretches:
            self.within(start, size).rule(ops, part(w, start, size), part(dw, start, size))
        self.finish(ops, w, stretches)


class SGD(Optimizer):
    """Gradient descent: w ← w − lr dw (Robbins and Monro 1951, on a batch at a time).

    With momentum μ: v ← μ v + dw, w ← w − lr v (Polyak 1964); nesterov looks ahead, w ← w − lr (dw + μ v) (Nesterov
    1983). weight_decay λ adds λ w to dw, also for biases, as in PyTorch; decay_biases=False leaves biases out.
    """

    in_arrays = ("_lr",)  # in `rate`; each class says so for itself, as a subclass may read lr as a number
    velocity: Any  # (P,)

    def __init__(
        self, lr: float | Schedule = 0.01, momentum: float = 0.0, nesterov: bool = False, **options: Unpack[Options]
    ) -> None:
        super().__init__(lr, **options)
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

    amsgrad=True divides by the largest v so far (Reddi et al. 2018). weight_decay λ adds λ w to dw before that.
    """

    slots: tuple[str, ...] = ("m", "v")
    in_arrays = ("_lr",)
    counts = True
    amsgrad = False
    m: Any  # (P,), running mean of dw
    v: Any  # (P,), running mean of dw²
    highest: Any  # (P,), the largest v
    scales: Any  # (2,)

    def __init__(
        self,
        lr: float | Schedule = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        amsgrad: bool = False,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(lr, **options)
        self.beta1 = gate.number(beta1, "beta1", least=0, below=1)
        self.beta2 = gate.number(beta2, "beta2", least=0, below=1)
        self.epsilon = gate.number(epsilon, "epsilon", above=0)
        if amsgrad:
            self.amsgrad, self.slots, self.numbers = True, ("m", "v", "highest"), {"scales": 2}

    def once(self, ops: Ops) -> None:
        if self.amsgrad:
            ops.adam_scales(self.steps, self.rate, self.scales, self.beta1, self.beta2)

    def rule(self, ops: Ops, w: Any, dw: Any) -> None:
        betas = self.beta1, self.beta2
        if self.amsgrad:
            ops.amsgrad_step(w, dw, self.m, self.v, self.highest, self.scales, *betas, self.epsilon)
        else:
            ops.adam_step(w, dw, self.m, self.v, self.steps, self.rate, *betas, self.epsilon)

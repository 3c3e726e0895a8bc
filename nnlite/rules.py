"""More optimizers, each a rule on flat arrays, and the table of all by name.

Their defaults are PyTorch's; Lion's are those of its paper.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import elsewhere, gate
from .devices import Ops
from .moving import Options
from .optimizers import SGD, Adam, Optimizer
from .schedules import Schedule

if TYPE_CHECKING:
    from typing_extensions import Unpack


class AdamW(Adam):
    """Adam with decay apart from the gradient: w ← w − lr λ w − lr m̂ / (√v̂ + ε) (Loshchilov and Hutter 2019)."""

    in_arrays = ("_lr",)
    usual: Options = {"weight_decay": 0.01, "decoupled": True}  # noqa: RUF012

    def __init__(
        self,
        lr: float | Schedule = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        amsgrad: bool = False,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(lr, beta1, beta2, epsilon, amsgrad, **(self.usual | options))


class _Means(Optimizer):
    """An optimizer with running means of dw (β₁) and of dw² or |dw| (β₂)."""

    counts = True
    slots = ("m", "v")
    m: Any  # (P,)
    v: Any  # (P,)

    def __init__(
        self,
        lr: float | Schedule = 0.002,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(lr, **options)
        self.beta1 = gate.number(beta1, "beta1", least=0, below=1)
        self.beta2 = gate.number(beta2, "beta2", least=0, below=1)
        self.epsilon = gate.number(epsilon, "epsilon", above=0)


class NAdam(_Means):
    """Adam with Nesterov's momentum, which grows with the steps as fast as `growth` says (Dozat 2016)."""

    in_arrays = ("_lr",)
    numbers = {"product": 1, "scales": 3}  # noqa: RUF012
    product: Any  # (1,)
    scales: Any  # (3,)

    def __init__(
        self,
        lr: float | Schedule = 0.002,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        growth: float = 0.004,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(lr, beta1, beta2, epsilon, **options)
        self.growth = gate.number(growth, "growth", least=0)

    def once(self, ops: Ops) -> None:
        betas = self.beta1, self.beta2
        ops.nadam_scales(self.steps, self.rate, self.scales, self.product, *betas, self.growth)

    def rule(self, ops: Ops, w: Any, dw: Any) -> None:
        ops.nadam_step(w, dw, self.m, self.v, self.scales, self.beta1, self.beta2, self.epsilon)


class RAdam(_Means):
    """Adam that adapts only after the first steps, when √v has become reliable (Liu et al. 2020)."""

    in_arrays = ("_lr",)

    def __init__(
        self,
        lr: float | Schedule = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(lr, beta1, beta2, epsilon, **options)

    def rule(self, ops: Ops, w: Any, dw: Any) -> None:
        ops.radam_step(w, dw, self.m, self.v, self.steps, self.rate, self.beta1, self.beta2, self.epsilon)


class Adamax(_Means):
    """Adam with the largest |dw| in the place of √v: u ← max(β₂u, |dw| + ε) (Kingma and Ba 2015, section 7)."""

    in_arrays = ("_lr",)

    def rule(self, ops: Ops, w: Any, dw: Any) -> None:
        ops.adamax_step(w, dw, self.m, self.v, self.steps, self.rate, self.beta1, self.beta2, self.epsilon)


class Adagrad(Optimizer):
    """Steps divided by the root of all dw² so far: v ← v + dw², w ← w − lr dw / (√v + ε) (Duchi et al. 2011)."""

    in_arrays = ("_lr",)
    slots = ("v",)
    v: Any  # (P,)

    def __init__(self, lr: float | Schedule = 0.01, epsilon: float = 1e-10, **options: Unpack[Options]) -> None:
        super().__init__(lr, **options)
        self.epsilon = gate.number(epsilon, "epsilon", above=0)

    def rule(self, ops: Ops, w: Any, dw: Any) -> None:
        ops.adagrad_step(w, dw, self.v, self.rate, self.epsilon)


class Adadelta(Optimizer):
    """Steps as long as the former ones: Δ = dw √(u+ε) / √(v+ε), running means v of dw², u of Δ² (Zeiler 2012)."""

    in_arrays = ("_lr",)
    slots = ("v", "u")
    v: Any  # (P,)
    u: Any  # (P,)

    def __init__(
        self, lr: float | Schedule = 1.0, rho: float = 0.9, epsilon: float = 1e-6, **options: Unpack[Options]
    ) -> None:
        super().__init__(lr, **options)
        self.rho = gate.number(rho, "rho", least=0, below=1)
        self.epsilon = gate.number(epsilon, "epsilon", above=0)

    def rule(self, ops: Ops, w: Any, dw: Any) -> None:
        ops.adadelta_step(w, dw, self.v, self.u, self.rate, self.rho, self.epsilon)


class RMSprop(SGD):
    """Gradient descent, also with momentum, by dw / (√v + ε), with a running mean v of dw² (Tieleman and Hinton 2012).

    centered=True takes off the square of a running mean m of dw: dw / (√(v − m²) + ε) (Graves 2013).
    """

    in_arrays = ("_lr",)
    v: Any  # (P,)
    m: Any  # (P,)

    def __init__(
        self,
        lr: float | Schedule = 0.01,
        rho: float = 0.99,
        epsilon: float = 1e-8,
        momentum: float = 0.0,
        centered: bool = False,
        **options: Unpack[Options],
    ) -> None:
        self.centered = bool(centered)
        super().__init__(lr, momentum, **options)
        self.rho = gate.number(rho, "rho", least=0, below=1)
        self.epsilon = gate.number(epsilon, "epsilon", above=0)

    @property
    def names(self) -> tuple[str, ...]:
        return (*super().names, "v", *(("m",) if self.centered else ()))

    def rule(self, ops: Ops, w: Any, dw: Any) -> None:
        if self.centered:
            ops.rmsprop_center(dw, self.v, self.m, self.rho, self.epsilon)
        else:
            ops.rmsprop_scale(dw, self.v, self.rho, self.epsilon)
        super().rule(ops, w, dw)


class Lion(Optimizer):
    """Steps of one length: w ← w − lr sign(β₁m + (1−β₁)dw), then m ← β₂m + (1−β₂)dw (Chen et al. 2023).

    weight_decay is decoupled, as in the paper.
    """

    in_arrays = ("_lr",)
    usual: Options = {"decoupled": True}  # noqa: RUF012
    slots = ("m",)
    m: Any  # (P,)

    def __init__(
        self, lr: float | Schedule = 1e-4, beta1: float = 0.9, beta2: float = 0.99, **options: Unpack[Options]
    ) -> None:
        super().__init__(lr, **(self.usual | options))
        self.beta1 = gate.number(beta1, "beta1", least=0, below=1)
        self.beta2 = gate.number(beta2, "beta2", least=0, below=1)

    def rule(self, ops: Ops, w: Any, dw: Any) -> None:
        ops.lion_step(w, dw, self.m, self.rate, self.beta1, self.beta2)


class Rprop(Optimizer):
    """Every parameter has a step of its own, longer while dw keeps its sign, shorter after a change (Riedmiller 1993).

    For all rows in one batch, since it looks only at the sign of dw. lr: the first length of a step.
    """

    in_arrays = ("_lr",)
    slots = ("last", "size")
    last: Any  # (P,), the gradient of the step before
    size: Any  # (P,), the lengths of the steps; 0 before the first

    def __init__(
        self,
        lr: float | Schedule = 0.01,
        shorter: float = 0.5,
        longer: float = 1.2,
        least: float = 1e-6,
        most: float = 50.0,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(lr, **options)
        self.shorter = gate.number(shorter, "shorter", above=0, below=1)
        self.longer = gate.number(longer, "longer", above=1)
        self.least = gate.number(least, "least", above=0)
        self.most = gate.number(most, "most", above=self.least)

    def rule(self, ops: Ops, w: Any, dw: Any) -> None:
        lengths = self.shorter, self.longer, self.least, self.most
        ops.rprop_step(w, dw, self.last, self.size, self.rate, *lengths)


OPTIMIZERS: dict[str, type[Optimizer]] = {
    "sgd": SGD,
    "adam": Adam,
    "adamw": AdamW,
    "nadam": NAdam,
    "radam": RAdam,
    "adamax": Adamax,
    "adagrad": Adagrad,
    "adadelta": Adadelta,
    "rmsprop": RMSprop,
    "lion": Lion,
    "rprop": Rprop,
}


def optimizer(name: str) -> Optimizer:
    """A new optimizer by its name, with its own default learning rate; ValueError for a name that is unknown."""
    return gate.choose(OPTIMIZERS, name, "optimizer", elsewhere.OPTIMIZERS)()  # type: ignore[call-arg]

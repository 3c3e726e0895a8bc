"""A gradient check: does `backward` compute the derivative of `forward`?

Along a random direction u the loss must change as the gradient says, (L(w + h u) − L(w − h u)) / 2h = ∇L · u
with an error of order h². There is one direction for each parameter array and one for the input, in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .architecture import families
from .devices import Kernel
from .divergence import snapshot
from .loss import Loss
from .losses import loss as loss_named
from .network import Sequential
from .trainer import Trainer

TOLERANCE = 1e-5  # relative; a derivative that is wrong by 0.1 % has 100 times this error
ROUNDING = 32 * float(np.finfo(np.float64).eps)  # relative error of a loss


@dataclass(frozen=True)
class GradientCheck:
    """One array's derivative along a random direction: from backward, from a difference, and their relative error."""

    name: str
    layer: str
    analytic: float
    numeric: float
    error: float

    @property
    def ok(self) -> bool:
        return self.error <= TOLERANCE


@dataclass(frozen=True, repr=False)
class GradientReport:
    """The results for the input and each parameter; `ok` if all are right. It shows which are wrong."""

    checks: tuple[GradientCheck, ...]

    @property
    def ok(self) -> bool:
        return all(check.ok for check in self.checks)

    def __str__(self) -> str:
        lines = [f"{'':5} {'gradient by':<12} {'layer':<20} {'backward':>13} {'difference':>13} {'relative error':>15}"]
        for c in self.checks:
            mark = "ok" if c.ok else "WRONG"
            lines.append(f"{mark:5} {c.name:<12} {c.layer:<20} {c.analytic:13.6g} {c.numeric:13.6g} {c.error:15.1e}")
        lines.append("each number is a slope of the loss along one random direction, not an entry of the gradient")
        return "\n".join(lines)

    __repr__ = __str__


def check_gradients(net: Sequential, loss: str | Loss | Kernel, x: Any, y: Any, seed: int = 0) -> GradientReport:
    """Compare the network's and the loss's backward with differences of their forward, for x (N, inputs) and y.

    For the input and for each parameter, one number is compared: the slope of the loss along one random direction, by
    the gradient and by a difference. It works on a float64 copy on the network's device, in training mode; the network
    is not changed. Layers that draw random numbers draw the same ones each time, and frozen layers are checked like
    others. If a kink (ReLU at 0, MAE at p = t) lies between the two points, the difference is not the derivative, and
    the check fails: use other values.
    """
    copy = net.copy().to(dtype="float64")
    family = dict(families(copy.layers))
    for each in family.values():
        each.trainable = True
    trainer = Trainer(copy, loss if isinstance(loss, Loss) else loss_named(loss))
    x, target = trainer.checked(x, y)
    step = trainer.new_step()
    step = step.on(copy.ops, step.arrays())  # a twin, which trains
    loss, state = step.loss, snapshot(copy)
    rng = np.random.Generator(np.random.PCG64(seed))
    asarray, to_numpy = copy.backend.asarray, copy.backend.to_numpy

    def restore() -> None:
        """Bring the layers' state, such as a counter of random numbers, back to what it was at first."""
        for name, array in copy.arrays().items():
            if name not in ("parameters", "gradients"):
                array[...] = state[name]

    def value(x: Any) -> float:
        restore()
        losses = loss.measure(step.network.propagate(x, step.depth), target)
        return float(losses.sum()) if loss.reduction == "none" else loss.reduce(losses, target.shape[1])

    dx = to_numpy(step.slope(x, target, input_gradient=True)[2])
    dw = to_numpy(copy.gradients).copy()
    w = to_numpy(copy.parameters).copy()

    def at_parameters(point: np.ndarray) -> float:
        copy.parameters[...] = asarray(point)
        return value(x)

    host_x = to_numpy(x).copy()
    checks = [_check("x", "input", lambda point: value(asarray(point)), host_x, dx, np.ones_like(host_x), rng)]
    for name, start, size, _ in copy.segments():
        part = np.zeros_like(w)
        part[start : start + size] = 1
        layer = repr(family[name.rpartition(".")[0]])
        checks.append(_check(name, layer, at_parameters, w, dw, part, rng))
    return GradientReport(tuple(checks))


def _check(
    name: str,
    layer: str,
    value: Callable[[np.ndarray], float],
    point: np.ndarray,
    gradient: np.ndarray,
    part: np.ndarray,
    rng: np.random.Generator,
) -> GradientCheck:
    direction = rng.standard_normal(point.shape) * part
    direction /= np.linalg.norm(direction)
    analytic = float((gradient * direction).sum())
    h = 1e-5 * max(1.0, float(np.abs(point * part).max()))
    plus, minus = value(point + h * direction), value(point - h * direction)
    numeric = (plus - minus) / (2 * h)
    rounding = ROUNDING * max(abs(plus), abs(minus)) / h  # all of the difference, where the derivative is 0
    size = max(abs(analytic), abs(numeric), 1e-3 * float(np.linalg.norm(gradient * part)), 1e-9)
    return GradientCheck(name, layer, analytic, numeric, max(0.0, abs(analytic - numeric) - rounding) / size)

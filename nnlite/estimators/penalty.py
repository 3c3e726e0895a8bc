"""The penalty of scikit-learn: the loss of a batch of n rows is the mean over its rows plus alpha / 2n · Σ w².

The sum goes over all weights, but not over biases. With weights of rows, n is their sum; for a batch among others, the
mean weight of all rows stands for that of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..losses import BinaryCrossEntropy, HalfMSE, Poisson
from ..minimizing import Objective
from ..moving import part
from ..network import Sequential
from ..step import Step
from ..trainer import Trainer


class _SumOverOutputs:
    """A loss that is a sum over the outputs of a row, and not their mean, as those of scikit-learn."""

    def per_sample(self, columns: int) -> float:
        return float(columns)


class SquaredError(_SumOverOutputs, HalfMSE):
    """½ Σₖ (p − t)²."""


class BinaryLogLoss(_SumOverOutputs, BinaryCrossEntropy):
    """−Σₖ t ln p + (1 − t) ln(1 − p)."""


class PoissonLoss(_SumOverOutputs, Poisson):
    """Σₖ p − t ln p."""


@dataclass(frozen=True)
class PenalizedStep(Step):
    """A step whose gradients have alpha / n · w added, with n the rows of the batch."""

    alpha: float = 0.0

    def slope(self, x: Any, target: Any, *args: Any, **options: Any) -> tuple[Any, Any, Any]:
        found = super().slope(x, target, *args, **options)
        if self.alpha:
            w, dw = self.network.parameters, self.network.gradients
            for start, size in matrices(self.network):
                self.network.ops.add_decay(part(dw, start, size), part(w, start, size), self.alpha / x.shape[0])
        return found

    def settings(self) -> tuple[Any, ...]:
        return (*super().settings(), self.alpha)


class PenalizedTrainer(Trainer):
    """A trainer of penalized steps. `mean_weight` is that of the rows."""

    alpha, mean_weight = 0.0, 1.0
    tells_of_scale = False  # nor does scikit-learn

    def new_step(self, *args: Any) -> Step:
        step = super().new_step(*args)
        return PenalizedStep(**vars(step), alpha=self.alpha / self.mean_weight)

    def squares(self) -> float:
        """Σ w² over all weights, but not over biases."""
        flat = self.network.backend.to_numpy(self.network.parameters)
        parts = [flat[start : start + size] for start, size in matrices(self.network)]
        return float(sum(np.dot(w, w) for w in parts))


def matrices(network: Sequential) -> list[tuple[int, int]]:
    """(start, size) of each matrix of weights among the network's parameters."""
    return [(start, size) for _, start, size, shape in network.segments() if len(shape) > 1]


# ---- over all rows at once -----------------------------------------------------------------------------------------


class PenalizedObjective(Objective):
    """The penalized loss over all rows x (N, inputs), target (N, outputs), which may have weights (N,)."""

    def __init__(self, trainer: PenalizedTrainer, x: np.ndarray, target: np.ndarray, weight: np.ndarray | None) -> None:
        step = trainer.new_step() if weight is None else trainer.new_step(True)
        dtype, device = trainer.network.dtype, trainer.network.backend
        super().__init__(step, device.asarray(x, dtype), device.asarray(target, dtype), trainer.replay)
        self.alpha, self.squares = trainer.alpha, matrices(trainer.network)
        self.total = float(len(x)) if weight is None else float(weight.sum())
        self.data = {"x": self.x, "target": self.target}
        if weight is not None:
            self.data["row_weights"] = device.asarray(np.stack([weight, weight / self.total], axis=1), dtype)

    def value_and_gradient(self, w: np.ndarray) -> tuple[float, np.ndarray]:
        self.parameters = w
        program = self._program("slope", slope, self.data, len(self.x))
        program.replay.sweep(self.data, 0, 1)
        loss = float(self.device.to_numpy(program.sums)[0]) * self.step.loss.per_sample(self.target.shape[1])
        penalty = self.alpha / 2 * sum(float(np.square(w[start : start + size]).sum()) for start, size in self.squares)
        return (loss + penalty) / self.total, self.device.to_numpy(self.network.gradients).astype(np.float64)


def slope(step: Any, data: Mapping[str, Any], n: int) -> None:
    """Fill the gradients from all n rows, and add their losses to the sums. This is recorded."""
    ops = step.network.ops
    x = ops.read_rows(data["x"], data["position"], n)  # (n, inputs)
    target = ops.read_rows(data["target"], data["position"], n)  # (n, outputs)
    weights = {"row_weights": step.row_weights(data, n)} if "row_weights" in data else {}
    _, losses, _ = step.slope(x, target, **weights)
    step.count_losses(losses, data["sums"])
    ops.advance(data["position"], n)


def lbfgs(objective: PenalizedObjective, max_iter: int, max_fun: int, tol: float) -> tuple[float, int, str]:
    """Minimise by SciPy's L-BFGS -> the loss, the number of iterations, and why it has not converged, or "".

    It ends when no number of the gradient is larger than `tol`, when the loss changes by less than SciPy thinks worth
    while, or after so many iterations or evaluations of the loss. ImportError without SciPy.
    """
    try:
        from scipy.optimize import minimize
    except ImportError as error:
        raise ImportError('solver="lbfgs" needs SciPy: pip install "nnlite[scipy]"') from error
    limits = {"maxiter": max_iter, "maxfun": max_fun, "gtol": tol}
    found = minimize(objective.value_and_gradient, objective.start, jac=True, method="L-BFGS-B", options=limits)
    objective.parameters = found.x
    return float(found.fun), min(int(found.nit), max_iter), "" if found.status == 0 else str(found.message)

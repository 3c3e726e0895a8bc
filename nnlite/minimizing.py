"""Minimising over all rows at once: L-BFGS, and Levenberg and Marquardt's method for least squares.

Both see the loss as a function of the parameters w (P,) that are not frozen, in float64 and in main memory. Its value,
its gradient and its Jacobian come from programs (programs.py), which are recorded once and replayed by the device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

from .devices import Arena, view
from .losses import MSE, HalfMSE
from .programs import Program
from .step import Step

LEAST_DAMPING, MOST_DAMPING = 1e-15, 1e16
PROBE = 0.1  # the part of a step at which the curve of the residuals is looked at
MOST_CURVED = 0.75


class Objective:
    """The loss of a step over x (N, inputs), target (N, outputs), which works on the network's own arrays.

    Layers do what they do in predictions: nothing is dropped, so that the loss is a function of the parameters alone.
    """

    def __init__(self, step: Step, x: Any, target: Any, how: str) -> None:
        self.step, self.x, self.target, self.how = step, x, target, how
        self.network, self.device = step.network, step.network.backend
        stretches = step.network.trained()
        self.places: Any = np.concatenate([np.arange(first, first + size) for first, size in stretches])  # (P,)
        if len(stretches) == 1:  # a slice takes no copy
            self.places = slice(stretches[0][0], sum(stretches[0]))
        self.start = self.parameters  # (P,)
        self._programs: dict[str, Program] = {}

    @property
    def parameters(self) -> np.ndarray:
        """A copy (P,) of the network's parameters that are not frozen; may be assigned."""
        return self.device.to_numpy(self.network.parameters).astype(np.float64)[self.places]

    @parameters.setter
    def parameters(self, w: np.ndarray) -> None:
        every = np.array(self.device.to_numpy(self.network.parameters))
        every[self.places] = w
        self.network.parameters[...] = self.device.asarray(every, self.network.dtype)

    def value_and_gradient(self, w: np.ndarray) -> tuple[float, np.ndarray]:
        """The loss at w (P,), and its gradient (P,)."""
        self.parameters = w
        data = {"x": self.x, "target": self.target}
        program = self._program("slope", slope, data, len(self.x))
        program.replay.sweep(data, 0, 1)
        (total, known), loss = self.device.to_numpy(program.sums), self.step.loss
        rows = known if loss.ignore_nan else len(self.x)
        mean = float(total) * loss.per_sample(self.target.shape[1]) / (rows if loss.reduction == "mean" else 1)
        return mean, self.device.to_numpy(self.network.gradients).astype(np.float64)[self.places]

    def residuals(self, w: np.ndarray) -> np.ndarray:
        """prediction − target (N · K,) at w (P,)."""
        self.parameters = w
        answer = self.device.zeros(self.target.shape, self.network.dtype)
        data = {"x": self.x, "answer": answer}
        self._program("answers", answers, data, len(self.x)).replay.sweep(data, 0, 1)
        return self.device.to_numpy(answer - self.target).astype(np.float64).ravel()

    def jacobian(self, w: np.ndarray) -> np.ndarray:
        """The derivatives (N · K, P) of the residuals at w (P,): one row goes back at a time, for each output."""
        self.parameters = w
        rows, outputs = self.target.shape
        answer = self.device.zeros((rows, len(self.network.parameters)), self.network.dtype)
        found = np.empty((rows, outputs, len(w)))
        data = {"x": self.x, "answer": answer}
        program = self._program("derivatives", derivatives, data, 1, {"dy": (1, outputs)})
        for k in range(outputs):
            program.arena.segments["dy"][...] = self.device.asarray(np.eye(outputs)[k : k + 1], self.network.dtype)
            program.replay.sweep(data, 0, rows)
            found[:, k] = self.device.to_numpy(answer)[:, self.places]
        return found.reshape(-1, len(w))

    def _program(
        self,
        name: str,
        what: Callable[..., None],
        data: Mapping[str, Any],
        n: int,
        own: Mapping[str, Any] | None = None,
    ) -> Program:
        """The program that does this to n rows; `own` are arrays that it needs besides, name -> shape."""
        if name not in self._programs:
            zeros, dtype = self.device.zeros, self.network.dtype
            arrays = {name: zeros(shape, dtype) for name, shape in (own or {}).items()}
            arrays |= {"position": zeros(1, np.int64), "sums": zeros(2, np.float64)}
            arena = Arena(self.device, dtype, {**data, **arrays, **self.network.arrays()})

            def make(ops: Any, arrays: Mapping[str, Any]) -> Callable[[int], None]:
                return partial(what, self.step.on(ops, arrays, training=False), arrays)

            how = "eager" if self.how == "eager" else self.device.sweeps_by
            self._programs[name] = Program(make, arena, n, threads=self.network.threads, how=how)
        return self._programs[name]


def slope(step: Step, data: Mapping[str, Any], n: int) -> None:
    """Fill the gradients from the next n rows, and add their losses to the sums. This is recorded."""
    ops = step.network.ops
    x = ops.read_rows(data["x"], data["position"], n)  # (n, inputs)
    target = ops.read_rows(data["target"], data["position"], n)  # (n, outputs)
    _, losses, _ = step.slope(x, target)
    step.count_losses(losses, data["sums"])
    ops.advance(data["position"], n)


def answers(step: Step, data: Mapping[str, Any], n: int) -> None:
    """Write the answers to the next n rows. This is recorded."""
    ops = step.network.ops
    x = ops.read_rows(data["x"], data["position"], n)  # (n, inputs)
    ops.write_rows(step.network.propagate(x), data["position"], data["answer"])
    ops.advance(data["position"], n)


def derivatives(step: Step, data: Mapping[str, Any], n: int) -> None:
    """Write the derivatives of the next row's outputs, weighted with dy (1, outputs), to the answer. This is recorded.

    One row at a time, since a gradient is a sum over the rows of a batch.
    """
    ops, network = step.network.ops, step.network
    x = ops.read_rows(data["x"], data["position"], n)  # (1, inputs)
    network.propagate(x, step.depth)
    network.backpropagate(data["dy"], step.depth)
    ops.write_rows(
        view(network.gradients, "gradients", 0, (1, network.gradients.size)), data["position"], data["answer"]
    )
    ops.advance(data["position"], n)


def lbfgs(objective: Objective, iterations: int, tolerance: float, goal: float) -> Iterator[float]:
    """L-BFGS of SciPy (Byrd et al. 1995): the loss after every iteration. ImportError without SciPy."""
    try:
        from scipy.optimize import minimize
    except ImportError as error:
        raise ImportError('method="lbfgs" needs SciPy: pip install "nnlite[scipy]"') from error
    losses: list[float] = []

    def see(intermediate_result: Any) -> None:
        losses.append(float(intermediate_result.fun))
        if losses[-1] <= goal:
            raise StopIteration

    settings = {"maxiter": iterations, "maxfun": 20 * iterations, "ftol": tolerance, "gtol": 0.0, "maxcor": 20}
    found = minimize(
        objective.value_and_gradient, objective.start, jac=True, method="L-BFGS-B", options=settings, callback=see
    )
    objective.parameters = found.x
    yield from losses


def levenberg_marquardt(objective: Objective, iterations: int, tolerance: float, goal: float) -> Iterator[float]:
    """Levenberg and Marquardt's method: the loss after every iteration. ValueError for another loss than squares.

    With the residuals r and their Jacobian J at w, v = −(JᵀJ + λ D)⁻¹ Jᵀ r. D has the largest squares of the lengths of
    J's columns so far (Moré 1978). λ falls with an iteration whose loss is as expected, and grows until the loss falls
    (Nielsen 1999): from gradient descent in small steps to Gauss and Newton's method. w ← w + v + a/2, where
    a = −(JᵀJ + λ D)⁻¹ Jᵀ r″ follows the curve of r along v, and must stay shorter than v (Transtrum and Sethna 2012).
    """
    loss = objective.step.loss
    if type(loss) not in (MSE, HalfMSE) or loss.ignore_nan:
        what = "one with ignore_nan" if loss.ignore_nan else repr(loss)
        raise ValueError(f'method="lm" is for least squares, so the loss must be "mse" or "half_mse", not {what}')
    outputs = objective.target.shape[1]
    share = loss.per_sample(outputs) / objective.target.size / (2 if isinstance(loss, HalfMSE) else 1)
    w, lengths, unit = objective.start, np.zeros(len(objective.start)), np.eye(len(objective.start))
    r = objective.residuals(w)  # (N · K,)
    cost, damping, growth = float(r @ r), 1e-3, 2.0
    for _ in range(iterations):
        J = objective.jacobian(w)  # (N · K, P)
        lengths = np.maximum(lengths, np.sqrt(np.square(J).sum(axis=0)))
        scale = np.where(lengths > 0, lengths, 1)
        J /= scale
        squares, slope = J.T @ J, J.T @ r  # (P, P), (P,)
        new = np.inf
        while not new < cost:
            if damping > MOST_DAMPING:  # no step makes it smaller
                objective.parameters = w
                return
            damped = squares + damping * unit
            v = -_solved(damped, slope)
            curve = 2 / PROBE * ((objective.residuals(w + PROBE * v / scale) - r) / PROBE - J @ v)  # r″ along v
            a = -_solved(damped, J.T @ curve)
            if 2 * np.linalg.norm(a) <= MOST_CURVED * np.linalg.norm(v):
                tried = objective.residuals(w + (v + a / 2) / scale)
                new = float(tried @ tried)
            if not new < cost:
                damping, growth = damping * growth, growth * 2
        gain = (cost - new) / max(float(v @ (damping * v - slope)), np.finfo(float).tiny)  # of what is expected of v
        damping, growth = max(damping * max(1 / 3, 1 - (2 * gain - 1) ** 3), LEAST_DAMPING), 2.0
        w, r, before, cost = w + (v + a / 2) / scale, tried, cost, new
        yield cost * share
        if cost * share <= goal or before - cost <= tolerance * cost:
            return


def _solved(matrix: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """x (P,) with matrix x = vector; for a matrix (P, P) without an inverse, as if only its diagonal were there."""
    try:
        return np.linalg.solve(matrix, vector)
    except np.linalg.LinAlgError:
        return vector / matrix.diagonal()


METHODS: dict[str, Callable[[Objective, int, float, float], Iterator[float]]] = {
    "lbfgs": lbfgs,
    "lm": levenberg_marquardt,
}

"""Minimising over all rows at once: L-BFGS, and Levenberg and Marquardt's method for least squares.

Both see the loss as a function of the parameters w (P,) that are not frozen, in float64 and in main memory. Its value,
its gradient and its Jacobian come from programs (programs.py), which are recorded once and replayed by the device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from .devices import Arena, view
from .losses import MSE, HalfMSE
from .programs import Program
from .step import Step

FIRST_DAMPING, LEAST_DAMPING, MOST_DAMPING = 1e-3, 1e-15, 1e16
MOST_STEPS = 4  # with one Jacobian and one damping
MOST_CURVED = 0.75  # the length of a step that follows the curve, in lengths of the one before


class Objective:
    """The loss of a step over x (N, inputs), target (N, outputs), which works on the network's own arrays.

    Layers do what they do in predictions: nothing is dropped, so that the loss is a function of the parameters alone.
    """

    def __init__(self, step: Step, x: Any, target: Any, how: str) -> None:
        self.step, self.x, self.target, self.how = step, x, target, how
        self.network, self.device = step.network, step.network.backend
        stretches = step.network.trained()
        self.places: Any = slice(stretches[0][0], sum(stretches[0]))  # takes no copy
        if len(stretches) > 1:
            self.places = self.device.asarray(np.concatenate([np.arange(i, i + size) for i, size in stretches]))  # (P,)
        self.start = self.parameters  # (P,)
        self._programs: dict[str, Program] = {}
        self._answers: dict[tuple[int, ...], Any] = {}

    @property
    def parameters(self) -> np.ndarray:
        """A copy (P,) of the network's parameters that are not frozen; may be assigned."""
        return self._trained(self.network.parameters)

    @parameters.setter
    def parameters(self, w: np.ndarray) -> None:
        self.network.parameters[self.places] = self.device.asarray(w, self.network.dtype)

    def value_and_gradient(self, w: np.ndarray) -> tuple[float, np.ndarray]:
        """The loss at w (P,), and its gradient (P,)."""
        self.parameters = w
        data = {"x": self.x, "target": self.target}
        program = self._program("slope", slope, data, len(self.x))
        program.replay.sweep(data, 0, 1)
        (total, known), loss = self.device.to_numpy(program.sums), self.step.loss
        rows = known if loss.ignore_nan else len(self.x)
        mean = float(total) * loss.per_sample(self.target.shape[1]) / (rows if loss.reduction == "mean" else 1)
        return mean, self._trained(self.network.gradients)

    def residuals(self, w: np.ndarray) -> np.ndarray:
        """prediction − target (N · K,) at w (P,)."""
        self.parameters = w
        data = {"x": self.x, "answer": self._answer(*self.target.shape)}
        self._program("answers", answers, data, len(self.x)).replay.sweep(data, 0, 1)
        return self.device.to_numpy(data["answer"] - self.target).astype(np.float64, copy=False).ravel()

    def jacobian(self, w: np.ndarray) -> np.ndarray:
        """The derivatives (N · K, P) of the residuals at w (P,): one row goes back at a time, for each output."""
        self.parameters = w
        rows, outputs = self.target.shape
        found = np.empty((rows, outputs, len(w)))
        data = {"x": self.x, "answer": self._answer(rows, len(self.network.parameters))}
        program = self._program("derivatives", derivatives, data, 1, {"dy": (1, outputs)})
        for k in range(outputs):
            program.arena.segments["dy"][...] = self.device.asarray(np.eye(outputs)[k : k + 1], self.network.dtype)
            program.replay.sweep(data, 0, rows)
            found[:, k] = self.device.to_numpy(data["answer"][:, self.places])
        return found.reshape(-1, len(w))

    def _trained(self, flat: Any) -> np.ndarray:
        """A copy (P,) in float64 and in main memory, of that part of a flat array which is not frozen."""
        return np.array(self.device.to_numpy(flat[self.places]), np.float64)

    def _answer(self, *shape: int) -> Any:
        """The array into which programs write answers of this shape, the same at every call."""
        if shape not in self._answers:
            self._answers[shape] = self.device.zeros(shape, self.network.dtype)
        return self._answers[shape]

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
    w = objective.start  # (P,), after the last iteration

    def see(intermediate_result: Any) -> None:
        nonlocal w
        w = intermediate_result.x.copy()
        losses.append(float(intermediate_result.fun))
        if losses[-1] <= goal:
            raise StopIteration

    settings = {"maxiter": iterations, "maxfun": 20 * iterations, "ftol": tolerance, "gtol": 0.0, "maxcor": 20}
    options = {"jac": True, "method": "L-BFGS-B", "options": settings, "callback": see}
    try:
        w = minimize(objective.value_and_gradient, objective.start, **options).x
    finally:  # after an interrupt, too
        objective.parameters = w  # not those that were tried last
        yield from losses


def levenberg_marquardt(objective: Objective, iterations: int, tolerance: float, goal: float) -> Iterator[float]:
    """Levenberg and Marquardt's method: the loss after every iteration. ValueError for another loss than squares.

    With the residuals r and their Jacobian J at w, each iteration looks for the u that makes |r(w + u)|² + λ |D u|²
    least (`move`). D is diagonal and the largest so far (Moré 1978), in the units of the residuals, so that the units
    of the parameters do not matter: Dⱼ = Σᵢ |Jᵢ · Jⱼ| / |Jᵢ| is the length of J's column j, and how far it goes along
    the others. So parameters that do much the same as others move little. λ falls with an iteration whose loss is as
    expected, and grows until the loss falls (Nielsen 1999): from short steps down the slope to Gauss and Newton's.
    """
    loss = objective.step.loss
    if type(loss) not in (MSE, HalfMSE) or loss.ignore_nan:
        what = "one with ignore_nan" if loss.ignore_nan else repr(loss)
        raise ValueError(f'method="lm" is for least squares, so the loss must be "mse" or "half_mse", not {what}')
    outputs = objective.target.shape[1]
    share = loss.per_sample(outputs) / objective.target.size / (2 if isinstance(loss, HalfMSE) else 1)
    w, r = objective.start, objective.residuals(objective.start)  # (P,), (N · K,)
    cost, damping, largest = float(r @ r), FIRST_DAMPING, np.zeros(len(w))
    try:
        for _ in range(iterations):
            J = objective.jacobian(w)  # (N · K, P)
            squares = J.T @ J  # (P, P)
            lengths = np.sqrt(squares.diagonal())  # (P,)
            largest = np.maximum(largest, np.abs(squares) @ (1 / np.where(lengths > 0, lengths, 1)))  # (P,)
            scale = np.square(np.where(largest > 0, largest, 1))  # (P,), the squares of D
            found, growth = move(objective, w, r, J, squares, damping * scale), 2.0
            while not (found and found.cost < cost):
                damping, growth = damping * growth, growth * 2
                if damping > MOST_DAMPING:  # no step makes it smaller
                    return
                found = move(objective, w, r, J, squares, damping * scale)
            gain = (cost - found.cost) / max(found.expected, np.finfo(float).tiny)
            damping = max(damping * max(1 / 3, 1 - (2 * gain - 1) ** 3), LEAST_DAMPING)
            w, r, before, cost = found.w, found.residuals, cost, found.cost
            yield cost * share
            if cost * share <= goal or before - cost <= tolerance * cost:
                return
    finally:
        objective.parameters = w  # not those that were tried last


class Move(NamedTuple):
    """A place to go to, and how much smaller |r|² would be there if the residuals were straight lines."""

    w: np.ndarray  # (P,)
    residuals: np.ndarray  # (N · K,)
    cost: float  # |r|²
    expected: float


def move(
    objective: Objective, w: np.ndarray, r: np.ndarray, J: np.ndarray, squares: np.ndarray, penalty: np.ndarray
) -> Move | None:
    """Look for the u that makes |r(w + u)|² + Σ penalty u² least, by Newton's method with JᵀJ + penalty of u = 0.

    From u = 0, the first step is that of Levenberg and Marquardt. The others need no new Jacobian: they follow the
    curve of the residuals, for as long as |r|² falls. None if the second step would be almost as long as the first,
    or longer: the curve is then too strong for a step of this length.
    """
    matrix = squares.copy()  # (P, P)
    matrix.flat[:: len(w) + 1] += penalty
    found, u, residuals, length = None, np.zeros(len(w)), r, np.inf
    try:
        solve = objective.device.solver(matrix)
        for number in range(MOST_STEPS):
            step = -solve(J.T @ residuals + penalty * u)  # (P,)
            before, length = length, float(penalty @ np.square(step)) ** 0.5
            if not length <= MOST_CURVED * before:
                return found if number > 1 else None
            u = u + step
            residuals = objective.residuals(w + u)
            cost = float(residuals @ residuals)
            if found and not cost < found.cost:
                break
            expected = found.expected if found else float(step @ (penalty * step - J.T @ r))
            found = Move(w + u, residuals, cost, expected)
    except np.linalg.LinAlgError:  # the penalty is lost in rounding
        return None
    return found


METHODS: dict[str, Callable[[Objective, int, float, float], Iterator[float]]] = {
    "lbfgs": lbfgs,
    "lm": levenberg_marquardt,
}

"""Gradient descent on a plain function: walk downhill, each step −lr times the slope.

Nothing here knows of layers or losses. A function J(θ) has a gradient; the gradient points uphill; so we
start somewhere and go a little the other way, again and again. Training a network is this loop with a
longer θ.

d = number of coordinates of θ
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from . import gate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Descent:
    """The path of a descent: where it was and how far it moved, points[k + 1] = points[k] + updates[k].

    points: (steps + 1,) for a θ that is one number, else (steps + 1, d).
    updates: (steps,) or (steps, d); updates[k] = −lr · gradient(points[k]).
    """

    points: Floats
    updates: Floats

    def __repr__(self) -> str:
        first, last = (np.array2string(point, precision=4) for point in (self.points[0], self.points[-1]))
        return f"<Descent of {len(self.updates)} steps from θ = {first} to {last}>"

    def values(self, f: Callable[[Any], Any]) -> Floats:
        """J along the path, (steps + 1,): f is called with one point at a time."""
        with np.errstate(over="ignore", invalid="ignore"):
            values = [gate.real_array(f(point.copy()), "f(θ)") for point in self.points]
        if values[0].ndim:
            raise ValueError(f"f must return one number for each θ, got shape {values[0].shape}")
        return np.array(values)

    def table(self, rows: int | None = None) -> str:
        """A line for each step: number, θ and the update made from there. `rows`: the first rows − 1 and the last."""
        rows = None if rows is None else gate.integer(rows, "rows", least=2)
        points = self.points.reshape(len(self.points), -1)  # (steps + 1, d)
        updates = self.updates.reshape(len(self.updates), points.shape[1])  # (steps, d)
        d = points.shape[1]
        indices = [""] if self.points.ndim == 1 else [f"[{i}]" for i in range(d)]
        lines = [["step", *(f"θ{i}" for i in indices), *(f"update{i}" for i in indices)]]
        for step, point in enumerate(points):
            if rows is not None and len(points) > rows and rows - 1 <= step < len(points) - 1:
                if step == rows - 1:
                    lines.append(["…"] * (1 + 2 * d))
                continue
            # + 0.0 turns the −0.0 of a step on flat ground into 0; no update was made from the last point
            update = [f"{u + 0.0:.6g}" for u in updates[step]] if step < len(updates) else [""] * d
            lines.append([str(step), *(f"{p + 0.0:.6g}" for p in point), *update])
        widths = [max(len(line[column]) for line in lines) for column in range(1 + 2 * d)]
        texts = ("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
        return "\n".join(text.rstrip() for text in texts)

    def plot(self, f: Callable[[Any], Any], ax: Axes | None = None) -> Axes:
        """Draw the graph of J = f(θ) with the steps on it, or for two coordinates the contours of J with the path."""
        from . import plots

        return plots.descent(self, f, ax=ax)


def gradient_descent(gradient: Callable[[Any], Any], start: npt.ArrayLike, lr: float, steps: int) -> Descent:
    """Walk downhill from `start`: θ ← θ − lr · gradient(θ), all coordinates at once, `steps` times.

    start: a number or (d,); gradient(θ) must have the same shape.
    If lr is too large, the descent diverges: the points grow to inf and then nan, and no warning is given.

    >>> gradient_descent(lambda theta: 2 * theta, start=5, lr=0.1, steps=3).points
    array([5.  , 4.  , 3.2 , 2.56])
    """
    if not callable(gradient):
        raise TypeError(f"gradient must be a function θ -> dJ/dθ, got {gradient!r}")
    theta = gate.real_array(start, "start")
    if theta.ndim > 1 or theta.size == 0:
        raise ValueError(f"start must be a number or a 1-D array of one or more, got shape {theta.shape}")
    if not np.isfinite(theta).all():
        raise ValueError(f"start must be finite, got {start!r}")
    lr, steps = gate.number(lr, "lr", above=0), gate.integer(steps, "steps", least=0)

    points = np.empty((steps + 1, *theta.shape))  # (steps + 1,) or (steps + 1, d)
    updates = np.empty((steps, *theta.shape))  # (steps,) or (steps, d)
    points[0] = theta
    with np.errstate(over="ignore", invalid="ignore"):
        for step in range(steps):
            # a copy, so that a gradient that works in place cannot rewrite the path
            slope = gate.real_array(gradient(points[step].copy()), "gradient(θ)")
            if slope.shape != theta.shape:
                raise ValueError(f"gradient(θ) must have the shape of start, {theta.shape}, got {slope.shape}")
            updates[step] = -lr * slope
            points[step + 1] = points[step] + updates[step]
    return Descent(points, updates)

"""The path of a gradient descent."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from .common import COLOURS, label, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes


TOO_FAR = 1e100  # matplotlib multiplies coordinates; beyond this its arithmetic overflows


class Walk(Protocol):
    """The path that `descent` draws, such as nl.gradient_descent returns it."""

    @property
    def points(self) -> npt.NDArray[np.float64]:
        """(steps + 1,) or (steps + 1, d)."""

    def values(self, f: Any) -> npt.NDArray[np.float64]:
        """J at each of the points, (steps + 1,)."""


def descent(descent: Walk, f: Any, ax: Axes | None = None) -> Axes:
    """The steps of a gradient descent on the graph of J = f(θ), or for two coordinates on the contours of J.

    Points too far off to be drawn are left out; then the title says at which step the first one is.
    """
    points = descent.points  # (steps + 1,) or (steps + 1, d)
    if points.ndim == 2 and points.shape[1] > 2:
        raise ValueError(f"a descent can be drawn for one or two coordinates, this one has {points.shape[1]}")
    values = descent.values(f)  # (steps + 1,)
    near = np.abs(np.column_stack([points, values])).max(axis=1) < TOO_FAR  # nan is not near
    drawn = len(near) if near.all() else int(near.argmin())  # up to the first that is too far
    if not drawn:
        raise ValueError("f(θ) must be finite at the start, else there is nothing to draw")
    steps = len(points) - 1
    title = f"Gradient descent, {steps} step{'s' * (steps != 1)}"
    if drawn < len(points):
        title = f"Gradient descent, diverged: off the page at step {drawn}"

    path = points[:drawn].reshape(drawn, -1)  # (drawn, 1) or (drawn, 2)
    ax = new_axes(ax)
    place: Any = "best"
    steps_style: dict[str, Any] = {
        "color": COLOURS[3],
        "linewidth": 1.1,
        "marker": "o",
        "markersize": 4.5,
        "zorder": 3,
    }
    if path.shape[1] == 1:
        margin = 0.3 * np.ptp(path) or 1.0
        between = np.linspace(path.min() - margin, path.max() + margin, 300)
        curve = [_height(f, t if points.ndim == 1 else t[None]) for t in between]
        ax.plot(between, curve, color=COLOURS[5], linewidth=3, label="J(θ)")
        ax.plot(path[:, 0], values[:drawn], label="steps", **steps_style)
        ax.plot(path[0, 0], values[0], "o", markersize=9, markerfacecolor="none", color=COLOURS[3], label="start")
        label(ax, title, "θ", "J(θ)")
    else:
        low, high = path.min(axis=0), path.max(axis=0)
        # at least a quarter as wide as high, or a path along one axis would have no room beside it
        margin = np.maximum(0.35 * (high - low), 0.25 * (high - low).max())
        if not margin.any():
            margin += 1.0
        across, up = np.linspace(low - margin, high + margin, 80, axis=1)  # (80,)
        height = np.array([[_height(f, np.array([a, b])) for a in across] for b in up])
        height = np.ma.masked_invalid(height)
        # levels that lie further apart the higher they are: a bowl gets evenly spaced rings
        levels = height.min() + (height.max() - height.min()) * np.linspace(0, 1, 13) ** 2
        if (np.diff(levels) > 0).all():  # not on flat ground
            ax.contourf(across, up, height, levels=levels, cmap="Blues", alpha=0.75)
            ax.contour(across, up, height, levels=levels, colors="white", linewidths=0.6)
        ax.plot(*path.T, label="steps", **steps_style)
        ax.plot(*path[0], "o", markersize=9, markerfacecolor="none", color=COLOURS[3], label="start")
        label(ax, title, "θ[0]", "θ[1]", bare=False)
        if np.ptp(across) < 2 * np.ptp(up) < 4 * np.ptp(across):
            ax.set_aspect("equal")  # a round bowl looks round, unless that makes a thin strip of the picture
        place = _free_corner((path - [across[0], up[0]]) / [np.ptp(across), np.ptp(up)])
    ax.legend(loc=place, framealpha=0.85, borderpad=0.3)
    return ax


def _free_corner(path: npt.NDArray[np.float64]) -> str:
    """The corner of the unit square farthest from a path (steps, 2); legend's "best" ignores contours."""
    corners = {"upper right": (1, 1), "upper left": (0, 1), "lower right": (1, 0), "lower left": (0, 0)}
    return max(corners, key=lambda name: float(np.abs(path - corners[name]).max(axis=1).min()))


def _height(f: Any, theta: Any) -> float:
    with np.errstate(all="ignore"):
        height = float(f(theta))
    return height if abs(height) < TOO_FAR else math.nan

"""The classes that a network predicts in the plane."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .. import gate
from .common import colours_for, ink, label, network_of, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def decision_boundary(
    net: Any, x: npt.ArrayLike, y: npt.ArrayLike, ax: Axes | None = None, resolution: int = 200
) -> Axes:
    """The class that the net predicts at each point of the plane, and the samples that it should classify.

    x: (N, 2); y: labels (N,) or (N, 1), or one-hot (N, K). With one output, the class is 1 above 0.5; with K
    outputs, it is that of the largest one. `resolution` is the number of points predicted along each axis.
    """
    net = network_of(net)
    points = gate.real_array(gate.in_order(x, getattr(net, "columns", None)), "x", axes=2)  # (N, 2)
    if points.shape[1] != 2 or not len(points):
        raise ValueError(f"x must have two columns, the axes of the picture, and a row or more; got {points.shape}")
    if not np.isfinite(points).all():
        raise ValueError("x must be finite: it holds inf or nan")
    resolution = gate.integer(resolution, "resolution", least=2)

    low, high = points.min(axis=0), points.max(axis=0)
    margin = np.where(high > low, 0.08 * (high - low), 1.0)
    horizontal, vertical = np.linspace(low - margin, high + margin, resolution, axis=1)  # (resolution,)
    grid = np.stack(np.meshgrid(horizontal, vertical), axis=-1).reshape(-1, 2)  # (resolution², 2)
    scores = np.asarray(net.predict(grid), dtype=np.float64)  # (resolution², K)
    if scores.ndim != 2 or len(scores) != len(grid) or not scores.shape[1]:
        raise ValueError(f"net.predict must answer x {grid.shape} with ({len(grid)}, K), got shape {scores.shape}")
    if scores.shape[1] == 1:
        scores = np.hstack([1 - scores, scores])  # the second column is larger if the output is above 0.5
    classes = scores.shape[1]
    labels = _labels(y, len(points), classes)  # (N,)

    from matplotlib.colors import ListedColormap

    ax = new_axes(ax)
    colours = colours_for(classes)
    extent = (horizontal[0], horizontal[-1], vertical[0], vertical[-1])
    regions = scores.argmax(axis=1).reshape(resolution, resolution)
    ax.imshow(
        regions,
        cmap=ListedColormap(colours),
        vmin=-0.5,
        vmax=classes - 0.5,
        alpha=0.3,
        origin="lower",
        extent=extent,
        aspect="auto",
        interpolation="nearest",
    )
    for k in range(classes if classes > 2 else 1):
        # the lead of class k over the best of the others is 0 on its border; this line is smoother than the pixels
        lead = scores[:, k] - np.delete(scores, k, axis=1).max(axis=1)
        if lead.min() < 0 < lead.max():
            lead = lead.reshape(resolution, resolution)
            ax.contour(horizontal, vertical, lead, levels=[0.0], colors=ink(), linewidths=1.2)
    for k in np.unique(labels):
        chosen = points[labels == k]
        ax.scatter(
            chosen[:, 0],
            chosen[:, 1],
            s=24,
            color=colours[k],
            edgecolors="white",
            linewidths=0.6,
            label=f"class {k}",
            zorder=3,
        )
    label(ax, "Decision boundary", "x[:, 0]", "x[:, 1]", bare=False)
    ax.set(xlim=extent[:2], ylim=extent[2:])
    if classes <= 10:
        ax.legend(loc="best", framealpha=0.85, handletextpad=0.2, borderpad=0.3)
    return ax


def _labels(y: npt.ArrayLike, samples: int, classes: int) -> npt.NDArray[np.int64]:
    """Class numbers (N,) from labels (N,) or (N, 1), or from one-hot rows (N, K)."""
    array = np.asarray(y)
    if array.shape == (samples, classes) and classes > 1:
        return np.asarray(array.argmax(axis=1), dtype=np.int64)
    if array.shape not in ((samples,), (samples, 1)):
        wanted = f"({samples},), ({samples}, 1) or one-hot ({samples}, {classes})"
        raise ValueError(f"y must have shape {wanted}, a label for each row of x; got {array.shape}")
    labels = gate.real_array(array.reshape(samples), "y", axes=1)
    if not np.isin(labels, np.arange(classes)).all():
        raise ValueError(f"y must hold classes 0 … {classes - 1}, as the net has, got {np.unique(labels)}")
    return labels.astype(np.int64)

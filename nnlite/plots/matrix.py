"""The matrix of true and predicted classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .. import gate
from .common import INK, label, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FEW = 12  # classes, up to which zeros are written, too
SIDE = 3.4, 0.25, 12.0  # inches: of the matrix at least, of a cell, and of the matrix at most


def confusion_matrix(matrix: npt.ArrayLike, labels: Sequence[Any] | None = None, ax: Axes | None = None) -> Axes:
    """How often each true class (row) was predicted as each class (column). A larger part of its row is darker.

    Without `ax`, the picture grows with the number of classes. Zeros of more than twelve classes are left out.

    matrix: (K, K) counts, the right answers on the diagonal; labels: K names, 0 … K − 1 when None.
    """
    counts = gate.real_array(matrix, "matrix")  # (K, K)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or not counts.size:
        made = "nl.metrics.confusion_matrix(prediction, y) makes it"
        raise ValueError(f"matrix must be square, true classes by predicted ones, got shape {counts.shape}; {made}")
    if not np.isfinite(counts).all() or counts.min() < 0:
        raise ValueError("matrix must hold counts: finite and not negative")
    classes = len(counts)
    names = [str(name) for name in (range(classes) if labels is None else labels)]
    if len(names) != classes:
        raise ValueError(f"labels must name the {classes} classes of the matrix, got {len(names)} labels")

    own, (least, wide, most) = ax is None, SIDE
    ax = new_axes(ax, (5.2, 4.4))
    given = 0.85 * min(ax.bbox.size) / ax.figure.dpi  # inches, without what is written around it
    side = min(max(least, wide * classes), most) if own else given
    cell = 72 * side / classes  # points
    total = counts.sum(axis=1, keepdims=True)  # (K, 1)
    part = np.divide(counts, total, out=np.zeros_like(counts), where=total > 0)  # (K, K)
    ax.imshow(part, cmap="Blues", vmin=0, vmax=1)
    whole = (counts == np.round(counts)).all()
    texts = [[f"{count:.0f}" if whole else f"{count:.2f}" for count in row] for row in counts]
    longest = max(len(text) for row in texts for text in row)
    size = min(11, 0.7 * cell, 1.45 * cell / longest)  # points, as high and as wide as a cell allows
    for (row, column), count in np.ndenumerate(counts):
        if not count and classes > FEW:
            continue
        dark = part[row, column] > 0.5
        colour = "white" if dark else INK if count else "#A0A0A0"
        ax.text(column, row, texts[row][column], ha="center", va="center", color=colour, fontsize=size)
    right = f": {100 * np.trace(counts) / counts.sum():.1f} % right" if counts.any() else ""
    label(ax, f"Confusion matrix{right}", "predicted class", "true class", bare=False)
    level = max(map(len, names)) <= max(1, 40 / classes, cell / 6)  # a letter takes some 6 points
    slanted = not level and cell >= 17  # in narrower columns, names at 45 degrees would overlap
    size = min(10, 0.85 * cell)
    turned: dict[str, Any] = {"rotation": 0 if level else 45 if slanted else 90, "ha": "right" if slanted else "center"}
    ax.set_xticks(range(classes), names, fontsize=size, **turned)
    ax.set_yticks(range(classes), names, fontsize=size)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    if own:
        _fit(ax, side)
    return ax


def _fit(ax: Axes, side: float) -> None:
    """Make the figure as large as a matrix of so many inches, and what is written around it, need."""
    figure: Any = ax.figure
    whole, matrix = (np.array(box.size) for box in (ax.get_tightbbox(), ax.get_window_extent()) if box)  # pixels
    figure.set_size_inches(side + 0.1 + (whole - matrix) / figure.dpi)
    figure.draw_without_rendering()  # the layout comes nearer to its end with each drawing

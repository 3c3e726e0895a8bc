"""Pictures of what a network has learned from a table. Each is drawn on `ax`, or on a new figure; returns the Axes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import gate
from ..plots.common import COLOURS, INK, label, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_BARS = 20


def predicted_against_true(prediction: Any, y: Any, ax: Axes | None = None) -> Axes:
    """A point for each row: the true number to the right, the predicted one upwards; on the line, both are equal.

    prediction, y: (N,) or (N, 1)
    """
    predicted = gate.real_array(np.reshape(prediction, -1), "prediction", axes=1)  # (N,)
    true = gate.real_array(np.reshape(y, -1), "y", axes=1)  # (N,)
    if len(predicted) != len(true) or not len(true):
        raise ValueError(f"prediction and y must have equally many rows, one or more: {len(predicted)}, {len(true)}")
    ax = new_axes(ax)
    ends = [min(true.min(), predicted.min()), max(true.max(), predicted.max())]
    ax.plot(ends, ends, color=INK, linewidth=1)
    ax.scatter(true, predicted, s=14, alpha=0.5, color=COLOURS[0], linewidths=0)
    label(ax, "Predicted against true", "true", "predicted")
    return ax


def importance(drops: Mapping[str, float], score: str = "score", ax: Axes | None = None) -> Axes:
    """A bar for each column: how much the score falls if its values are exchanged among the rows.

    drops: name of a column -> by how much; the largest are drawn.
    """
    if not drops:
        raise ValueError("drops must name a column or more")
    ax = new_axes(ax)
    chosen = sorted(drops.items(), key=lambda item: -item[1])[:MOST_BARS][::-1]
    names = [name if len(name) <= 24 else name[:23] + "…" for name, _ in chosen]
    places = range(len(chosen))
    ax.barh(places, [drop for _, drop in chosen], color=COLOURS[0])
    ax.set_yticks(places, [name.replace("$", r"\$") for name in names], fontsize=8)
    label(ax, "Permutation importance", f"{score} lost when the column is shuffled", "")
    return ax

"""One step of training as a picture: the outputs, errors and weights of a small network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from .common import COLOURS, INK, SIGNED, ink, largest_of, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_LABELS = 16  # of the weights between two columns; more would cover each other
ERROR = COLOURS[3]
WIDE, BESIDE = 2.4, 1.3  # the distance of two columns, with and without weights between them


class Column(Protocol):
    """A layer of an explained step: `explanation.layers` are such objects."""

    @property
    def name(self) -> str: ...
    @property
    def outputs(self) -> Sequence[str]: ...
    @property
    def errors(self) -> Sequence[str]: ...
    @property
    def weights(self) -> Any: ...
    @property
    def labels(self) -> Sequence[Sequence[str]]: ...


def step(columns: Sequence[Column], loss: str, ax: Axes | None = None) -> Axes:
    """The first row of an explained step: in each unit its output, below it in orange the gradient of the loss for it.

    On each line is the weight, and what the step makes of it; red above zero, blue below. `trainer.explain_step(x, y)`
    returns an explanation, whose `plot` calls this with its layers and its loss.
    """
    import matplotlib
    from matplotlib.colors import Normalize

    places, tallest = [0.0], max(len(column.outputs) for column in columns)
    for column in columns[1:]:
        places.append(places[-1] + (BESIDE if column.weights is None else WIDE))
    ax = new_axes(ax, (2.2 + 1.5 * places[-1], 0.8 + 0.95 * tallest))
    every = [np.ravel(column.weights) for column in columns if column.weights is not None]
    largest = largest_of(np.concatenate(every)) if every else 1.0
    colour_of = matplotlib.colormaps[SIGNED]
    scale = Normalize(-1.4 * largest, 1.4 * largest)

    heights = [[(len(column.outputs) - 1) / 2 - i for i in range(len(column.outputs))] for column in columns]
    for k in range(1, len(columns)):
        column, left, right = columns[k], heights[k - 1], heights[k]
        ends = places[k - 1] + 0.27, places[k] - 0.27
        for i, low in enumerate(left):
            for j, high in enumerate(right):
                if column.weights is None:
                    if i == j or len(left) != len(right):
                        ax.plot(ends, [low, high], color="#BBBBBB", linewidth=1, zorder=0)
                    continue
                strength = float(column.weights[i, j])
                colour = colour_of(scale(strength + np.copysign(0.4 * largest, strength)))
                ax.plot(ends, [low, high], color=colour, linewidth=0.6 + 2.2 * abs(strength) / largest, zorder=0)
                if column.weights.size <= MOST_LABELS:
                    # where the lines that leave, or reach, one unit are far enough from each other
                    part = 0.3 + 0.4 * i / max(len(left) - 1, 1) if len(left) <= len(right) else 0.25 + 0.2 * j
                    at = ends[0] + part * (ends[1] - ends[0]), low + part * (high - low)
                    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 0.6}
                    text = column.labels[i][j]
                    ax.text(*at, text, ha="center", va="center", fontsize=6.5, color=INK, bbox=box, zorder=2)
    for column, place, levels in zip(columns, places, heights):
        for i, level in enumerate(levels):
            box = {"boxstyle": "round,pad=0.45", "facecolor": "white", "edgecolor": INK}
            ax.text(
                place, level, column.outputs[i], ha="center", va="center", fontsize=8, color=INK, bbox=box, zorder=3
            )
            if column.errors:
                ax.text(place, level - 0.25, column.errors[i], ha="center", va="top", fontsize=7, color=ERROR, zorder=3)
        ax.text(place, tallest / 2 + 0.05, column.name, ha="center", va="bottom", fontweight="bold", color=ink())
    ax.text(places[-1] + 0.45, 0, f"loss\n{loss}", ha="left", va="center", color=ink())
    ax.set(xlim=(-0.5, places[-1] + 1.1), ylim=(-tallest / 2 - 0.1, tallest / 2 + 0.3))
    ax.set_axis_off()
    ax.set_title("One step: outputs, their errors (orange), and weights → after the step", fontsize=9)
    return ax

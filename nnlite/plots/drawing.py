"""A network as circles and lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .common import SIGNED, colour_bar, ink, largest_of, matrices_of, network_of, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HIGHEST = 9  # units at full distance; the circles of a larger layer are smaller, and lie closer
MOST_CIRCLES = 64  # a layer with more units is drawn with a gap
AROUND_A_GAP = 8  # units above, and below, a gap


def network(net: Any, ax: Axes | None = None) -> Axes:
    """The net as columns of circles. A line is a weight: red above zero, blue below, thicker when larger.

    A circle is a unit, in the colour of its bias. Below a column are its number of units and its layers. A layer of
    more than 64 units is drawn with a gap; "… 784" under it says how many it has.
    """
    net = network_of(net)
    matrices = matrices_of(net)  # layer index -> W (inputs, outputs)
    if not matrices:
        raise ValueError("net has no Dense layer to draw; give a net such as nl.mlp([2, 3, 1])")

    import matplotlib
    from matplotlib.cm import ScalarMappable
    from matplotlib.collections import LineCollection
    from matplotlib.colors import Normalize

    sizes = [len(next(iter(matrices.values())))] + [W.shape[1] for W in matrices.values()]
    names = [["input"]] + [[type(net.layers[i]).__name__] for i in matrices]
    for i, layer in enumerate(net.layers):
        if i not in matrices:  # an activation stands under the layer that it follows
            names[sum(dense < i for dense in matrices)].append(type(layer).__name__)
    state = net.state_dict()
    biases = [np.asarray(state.get(f"{i}.b", np.zeros(W.shape[1])), np.float64) for i, W in matrices.items()]

    columns = [_column(size) for size in sizes]  # which units are drawn, and how high
    segments, values = [], []
    for column, W in enumerate(matrices.values()):
        (left, left_heights), (right, right_heights) = columns[column : column + 2]
        for i, from_height in zip(left, left_heights, strict=True):
            for j, to_height in zip(right, right_heights, strict=True):
                segments.append([(column, from_height), (column + 1, to_height)])
                values.append(W[i, j])
    strengths = np.array(values)
    largest = largest_of(np.concatenate([strengths, *biases]))
    order = np.argsort(np.abs(strengths))  # strong weights are drawn over weak ones
    parts = np.nan_to_num(np.abs(strengths[order]) / largest_of(strengths))
    crowded = len(segments) > 100  # where weak lines would cover all others

    bottom = min(heights[-1] for _, heights in columns)
    lowest = bottom - 1.3 - 0.75 * max(map(len, names))
    ax = new_axes(ax, (1.5 + 1.5 * len(sizes), 0.7 + 0.34 * (-bottom - lowest)))
    scale = Normalize(-largest, largest)
    lines = LineCollection(
        [segments[i] for i in order],
        array=strengths[order],
        cmap=SIGNED,
        norm=scale,
        linewidths=(0.4 + 2.6 * parts) / (1 + crowded),
        alpha=np.clip(parts, 0.08, 1) if crowded else None,
        zorder=1,
    )
    ax.add_collection(lines)
    for column, (size, (shown, heights)) in enumerate(zip(sizes, columns, strict=True)):
        colours: Any = "white"
        if column:
            colours = matplotlib.colormaps[SIGNED](scale(biases[column - 1][shown]))  # (shown, 4)
        distance = heights[0] - heights[1] if len(heights) > 1 else 1.0
        ax.scatter(
            [column] * len(shown),
            heights,
            s=170 * min(1, 2 * distance) ** 2,
            color=colours,
            edgecolors=ink(),
            linewidths=1.2 if distance > 0.5 else 0.7,
            zorder=2,
        )
        if len(shown) < size:
            ax.text(column, 0, "⋮", ha="center", va="center", fontsize=16, color=ink())
        text = f"… {size}" if len(shown) < size else str(size)
        ax.text(column, bottom - 0.7, text, ha="center", va="top", fontweight="bold", color=ink())
        ax.text(column, bottom - 1.3, "\n".join(names[column]), ha="center", va="top", color=ink(), linespacing=1.3)
    ax.set(xlim=(-0.45, len(sizes) - 0.55), ylim=(lowest, -bottom + 0.6))
    ax.set_axis_off()
    ax.set_title("Network: " + "-".join(str(size) for size in sizes))
    colour_bar(ax, ScalarMappable(scale, SIGNED), "weight, bias")
    return ax


def _column(size: int) -> tuple[list[int], list[float]]:
    """The units of a layer that are drawn, and their heights, centred on 0. The middle of a long layer is left out."""
    if size <= MOST_CIRCLES:
        distance = min(1.0, HIGHEST / max(size - 1, 1))
        return list(range(size)), [distance * ((size - 1) / 2 - i) for i in range(size)]
    half, distance = AROUND_A_GAP, HIGHEST / (2 * AROUND_A_GAP + 1)
    heights = [HIGHEST / 2 - distance * i for i in range(half)]
    return [*range(half), *range(size - half, size)], heights + [-height for height in reversed(heights)]

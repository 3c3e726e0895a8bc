"""What the units of a layer look for."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .. import gate
from .common import SIGNED, colour_bar, label, largest_of, matrices_of, network_of, new_axes, whole_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes


MOST_PICTURES = 100  # no more units than this are drawn


def weights(net: Any, layer: int = 0, ax: Axes | None = None, shape: tuple[int, int] | None = None) -> Axes:
    """What the units of a Dense layer look for: a small picture for each unit shows its incoming weights.

    `layer` counts as in net.layers. The pictures have `shape` (height, width); without it they are square if
    the inputs make a square of at least 3 x 3 (784 = 28 x 28), else the matrix W (inputs, outputs) is drawn.
    """
    net = network_of(net)
    matrices = matrices_of(net)
    if gate.integer(layer, "layer", least=0) not in matrices:
        raise ValueError(f"layer must be the index of a Dense layer, one of {list(matrices)}, got {layer!r}")
    W = matrices[layer]  # (inputs, outputs)
    inputs, outputs = W.shape
    if shape is None:
        side = math.isqrt(inputs)
        shape = (side, side) if side >= 3 and side * side == inputs else None
    elif len(shape) != 2 or min(shape) < 1 or shape[0] * shape[1] != inputs:
        raise ValueError(f"shape must be (height, width) of {inputs} inputs together, got {shape!r}")

    import matplotlib

    ax = new_axes(ax)
    largest = largest_of(W)
    if shape is None:
        picture = W
        label(ax, f"Weights of layer {layer}", "unit", "input", bare=False)
        whole_ticks(ax.xaxis)
        whole_ticks(ax.yaxis)
    else:
        shown = min(outputs, MOST_PICTURES)
        picture = _tiles(W[:, :shown].T.reshape(shown, *shape))
        count = f"{outputs} units" if shown == outputs else f"the first {shown} of {outputs} units"
        ax.set_title(f"Weights into {count} of layer {layer}")
        ax.set_axis_off()
    image = ax.imshow(
        picture,
        cmap=matplotlib.colormaps[SIGNED].with_extremes(bad="#D8D8D8"),
        vmin=-largest,
        vmax=largest,
        interpolation="nearest",
        aspect="auto" if shape is None else "equal",
    )
    colour_bar(ax, image, "weight")
    return ax


def _tiles(pictures: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Pictures (count, height, width) on one nearly square sheet, nan between them."""
    count, height, width = pictures.shape
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    gap = max(1, min(height, width) // 10)
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap), np.nan)
    for i, picture in enumerate(pictures):
        top, left = i // columns * (height + gap), i % columns * (width + gap)
        sheet[top : top + height, left : left + width] = picture
    return sheet

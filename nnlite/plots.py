"""Pictures: every function draws one thing on one Axes and returns it, so that pictures combine freely.

Give `ax` to draw into a picture of your own; without it a new figure is made. No screen is needed, and
matplotlib is imported only when something is drawn. Colour-blind readers can tell the colours apart too
(Okabe and Ito, 2008). In every picture, a weight is red above zero and blue below.

N = number of samples, K = number of outputs
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from . import gate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

__all__ = [
    "COLOURS",
    "activations",
    "confusion_matrix",
    "decision_boundary",
    "descent",
    "history",
    "network",
    "range_test",
    "weights",
]

# Okabe, M., Ito, K.: Color Universal Design, 2008, https://jfly.uni-koeln.de/color/ (yellow is last, as it is pale)
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#7F7F7F", "#F0E442")
INK = "#333333"
SIGNED = "RdBu_r"  # red above zero, white at zero, blue below

MOST_CIRCLES = 8  # a layer with more units is drawn with a gap
MOST_PICTURES = 100  # weights() draws no more units than this
TOO_FAR = 1e100  # matplotlib multiplies coordinates; beyond this its arithmetic overflows


class Tested(Protocol):
    """What `range_test` draws, such as nl.lr_range_test returns it."""

    @property
    def rates(self) -> npt.NDArray[np.float64]:
        """(steps,)."""

    @property
    def losses(self) -> npt.NDArray[np.float64]:
        """(steps,)."""

    @property
    def smooth(self) -> npt.NDArray[np.float64]:
        """(steps,)."""

    @property
    def suggestion(self) -> float:
        """A learning rate."""


class Walk(Protocol):
    """The path that `descent` draws, such as nl.gradient_descent returns it."""

    @property
    def points(self) -> npt.NDArray[np.float64]:
        """(steps + 1,) or (steps + 1, d)."""

    def values(self, f: Any) -> npt.NDArray[np.float64]:
        """J at each of the points, (steps + 1,)."""


def history(history: Mapping[str, Sequence[float]], ax: Axes | None = None) -> Axes:
    """Training curves: losses on the left axis, every other metric on the right, validation ("val_…") dashed.

    history: name -> one float per epoch, as Trainer.fit returns it. The losses get a logarithmic axis when
    they are positive and span more than two decades.
    """
    if not isinstance(history, Mapping):
        raise TypeError(f"history must map names to lists of floats, as fit returns it, not {history!r}")
    curves = {name: gate.real_array(values, f"history[{name!r}]", axes=1) for name, values in history.items()}
    curves = {name: values for name, values in curves.items() if values.size}
    if not curves:
        raise ValueError("history holds no epochs: train first, trainer.fit(x, y, epochs=...)")

    # names without "val_": a metric and its validation share a colour
    plain = list(dict.fromkeys(_without_val(name) for name in curves))
    losses = [name for name in plain if name == "loss" or name.endswith("_loss")]
    metrics = [name for name in plain if name not in losses]
    colours = dict(zip(losses + metrics, _colours(len(plain)), strict=True))

    ax = _axes(ax)
    right = ax.twinx() if losses and metrics else ax
    # a single epoch has only dots; the dots of the losses are larger, so that they show behind the others
    single = max(map(len, curves.values())) == 1
    lines = []
    for name in sorted(curves, key=lambda name: (plain.index(_without_val(name)), name.startswith("val_"))):
        base, values = _without_val(name), curves[name]
        line = (ax if base in losses else right).plot(
            np.arange(1, len(values) + 1),
            values,
            color=colours[base],
            linestyle="--" if name.startswith("val_") else "-",
            linewidth=1.8,
            # a line needs two points, a marker only one
            marker="o" if np.isfinite(values).sum() <= 20 else None,
            markersize=10 if single and base in losses else 4,
            fillstyle="none" if name.startswith("val_") else "full",
            label=name.replace("_", " "),
        )
        lines += line

    if losses:
        seen = np.concatenate([curves[name] for name in curves if _without_val(name) in losses])
        seen = seen[np.isfinite(seen)]
        if seen.size and seen.min() > 0 and seen.max() > 100 * seen.min():
            ax.set_yscale("log")
    _label(ax, "", "epoch", " / ".join(name.replace("_", " ") for name in losses or metrics))
    if right is not ax:
        right.set_ylabel(" / ".join(name.replace("_", " ") for name in metrics))
        right.spines["top"].set_visible(False)
        right.spines["right"].set_visible(True)
    _whole_ticks(ax.xaxis)
    if single:
        ax.set_xlim(0.5, 1.5)
        right.margins(y=0.3)  # unlike on the left, or both pairs of dots would lie at the same heights
    # above the axes, where no curve can run under it
    columns = min(4, len(lines))
    ax.legend(handles=lines, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=columns, frameon=False)
    ax.set_title("Training history", pad=12 + 16 * math.ceil(len(lines) / columns))
    return ax


def range_test(found: Tested, ax: Axes | None = None) -> Axes:
    """The loss over the learning rate, of each batch and smoothed, with the rate that is suggested.

    The loss is cut off where it is far above the one at the lowest rates.
    """
    ax = _axes(ax)
    ax.plot(found.rates, found.losses, ".", color=COLOURS[5], markersize=4, label="of each batch")
    ax.plot(found.rates, found.smooth, color=COLOURS[0], linewidth=1.8, label="smoothed")
    ax.axvline(found.suggestion, color=COLOURS[3], linestyle="--", label=f"suggestion {found.suggestion:.2g}")
    ax.set_xscale("log")
    low, start = found.losses.min(), found.smooth[: found.smooth.argmin() + 1].max()
    ax.set_ylim(low - 0.15 * (start - low or 1.0), start + 0.5 * (start - low or 1.0))
    _label(ax, "Learning-rate range test", "learning rate", "loss")
    ax.legend(frameon=False)
    return ax


def decision_boundary(
    net: Any, x: npt.ArrayLike, y: npt.ArrayLike, ax: Axes | None = None, resolution: int = 200
) -> Axes:
    """The class that the net predicts at each point of the plane, and the samples that it should classify.

    x: (N, 2); y: labels (N,) or (N, 1), or one-hot (N, K). With one output, the class is 1 above 0.5; with K
    outputs, it is that of the largest one. `resolution` is the number of points predicted along each axis.
    """
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

    ax = _axes(ax)
    colours = _colours(classes)
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
            ax.contour(horizontal, vertical, lead, levels=[0.0], colors=INK, linewidths=1.2)
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
    _label(ax, "Decision boundary", "x[:, 0]", "x[:, 1]", bare=False)
    ax.set(xlim=extent[:2], ylim=extent[2:])
    if classes <= 10:
        ax.legend(loc="best", framealpha=0.85, handletextpad=0.2, borderpad=0.3)
    return ax


def network(net: Any, ax: Axes | None = None) -> Axes:
    """The net as columns of circles: a line is a weight, red above zero, blue below, thicker when larger.

    A layer of many units is drawn with a gap; "… 784" under it says how many units it has.
    """
    matrices = _matrices(net)  # layer index -> W (inputs, outputs)
    if not matrices:
        raise ValueError("net has no Dense layer to draw; give a net such as nl.mlp([2, 3, 1])")

    from matplotlib.collections import LineCollection
    from matplotlib.colors import Normalize

    sizes = [len(next(iter(matrices.values())))] + [W.shape[1] for W in matrices.values()]
    names = [["input"]] + [[type(net.layers[i]).__name__] for i in matrices]
    for i, layer in enumerate(net.layers):
        if i not in matrices:  # an activation stands under the layer that it follows
            names[sum(dense < i for dense in matrices)].append(type(layer).__name__)

    columns = [_column(size) for size in sizes]  # which units are drawn, and how high
    segments, values = [], []
    for column, W in enumerate(matrices.values()):
        (left, left_heights), (right, right_heights) = columns[column : column + 2]
        for i, from_height in zip(left, left_heights, strict=True):
            for j, to_height in zip(right, right_heights, strict=True):
                segments.append([(column, from_height), (column + 1, to_height)])
                values.append(W[i, j])
    strengths = np.array(values)
    largest = _largest(strengths)
    order = np.argsort(np.abs(strengths))  # strong weights are drawn over weak ones

    bottom = min(heights[-1] for _, heights in columns)
    lowest = bottom - 1.3 - 0.75 * max(map(len, names))
    ax = _axes(ax, (1.5 + 1.5 * len(sizes), 0.7 + 0.34 * (-bottom - lowest)))
    lines = LineCollection(
        [segments[i] for i in order],
        array=strengths[order],
        cmap=SIGNED,
        norm=Normalize(-largest, largest),
        linewidths=0.4 + 2.6 * np.nan_to_num(np.abs(strengths[order]) / largest),
        zorder=1,
    )
    ax.add_collection(lines)
    for column, (size, (shown, heights)) in enumerate(zip(sizes, columns, strict=True)):
        ax.scatter([column] * len(shown), heights, s=170, color="white", edgecolors=INK, linewidths=1.2, zorder=2)
        if len(shown) < size:
            ax.text(column, 0, "⋮", ha="center", va="center", fontsize=16, color=INK)
        text = f"… {size}" if len(shown) < size else str(size)
        ax.text(column, bottom - 0.7, text, ha="center", va="top", fontweight="bold", color=INK)
        ax.text(column, bottom - 1.3, "\n".join(names[column]), ha="center", va="top", color=INK, linespacing=1.3)
    ax.set(xlim=(-0.45, len(sizes) - 0.55), ylim=(lowest, -bottom + 0.6))
    ax.set_axis_off()
    ax.set_title("Network: " + "-".join(str(size) for size in sizes))
    _colour_bar(ax, lines, "weight")
    return ax


def weights(net: Any, layer: int = 0, ax: Axes | None = None, shape: tuple[int, int] | None = None) -> Axes:
    """What the units of a Dense layer look for: a small picture for each unit shows its incoming weights.

    `layer` counts as in net.layers. The pictures have `shape` (height, width); without it they are square if
    the inputs make a square of at least 3 x 3 (784 = 28 x 28), else the matrix W (inputs, outputs) is drawn.
    """
    matrices = _matrices(net)
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

    ax = _axes(ax)
    largest = _largest(W)
    if shape is None:
        picture = W
        _label(ax, f"Weights of layer {layer}", "unit", "input", bare=False)
        _whole_ticks(ax.xaxis)
        _whole_ticks(ax.yaxis)
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
    _colour_bar(ax, image, "weight")
    return ax


def confusion_matrix(matrix: npt.ArrayLike, labels: Sequence[Any] | None = None, ax: Axes | None = None) -> Axes:
    """How often each true class (row) was predicted as each class (column). A larger part of its row is darker.

    matrix: (K, K) counts, the right answers on the diagonal; labels: K names, 0 … K − 1 when None.
    """
    counts = gate.real_array(matrix, "matrix", axes=2)  # (K, K)
    if counts.shape[0] != counts.shape[1] or not counts.size:
        raise ValueError(f"matrix must be square, true classes by predicted ones, got shape {counts.shape}")
    if not np.isfinite(counts).all() or counts.min() < 0:
        raise ValueError("matrix must hold counts: finite and not negative")
    classes = len(counts)
    names = [str(name) for name in (range(classes) if labels is None else labels)]
    if len(names) != classes:
        raise ValueError(f"labels must name the {classes} classes of the matrix, got {len(names)} labels")

    ax = _axes(ax, (5.2, 4.4))
    total = counts.sum(axis=1, keepdims=True)  # (K, 1)
    part = np.divide(counts, total, out=np.zeros_like(counts), where=total > 0)  # (K, K)
    ax.imshow(part, cmap="Blues", vmin=0, vmax=1)
    whole = (counts == np.round(counts)).all()
    texts = [[f"{count:.0f}" if whole else f"{count:.2f}" for count in row] for row in counts]
    longest = max(len(text) for row in texts for text in row)
    size = min(11, 170 / classes, 355 / (classes * longest))  # points, as high and as wide as a cell allows
    for (row, column), count in np.ndenumerate(counts):
        dark = part[row, column] > 0.5
        colour = "white" if dark else INK if count else "#A0A0A0"
        ax.text(column, row, texts[row][column], ha="center", va="center", color=colour, fontsize=size)
    right = f": {100 * np.trace(counts) / counts.sum():.1f} % right" if counts.any() else ""
    _label(ax, f"Confusion matrix{right}", "predicted class", "true class", bare=False)
    slanted = max(map(len, names)) > max(1, 40 // classes)
    ax.set_xticks(range(classes), names, rotation=45 if slanted else 0, ha="right" if slanted else "center")
    ax.set_yticks(range(classes), names)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return ax


def activations(
    names: str | Sequence[str] | Mapping[str, Sequence[npt.ArrayLike]] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Activation functions f(z), solid, and their derivatives f′(z), dashed in the same colour.

    names: one name or several, such as ["sigmoid", "tanh"]; or arrays: name -> (z, value, derivative).
    """
    if names is None:
        names = ("sigmoid", "tanh", "relu", "softplus")
    if not isinstance(names, Mapping):
        names = {name: _activation_curve(name) for name in ([names] if isinstance(names, str) else names)}
    if not names:
        raise ValueError('names must hold a function or more, such as ["sigmoid", "tanh"]')

    from matplotlib.lines import Line2D

    curves = {}
    for name, arrays in names.items():
        if len(arrays) != 3:
            raise ValueError(f"names[{name!r}] must be (z, value, derivative), got {len(arrays)} arrays")
        z, value, derivative = (gate.real_array(array, f"names[{name!r}]", axes=1) for array in arrays)
        if not z.shape == value.shape == derivative.shape:
            shapes = f"{z.shape}, {value.shape}, {derivative.shape}"
            raise ValueError(f"names[{name!r}]: z, value and derivative must have one shape, got {shapes}")
        curves[name] = z, value, derivative

    ax = _axes(ax)
    ax.axhline(0, color="#BBBBBB", linewidth=0.8, zorder=0)
    ax.axvline(0, color="#BBBBBB", linewidth=0.8, zorder=0)
    for colour, (name, (z, value, derivative)) in zip(_colours(len(curves)), curves.items(), strict=True):
        ax.plot(z, value, color=colour, linewidth=2, label=name)
        ax.plot(z, derivative, color=colour, linewidth=1.4, linestyle=(0, (4, 2)), label="_derivative of " + name)
    _label(ax, "Activations and their derivatives", "z", "f(z),  f′(z)")
    handles, _ = ax.get_legend_handles_labels()
    handles.append(Line2D([], [], color=INK, linewidth=1.4, linestyle=(0, (4, 2)), label="derivative"))
    ax.legend(handles=handles, loc="best", frameon=False)
    return ax


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
    ax = _axes(ax)
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
        _label(ax, title, "θ", "J(θ)")
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
        _label(ax, title, "θ[0]", "θ[1]", bare=False)
        if np.ptp(across) < 2 * np.ptp(up) < 4 * np.ptp(across):
            ax.set_aspect("equal")  # a round bowl looks round, unless that makes a thin strip of the picture
        place = _free_corner((path - [across[0], up[0]]) / [np.ptp(across), np.ptp(up)])
    ax.legend(loc=place, framealpha=0.85, borderpad=0.3)
    return ax


# --- what the pictures share ---


def _axes(ax: Axes | None, size: tuple[float, float] = (5.2, 3.9)) -> Axes:
    """The caller's Axes, or new ones: a small picture with many dots per inch, legible at half size."""
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=size, dpi=160, layout="constrained")[1]


def _label(ax: Axes, title: str, xlabel: str, ylabel: str, bare: bool = True) -> None:
    ax.set(title=title, xlabel=xlabel, ylabel=ylabel)
    if bare:
        ax.spines[["top", "right"]].set_visible(False)


def _whole_ticks(axis: Axis) -> None:
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def _colour_bar(ax: Axes, drawn: Any, label: str) -> None:
    bar = ax.figure.colorbar(drawn, ax=ax, shrink=0.7, pad=0.02, label=label)
    bar.outline.set_visible(False)


def _colours(count: int) -> list[str]:
    """`count` colours: the eight that are easily told apart, or, for more, colours from the map turbo."""
    if count <= len(COLOURS):
        return list(COLOURS[:count])
    import matplotlib
    from matplotlib.colors import to_hex

    return [to_hex(matplotlib.colormaps["turbo"](k / count)) for k in range(count)]


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


def _matrices(net: Any) -> dict[int, npt.NDArray[np.float64]]:
    """Layer index -> W (inputs, outputs) of each Dense layer; state_dict() copies it from a GPU."""
    state = net.state_dict()
    dense = [i for i, layer in enumerate(net.layers) if hasattr(layer, "inputs") and f"{i}.W" in state]
    return {i: gate.real_array(state[f"{i}.W"], f"state_dict()['{i}.W']", axes=2) for i in dense}


def _largest(values: npt.NDArray[np.float64]) -> float:
    """The end of a symmetric colour scale; 1 if all weights are zero, because a scale needs a length."""
    finite = np.abs(values[np.isfinite(values)])
    return float(finite.max(initial=0.0)) or 1.0


def _column(size: int) -> tuple[list[int], list[float]]:
    """The units of a layer that are drawn, and their heights, centred on 0. The middle of a long layer is left out."""
    if size <= MOST_CIRCLES:
        return list(range(size)), [(size - 1) / 2 - i for i in range(size)]
    half = MOST_CIRCLES // 2 - 1
    heights = [half + 0.25 - i for i in range(half)]
    return [*range(half), *range(size - half, size)], heights + [-height for height in reversed(heights)]


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


def _activation_curve(name: str) -> tuple[npt.NDArray[np.float64], ...]:
    from .activations import activation

    if name == "softmax":
        raise ValueError("softmax has no curve: each of its outputs depends on all inputs of the row")
    layer = activation(name)
    z = np.linspace(-4, 4, 401)[:, None]  # (401, 1)
    value = np.asarray(layer.forward(z))  # (401, 1)
    derivative = np.asarray(layer.backward(np.ones_like(value)))  # (401, 1): backward of ones is f′
    return z[:, 0], value[:, 0], derivative[:, 0]


def _free_corner(path: npt.NDArray[np.float64]) -> str:
    """The corner of the unit square farthest from a path (steps, 2); legend's "best" ignores contours."""
    corners = {"upper right": (1, 1), "upper left": (0, 1), "lower right": (1, 0), "lower left": (0, 0)}
    return max(corners, key=lambda name: float(np.abs(path - corners[name]).max(axis=1).min()))


def _height(f: Any, theta: Any) -> float:
    with np.errstate(all="ignore"):
        height = float(f(theta))
    return height if abs(height) < TOO_FAR else math.nan


def _without_val(name: str) -> str:
    return name.removeprefix("val_")

"""The curves of a training: losses and metrics over the epochs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from .. import gate
from .common import colours_for, label, new_axes, whole_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROOM = 72  # characters beside one another, for which a new picture has room
HANDLE = 8  # of them, for the line beside a name in the legend


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
    colours = dict(zip(losses + metrics, colours_for(len(plain)), strict=True))

    ordered = sorted(curves, key=lambda name: (plain.index(_without_val(name)), name.startswith("val_")))
    columns = _columns(ordered)
    rows = math.ceil(len(ordered) / columns)
    ax = new_axes(ax, (5.2, 3.9 + 0.2 * max(rows - 2, 0)))
    right = ax.twinx() if losses and metrics else ax
    # a single epoch has only dots; the dots of the losses are larger, so that they show behind the others
    single = max(map(len, curves.values())) == 1
    lines = []
    for name in ordered:
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
    label(ax, "", "epoch", _together(losses, "losses") if losses else _together(metrics, "metrics"))
    if right is not ax:
        right.set_ylabel(_together(metrics, "metrics"))
        right.spines["top"].set_visible(False)
        right.spines["right"].set_visible(True)
    whole_ticks(ax.xaxis)
    if single:
        ax.set_xlim(0.5, 1.5)
        right.margins(y=0.3)  # unlike on the left, or both pairs of dots would lie at the same heights
    # above the axes, where no curve can run under it
    ax.legend(handles=lines, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=columns, frameon=False)
    ax.set_title("Training history", pad=12 + 16 * rows)
    return ax


def _columns(names: Sequence[str]) -> int:
    """The number of columns of the legend, at most four, that have room beside one another."""
    for columns in range(min(4, len(names)), 1, -1):
        if sum(HANDLE + max(map(len, part)) for part in np.array_split(names, columns)) <= ROOM:
            return columns
    return 1


def _together(names: Sequence[str], many: str) -> str:
    """The names of the curves on one axis, or, where these take too much room, what they are."""
    text = " / ".join(name.replace("_", " ") for name in names)
    return text if len(text) <= 40 else many


def _without_val(name: str) -> str:
    return name.removeprefix("val_")

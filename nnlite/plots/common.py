"""What the pictures share: colours, new Axes, labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .. import gate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis


# Okabe, M., Ito, K.: Color Universal Design, 2008, https://jfly.uni-koeln.de/color/ (yellow is last, as it is pale)
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#7F7F7F", "#F0E442")
INK = "#333333"
HOLDERS = tuple(f"{__package__.partition('.')[0]}.{name}" for name in ("trainer", "estimators"))  # of a network
SIGNED = "RdBu_r"  # red above zero, white at zero, blue below


def ink() -> str:
    """The colour of text and lines on the background: INK, or the style's, such as white in dark_background."""
    import matplotlib
    from matplotlib.colors import to_hex

    colour = to_hex(matplotlib.rcParams["text.color"])
    return INK if colour == "#000000" else colour


def new_axes(ax: Axes | None, size: tuple[float, float] = (5.2, 3.9)) -> Axes:
    """The caller's Axes, or new ones: a small picture with many dots per inch, legible at half size."""
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=size, dpi=160, layout="constrained")[1]


def written(ax: Axes, path: Any) -> Axes:
    """The same Axes, whose picture is written to this path if there is one."""
    if path is not None:
        figure: Any = ax.figure
        figure.savefig(path, dpi=150)
    return ax


def label(ax: Axes, title: str, xlabel: str, ylabel: str, bare: bool = True) -> None:
    ax.set(title=title, xlabel=xlabel, ylabel=ylabel)
    if bare:
        ax.spines[["top", "right"]].set_visible(False)


def whole_ticks(axis: Axis) -> None:
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def colour_bar(ax: Axes, drawn: Any, label: str) -> None:
    bar = ax.figure.colorbar(drawn, ax=ax, shrink=0.7, pad=0.02, label=label)
    bar.outline.set_visible(False)


def colours_for(count: int) -> list[str]:
    """`count` colours: the eight that are easily told apart, or, for more, colours from the map turbo."""
    if count <= len(COLOURS):
        return list(COLOURS[:count])
    import matplotlib
    from matplotlib.colors import to_hex

    return [to_hex(matplotlib.colormaps["turbo"](k / count)) for k in range(count)]


def network_of(net: Any) -> Any:
    """A network, or the one of a Trainer or of an estimator; what else predicts is taken as it is."""
    ours = any(kind.__module__.startswith(HOLDERS) for kind in type(net).__mro__)
    return (getattr(net, "network", None) or getattr(net, "network_", net)) if ours else net


def matrices_of(net: Any) -> dict[int, npt.NDArray[np.float64]]:
    """Layer index -> W (inputs, outputs) of each Dense layer; state_dict() copies it from a GPU."""
    state = net.state_dict()
    dense = [i for i, layer in enumerate(net.layers) if hasattr(layer, "inputs") and f"{i}.W" in state]
    return {i: gate.real_array(state[f"{i}.W"], f"state_dict()['{i}.W']", axes=2) for i in dense}


def largest_of(values: npt.NDArray[np.float64]) -> float:
    """The end of a symmetric colour scale; 1 if all weights are zero, because a scale needs a length."""
    finite = np.abs(values[np.isfinite(values)])
    return float(finite.max(initial=0.0)) or 1.0

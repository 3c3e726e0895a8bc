"""The picture of a learning-rate range test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from .common import COLOURS, label, new_axes

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from matplotlib.axes import Axes


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


def range_test(found: Tested, ax: Axes | None = None) -> Axes:
    """The loss over the learning rate, of each batch and smoothed, with the rate that is suggested.

    The loss is cut off where it is far above the one at the lowest rates.
    """
    ax = new_axes(ax)
    ax.plot(found.rates, found.losses, ".", color=COLOURS[5], markersize=4, label="of each batch")
    ax.plot(found.rates, found.smooth, color=COLOURS[0], linewidth=1.8, label="smoothed")
    ax.axvline(found.suggestion, color=COLOURS[3], linestyle="--", label=f"suggestion {found.suggestion:.2g}")
    ax.set_xscale("log")
    low, start = found.losses.min(), found.smooth[: found.smooth.argmin() + 1].max()
    ax.set_ylim(low - 0.15 * (start - low or 1.0), start + 0.5 * (start - low or 1.0))
    label(ax, "Learning-rate range test", "learning rate", "loss")
    ax.legend(framealpha=0.9, edgecolor="none")  # the dashed line may run behind it
    return ax

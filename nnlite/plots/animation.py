"""How a decision boundary moves while a network is trained, as an animated picture (GIF)."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import gate
from .boundary import decision_boundary

HOLD = 1.5  # seconds for which the last frame stays


def animate(
    trainer: Any,
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    path: str | os.PathLike[str],
    epochs: int = 100,
    frames: int = 30,
    seconds: float = 6.0,
    resolution: int = 120,
    **fit: Any,
) -> Any:
    """Train for so many epochs, and write the decision boundary at `frames` of them to `path`, a file name in .gif.

    x: (N, 2); y: classes, as for `decision_boundary`. Further arguments are those of `trainer.fit`, such as batch_size.
    The first frames are closer together, since most happens at the beginning. Returns the history of all epochs; the
    network has been trained as by one fit.
    """
    epochs, frames = gate.integer(epochs, "epochs"), gate.integer(frames, "frames", least=2)
    seconds = gate.number(seconds, "seconds", above=0)
    if not os.fsdecode(path).lower().endswith(".gif"):
        raise ValueError(f"path must end in .gif, got {os.fsdecode(path)!r}")

    from matplotlib.animation import PillowWriter
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.4, 3.6), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    ax: Any = figure.subplots()
    stops = np.unique(np.round(epochs * np.linspace(0, 1, frames) ** 2).astype(int)).tolist()  # from 0 to epochs
    rate: Any = len(stops) / seconds  # frames a second, which need not be whole
    writer, history, text = PillowWriter(fps=rate), None, "before the first epoch"
    decision_boundary(trainer.network, x, y, ax, resolution)  # refuses what cannot be drawn, before a file is begun
    with writer.saving(figure, os.fsdecode(path), dpi=100):
        for before, stop in zip([0, *stops], stops):
            if stop > before:
                part = trainer.fit(x, y, epochs=stop - before, **{"progress": False, **fit})
                if history is None:
                    history = part
                else:
                    history.extend(part)
                text = f"epoch {stop} of {epochs}, loss {part['loss'][-1]:.4f}"
            ax.clear()
            decision_boundary(trainer.network, x, y, ax, resolution).set_title(text)
            writer.grab_frame()
            figure.set_layout_engine("none")  # it stays as it was for the first frame
        for _ in range(round(HOLD * rate)):
            writer.grab_frame()
    return history

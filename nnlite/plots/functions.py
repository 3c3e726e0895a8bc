"""Activation functions and their derivatives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .. import gate
from .common import colours_for, ink, label, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes


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

    ax = new_axes(ax)
    ax.axhline(0, color="#BBBBBB", linewidth=0.8, zorder=0)
    ax.axvline(0, color="#BBBBBB", linewidth=0.8, zorder=0)
    for colour, (name, (z, value, derivative)) in zip(colours_for(len(curves)), curves.items(), strict=True):
        ax.plot(z, value, color=colour, linewidth=2, label=name)
        ax.plot(z, derivative, color=colour, linewidth=1.4, linestyle=(0, (4, 2)), label="_derivative of " + name)
    label(ax, "Activations and their derivatives", "z", "f(z),  f′(z)")
    handles, _ = ax.get_legend_handles_labels()
    handles.append(Line2D([], [], color=ink(), linewidth=1.4, linestyle=(0, (4, 2)), label="derivative"))
    ax.legend(handles=handles, loc="best", frameon=False)
    return ax


def _activation_curve(name: str) -> tuple[npt.NDArray[np.float64], ...]:
    from ..activations import LogSoftmax, Softmax, activation

    layer = activation(name)
    if isinstance(layer, Softmax | LogSoftmax):
        raise ValueError(f"{name} has no curve: each of its outputs depends on all inputs of the row")
    z = np.linspace(-4, 4, 401)[:, None]  # (401, 1)
    value = np.asarray(layer.forward(z))  # (401, 1)
    derivative = np.asarray(layer.backward(np.ones_like(value)))  # (401, 1): backward of ones is f′
    return z[:, 0], value[:, 0], derivative[:, 0]

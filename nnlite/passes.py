"""Layers in a row: forward through them, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .attaching import learns


def forward_through(layers: Sequence[Any], x: Any) -> Any:
    """`forward` of layers in a row, for x (N, columns) -> y of the last one. ValueError for a y that is no table."""
    for layer in layers:
        x = _same_rows(layer, "forward(x)", layer.forward(x), x)
    return x


def back_through(layers: Sequence[Any], dy: Any, input_gradient: bool = True) -> Any:
    """`backward` of layers in a row, the last one first -> dx of the first layer; None without `input_gradient`.

    For frozen layers, gradients of their parameters are not computed. Without `input_gradient`, nothing is computed
    below the first layer that learns. ValueError for a dx that is no table.
    """
    first = 0 if input_gradient else next((i for i, layer in enumerate(layers) if learns(layer)), len(layers))
    for i in reversed(range(first, len(layers))):
        layer = layers[i]
        if i == first and not input_gradient:
            layer.backward_parameters(dy)
            return None
        dx = layer.backward(dy) if learns(layer) else layer.backward_input(dy)
        dy = _same_rows(layer, "backward(dy)", dx, dy) if i or dx is not None else None  # the first one's is not needed
    return dy if input_gradient else None


def _same_rows(layer: Any, method: str, result: Any, given: Any) -> Any:
    """The result, (N, columns) as what was given; ValueError for a user's layer that has returned something else.

    What was given to a layer outside of any network may be a list, or have other axes.
    """
    shape: Any = getattr(result, "shape", None)
    wanted: Any = getattr(given, "shape", ())
    if shape is None or (len(wanted) == 2 and (len(shape) != 2 or shape[0] != wanted[0])):
        what = repr(result) if shape is None else f"an array of shape {tuple(shape)}"
        rows, name = len(given), "y" if method.startswith("forward") else "dx"
        forgotten = ": is its last line a return?" if result is None else ""
        raise ValueError(
            f"{type(layer).__name__}.{method} returned {what}, but for {rows} rows it must return {name} "
            f"({rows}, columns){forgotten}"
        )
    return result

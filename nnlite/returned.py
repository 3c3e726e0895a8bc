"""What a layer's forward or backward has returned: a table with the rows that it was given, or else an error."""

from __future__ import annotations

from typing import Any


def same_rows(layer: Any, method: str, result: Any, given: Any) -> Any:
    """The result, (N, columns) as what was given; ValueError for a user's layer that has returned something else.

    What was given to a layer outside of any network may be a list, or have other axes.
    """
    wanted: Any = getattr(given, "shape", ())
    shape: Any = getattr(result, "shape", None)
    table = len(wanted) == 2
    if result is None or (table and (shape is None or len(shape) != 2 or shape[0] != wanted[0])):
        what = f"{result!r:.40}" if shape is None else f"an array of shape {tuple(shape)}"
        name, rows = "y" if method.startswith("forward") else "dx", wanted[0] if table else "N"
        forgotten = ": is its last line a return?" if result is None else ""
        raise ValueError(
            f"{type(layer).__name__}.{method} returned {what}, but for {rows} rows it must return {name} "
            f"({rows}, columns){forgotten}"
        )
    return result

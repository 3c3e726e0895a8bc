"""The summary of a network: a table of its layers, its parameters and the memory that they take."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .attaching import family


def summary_of(network: Any) -> str:
    """The text of `Sequential.summary`."""
    rows: list[tuple[str, ...]] = [("layer        ", "output shape", "parameters", "state")]
    width = network.inputs
    for i, layer in enumerate(network.layers):
        width = width or getattr(layer, "inputs", None)
        width = layer.outputs_for(width) if width else None
        rows.append(_row(str(i), layer, f"(N, {width or '…'})"))
        rows += [_row(path, each, "") for path, each in family(layer, str(i)) if each is not layer]
    frozen = len(network.parameters) - sum(size for _, size in network.trained())
    kept = sum(array.size for name, array in network.arrays().items() if name not in ("parameters", "gradients"))
    rows.append(("total", f"{network.dtype}, {network.device}", f"{len(network.parameters):,}", f"{kept:,}"))
    if not kept:
        rows = [row[:3] for row in rows]
    widths = [max(len(row[c]) for row in rows) for c in range(len(rows[0]))]
    lines = [f"{row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}" for row in rows]
    for c in range(2, len(widths)):
        lines = [f"{line}  {row[c]:>{widths[c]}}" for line, row in zip(lines, rows)]
    rule = "─" * len(lines[0])
    each = memory(len(network.parameters) * network.dtype.itemsize)
    taken = [f"{'memory':<{widths[0]}}  parameters {each}, gradients {each}"]
    if network.recorded:
        of_step = f"{memory(network.recorded[1])} for a batch of {network.recorded[0]:,} rows"
        taken.append(f"{'recorded step':<{widths[0]}}  {of_step}")
    if frozen:
        taken.append(f"{'frozen':<{widths[0]}}  {frozen:,} of the parameters")
    return "\n".join([lines[0], rule, *lines[1:-1], rule, *taken, lines[-1]])


def _row(path: str, layer: Any, shape: str) -> tuple[str, ...]:
    """A layer's line; one that is inside another is indented and has no shape."""
    count = sum(math.prod(each) for each in layer.shapes.values())
    kept = sum(int(np.size(first)) for first in layer.state.values())
    name = f"{'  ' * path.count('.')}{path} {layer!r}"
    return name + ", frozen" * bool(layer.shapes and not layer.trainable), shape, f"{count:,}", f"{kept:,}"


def memory(size: int) -> str:
    """A number of bytes as text for people.

    >>> nl.summary.memory(9640)
    '9.4 KiB'
    """
    power = min(3, max(0, size.bit_length() - 1) // 10)
    return f"{size / 1024**power:,.{min(power, 1)}f} {('bytes', 'KiB', 'MiB', 'GiB')[power]}"

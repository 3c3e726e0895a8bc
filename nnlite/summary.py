"""The summary of a network: a table of its layers, its parameters and the memory that they take."""

from __future__ import annotations

import math
from typing import Any


def summary_of(network: Any) -> str:
    """The text of `Sequential.summary`."""
    rows, width = [("layer        ", "output shape", "parameters")], network.inputs
    for i, layer in enumerate(network.layers):
        width = width or getattr(layer, "inputs", None)
        width = layer.outputs_for(width) if width else None
        count = sum(math.prod(shape) for shape in layer.shapes.values())
        rows.append((f"{i} {layer!r}", f"(N, {width or '…'})", f"{count:,}"))
    rows.append(("total", f"{network.dtype}, {network.device}", f"{len(network.parameters):,}"))
    widths = [max(len(row[c]) for row in rows) for c in range(3)]
    lines = [f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}" for a, b, c in rows]
    rule = "─" * len(lines[0])
    each = memory(len(network.parameters) * network.dtype.itemsize)
    taken = [f"{'memory':<{widths[0]}}  parameters {each}, gradients {each}"]
    if network.recorded:
        of_step = f"{memory(network.recorded[1])} for a batch of {network.recorded[0]:,} rows"
        taken.append(f"{'recorded step':<{widths[0]}}  {of_step}")
    return "\n".join([lines[0], rule, *lines[1:-1], rule, *taken, lines[-1]])


def memory(size: int) -> str:
    """A number of bytes as text for people.

    >>> nl.summary.memory(9640)
    '9.4 KiB'
    """
    power = min(3, max(0, size.bit_length() - 1) // 10)
    return f"{size / 1024**power:,.{min(power, 1)}f} {('bytes', 'KiB', 'MiB', 'GiB')[power]}"

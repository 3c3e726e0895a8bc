"""The summary of a network: a table of its layers, its parameters and the memory that they take."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from . import markup
from .attaching import family


def summary_of(network: Any) -> str:
    """The text of `Sequential.summary`."""
    rows = _rows(network)
    widths = [max(len(row[c]) for row in rows) for c in range(len(rows[0]))]
    lines = [f"{row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}  {row[2]:>{widths[2]}}" for row in rows]
    lines = ["  ".join((line, *row[3:])).rstrip() for line, row in zip(lines, rows)]
    rule = "-" * max(map(len, lines))
    notes = [f"{name:<{widths[0]}}  {text}" for name, text in _notes(network)]
    return "\n".join([lines[0], rule, *lines[1:-1], rule, *notes, lines[-1]])


def html_of(network: Any) -> str:
    """The same as HTML, for notebooks."""
    head, *rows = _rows(network)
    rows = [(row[0].replace("  ", "\N{NO-BREAK SPACE}" * 4), *row[1:]) for row in rows]  # HTML joins plain spaces
    notes = "; ".join(f"{name}: {text}" for name, text in _notes(network))
    return markup.table([text.strip() for text in head], rows, numeric=[2]) + markup.paragraph(notes)


def _rows(network: Any) -> list[tuple[str, ...]]:
    """The head, a row for each layer, and the total. If a layer keeps a state, the last column tells it."""
    rows: list[tuple[str, ...]] = [("layer        ", "output shape", "parameters", "state")]
    width = network.inputs
    for i, layer in enumerate(network.layers):
        width = width or layer.inputs
        width = layer.outputs_for(width) if width else None
        rows.append(_row(str(i), layer, f"(N, {width or '…'})"))
        rows += [_row(path, each, "") for path, each in family(layer, str(i)) if each is not layer]
    kept = sum(array.size for name, array in network.arrays().items() if name not in ("parameters", "gradients"))
    rows.append(("total", f"{network.dtype}, {network.device}", f"{len(network.parameters):,}", f"{kept:,}"))
    return rows if kept else [row[:3] for row in rows]


def _row(path: str, layer: Any, shape: str) -> tuple[str, ...]:
    """A layer's row; one that is inside another is indented and has no shape."""
    count = sum(math.prod(each) for each in layer.shapes.values())
    kept = [f"{name} ({', '.join(map(str, np.shape(first)))})" for name, first in layer.state.items()]
    name = f"{'  ' * path.count('.')}{path} {layer!r}"
    return name + ", frozen" * bool(layer.shapes and not layer.trainable), shape, f"{count:,}", ", ".join(kept)


def _notes(network: Any) -> list[tuple[str, str]]:
    """What stands below the layers: the memory, and how many parameters are frozen."""
    each = memory(len(network.parameters) * network.dtype.itemsize)
    notes = [("memory", f"parameters {each}, gradients {each}")]
    if network.recorded:
        rows, size = network.recorded
        notes.append(("recorded step", f"{memory(size)} for a batch of {rows:,} rows"))
    frozen = len(network.parameters) - sum(size for _, size in network.trained())
    if frozen:
        notes.append(("frozen", f"{frozen:,} of the parameters"))
    return notes


def memory(size: int) -> str:
    """A number of bytes as text for people.

    >>> nl.summary.memory(9640)
    '9.4 KiB'
    """
    power = min(3, max(0, size.bit_length() - 1) // 10)
    return f"{size / 1024**power:,.{min(power, 1)}f} {('bytes', 'KiB', 'MiB', 'GiB')[power]}"

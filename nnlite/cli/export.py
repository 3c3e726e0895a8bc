"""`nnlite export`: write a saved network for another program."""

from __future__ import annotations

import argparse

from .. import tables
from .output import say


def export(options: argparse.Namespace) -> None:
    """Write a saved network as C99 (.c), which also reads the columns of its table as they are, or as ONNX (.onnx)."""
    model = tables.Model.load(options.model, "numpy")
    model.export(options.out, options.function)
    named = model.decisions is not None and options.out.endswith(".onnx")
    say(f"wrote {options.out}" + ", whose metadata names the numbers that it reads" * named)

"""`nnlite export`: write a saved network for another program."""

from __future__ import annotations

import argparse

from .. import tables
from .output import say


def export(options: argparse.Namespace) -> None:
    """Write a saved network as C99 (.c), which also reads the columns of its table as they are, or as ONNX (.onnx)."""
    tables.Model.load(options.model, "numpy").export(options.out, options.function)
    say(f"wrote {options.out}")

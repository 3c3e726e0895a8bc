"""`nnlite predict`: predict the rows of a table with a saved network."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

import numpy as np

import nnlite as nl

from .. import tables
from ..tables.scaling import fold_noted
from . import output
from .output import say


def predict(options: argparse.Namespace) -> None:
    """Predict the rows of a table. Each row gives one line: a class and its probability, or the numbers."""
    net = nl.load(options.model, device=options.device)
    assert net.inputs is not None and net.outputs is not None
    classes, decisions = _notes(options.model, net)
    fold_noted(net, options.model)
    table = tables.read(options.data, options.header, decisions.names if decisions and decisions.header else ())
    if decisions is None:
        decisions = tables.Decisions.of_numbers(table, net.inputs)
    x, told = decisions.encode(table)  # (N, D)
    for line in told:
        say(f"nnlite: {options.data}: {line}", error=True)
    answers = net.predict(x)  # (N, K)
    target = decisions.target.name if decisions.target and decisions.header else None
    if classes:
        best = nl.metrics.classes(answers)  # (N,)
        shares = answers if net.outputs > 1 else np.hstack([1 - answers, answers])  # (N, K)
        header = [target or "class", "probability"]
        rows = [[classes[k], f"{share[k]:.6g}"] for k, share in zip(best, shares)]
    else:
        name = target or "prediction"
        header = [name] if net.outputs == 1 else [f"{name} {k}" for k in range(net.outputs)]
        rows = [[f"{value:.10g}" for value in row] for row in answers]
    # A header is written only if the file has one, so that line n answers line n.
    text = output.to_csv([header] * table.header + rows)
    if options.out is None:
        say(text, end="")
    else:
        output.write(options.out, text)


def _notes(path: str, net: nl.Sequential) -> tuple[list[str] | None, tables.Decisions | None]:
    """The classes and decisions that `train` noted in the model; None for each that is missing."""
    notes = net.notes if isinstance(net.notes, Mapping) else {}
    classes, decisions = notes.get("classes"), None
    wrong = f"{path}: its notes name other classes or features than the network has"
    size = max(net.outputs or 0, 2)
    if classes is not None:
        fits = isinstance(classes, list) and len(classes) == size and all(isinstance(name, str) for name in classes)
        if not fits:
            raise nl.CorruptFileError(wrong)
    if "decisions" in notes:
        try:
            decisions = tables.Decisions.of(notes["decisions"])
            fits = len(decisions.features) == net.inputs
        except (ValueError, TypeError, AttributeError):
            fits = False
        if not fits:
            raise nl.CorruptFileError(wrong)
    return classes, decisions

"""`nnlite predict`: predict the rows of a CSV file with a saved network."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

import numpy as np

import nnlite as nl

from . import output, tables
from .output import say


def predict(options: argparse.Namespace) -> None:
    """Predict the rows of a CSV file. Each row gives one line: a class and its probability, or the numbers."""
    net = nl.load(options.model, device=options.device)
    assert net.inputs is not None and net.outputs is not None
    classes, features, target = _notes(options.model, net)
    tables.fold_noted(net, options.model)
    table = tables.read_csv(options.data, target, needed=False, features=features)
    answers = net.predict(tables.select(table, features, net.inputs))  # (N, K)
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
    text = tables.to_csv([header] * (table.features is not None) + rows)
    if options.out is None:
        say(text, end="")
    else:
        output.write(options.out, text)


def _notes(path: str, net: nl.Sequential) -> tuple[list[str] | None, list[str] | None, str | None]:
    """The classes, features and target that `train` noted in the model; None for each that is missing."""
    notes = net.notes if isinstance(net.notes, Mapping) else {}
    classes, features, target = (notes.get(key) for key in ("classes", "features", "target"))
    for names, size in ((classes, max(net.outputs or 0, 2)), (features, net.inputs)):
        fits = isinstance(names, list) and len(names) == size and all(isinstance(name, str) for name in names)
        if names is not None and not fits:
            raise nl.CorruptFileError(f"{path}: its notes name other classes or features than the network has")
    return classes, features, target if isinstance(target, str) else None

"""`nnlite predict`: predict the rows of a table with a saved network."""

from __future__ import annotations

import argparse
import os
import sys

import nnlite as nl

from .. import tables
from . import output
from .output import say


def predict(options: argparse.Namespace) -> None:
    """Predict the rows of a table. Each row gives one line: a class and its probability, or a number."""
    model = tables.Model.load(options.model, options.device)
    if options.probabilities and not model.classes:
        raise ValueError(f"--probabilities is for classes, but {options.model} predicts numbers")
    table = model.read(options.data, options.header)
    answers, told = model.outputs(table)  # (N, K)
    for line in told:
        say(f"nnlite: {options.data}: {line}", error=True)
    classes, decisions = model.classes, model.decisions
    target = decisions.target.name if decisions and decisions.target and decisions.header else None
    if classes:
        best = nl.metrics.classes(answers)  # (N,)
        shares = model.probabilities(answers)  # (N, classes)
        header = [target or "class", "probability"]
        rows = [[classes[k], f"{share[k]:.6g}"] for k, share in zip(best, shares)]
        if options.probabilities:
            header += [f"probability of {name}" for name in classes]
            rows = [row + [f"{each:.6g}" for each in share] for row, share in zip(rows, shares)]
    else:
        name = target or "prediction"
        header = [name] if answers.shape[1] == 1 else [f"{name} {k}" for k in range(answers.shape[1])]
        rows = [[f"{value:.10g}" for value in row] for row in answers]
    # A header is written only if the file has one, so that line n answers line n.
    text = output.to_csv([header] * table.header + rows)
    if options.out is None:
        _refuse_stdout(text)
        say(text, end="")
    else:
        output.write(options.out, text)


def _refuse_stdout(text: str) -> None:
    """ValueError if stdout is closed, or cannot show all of this text."""
    if sys.stdout is None:
        raise ValueError("stdout is closed: --out FILE writes the answers to a file")
    if os.environ.get("PYTHONIOENCODING", "").partition(":")[2]:
        return  # the user has said what to do
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"stdout is {error.encoding}, which has no {text[error.start]!r}: set PYTHONIOENCODING=utf-8, or --out FILE"
        ) from None

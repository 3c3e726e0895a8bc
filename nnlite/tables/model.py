"""A model of a table: a network that reads unscaled numbers, and the decisions that make them from a table's cells.

N rows, D features, K outputs
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import gate
from ..exporting import export as export_network
from ..files import CorruptFileError
from ..loading import load
from ..metrics import classes as classes_of
from ..network import Sequential
from .decisions import Decisions
from .exporting import export as export_c
from .reading import Table, read
from .scaling import fold_noted


@dataclass
class Model:
    """What `nnlite train` writes of a table, and a table's estimator has learnt.

    classes: as they are written, None for numbers. decisions: None for a network whose columns are numbers in a fixed
    order, such as one that learnt a data set.
    """

    network: Sequential
    decisions: Decisions | None
    classes: list[str] | None

    @classmethod
    def load(cls, path: str | os.PathLike[str], device: str = "cpu") -> Model:
        """The model that `nnlite train` or `save` wrote; CorruptFileError if it does not fit together."""
        network, path = load(path, device), os.fspath(path)
        notes = network.notes if isinstance(network.notes, Mapping) else {}
        classes, decisions = notes.get("classes"), None
        wrong = f"{path}: its notes name other classes or features than the network has"
        size = max(network.outputs or 0, 2)
        if classes is not None:
            fits = isinstance(classes, list) and len(classes) == size and all(isinstance(name, str) for name in classes)
            if not fits:
                raise CorruptFileError(wrong)
        if "decisions" in notes:
            try:
                decisions = Decisions.of(notes["decisions"])
                fits = len(decisions.features) == network.inputs
            except (ValueError, TypeError, AttributeError):
                fits = False
            if not fits:
                raise CorruptFileError(wrong)
        fold_noted(network, path)
        return cls(network, decisions, classes)

    def notes(self, data: str) -> dict[str, Any]:
        """What the file keeps beside the network; `data` says what it was learnt from."""
        notes: dict[str, Any] = {"data": data, "classes": self.classes}
        return notes | ({"decisions": self.decisions.notes()} if self.decisions else {})

    def save(self, path: str | os.PathLike[str], data: str = "table") -> None:
        """Write all of it to one safetensors file, for `load` and `nnlite predict`."""
        self.network.save(path, self.notes(data))

    def export(self, path: str | os.PathLike[str], function: str = "predict") -> None:
        """Write model.c, one file of C99 that answers the cells of a row, or model.onnx, which reads D features.

        In C, `predict(x, y)` reads the D features, and `predict_row` the columns as they are: numbers, dates as days
        since 1970, and categories as text; the head of the function says in which order. An ONNX file has the names of
        the features and the classes as metadata, in JSON.
        """
        if self.decisions and os.path.splitext(os.fspath(path))[1] == ".c":
            export_c(self.network, self.decisions, self.classes or [], path, function)
        else:
            about = {"features": self.decisions.features if self.decisions else None, "classes": self.classes}
            export_network(self.network, path, function, {name: names for name, names in about.items() if names})

    def read(self, data: Any, header: bool | None = None) -> Table:
        """A table of new rows, from a file or a DataFrame; see `nl.tables.read`."""
        return read(data, header, self.decisions.names if self.decisions and self.decisions.header else ())

    def outputs(self, table: Table) -> tuple[np.ndarray, list[str]]:
        """The network's outputs (N, K), and what was ignored in the table, filled or never seen before."""
        decisions = self.decisions or Decisions.of_numbers(table, self.network.inputs or 0)
        x, told = decisions.encode(table)  # (N, D)
        return np.asarray(self.network.predict(x)), told

    def answers(self, table: Table) -> np.ndarray:
        """The network's outputs (N, K), with a warning for each column in which not all cells could be used."""
        decisions = self.decisions or Decisions.of_numbers(table, self.network.inputs or 0)
        x, told = decisions.encode_cells(table)  # (N, D)
        for line in told:
            warnings.warn(line, UserWarning, stacklevel=gate.level_of_caller())
        return np.asarray(self.network.predict(x))

    def predict(self, data: Any) -> np.ndarray:
        """A table (a file, a DataFrame) -> the class of each row (N,), as it is written, or numbers (N,) or (N, K).

        A warning names each column with values never seen in training, or with cells that cannot be read.
        """
        outputs = self.answers(self.read(data))
        if self.classes:
            return np.array(self.classes)[classes_of(outputs)]
        return outputs[:, 0] if outputs.shape[1] == 1 else outputs

    def probabilities(self, outputs: np.ndarray) -> np.ndarray:
        """Of each class (N, classes), from the network's outputs (N, K): two classes may be one output."""
        return outputs if outputs.shape[1] > 1 else np.hstack([1 - outputs, outputs])

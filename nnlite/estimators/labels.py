"""Labels and targets: what a classifier is given, what its network learns, and the way back.

Two classes are one output, which is the probability of the second one. More classes are an output each, of which one
is right (softmax). Several labels at once (multi-label) are a matrix of 0 and 1, and an output each, independent of the
others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import gate
from .inputs import refuse_infinite


@dataclass(frozen=True)
class Labels:
    """The classes (C,), sorted, and whether a row may have several of them."""

    classes: np.ndarray
    several: bool = False

    @classmethod
    def of(cls, y: np.ndarray, regressor: str = "nl.MLPRegressor") -> Labels:
        """The labels in y (N,) or, for several a row, (N, C). ValueError for anything but labels.

        regressor: the estimator that takes other numbers, for the error.
        """
        if y.ndim == 2:
            if not np.isin(y, (0, 1)).all():
                what = "y with several columns must contain 0 and 1: one column for each label"
                raise ValueError(f"Multioutput target data is not supported with classes: {what}")
            return cls(np.arange(y.shape[1]), True)
        return cls(_distinct(y, regressor))

    @property
    def outputs(self) -> int:
        """The number of outputs of the network."""
        return 1 if len(self.classes) <= 2 and not self.several else len(self.classes)

    @property
    def activation(self) -> str:
        """scikit-learn's name of the output activation."""
        return "logistic" if self.several or self.outputs == 1 else "softmax"

    def numbers(self, y: np.ndarray) -> np.ndarray:
        """The place (N,) of each label among the classes. ValueError for labels that are not among them."""
        found = _distinct(y)
        new = found[~np.isin(found, self.classes)]
        if len(new):
            raise ValueError(f"`y` has classes not in `self.classes_`: {new}. `self.classes_` has {self.classes}.")
        return np.searchsorted(self.classes, y)

    def targets(self, y: np.ndarray, dtype: Any) -> np.ndarray:
        """y -> what the network learns (N, outputs)."""
        if self.several:
            if y.ndim != 2 or y.shape[1] != len(self.classes):
                raise ValueError(f"y has the shape {y.shape}, expected one column for each of {len(self.classes)}")
            return y.astype(dtype)
        if y.ndim != 1:
            raise ValueError(f"y has the shape {y.shape}, but this classifier knows one label a row")
        numbers = self.numbers(y)
        if self.outputs == 1:
            return numbers.astype(dtype).reshape(-1, 1)
        return np.eye(len(self.classes), dtype=dtype)[numbers]

    def answers(self, outputs: np.ndarray) -> np.ndarray:
        """The network's outputs (N, outputs) -> the label of each row (N,), or 0 and 1 for each label (N, C)."""
        if self.several:
            return (outputs > 0.5).astype(int)
        return self.classes[self.places(outputs)]

    def places(self, outputs: np.ndarray) -> np.ndarray:
        """The network's outputs (N, outputs), or targets -> the place (N,) of each row's class among the classes."""
        if len(self.classes) == 1:
            return np.zeros(len(outputs), np.intp)
        return (outputs[:, 0] > 0.5).astype(np.intp) if self.outputs == 1 else outputs.argmax(axis=1)

    def probabilities(self, outputs: np.ndarray) -> np.ndarray:
        """The network's outputs (N, outputs) -> probabilities (N, C)."""
        if self.outputs > 1 or self.several:
            return outputs
        return np.ones_like(outputs) if len(self.classes) == 1 else np.hstack([1 - outputs, outputs])

    def weights(self, places: np.ndarray, class_weight: str | Mapping[Any, float]) -> np.ndarray:
        """How often each row counts (N,), by the place (N,) of its class: {label: weight}, or "balanced"."""
        if isinstance(class_weight, Mapping):
            labels = self.classes.tolist()
            unknown = [label for label in class_weight if label not in labels]
            if unknown:
                raise ValueError(f"class_weight has the label {unknown[0]!r}, but the labels are {labels}")
            named = [class_weight.get(label, 1) for label in labels]
            return np.array([gate.number(factor, "class_weight", least=0) for factor in named])[places]
        gate.one_of(class_weight, ("balanced",), "class_weight")
        counts = np.bincount(places, minlength=len(self.classes))
        return (len(places) / (np.count_nonzero(counts) * np.maximum(counts, 1)))[places]

    def right(self, outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Whether each row is answered as the targets (N, outputs) say, in all of its labels."""
        if self.several:
            return ((outputs > 0.5) == (targets > 0.5)).all(axis=1)
        return self.places(outputs) == self.places(targets)


def _distinct(y: np.ndarray, regressor: str = "nl.MLPRegressor") -> np.ndarray:
    """The different labels in y (N,), sorted; ValueError for anything but labels."""
    if y.dtype.kind == "f":
        refuse_infinite(y, "y")
        if (y != np.floor(y)).any():
            what = f"a class is a whole number, text or a bool; {regressor} is for other numbers"
            raise ValueError(f"Unknown label type: continuous. y has numbers that are not whole: {what}")
    try:
        return np.unique(y)
    except TypeError as error:
        raise ValueError(f"Unknown label type: y has labels of kinds that cannot be sorted ({error})") from error

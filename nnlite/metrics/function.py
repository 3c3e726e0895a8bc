"""A function of one's own, or of another library, as a metric."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import gate
from ..loss import Loss
from ..network import Sequential
from .metric import Metric


class FunctionMetric(Metric):
    """A function (y, prediction) -> float of all rows of an epoch, in the order of the data; its name is the column's.

    y and prediction are (N, K) in float64. For a loss of classes, y is labels (N,). Rows whose target was not measured
    are left out, also if that is so for one of their outputs; ValueError if none is left. If rows have weights, the
    function must also take sample_weight (N,), as scikit-learn's do.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function, self.labels = function, False
        while isinstance(function, functools.partial):
            function = function.func
        self.name = getattr(function, "__name__", type(function).__name__)

    def for_loss(self, loss: Loss, network: Sequential) -> Metric:
        found = copy.copy(self)
        found.labels = loss.target == "class"
        return found

    def measure(self, prediction: np.ndarray, target: np.ndarray, weight: np.ndarray | None = None) -> float:
        known = ~np.isnan(target).any(axis=1)
        if not known.any():
            raise ValueError(
                f"the metric {self.name} is given the rows of which all targets were measured, and there is none: "
                "leave it out"
            )
        if not known.all():
            prediction, target, weight = prediction[known], target[known], None if weight is None else weight[known]
        y = target.argmax(axis=1) if self.labels else target
        found = self.function(y, prediction, **({} if weight is None else {"sample_weight": weight}))
        return gate.answer(found, f"the metric {self.name}")

    @property
    def takes_weights(self) -> bool:
        try:
            parameters = inspect.signature(self.function).parameters.values()
        except (TypeError, ValueError):  # of some functions that are not written in Python
            return False
        return any(each.name == "sample_weight" or each.kind is each.VAR_KEYWORD for each in parameters)

"""All metrics by name, and the choice of those for a Trainer.

metric.py is what all share. regression.py has those of numbers, answers.py of classes and of yes-or-no answers,
confusions.py of counts for each class, probabilities.py of probabilities, ranking.py of the order of rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .. import elsewhere, gate
from ..loss import Loss
from ..network import Sequential
from .answers import Accuracy, AnswerMetric, TopKAccuracy, confusion_matrix
from .confusions import F1, BalancedAccuracy, ConfusionMetric, Precision, Recall, Specificity
from .function import FunctionMetric
from .metric import HOST, Metric
from .probabilities import Brier, LogLoss
from .ranking import ROCAUC, AveragePrecision, RankingMetric
from .regression import (
    R2,
    ExplainedVariance,
    MaxError,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    RootMeanSquaredError,
)
from .targets import classes

__all__ = [
    "F1",
    "HOST",
    "METRICS",
    "R2",
    "ROCAUC",
    "Accuracy",
    "AnswerMetric",
    "AveragePrecision",
    "BalancedAccuracy",
    "Brier",
    "ConfusionMetric",
    "ExplainedVariance",
    "FunctionMetric",
    "LogLoss",
    "MaxError",
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "Metric",
    "Precision",
    "RankingMetric",
    "Recall",
    "RootMeanSquaredError",
    "Specificity",
    "TopKAccuracy",
    "chosen",
    "classes",
    "confusion_matrix",
    "metric",
]

METRICS: dict[str, type[Metric]] = {
    "accuracy": Accuracy,
    "balanced_accuracy": BalancedAccuracy,
    "top_5_accuracy": TopKAccuracy,
    "precision": Precision,
    "recall": Recall,
    "f1": F1,
    "specificity": Specificity,
    "roc_auc": ROCAUC,
    "average_precision": AveragePrecision,
    "log_loss": LogLoss,
    "brier": Brier,
    "mae": MeanAbsoluteError,
    "rmse": RootMeanSquaredError,
    "r2": R2,
    "mape": MeanAbsolutePercentageError,
    "max_error": MaxError,
    "explained_variance": ExplainedVariance,
}


def metric(name: str | Metric | Callable[..., Any]) -> Metric:
    """A metric by its lower-case name, or from a function (y, prediction) -> float, or the given metric itself."""
    if isinstance(name, type) and issubclass(name, Metric):
        return name()
    if isinstance(name, Metric):
        return name
    if isinstance(name, Loss):
        raise TypeError(f"metric={name!r} is a loss, and a metric is one of {', '.join(map(repr, METRICS))}")
    return FunctionMetric(name) if callable(name) else gate.choose(METRICS, name, "metric", elsewhere.METRICS)()


def chosen(metrics: Sequence[str | Metric | Callable[..., Any]], loss: Loss, network: Sequential) -> list[Metric]:
    """The metrics of a Trainer with this loss and network; ValueError for a name that is not allowed or used twice."""
    found = [metric(each).for_loss(loss, network) for each in metrics]
    taken: set[str] = set()
    for i, each in enumerate(found):
        for name in each.names(network.outputs or 1):
            if not isinstance(name, str) or name == "loss" or name.startswith("val_"):
                raise ValueError(
                    f"metrics[{i}] has the name {name!r}, which a metric must not have; give it another `name`"
                )
            if name in taken:
                raise ValueError(f"metrics has {name!r} twice; give one of them another `name`")
            taken.add(name)
    return found

"""What is said and drawn of a network that was trained on a table: how good it is, and beside what.

N rows held back, D features, K classes
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from ..datasets import Split
from ..metrics import classes as classes_of
from ..network import Sequential
from ..tables import pictures as drawn
from ..tables.baselines import logistic, ridge, seconds

MOST_CLASSES = 12  # whose recall is said; of more, that of the worst few
WORST = 5
FAR = 2.0  # times the error of a linear model
TELLING = 5  # wrong rows more than those of a linear model, at least, for a classifier to be far worse
TOO_GOOD, ENOUGH = 0.999, 50  # an R², and as many rows held back, at which one may ask where it comes from
MOST_SECONDS = 10.0  # for what only compares or explains
REPEATS = 5  # of the shuffles that tell how much a column matters
MOST_COLUMNS, MOST_ROWS = 200, 2000  # that are shuffled for it


def lines(split: Split, classes: Sequence[str] | None, prediction: np.ndarray) -> list[str]:
    """The scores of the simplest models on the rows held back, and whether the network is better; recall per class.

    Also whether it is so good that a column may have been made from the target.
    """
    x, y, x_test, y_test = split
    far = ""  # the linear model, if the network is far worse
    if classes is None:
        error = _rmse(prediction, y_test)
        mean = _rmse(y.mean(axis=0)[None], y_test)
        told, better = [f"the mean for every row: RMSE {mean:.4g}; "], {"the mean": error < mean}
        if slow := _slow(x):
            told[0] += f"ridge regression {slow}"
        else:
            linear = _rmse(ridge(x, y, x_test), y_test)
            told[0] += f"ridge regression on the same columns: RMSE {linear:.4g}"
            better["ridge regression"] = error < linear
            far = "ridge regression" if error > FAR * linear else ""
        suspicious = error**2 < (1 - TOO_GOOD) * float(y_test.var())
    else:
        hits = float((classes_of(prediction) == y_test).mean())
        most = int(np.bincount(y, minlength=len(classes)).argmax())
        usual, always = float((y_test == most).mean()), f"always {classes[most]!r}"
        told, better = [f"{always}: {100 * usual:.2f} %; "], {always: hits > usual}
        if slow := _slow(x, len(classes)):
            told[0] += f"logistic regression {slow}"
        else:
            linear = float((logistic(x, y, len(classes), x_test) == y_test).mean())
            told[0] += f"logistic regression on the same columns: {100 * linear:.2f} %"
            better["logistic regression"] = hits > linear
            far_worse = (1 - hits) > FAR * (1 - linear) and round((linear - hits) * len(y_test)) >= TELLING
            far = "logistic regression" if far_worse else ""
        suspicious = usual < hits == 1
        told.append(_recall(classes, classes_of(prediction), y_test))
    worse = [name for name, is_better in better.items() if not is_better]
    if far:
        told.append(f"the network is far worse here than {far}: take {far}")
    elif worse:
        told.append(f"the network is no better here than {' or '.join(worse)}")
    if suspicious and len(y_test) >= ENOUGH:
        told.append("this is almost too good: was one of the columns made from the target?")
    return told


def _slow(x: np.ndarray, classes: int = 0) -> str:
    """Why a linear model on x (N, D) is left out, if it is."""
    long = seconds(len(x), x.shape[1], classes)
    return f"is left out, since it might take {long:,.0f} s" if long > MOST_SECONDS else ""


def _rmse(prediction: np.ndarray, y: np.ndarray) -> float:
    return float(np.sqrt(np.square(prediction - y).mean()))


def _recall(classes: Sequence[str], found: np.ndarray, y: np.ndarray) -> str:
    """How many of the rows (N,) of each class were found; of many classes, those of which the fewest were."""
    rows = np.bincount(y, minlength=len(classes))  # (K,)
    share = np.bincount(y[found == y], minlength=len(classes)) / np.maximum(rows, 1)  # (K,)
    chosen, start, end = np.flatnonzero(rows), "recall: ", ""
    if len(chosen) > MOST_CLASSES:
        order = chosen[np.lexsort((-rows[chosen], share[chosen]))]  # of equally bad ones, the most frequent first
        chosen, others = order[:WORST], order[WORST:]
        start, least = "recall of the worst: ", f"{100 * share[others].min():.1f} %"
        end = f"; of {len(others):,} other classes {least} or more, on average {100 * share[others].mean():.1f} %"
    return start + ", ".join(f"{classes[k]} {100 * share[k]:.1f} % of {rows[k]:,}" for k in chosen.tolist()) + end


def slow_importance(net: Sequential, x: np.ndarray, groups: Mapping[str, Sequence[int]]) -> bool:
    """Whether `importance` of x (N, D) would take long, by the size of its predictions."""
    each = min(len(x), MOST_ROWS) * (net.parameters.size * 1e-10 + (net.outputs or 1) * 2e-8)  # seconds
    return each * (1 + REPEATS * min(len(groups), MOST_COLUMNS)) > MOST_SECONDS


def importance(
    net: Sequential, x: np.ndarray, y: np.ndarray, numbers: bool, groups: Mapping[str, Sequence[int]], seed: int = 0
) -> dict[str, float]:
    """How much worse the score becomes if the values of one column are exchanged among the rows x (N, D), y.

    The score is the accuracy, or R² for numbers. `groups` are the features that stand for each column.
    """

    def score(x: np.ndarray) -> float:
        prediction = net.predict(x)
        if not numbers:
            return float((classes_of(prediction) == y).mean())
        return float(1 - np.square(prediction - y).sum() / max(np.square(y - y.mean()).sum(), np.finfo(float).tiny))

    rng = np.random.Generator(np.random.PCG64(seed))
    x, y = x[:MOST_ROWS], y[:MOST_ROWS]
    before, drops = score(x), {}
    for name, places in list(groups.items())[:MOST_COLUMNS]:
        scores = []
        for _ in range(REPEATS):
            shuffled = x.copy()
            shuffled[:, places] = x[rng.permutation(len(x))][:, places]
            scores.append(score(shuffled))
        drops[name] = before - float(np.mean(scores))
    return drops


def pictures(
    net: Sequential,
    split: Split,
    classes: Sequence[str] | None,
    groups: Mapping[str, Sequence[int]],
    prediction: np.ndarray,
) -> dict[str, Callable[..., Any]]:
    """Name of a file -> a function that draws it on `ax`."""
    found: dict[str, Callable[..., Any]] = {}
    if classes is None:
        found["predicted.png"] = partial(drawn.predicted_against_true, prediction, split.y_test)
    if not slow_importance(net, split.x_test, groups):
        drops = importance(net, split.x_test, split.y_test, classes is None, groups)
        found["importance.png"] = partial(drawn.importance, drops, "R²" if classes is None else "accuracy")
    return found

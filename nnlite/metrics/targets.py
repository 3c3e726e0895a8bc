"""What a target is: classes, yes-or-no answers, or numbers; and the errors for metrics that it does not suit."""

from __future__ import annotations

from typing import Any

import numpy as np


def classes(outputs: np.ndarray, border: float = 0.5) -> np.ndarray:
    """(N, K) -> the class of each row (N,): the largest output, or for one output whether it is above the border."""
    return outputs.argmax(axis=1) if outputs.shape[1] > 1 else (outputs[:, 0] > border).astype(np.intp)


def two_sided(target: Any) -> bool:
    """Whether all numbers are equally far from ½, such as 0 and 1 or 0.1 and 0.9, or from 0, such as −1 and 1."""
    for middle, most in ((0.5, 0.5), (0.0, 1.0)):
        apart = np.abs(target - middle)
        least, largest = float(apart.min()), float(apart.max())
        if largest - least <= 1e-3 and least > 1e-3 and largest <= most + 1e-3:
            return True
    return False


def of_classes(target: Any) -> bool:
    """Whether every row (N, K) has one class: probabilities that sum to 1, or two values, the larger one once."""
    if bool((target >= 0).all()) and bool((np.abs(target.sum(axis=1) - 1) <= 1e-3).all()):
        return True
    if not two_sided(target):
        return False
    border = 0.0 if bool((target < 0).any()) else 0.5
    return bool(((target > border).sum(axis=1) == 1).all())


def refuse_unless(fits: bool, target: Any, name: str, what: str) -> None:
    """ValueError that shows a row of the target which does not fit."""
    if not fits:
        row = ", ".join(f"{value:.6g}" for value in target[int(np.argmax(_strange(target)))].tolist())
        raise ValueError(
            f"{what}, but {name} has {row if target.shape[1] == 1 else f'the row [{row}]'}; "
            "for numbers take the metrics 'r2', 'rmse' or 'mae'"
        )


def _strange(target: Any) -> Any:
    """Which rows (N,) show best that a target is not classes: rows with a number other than −1, 0 and 1."""
    return ((target != 0) & (np.abs(target) != 1)).any(axis=1)


def refuse_logits(p: np.ndarray, t: np.ndarray, from_logits: bool, of: str) -> None:
    """Like the losses, refuse a prediction that cannot be a probability, unless the targets are −1 and +1."""
    if not from_logits and not (t < 0).any() and ((p < 0) | (p > 1 + 1e-6)).any():
        raise ValueError(
            f"prediction has values outside 0 … 1, which {of} expects; for values before the Sigmoid use "
            "from_logits=True"
        )

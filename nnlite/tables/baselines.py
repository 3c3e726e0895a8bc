"""What a network has to beat: the most frequent class or the mean, and a linear model on the same columns.

N rows, D features, K classes
"""

from __future__ import annotations

import numpy as np

from .scaling import Scale

PENALTY = 1.0  # on the squares of the coefficients, as usual for columns of deviation 1
STEPS = 300
ENOUGH = 1e-5  # of the largest coefficient: smaller steps change no class


def seconds(rows: int, columns: int, classes: int = 0) -> float:
    """About how long a linear model takes at most on a core: logistic regression, or without classes ridge regression.

    By the numbers that a step of the first computes, and by the multiplications for the matrix of the squares.
    """
    squares = columns * columns * (rows + columns) * 1e-10
    return squares + STEPS * rows * classes * (25 + 0.2 * columns) * 1e-9


def ridge(x: np.ndarray, y: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Least squares with a penalty on x (N, D), y (N, 1) -> predictions for new rows (M, D): (M, 1)."""
    scale, middle = Scale.of(x), y.mean(axis=0)
    x, new = scale.apply(x), scale.apply(new)
    W = np.linalg.solve(x.T @ x + PENALTY * np.eye(x.shape[1]), x.T @ (y - middle))  # (D, 1)
    return new @ W + middle


def logistic(x: np.ndarray, labels: np.ndarray, classes: int, new: np.ndarray) -> np.ndarray:
    """Logistic regression with a penalty on x (N, D), labels (N,) -> the classes of new rows (M, D): (M,).

    Newton's method with a bound in the place of the second derivatives, whose inverse is computed once: every step
    makes the loss smaller (Böhning 1992, Multinomial logistic regression algorithm).
    """
    scale = Scale.of(x)
    x, new = (np.hstack([np.ones((len(part), 1)), scale.apply(part)]) for part in (x, new))  # (N, 1 + D)
    target = np.eye(classes)[labels]  # (N, K)
    penalty = PENALTY * np.eye(x.shape[1])
    penalty[0, 0] = 1e-9
    inverse = np.linalg.inv(x.T @ x / 2 + penalty)  # (1 + D, 1 + D)
    W = np.zeros((x.shape[1], classes))
    before = W
    for step in range(STEPS):
        ahead = W + step / (step + 3) * (W - before)  # with Nesterov's momentum, in a tenth of the steps
        move = inverse @ (x.T @ (target - _softmax(x @ ahead)) - penalty @ ahead)
        before, W = W, ahead + move
        if np.abs(move).max() < ENOUGH * max(1.0, np.abs(W).max()):
            break
    return (new @ W).argmax(axis=1)


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)

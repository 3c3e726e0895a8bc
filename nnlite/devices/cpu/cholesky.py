"""Cholesky's method: A = Uᵀ U for a symmetric, positive definite A (P, P). Each A x = b then takes P² steps, not P³."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .compiling import compiled


@compiled
def factor(A):
    """Write U into the upper triangle of A (P, P). Returns whether A is positive definite, as far as rounding shows.

    From each row, four of the rows above are subtracted at once, so that it is read and written less often.
    """
    for i in range(A.shape[0]):
        whole = i - i % 4
        for j in range(0, whole, 4):
            a, b, c, d = A[j, i], A[j + 1, i], A[j + 2, i], A[j + 3, i]
            for k in range(i, A.shape[0]):
                A[i, k] -= a * A[j, k] + b * A[j + 1, k] + c * A[j + 2, k] + d * A[j + 3, k]
        for j in range(whole, i):
            a = A[j, i]
            for k in range(i, A.shape[0]):
                A[i, k] -= a * A[j, k]
        if not A[i, i] > 0:
            return False
        scale = 1 / np.sqrt(A[i, i])
        for k in range(i, A.shape[0]):
            A[i, k] *= scale
    return True


@compiled
def substitute(U, x):
    """x (P,) becomes the solution of Uᵀ U x = x, with the upper triangle of U (P, P)."""
    for i in range(len(x)):  # Uᵀ y = x
        x[i] /= U[i, i]
        a = x[i]
        for k in range(i + 1, len(x)):
            x[k] -= a * U[i, k]
    for i in range(len(x) - 1, -1, -1):  # U x = y
        rest = x[i]
        for k in range(i + 1, len(x)):
            rest -= U[i, k] * x[k]
        x[i] = rest / U[i, i]


def solver(A: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """A function b (P,) -> x (P,) with A x = b, which keeps and changes A (P, P). LinAlgError if A is not definite."""
    if not factor(A):
        raise np.linalg.LinAlgError("the matrix is not positive definite")

    def solve(b: np.ndarray) -> np.ndarray:
        x = b.copy()
        substitute(A, x)
        return x

    return solve

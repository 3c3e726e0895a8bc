"""What an estimator is given: X as rows of finite numbers or a sparse matrix, numbers y, and the names of features.

scikit-learn's tests and its users match some of the messages here, so their words are scikit-learn's.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from .. import gate
from .scikit_learn import DataConversionWarning, of_scikit_learn

DENSE_BYTES = 256 * 2**20  # the largest size of a sparse X, as an array, that is made an array at once
CHUNK_BYTES = 32 * 2**20  # the size of the rows of a larger one that are made an array at a time


def is_sparse(X: Any) -> bool:
    """Whether X is one of SciPy's sparse matrices or arrays."""
    return hasattr(X, "tocsr") and hasattr(X, "nnz")


def features(X: Any, dtype: Any = None) -> Any:
    """X (N, features) as a C-contiguous array of finite numbers, or in SciPy's csr format if it is sparse.

    Without a dtype, it is float32 if X is, and else float64. ValueError or TypeError for anything else.
    """
    array: Any = X.tocsr() if is_sparse(X) else np.asarray(X)
    if array.dtype.kind not in "cfiub":
        array = array.astype(np.float64)  # raises TypeError or ValueError for what is no number
    refuse_shape(array)
    if dtype is None:
        dtype = np.float32 if array.dtype == np.float32 else np.float64
    if is_sparse(array):
        array = array.astype(dtype)
        refuse_infinite(array.data, "X")
        return array
    array = np.ascontiguousarray(array, dtype)
    refuse_infinite(array, "X")
    return array


def refuse_shape(X: Any) -> None:
    """ValueError if X is no array of real cells (N, features), N and features above 0."""
    if X.dtype.kind == "c":
        raise ValueError("Complex data not supported: X must contain real numbers")
    if X.ndim != 2:
        hint = "X.reshape(-1, 1) if there is one feature, or X.reshape(1, -1) if there is one sample"
        raise ValueError(f"X must have two axes, but it has the shape {X.shape}. Reshape your data: {hint}")
    for count, what in zip(X.shape, ("sample(s)", "feature(s)")):
        if not count:
            raise ValueError(f"Found array with 0 {what} (shape={X.shape}) while a minimum of 1 is required.")


def refuse_infinite(array: np.ndarray, name: str) -> None:
    """ValueError if there is a NaN or an infinity in it."""
    if not np.isfinite(array).all():
        what = "NaN" if np.isnan(array).any() else f"infinity or a value too large for {array.dtype}"
        raise ValueError(f"Input {name} contains {what}.")


def target(y: Any, rows: int) -> np.ndarray:
    """y (N,) or (N, K) as an array; a column (N, 1) becomes (N,), with a warning. ValueError for another shape."""
    if y is None:
        raise ValueError("This estimator requires y to be passed, but the target y is None.")
    array = np.asarray(y.toarray() if is_sparse(y) else y)
    if array.dtype.kind == "c":
        raise ValueError("Complex data not supported: y must contain real numbers or labels")
    if array.ndim not in (1, 2):
        raise ValueError(f"y should be a 1d array, or have one column for each output, but its shape is {array.shape}")
    if len(array) != rows:
        raise ValueError(f"Found input variables with inconsistent numbers of samples: {[rows, len(array)]}")
    if array.ndim == 2 and array.shape[1] == 1:
        what = "A column-vector y was passed when a 1d array was expected; take y.ravel()"
        warnings.warn(what, of_scikit_learn(DataConversionWarning), stacklevel=gate.level_of_caller())
        array = array.ravel()
    return array


def numbers(y: np.ndarray, dtype: Any, for_classes: str = "nl.MLPClassifier") -> np.ndarray:
    """The targets of a regression, (N,) or (N, K), as finite numbers (N, K). `for_classes` is what an error names."""
    try:
        array = np.array(y, dtype=np.float64).reshape(len(y), -1)
    except ValueError as error:
        raise ValueError(f"y must hold numbers: {error}; {for_classes} is for classes") from None
    refuse_infinite(array, "y")
    return array.astype(dtype)


def weights(sample_weight: Any, rows: int) -> np.ndarray | None:
    """The weights (N,) of the rows; one number stands for all of them. ValueError unless some are above 0."""
    if sample_weight is None:
        return None
    array = np.asarray(sample_weight, np.float64)
    array = np.full(rows, array) if array.ndim == 0 else array
    if array.shape != (rows,):
        raise ValueError(f"sample_weight has the shape {array.shape}, but X has {rows} rows: expected ({rows},)")
    refuse_infinite(array, "sample_weight")
    if (array < 0).any():
        raise ValueError("Negative values in data passed to sample_weight")
    if not array.any():
        raise ValueError("Sample weights must contain at least one non-zero number.")
    return array


# ---- the names of features -----------------------------------------------------------------------------------------


def feature_names(X: Any) -> np.ndarray | None:
    """The names of a DataFrame's columns if all are text; None for anything else. TypeError if only some are."""
    columns = getattr(X, "columns", None)
    if columns is None or not hasattr(X, "shape"):
        return None
    names = np.asarray(list(columns), dtype=object)
    text = [isinstance(name, str) for name in names]
    if any(text) and not all(text):
        kinds = sorted({type(name).__name__ for name in names})
        raise TypeError(f"Feature names are only supported if all are text, but these are of the types {kinds}")
    return names if len(names) and all(text) else None


def remember(estimator: Any, X: Any) -> None:
    """Let the estimator know the number and the names of features that it is fitted with."""
    names = feature_names(X)
    if names is not None:
        estimator.feature_names_in_ = names
    else:
        vars(estimator).pop("feature_names_in_", None)


def refuse_other_features(estimator: Any, X: Any, array: Any) -> None:
    """ValueError if X, which is checked in `array`, has other features than the estimator was fitted with.

    They must also come in the same order. A warning if only one of both has names of features.
    """
    known: Any = getattr(estimator, "feature_names_in_", None)
    found, name = feature_names(X), type(estimator).__name__
    if (known is None) != (found is None):
        what = f"X does not have valid feature names, but {name} was fitted with feature names"
        if known is None:
            what = f"X has feature names, but {name} was fitted without feature names"
        warnings.warn(what, UserWarning, stacklevel=gate.level_of_caller())
    elif found is not None and list(found) != list(known):
        raise ValueError(_mismatch(set(known), set(found)))
    refuse_other_count(estimator, array.shape[1])


def refuse_other_count(estimator: Any, count: int) -> None:
    """ValueError if the estimator was fitted with another number of features."""
    if count != estimator.n_features_in_:
        wanted = f"but {type(estimator).__name__} is expecting {estimator.n_features_in_} features as input"
        raise ValueError(f"X has {count} features, {wanted}.")


def _mismatch(known: set[str], found: set[str]) -> str:
    lines = ["The feature names should match those that were passed during fit."]
    for what, names in (
        ("Feature names unseen at fit time:", found - known),
        ("Feature names seen at fit time, yet now missing:", known - found),
    ):
        shown = [f"- {name}" for name in sorted(names)]
        lines += [what, *shown[:5], *["- ..."] * (len(shown) > 5)] if names else []
    if len(lines) == 1:
        lines.append("Feature names must be in the same order as they were in fit.")
    return "\n".join([*lines, ""])


# ---- sparse matrices -----------------------------------------------------------------------------------------------


def fits(X: Any) -> bool:
    """Whether a sparse X is small enough as an array."""
    return X.shape[0] * X.shape[1] * X.dtype.itemsize <= DENSE_BYTES


def rows_at_once(X: Any) -> int:
    """The number of rows of a sparse X that are made an array at a time."""
    return max(1, CHUNK_BYTES // (X.shape[1] * X.dtype.itemsize))

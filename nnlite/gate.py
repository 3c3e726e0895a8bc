"""The gate: what a user hands over is checked and brought to one form here, once, before anything computes.

Inside, an array is 2-D, C-contiguous, in native byte order, of the network's dtype, finite and on the network's device;
class labels are one-hot rows. The caller's array is never written to, and not copied if it is already so.
What does not fit is refused by an error that names the argument, what came and what would be right.
"""

from __future__ import annotations

import math
import numbers
import os
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import numpy as np

from .devices.numpy.device import NumpyDevice

T = TypeVar("T")

# ---- names and numbers ------------------------------------------------------------------------------------------


def choose(table: Mapping[str, T], name: str, argument: str) -> T:
    """The entry of a table by its name; ValueError listing the names that there are."""
    if isinstance(name, str) and name in table:
        return table[name]
    raise ValueError(f"{argument}={name!r} is not known; choose one of {', '.join(map(repr, table))}")


def one_of(value: Any, allowed: Iterable[str], argument: str) -> str:
    """The value, if it is one of the allowed words."""
    return choose({word: word for word in allowed}, value, argument)


def integer(value: Any, argument: str, least: int = 1) -> int:
    """A whole number of at least `least`; True and 2.0 are not whole numbers here."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{argument} must be a whole number, not {value!r}")
    if value < least:
        raise ValueError(f"{argument} must be at least {least}, not {value}")
    return int(value)


def number(
    value: Any, argument: str, above: float = -math.inf, least: float = -math.inf, below: float = math.inf
) -> float:
    """A finite number with least ≤ value, above < value < below."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Real):
        raise TypeError(f"{argument} must be a number, not {value!r}")
    value = float(value)
    if not (math.isfinite(value) and value >= least and above < value < below):
        limits = [f"at least {least}"] * (least > -math.inf) + [f"above {above}"] * (above > -math.inf)
        limits += [f"below {below}"] * (below < math.inf)
        raise ValueError(f"{argument} must be {' and '.join(['finite', *limits])}, not {value}")
    return value


def usable_cpus() -> int:
    """How many CPUs this process may use: those that it is bound to, but no more than its container's share of time
    comes to, nor than NUMBA_NUM_THREADS, by which joblib shares out the CPUs among its workers."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    asked = os.environ.get("NUMBA_NUM_THREADS", "").strip()
    most = int(asked) if asked.isdecimal() else bound
    return max(1, math.ceil(min(bound, most, cpu_quota())))


def cpu_quota(root: str = "/") -> float:
    """How many CPUs' time the Linux control groups of this process give it; infinity without a limit."""
    least = math.inf
    for line in _lines(f"{root}/proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        base = f"{root}/sys/fs/cgroup/{controllers}"  # of version 1, or, without a name, of version 2
        parts = [part for part in path.split("/") if part]
        for folder in ("/".join([base, *parts[:depth]]) for depth in range(len(parts) + 1)):
            if controllers:
                words = [*_lines(f"{folder}/cpu.cfs_quota_us"), *_lines(f"{folder}/cpu.cfs_period_us")]
            else:
                words = " ".join(_lines(f"{folder}/cpu.max")).split()
            if len(words) == 2 and words[0].isdecimal() and words[1].isdecimal() and int(words[1]) > 0:
                least = min(least, int(words[0]) / int(words[1]))
    return least


def _lines(path: str) -> list[str]:
    """The lines of a small file of the system's; none if it is not there."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().splitlines()
    except OSError:
        return []


def thread_count(threads: int | None) -> int:
    """How many threads to use: as many as asked for, by the argument or by NNLITE_NUM_THREADS, or as there are CPUs.

    Never more than `usable_cpus`.
    """
    there = usable_cpus()
    asked = os.environ.get("NNLITE_NUM_THREADS")
    if threads is None and asked:
        if not asked.strip().isdecimal():
            raise ValueError(f"NNLITE_NUM_THREADS={asked!r} must be a whole number of at least 1")
        threads = int(asked)
    return there if threads is None else min(there, integer(threads, "threads"))


def float_type(dtype: Any) -> np.dtype:
    """float32 or float64."""
    try:
        found = np.dtype(dtype)
    except TypeError:
        found = None
    if found not in (np.float32, np.float64):
        raise ValueError(f"dtype={dtype!r} is not known; choose 'float32' or 'float64'")
    return np.dtype(found)


# ---- arrays -----------------------------------------------------------------------------------------------------


def samples(x: Any, device: NumpyDevice, dtype: Any, columns: int | None = None, name: str = "x") -> Any:
    """What a network reads: any table of finite numbers -> x (N, columns) on the device."""
    array = numeric(x, device, name)
    wanted = f"(rows, {columns})" if columns else "(rows, columns)"
    if array.ndim != 2:
        hint = f"; one sample is {name}.reshape(1, -1), one column is {name}.reshape(-1, 1)" if array.ndim == 1 else ""
        raise ValueError(f"{name} has shape {array.shape}, expected {wanted}{hint}")
    if 0 in array.shape:
        raise ValueError(f"{name} has shape {array.shape}: there is nothing to compute with; expected {wanted}")
    if columns and array.shape[1] != columns:
        raise ValueError(f"{name} has shape {array.shape}, but the network reads {columns} columns: expected {wanted}")
    return finite(array, device, dtype, name)


def targets(
    y: Any, shape: tuple[int, int], device: NumpyDevice, dtype: Any, kind: str = "real", name: str = "y"
) -> Any:
    """What a prediction of this shape (N, K) is held against -> y (N, K) on the device.

    (N, K) numbers; (N,) numbers where K is 1; or integer labels (N,), which become one-hot rows. `kind` is what the
    loss expects: "real", "probability" (0 … 1) or "class" (labels, or rows that sum to 1).
    """
    rows, columns = shape
    array = numeric(y, device, name)
    if array.ndim not in (1, 2) or len(array) != rows:
        raise ValueError(f"{name} has shape {array.shape}, but there are {rows} rows to predict: expected {shape}")
    if array.ndim == 1 and columns > 1 and (kind == "class" or array.dtype.kind in "iub"):
        return device.asarray(one_hot(device.to_numpy(array), columns, name), dtype)
    if array.ndim == 1 and columns == 1:
        array = array.reshape(-1, 1)
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}, the prediction {shape}: they must be the same")
    array = finite(array, device, dtype, name)
    if kind != "real":
        _refuse_row(((array < 0) | (array > 1)).any(axis=1), array, name, "outside 0 … 1")
    if kind == "class":
        _refuse_row(np.abs(array.sum(axis=1) - 1) > 1e-3, array, name, "which does not sum to 1 as a one-hot row does")
    return array


def one_hot(labels: Any, classes: int, name: str = "y") -> np.ndarray:
    """Labels (N,) of 0 … classes − 1 -> rows (N, classes) with a single 1.

    >>> nl.gate.one_hot([2, 0], 3)
    array([[0., 0., 1.],
           [1., 0., 0.]])
    """
    labels = np.asarray(labels)
    bad = ~((labels >= 0) & (labels < classes) & (labels == np.floor(labels)))
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(f"{name} has the label {labels[row]} in row {row}; labels are whole numbers 0 … {classes - 1}")
    rows = np.zeros((len(labels), classes))
    rows[np.arange(len(labels)), labels.astype(np.intp)] = 1
    return rows


def numeric(values: Any, device: NumpyDevice, name: str) -> Any:
    """Any array-like of real numbers as an array; on the device only if it is there already."""
    values = device.borrowed(values)
    if device.owns(values):
        array = values
    elif hasattr(values, "nnz") and hasattr(values, "toarray"):
        raise TypeError(f"{name} is a sparse matrix; hand over {name}.toarray()")
    elif isinstance(values, np.matrix):
        raise TypeError(f"{name} is a numpy.matrix; hand over np.asarray({name})")
    elif isinstance(values, np.ma.MaskedArray) and np.ma.getmaskarray(values).any():
        raise ValueError(f"{name} has masked entries; fill or drop them first, for instance by {name}.filled(0)")
    else:
        array = _host_array(values, name)
    if array.dtype.kind == "O":
        array = _from_objects(array, name)
    if array.dtype.kind not in "fiub":
        what = {"c": "complex numbers", "U": "text", "S": "text"}.get(array.dtype.kind, f"values of type {array.dtype}")
        labels = f"; number classes by np.unique({name}, return_inverse=True)[1]" if array.dtype.kind in "US" else ""
        raise TypeError(f"{name} contains {what}, expected real numbers{labels}")
    return array


def finite(array: Any, device: NumpyDevice, dtype: Any, name: str) -> Any:
    """The array in the network's dtype on its device; ValueError with the place of the first NaN or infinity."""
    if not _finite(array):
        place = _first(~np.isfinite(array))
        what = "NaN" if np.isnan(array[place]) else "infinity"
        raise ValueError(f"{name} contains {what} at {_where(place)}; drop or fill such entries first")
    with np.errstate(over="ignore"):
        result = _brought(array, device, dtype)
    if result is not array and np.dtype(array.dtype).itemsize >= result.dtype.itemsize and not _finite(result):
        place = _first(~np.isfinite(result))
        raise ValueError(f"{name} contains {array[place]} at {_where(place)}, too large for {result.dtype}")
    return result


def _brought(array: Any, device: NumpyDevice, dtype: Any) -> Any:
    """The array on the device, contiguous, aligned, of this dtype."""
    return device.asarray(np.require(array, dtype, "A") if isinstance(array, np.ndarray) else array, dtype)


def _finite(array: Any) -> bool:
    """Whether all numbers are finite: their sum is, or else, since it may overflow, each of them."""
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(array.sum())) or bool(np.isfinite(array).all())


def _host_array(values: Any, name: str) -> np.ndarray:
    if hasattr(values, "dtypes") and hasattr(values, "columns") and hasattr(values, "to_numpy"):  # a DataFrame
        for column, kind in zip(values.columns, values.dtypes):
            if str(kind) in ("object", "string", "str", "category"):
                _from_objects(values[column].to_numpy(dtype=object), f"column {column!r} of {name}")
        values = values.to_numpy()
    try:
        return np.asarray(values.get() if hasattr(values, "__cuda_array_interface__") else values)
    except (TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise TypeError(f"{name} cannot be read as an array of numbers: {error}") from error


def _from_objects(array: np.ndarray, name: str) -> np.ndarray:
    """An array of Python objects as float64, if all are real numbers."""
    for place, value in np.ndenumerate(array):
        if value is None or type(value).__name__ in ("NAType", "NaTType"):
            raise ValueError(f"{name} contains {value} at {_where(place)}; drop or fill such entries first")
        if isinstance(value, (str, bytes)):
            raise TypeError(f"{name} contains the text {value!r} at {_where(place)}, expected real numbers")
        if not isinstance(value, (numbers.Real, np.bool_)):
            raise TypeError(f"{name} contains a {type(value).__name__} at {_where(place)}, expected real numbers")
    try:
        return array.astype(np.float64)
    except OverflowError as error:
        raise ValueError(f"{name} contains a number too large for float64") from error


def _refuse_row(bad: Any, array: Any, name: str, what: str) -> None:
    if bad.any():
        row = int(np.argmax(bad))
        values = ", ".join(f"{value:.6g}" for value in array[row].tolist())
        raise ValueError(f"{name} has [{values}] in row {row}, {what}")


def _first(bad: Any) -> tuple[int, ...]:
    return tuple(int(i) for i in np.unravel_index(int(np.argmax(bad)), bad.shape))


def _where(place: tuple[int, ...]) -> str:
    return ", ".join(f"{word} {i}" for word, i in zip(("row", "column", "layer"), place)) or "the only place"


# ---- kernels behind the gate --------------------------------------------------------------------------------------


class Checked:
    """A device's kernels for layers used by themselves: operands are brought to one form before each call.

    Inside a network shapes are settled once and layers call the kernels directly. Leading axes are rows: (K,) is one.
    """

    def __init__(self, device: NumpyDevice) -> None:
        self.device = device

    def __getattr__(self, kernel_name: str) -> Any:
        kernel = getattr(self.device.ops, kernel_name)
        signature = kernel.signature

        def call(*operands: Any) -> Any:
            arrays = {
                name: numeric(value, self.device, name)
                for (name, letters), value in zip(signature.operands.items(), operands, strict=True)
                if letters is not None
            }
            counters = {
                name for name, a in arrays.items() if signature.operands[name] == ("1",) and a.dtype.kind == "i"
            }
            kinds = [a.dtype for name, a in arrays.items() if name not in counters]
            dtype = np.result_type(np.float32, *[kind for kind in kinds if kind.kind == "f"])
            if any(kind.kind != "f" for kind in kinds) or dtype.itemsize > 8:
                dtype = np.dtype(np.float64)
            lead = next(iter(arrays.values())).shape[:-1]
            for name, array in arrays.items():
                letters = signature.operands[name]
                if letters[0] == "N" and len(letters) == 2:
                    arrays[name] = array = array.reshape(-1, array.shape[-1] if array.ndim else 1)
                if name not in signature.results and name not in counters:
                    arrays[name] = _brought(array, self.device, dtype)
            checked = [arrays.get(name, value) for name, value in zip(signature.operands, operands, strict=True)]
            signature.sizes(checked, kernel_name)
            results = kernel(*checked)
            if isinstance(results, tuple):
                return tuple(result.reshape(*lead, result.shape[-1]) for result in results)
            return results if results is None else results.reshape(*lead, results.shape[-1])

        return call

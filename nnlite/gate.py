"""The gate: checks all that a user passes in and brings it to one form, once, before anything is computed.

Behind the gate, an array is 2-D, C-contiguous, in native byte order, of the network's dtype, finite and on the
network's device; class labels are one-hot rows. The caller's array is never written to, and it is not copied if it has
this form already. An error names the argument, the value that was passed, and what would be right.
"""

from __future__ import annotations

import math
import numbers
import os
import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import numpy as np

from .cores import usable
from .devices import Device, Kernel, get_device, kernel_of

T = TypeVar("T")
HOST = get_device("numpy")  # the device for arrays that belong to no network
STRETCH = 4096  # numbers
FEW = 32_768  # numbers that are checked one by one in less time than a sum takes


class PrecisionWarning(UserWarning):
    """Different numbers become equal in the network's dtype."""


# ---- names and numbers ------------------------------------------------------------------------------------------


def choose(table: Mapping[str, T], name: str, argument: str, elsewhere: Mapping[str, str] | None = None) -> T:
    """The entry of this name in a table; for an unknown name, a ValueError that lists the known ones.

    `elsewhere` maps names from other libraries to names of the table, or to what the error says instead.
    """
    hint = meant(table, name, elsewhere)
    if hint in table:
        return table[hint]
    shown = f"{name[:60]}…" if isinstance(name, str) and len(name) > 60 else name  # a file's may have a megabyte
    hint = f"{argument}={shown!r} is not known: {hint}. Or" if hint else f"{argument}={shown!r} is not known;"
    raise ValueError(f"{hint} choose one of {', '.join(map(repr, table))}")


def meant(table: Mapping[str, Any], name: Any, elsewhere: Mapping[str, str] | None = None) -> str:
    """The name in a table that is meant, or else what an error says of it, or nothing; see `choose`."""
    if isinstance(name, str) and (elsewhere is None or name in table):
        return name if name in table else ""
    if isinstance(name, str):
        return ({_plain(each): each for each in table} | dict(elsewhere or {})).get(_plain(name), "")
    kinds = name, type(name)  # a class of the table, or an object of one
    return next((f"it is {each!r}" for each, kind in table.items() if kind in kinds), "")


def _plain(name: str) -> str:
    """A name without what libraries write in different ways."""
    return name.lower().replace("_", "").replace("-", "").replace(" ", "")


def one_of(value: Any, allowed: Iterable[str], argument: str) -> str:
    """The value, if it is one of the allowed words; or else ValueError."""
    return choose({word: word for word in allowed}, value, argument)


def integer(value: Any, argument: str, least: int = 1) -> int:
    """A whole number of at least `least`. TypeError for other types, also for True and 2.0; ValueError if smaller."""
    if isinstance(value, bool) or not isinstance(value, (int, numbers.Integral)):
        raise TypeError(f"{argument} must be a whole number, not {value!r}")
    if value < least:
        raise ValueError(f"{argument} must be at least {least}, not {value}")
    return int(value)


def number(
    value: Any, argument: str, above: float = -math.inf, least: float = -math.inf, below: float = math.inf
) -> float:
    """A finite number with least ≤ value and above < value < below, as a float; ValueError or TypeError for others."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Real):
        raise TypeError(f"{argument} must be a number, not {value!r}")
    try:
        value = float(value)
    except OverflowError:  # from a large int or Fraction
        value = math.inf
    if not (math.isfinite(value) and value >= least and above < value < below):
        limits = [f"at least {least}"] * (least > -math.inf) + [f"above {above}"] * (above > -math.inf)
        limits += [f"below {below}"] * (below < math.inf)
        raise ValueError(f"{argument} must be {' and '.join(['finite', *limits])}, not {value}")
    return value


def answer(value: Any, of: str) -> float:
    """What a function of the user's own has returned, as a float; TypeError if it is not one number."""
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{of} must give a number, not {value!r:.80}") from error


def thread_count(threads: int | None) -> int:
    """The number of threads to use: the argument, or else NNLITE_NUM_THREADS, or else one for each core.

    A number that was asked for is lowered to that of the CPUs which the process may use. ValueError or TypeError for
    anything but a whole number of at least 1.
    """
    there = usable()
    asked = os.environ.get("NNLITE_NUM_THREADS")
    if threads is None and asked:
        if not asked.strip().isdecimal():
            raise ValueError(f"NNLITE_NUM_THREADS={asked!r} must be a whole number of at least 1")
        threads = int(asked)
    return there.cores if threads is None else min(there.cpus, integer(threads, "threads"))


def float_type(dtype: Any) -> np.dtype:
    """The dtype float32 or float64; ValueError for any other."""
    try:
        found = np.dtype(dtype)
    except TypeError:
        found = None
    if found not in (np.float32, np.float64):
        raise ValueError(f"dtype={dtype!r} is not known; choose 'float32' or 'float64'")
    return np.dtype(found)


# ---- the columns of a table ---------------------------------------------------------------------------------------


def columns_of(x: Any) -> tuple[str, ...] | None:
    """The names of a DataFrame's columns if all are text and different; or else None."""
    if not _is_frame(x):
        return None
    names = tuple(x.columns)
    return names if all(isinstance(name, str) for name in names) and len(set(names)) == len(names) else None


def in_order(x: Any, names: Sequence[str] | None, argument: str = "x") -> Any:
    """A DataFrame with its columns in the order of these names; anything else is returned unchanged.

    ValueError if a column is missing or unknown.
    """
    found = columns_of(x)
    if names is None or found is None or found == tuple(names):
        return x
    missing, unknown = [n for n in names if n not in found], [n for n in found if n not in names]
    if missing or unknown:
        what = [f"misses {', '.join(map(repr, missing))}"] * bool(missing)
        what += [f"has {', '.join(map(repr, unknown))}, which the network does not know"] * bool(unknown)
        raise ValueError(
            f"{argument} {' and '.join(what)}: its columns must be {', '.join(map(repr, names))}, in any order "
            "(for others that mean the same set net.columns = None)"
        )
    return x[list(names)]


def _is_frame(values: Any) -> bool:
    return hasattr(values, "dtypes") and hasattr(values, "columns") and hasattr(values, "to_numpy")


# ---- arrays -----------------------------------------------------------------------------------------------------


def samples(x: Any, device: Device, dtype: Any, columns: int | None = None, name: str = "x") -> Any:
    """Any table of finite numbers -> x (N, columns) on the device; ValueError or TypeError for anything else."""
    array = numeric(x, device, name)
    wanted = f"(rows, {columns})" if columns else "(rows, columns)"
    if array.ndim != 2:
        hint = f"; one sample is {name}.reshape(1, -1), one column is {name}.reshape(-1, 1)" if array.ndim == 1 else ""
        hint = f"; each sample as a row is {name}.reshape(len({name}), -1)" if array.ndim > 2 else hint
        raise ValueError(f"{name} has shape {array.shape}, expected {wanted}{hint}")
    if 0 in array.shape:
        raise ValueError(f"{name} has shape {array.shape}: there is nothing to compute with; expected {wanted}")
    if columns and array.shape[1] != columns:
        raise ValueError(f"{name} has shape {array.shape}, but the network reads {columns} columns: expected {wanted}")
    result = finite(array, device, dtype, name)
    _tell_what_is_lost(array, result.dtype, device, name)
    return result


def targets(
    y: Any,
    shape: tuple[int, int],
    device: Device,
    dtype: Any,
    kind: str = "real",
    name: str = "y",
    missing: bool = False,
) -> Any:
    """The targets for predictions of this shape (N, K) -> y (N, K) on the device.

    `y` is numbers (N, K), numbers (N,) if K is 1, or integer labels (N,), which become one-hot rows. `kind` is what the
    loss expects: "real", "probability" (0 … 1), "class" (labels, or rows that sum to 1), "side" (−1 and +1) or "count"
    (at least 0). With `missing`, NaN stands for what was not measured. ValueError or TypeError for other targets.
    """
    rows, columns = shape
    array = numeric(y, device, name)
    if array.ndim not in (1, 2) or len(array) != rows:
        flat = f", or ({rows},)" if columns == 1 else f", or labels ({rows},)" if kind in ("class", "side") else ""
        told = f"{name} has shape {array.shape}, but there are {rows} rows to predict"
        table = array.ndim == 2 and array.shape[1] not in (1, columns)  # such as x_test
        order = "; nl.datasets.split gives x_train, y_train, x_test, y_test" if table else ""
        raise ValueError(f"{told}: expected {shape}{flat}{order}")
    unknown = bool((array != array).any()) if missing else False  # only NaN is not equal to itself
    if unknown and bool((array != array).all()):
        raise ValueError(f"{name} has no number that was measured")
    if array.ndim == 1 and columns > 1 and (kind == "class" or array.dtype.kind in "iub" or unknown):
        rows_of_labels = one_hot(device.to_numpy(array), columns, name, missing, dtype)
        return device.asarray(2 * rows_of_labels - 1 if kind == "side" else rows_of_labels, dtype)
    if array.ndim == 1 and columns == 1:
        array = array.reshape(-1, 1)
    if array.shape != shape:
        hint = _labels_hint(array, columns, kind, name)
        raise ValueError(f"{name} has shape {array.shape}, the prediction {shape}: they must be the same{hint}")
    given, array = array, finite(array, device, dtype, name, missing)
    absent = array != array
    if kind in ("real", "count"):
        _tell_what_is_lost(given, array.dtype, device, name)
    if kind == "count":
        _refuse_row((array < 0).any(axis=1), array, name, "below 0, which a count is not")
    if kind in ("probability", "class"):
        _refuse_row(((array < 0) | (array > 1)).any(axis=1), array, name, "outside 0 … 1")
    if kind == "class":
        several = 'which does not sum to 1 as a one-hot row does; for several labels in a row, take Sigmoid() and "bce"'
        _refuse_row(np.abs(array.sum(axis=1) - 1) > 1e-3, array, name, several)
        _refuse_row(absent.any(axis=1) & ~absent.all(axis=1), array, name, "of which only a part is NaN")
    if kind == "side":
        sides = f"where −1 or +1 is expected; from 0 and 1, 2 * {_argument(name)} - 1 makes them"
        _refuse_row(~((np.abs(array) == 1) | absent).all(axis=1), array, name, sides)
    return array


def row_weights(values: Any, rows: int, dtype: Any = np.float64, name: str = "sample_weight") -> np.ndarray:
    """The weights (N,) of so many rows, in main memory; ValueError unless they are finite and at least 0."""
    array = HOST.to_numpy(numeric(values, HOST, name))
    if array.shape != (rows,):
        raise ValueError(f"{name} has shape {array.shape}, expected ({rows},): one number for each row")
    given, array = array, finite(array, HOST, dtype, name).astype(np.float64)
    if not array.any() and given.any():
        raise ValueError(f"{name} is 0 in {np.dtype(dtype)} for every row: multiply all weights by a large number")
    if (array < 0).any():
        row = int(np.argmax(array < 0))
        raise ValueError(f"{name} has {array[row]:g} in row {row}: a weight is at least 0, and 0 leaves the row out")
    return array


def parameter(value: Any, shape: tuple[int, ...], device: Device, dtype: Any, name: str) -> Any:
    """Numbers for a parameter of this shape, on the device; ValueError for another shape, NaN or infinity."""
    array = numeric(value, device, name)
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}, expected {shape}")
    return finite(array, device, dtype, name)


def _labels_hint(array: Any, columns: int, kind: str, name: str) -> str:
    """A hint for the error about a target that looks like labels but does not have their form, or ""."""
    if columns == 1 or (array.ndim == 2 and array.shape[1] > 1):
        return ""
    if array.ndim == 2:
        labels = kind == "class" or array.dtype.kind in "iub"
        return f"; labels of classes have one axis: np.ravel({_argument(name)})" * labels
    labels = bool((array == np.floor(array)).all())
    return f"; labels of classes are whole numbers: {_argument(name)}.astype(int)" * labels


def one_hot(labels: Any, classes: int, name: str = "y", missing: bool = False, dtype: Any = np.float64) -> np.ndarray:
    """Labels (N,) from 0 to classes − 1 -> rows (N, classes) with a single 1 each; ValueError for other labels.

    With `missing`, a label of NaN becomes a row of NaN.

    >>> nl.gate.one_hot([2, 0], 3)
    array([[0., 0., 1.],
           [1., 0., 0.]])
    """
    labels = np.asarray(labels)  # (N,)
    known = (labels >= 0) & (labels < classes)  # (N,)
    if labels.dtype.kind == "f":
        known &= labels == np.floor(labels)
    rows, places = np.zeros((len(labels), classes), dtype), np.flatnonzero(known)
    if len(places) < len(labels):
        bad = ~known & (labels == labels) if missing else ~known  # only NaN is not equal to itself
        if bad.any():
            row, last = int(np.argmax(bad)), classes - 1
            told = f"{name} has the label {labels[row]} in row {row}; labels are whole numbers 0 … {last}"
            from_1 = "; these begin at 1: subtract 1" if labels.min() == 1 and labels.max() == classes else ""
            raise ValueError(told + from_1)
        rows[~known] = np.nan
    rows[places, labels[places].astype(np.intp)] = 1
    return rows


def numeric(values: Any, device: Device, name: str) -> Any:
    """Any array-like of real numbers as an array. It is on the device only if it was there before.

    TypeError for anything but real numbers, ValueError for missing values.
    """
    values = device.borrowed(values)
    if type(values) is np.ndarray or device.owns(values):
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
        text = array.dtype.kind in "UST"  # T is NumPy's StringDType
        what = "text" if text else "complex numbers" if array.dtype.kind == "c" else f"values of type {array.dtype}"
        hint = _numbering_hint(array, name) if text else ""
        raise TypeError(f"{name} contains {what}, expected real numbers{hint}")
    return array


def real_array(values: Any, name: str, axes: int | None = None) -> np.ndarray:
    """Any array-like of real numbers as float64 in main memory; NaN and infinity may be among them.

    ValueError for another number of axes.
    """
    if values is None:
        raise TypeError(f"{name} must be a number or an array of numbers, not None")
    array = HOST.to_numpy(numeric(values, HOST, name)).astype(np.float64)
    if axes is not None and array.ndim != axes:
        raise ValueError(f"{name} must have {axes} axes, got shape {array.shape}")
    return array


def finite(array: Any, device: Device, dtype: Any, name: str, missing: bool = False) -> Any:
    """The array in this dtype on the device; ValueError with the place of the first NaN, infinity or overflow.

    With `missing`, NaN is allowed.
    """
    if not all_finite(array) and not (missing and not np.isinf(array).any()):
        place = _first(np.isinf(array) if missing else ~np.isfinite(array))
        what = "NaN" if np.isnan(array[place]) else "infinity"
        raise ValueError(f"{name} contains {what} at {_where(place)}; drop or fill such entries first")
    with np.errstate(over="ignore"):
        result = _brought(array, device, dtype)
    smaller = result is not array and np.dtype(array.dtype).itemsize >= result.dtype.itemsize
    if smaller and not all_finite(result) and np.isinf(result).any():
        place = _first(np.isinf(result))
        raise ValueError(f"{name} contains {array[place]} at {_where(place)}, too large for {result.dtype}")
    return result


def _tell_what_is_lost(array: Any, dtype: np.dtype, device: Device, name: str) -> None:
    """PrecisionWarning for each column (N,) in which this dtype makes different values equal.

    It is given only if the values are large compared with their spread. About 64 rows show whether they may be, so that
    few columns have to be read whole; up to 8 rows show nothing about a column, since they may be alike by chance.
    Differences no larger than the rounding errors of float64 do not count.
    """
    given = np.dtype(array.dtype)
    if given.kind not in "fiu" or given.itemsize < 4 or (given.kind == "f" and given.itemsize <= dtype.itemsize):
        return
    few = device.to_numpy(array[:: max(1, len(array) // 64)]).astype(np.float64)
    step = float(np.finfo(dtype).eps)
    with np.errstate(over="ignore"):
        close = np.ptp(few, axis=0) < 4096 * step * np.abs(few).max(axis=0)
    for column in np.flatnonzero(close):
        values = np.unique(device.to_numpy(array[:, column]))
        kept = np.unique(values.astype(dtype))
        low, high = values[0].item(), values[-1].item()  # exact for integers
        size = max(abs(low), abs(high))
        rounding = 256 * float(np.finfo(np.float64).eps) * size if given.kind == "f" else 0
        if len(array) > 8 and len(kept) < len(values) and rounding < high - low < 4096 * step * size:
            warnings.warn(
                f"column {column} of {name} runs from {low:.12g} to {high:.12g}, and {dtype} makes {len(kept)} of its "
                f"{len(values)} different values: subtract its mean and divide by its standard deviation, or make a "
                'float32 network with dtype="float64"',
                PrecisionWarning,
                stacklevel=level_of_caller(),
            )


def level_of_caller() -> int:
    """The stacklevel at which a warnings.warn in the calling function names the user's line."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").split(".")[0] == __package__:
        level, frame = level + 1, frame.f_back
    return level


def _brought(array: Any, device: Device, dtype: Any) -> Any:
    """The array on the device, contiguous, aligned and of this dtype."""
    if isinstance(array, np.ndarray) and not array.flags.aligned:
        array = np.require(array, dtype, "A")
    return device.asarray(array, dtype)


def all_finite(array: Any) -> bool:
    """Whether all numbers are finite. Of many, the sum is fast to check, and each number only if the sum overflows."""
    if isinstance(array, np.ndarray) and array.size <= FEW:
        return bool(np.count_nonzero(np.isfinite(array)) == array.size)
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(_sum(array))) or bool(np.isfinite(array).all())


def _sum(array: Any) -> Any:
    """The sum of all numbers. On a GPU, stretches are summed first: without CUB, CuPy makes one sum by one block.

    One block reads about 5 GB/s, which is a thousandth of what all blocks together read.
    """
    if isinstance(array, np.ndarray) or array.size <= STRETCH:
        return array.sum()
    flat, whole = array.reshape(-1), array.size // STRETCH * STRETCH
    return flat[:whole].reshape(-1, STRETCH).sum(axis=1).sum() + flat[whole:].sum()


def _host_array(values: Any, name: str) -> np.ndarray:
    if _is_frame(values):
        for column, kind in zip(values.columns, values.dtypes):
            if str(kind) in ("object", "string", "str", "category"):
                _from_objects(values[column].to_numpy(dtype=object), f"column {column!r} of {name}")
        kinds = {getattr(kind, "kind", "O") for kind in values.dtypes}
        alike = all(isinstance(kind, np.dtype) for kind in values.dtypes) and (kinds == {"b"} or "b" not in kinds)
        values = values.to_numpy() if alike or not kinds <= set("fiub") else _from_pandas(values)
    elif (
        hasattr(values, "isna")
        and getattr(values.dtype, "kind", "O") in "fiub"
        and hasattr(values.dtype, "numpy_dtype")
    ):
        values = _from_pandas(values, values.dtype.numpy_dtype)  # a Series with one of pandas' own dtypes
    try:
        return np.asarray(values.get() if hasattr(values, "__cuda_array_interface__") else values)
    except (TypeError, ValueError, RuntimeError, AttributeError) as error:
        pair = f"{name} is a pair, so x, y = … takes it apart: " * (isinstance(values, tuple) and len(values) == 2)
        raise TypeError(f"{pair}{name} cannot be read as an array of numbers: {error}") from error


def _from_pandas(values: Any, dtype: Any = np.float64) -> np.ndarray:
    """Numbers of mixed types or of pandas' own, without a detour through objects; missing values become NaN."""
    if dtype == np.float64 or values.isna().any():
        return values.to_numpy(dtype=np.float64, na_value=np.nan)
    return values.to_numpy(dtype=dtype)


def _from_objects(array: np.ndarray, name: str) -> np.ndarray:
    """An array of Python objects as float64; TypeError or ValueError unless all are real numbers."""
    kinds = set(map(type, array.ravel().tolist()))
    for place, value in (
        [] if all(issubclass(kind, (numbers.Real, np.bool_)) for kind in kinds) else np.ndenumerate(array)
    ):
        if value is None or type(value).__name__ in ("NAType", "NaTType"):
            raise ValueError(f"{name} contains {value} at {_where(place)}; drop or fill such entries first")
        if isinstance(value, (str, bytes)):
            hint = _numbering_hint(array, name)
            raise TypeError(f"{name} contains the text {value!r} at {_where(place)}, expected real numbers{hint}")
        if not isinstance(value, (numbers.Real, np.bool_)):
            raise TypeError(f"{name} contains a {type(value).__name__} at {_where(place)}, expected real numbers")
    try:
        return array.astype(np.float64)
    except OverflowError as error:
        raise ValueError(f"{name} contains a number too large for float64") from error


def _numbering_hint(array: Any, name: str) -> str:
    """A hint how to turn text into numbers, for labels or for a column of a table; "" for anything else."""
    if name.startswith("column "):
        return "; pandas.get_dummies makes a column of numbers for each text"
    labels = name.isidentifier() or " " in name  # but not a name such as history['loss']
    if labels and (array.ndim == 1 or (array.ndim == 2 and array.shape[1] == 1)):
        weight = name.endswith("weight")
        return "" if weight else f"; number classes by np.unique({_argument(name)}, return_inverse=True)[1]"
    return ""


def _argument(name: str) -> str:
    """The name, if it can stand in a line of Python; or else "labels"."""
    return name if name.isidentifier() else "labels"


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
    """A device's kernels for layers outside of any network: operands are brought to one form before each call.

    Inside a network, arrays are checked once, and layers call the kernels directly. All axes but the last count as
    rows: an operand of shape (K,) is one row.
    """

    def __init__(self, device: Device) -> None:
        self.device = device

    def __getattr__(self, kernel_name: str) -> Any:
        kernel = getattr(self.device.ops, kernel_name)
        return self._checked(kernel, kernel_of(kernel))

    def call(self, kernel: Any, *operands: Any) -> Any:
        """Call a user's own kernel, which is in no table."""
        return self._checked(partial(self.device.ops.call, kernel), kernel_of(kernel))(*operands)

    def _checked(self, function: Any, kernel: Kernel) -> Any:
        """A function that calls this kernel with operands in any form."""
        signature = kernel.signature

        def call(*operands: Any) -> Any:
            named = signature.named(operands, kernel.name)
            arrays = {
                name: numeric(value, self.device, name)
                for name, value in named.items()
                if signature.operands[name] is not None
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
                letters = signature.operands[name] or ()
                if letters[:1] == ("N",) and len(letters) == 2:
                    arrays[name] = array = array.reshape(-1, array.shape[-1] if array.ndim else 1)
                if name not in signature.results and name not in counters:
                    arrays[name] = _brought(array, self.device, dtype)
            checked = [*(named | arrays).values()]
            signature.sizes(checked, kernel.name)
            results = function(*checked)
            several = isinstance(results, tuple)
            shaped = tuple(
                result.reshape(*lead, result.shape[-1]) if (signature.results[name] or ())[:-1] == ("N",) else result
                for name, result in zip(signature.fresh, results if several else (results,))
            )
            return shaped if several else shaped[0] if shaped else None

        return call

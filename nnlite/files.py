"""Write arrays and a description to one file and read them back, safely. The format is safetensors, an open format.

    8 bytes      length of the header, little-endian
    header       JSON: name -> dtype, shape, place; "__metadata__" holds the checksum and the description, which is
                 JSON in a string
    data         the arrays one after the other, without holes or overlaps

The checksum is the SHA-256 of the whole file, with zeros in the place of its own 64 digits. If a header promises other
arrays than the reader expects, the file is refused before memory is reserved for them. A file without a checksum, as
earlier versions wrote, is read without this check. `read` can read every file that `write` has written.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import numbers
import os
import stat
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, BinaryIO

import numpy as np

from .atomic import replacing
from .gate import all_finite

VERSION = 1
LARGEST_HEADER = 10_000_000  # bytes
MOST_AXES = 32  # axes of a tensor
MOST_DIGITS = 20  # digits of a whole number
MOST_LEVELS = 100  # nested lists and dicts in notes
PIECE = 1 << 20  # bytes that are read and checked at a time
DTYPES: dict[str, np.dtype] = {"F32": np.dtype("<f4"), "F64": np.dtype("<f8"), "I64": np.dtype("<i8")}
NOTHING: Mapping[str, np.ndarray] = MappingProxyType({})
BEFORE_CHECKSUM = b'{"__metadata__": {"sha256": "'  # how a header with a checksum begins
NO_CHECKSUM = "0" * 64
OTHERS = "trainer/"  # how the names of tensors begin that do not belong to the network


class CorruptFileError(ValueError):
    """nnlite did not write this file, or the file was damaged later. Nothing was loaded from it."""


# ---- writing ----------------------------------------------------------------------------------------------------


def write(
    path: str | os.PathLike[str],
    arrays: Mapping[str, np.ndarray],
    config: Mapping[str, Any],
    notes: Any = None,
    others: Mapping[str, np.ndarray] = NOTHING,
) -> None:
    """Write arrays, a config and a user's notes. An old file stays as it is until the new one is complete.

    `others` are a trainer's arrays, of any numbers, also NaN; their names begin with OTHERS. TypeError or ValueError
    names the entry if JSON cannot hold the notes or if a number is not finite. It is raised before anything is written.
    """
    described = {"version": VERSION, "checksum": "sha256", **config, "notes": plain(notes or {}, "notes")}
    metadata = {"sha256": NO_CHECKSUM, "nnlite": json.dumps(described, allow_nan=False)}
    header: dict[str, Any] = {"__metadata__": metadata}
    start = 0
    for name, array in (every := {**arrays, **others}).items():
        if name in arrays and not all_finite(array):
            raise ValueError(f"parameter {name!r} contains NaN or infinity; only finite numbers can be saved")
        code = next(code for code, dtype in DTYPES.items() if dtype == array.dtype.newbyteorder("<"))
        header[name] = {"dtype": code, "shape": list(array.shape), "data_offsets": [start, start + array.nbytes]}
        start += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # the data starts aligned
    if len(text) > LARGEST_HEADER:
        noted = len(json.dumps(described["notes"]))
        raise ValueError(
            f"notes take {noted:,} bytes and the description of the network {max(0, len(text) - noted):,}; together "
            f"they may take {LARGEST_HEADER:,}: keep what is large in a file of its own"
        )
    digest = hashlib.sha256()
    with replacing(path) as file:
        for piece in (len(text).to_bytes(8, "little") + text, *map(_bytes, every.values())):
            digest.update(piece)
            file.write(piece)
        file.seek(8 + len(BEFORE_CHECKSUM))
        file.write(digest.hexdigest().encode())


def _bytes(array: np.ndarray) -> Any:
    """The bytes of an array as the file holds them."""
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(-1).view(np.uint8).data


def plain(value: Any, name: str, level: int = 0) -> Any:
    """The value with Python's types instead of NumPy's. TypeError or ValueError names what JSON cannot hold."""
    if isinstance(value, (np.ndarray, np.generic)):
        value = value.tolist()
    if level > MOST_LEVELS:
        raise ValueError(f"{_cut(name)} lies more than {MOST_LEVELS} lists and dicts deep; make it flatter")
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"{_cut(name)} has the key {key!r}; keys must be text, such as {str(key)!r}")
        return {str(key): plain(each, f"{name}[{key!r}]", level + 1) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each, f"{name}[{i}]", level + 1) for i, each in enumerate(value)]
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, numbers.Integral):
        if abs(int(value)) >= 10**MOST_DIGITS:
            raise ValueError(f"{_cut(name)} is a whole number of more than {MOST_DIGITS} digits; note it as text")
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{_cut(name)} is {value}, which JSON does not have; note None or text instead")
        return float(value)
    raise TypeError(
        f"{_cut(name)} is a {type(value).__name__}; notes are text, numbers, True, False, None, and lists and dicts of "
        "them: note it as one of these"
    )


# ---- reading ----------------------------------------------------------------------------------------------------


class File:
    """An open file whose header has been read and checked. Its data have not been read yet."""

    def __init__(self, path: str, file: BinaryIO, text: bytes) -> None:
        self.path, self._file, self._start = path, file, 8 + len(text)
        header = _parsed(path, text, "the header")
        if not isinstance(header, dict):
            raise CorruptFileError(f"{path}: the header is not a JSON object")
        metadata = header.pop("__metadata__", None)
        self.config = _config(path, metadata)
        self.tensors = _tensors(path, header, os.fstat(file.fileno()).st_size - self._start)
        self._digest, self._wanted = hashlib.sha256(len(text).to_bytes(8, "little")), metadata.get("sha256")
        if self._wanted is None and self.config.get("checksum") is not None:
            raise CorruptFileError(f"{path}: the checksum is missing")
        first, last = len(BEFORE_CHECKSUM), len(BEFORE_CHECKSUM) + len(NO_CHECKSUM)
        self._digest.update(text[:first] + NO_CHECKSUM.encode() + text[last:])

    def numbers(
        self,
        shapes: Mapping[str, tuple[int, ...]],
        dtype: np.dtype,
        others: Mapping[str, np.ndarray] = NOTHING,
        rest: dict[str, np.ndarray] | None = None,
    ) -> np.ndarray:
        """All arrays of these shapes and this dtype, one after the other (P,). `others`, name -> array, are filled.

        What belongs to a trainer is added to `rest`, name -> array, or passed over. CorruptFileError names the tensor
        if the file has other tensors, or other shapes or dtypes; this is found before memory is reserved. It is raised
        also if a number of the network is not finite, or the file does not match its checksum.
        """
        wanted = {name: (np.dtype(dtype), shape) for name, shape in shapes.items()}
        wanted |= {name: (array.dtype, array.shape) for name, array in others.items()}
        for name in [*wanted, *self.tensors]:
            if self._of_trainer(name):
                continue
            if name not in self.tensors or name not in wanted:
                what = "missing" if name in wanted else "not expected"
                raise CorruptFileError(f"{self.path}: tensor {_cut(name)!r} is {what}")
            found, shape, _ = self.tensors[name]
            if (found, shape) != wanted[name]:
                text = " ".join(map(str, wanted[name]))
                raise CorruptFileError(f"{self.path}: tensor {name!r} is {found} {shape}, expected {text}")
        flat = np.empty(sum(map(math.prod, shapes.values())), dtype)
        places, start = {name: array.reshape(-1) for name, array in others.items()}, 0
        for name, shape in shapes.items():
            places[name] = flat[start : start + math.prod(shape)]
            start += math.prod(shape)
        self._file.seek(self._start)
        for name, (kind, shape, _) in self.tensors.items():  # in the order of the data
            if not self._of_trainer(name):
                self._read_into(places[name], name)
            elif rest is not None:
                rest[name] = np.empty(shape, kind)
                self._read_into(rest[name].reshape(-1), name, finite=False)
            else:
                for size in _pieces(math.prod(shape), PIECE // kind.itemsize):
                    self._read_into(np.empty(size, kind), name, finite=False)
        if self._wanted is not None and self._digest.hexdigest() != self._wanted:
            raise CorruptFileError(
                f"{self.path}: the file does not match its checksum: it was damaged, or changed by another program"
            )
        return flat

    def _of_trainer(self, name: str) -> bool:
        return name.startswith(OTHERS) and "trainer" in self.config

    def _read_into(self, array: np.ndarray, name: str, finite: bool = True) -> None:
        """Read the next numbers of the file into the array (n,). Each piece is checked while it is in the cache."""
        step = PIECE // array.itemsize
        for start in range(0, len(array), step):
            piece = array[start : start + step]
            raw = piece.view(np.uint8).data
            if self._file.readinto(raw) != len(raw):  # type: ignore[attr-defined]
                raise CorruptFileError(f"{self.path}: tensor {name!r} is cut short")
            self._digest.update(raw)
            if finite and not all_finite(piece):
                raise CorruptFileError(f"{self.path}: tensor {name!r} contains NaN or infinity")


@contextlib.contextmanager
def read(path: str | os.PathLike[str]) -> Iterator[File]:
    """Open a file that `write` wrote. CorruptFileError if its header is damaged, OSError if it cannot be opened."""
    path = os.fsdecode(path)
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):
        raise CorruptFileError(f"{path}: not a file but a {'folder' if stat.S_ISDIR(mode) else 'device or pipe'}")
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or not 2 <= length <= min(size - 8, LARGEST_HEADER):
            raise CorruptFileError(f"{path}: not a model file: its first 8 bytes give no header that it could hold")
        yield File(path, file, file.read(length))


def _config(path: str, metadata: Any) -> dict[str, Any]:
    text = metadata.get("nnlite") if isinstance(metadata, dict) else None
    what = "nnlite's description of the network"
    if not isinstance(text, str):
        raise CorruptFileError(f"{path}: {what} cannot be read: there is none")
    config = _parsed(path, text, what)
    version = config.get("version") if isinstance(config, dict) else None
    if not isinstance(version, int) or isinstance(version, bool):
        raise CorruptFileError(f"{path}: {what} has no version")
    if version != VERSION:
        raise CorruptFileError(
            f"{path}: written in format {version}; this nnlite reads format {VERSION}, try a newer one"
        )
    return config


def _tensors(path: str, header: dict[str, Any], size: int) -> dict[str, tuple[np.dtype, tuple[int, ...], int]]:
    """name -> (dtype, shape, start) in the order of the data. The tensors must fill it without holes or overlaps."""
    tensors: dict[str, tuple[np.dtype, tuple[int, ...], int]] = {}
    for name, entry in header.items():
        try:
            dtype, shape, (start, stop) = DTYPES[entry["dtype"]], tuple(entry["shape"]), entry["data_offsets"]
            whole = all(type(n) is int and n >= 0 for n in (*shape, start, stop))
            if not whole or set(entry) != {"dtype", "shape", "data_offsets"} or len(shape) > MOST_AXES:
                raise ValueError
        except (KeyError, TypeError, ValueError) as error:
            what = "is not described by dtype, shape and offsets"
            raise CorruptFileError(f"{path}: tensor {_cut(name)!r} {what}") from error
        if stop - start != math.prod(shape) * dtype.itemsize or stop > size:
            place = f"of shape {shape} does not fit its place {start} … {stop}"
            raise CorruptFileError(f"{path}: tensor {_cut(name)!r} {place}")
        tensors[name] = dtype, shape, start
    tensors = dict(sorted(tensors.items(), key=lambda item: item[1][2]))
    end = 0
    for name, (dtype, shape, start) in tensors.items():
        if start != end:
            raise CorruptFileError(f"{path}: tensor {_cut(name)!r} starts at byte {start}, expected {end}")
        end += math.prod(shape) * dtype.itemsize
    if end != size:
        raise CorruptFileError(f"{path}: {size} bytes of data, but the tensors need {end}")
    return tensors


# ---- what both need -----------------------------------------------------------------------------------------------


def _parsed(path: str, text: bytes | str, what: str) -> Any:
    """The value of strict JSON; CorruptFileError for any other text."""
    try:
        return json.loads(
            text.decode() if isinstance(text, bytes) else text,
            object_pairs_hook=_no_doubles,
            parse_constant=_no_constant,
            parse_int=_short,
            parse_float=_no_infinity,
        )
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise CorruptFileError(f"{path}: {what} cannot be read: {error}") from error


def _no_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is not a number")


def _no_infinity(text: str) -> float:
    if math.isinf(float(text)):
        raise ValueError(f"{_cut(text)} is too large a number")
    return float(text)


def _short(digits: str) -> int:
    if len(digits) > MOST_DIGITS and len(digits.lstrip("-")) > MOST_DIGITS:
        raise ValueError(f"a number of more than {MOST_DIGITS} digits")
    if digits == "-0":
        raise ValueError("-0 is no whole number")
    return int(digits)


def _pieces(size: int, most: int) -> Iterator[int]:
    """The sizes of the pieces, at most `most` each, into which so many numbers are divided."""
    for start in range(0, size, most):
        yield min(most, size - start)


def _cut(text: str) -> str:
    """Shorten a text from a file or a user if it is too long to be shown."""
    return text if len(text) <= 100 else text[:99] + "…"

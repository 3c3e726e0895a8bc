"""Arrays and a description to one file and back, safely. The format is safetensors: any program can read it.

    8 bytes      length of the header, little-endian
    header       JSON: name -> dtype, shape, place; under "__metadata__" the description, as JSON in a string
    data         the arrays one after the other, no hole, no overlap

A file from elsewhere is refused before memory is reserved for what it promises.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import stat
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import numpy as np

VERSION = 1
LARGEST_HEADER = 10_000_000  # bytes
DTYPES: dict[str, np.dtype] = {"F32": np.dtype("<f4"), "F64": np.dtype("<f8")}


class CorruptFileError(ValueError):
    """The file is not one that nnlite wrote, or it was damaged since; nothing was read from it."""


def write(path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray], config: Mapping[str, Any]) -> None:
    """Write to a temporary file beside `path`, then move it into place: a reader never sees half a file."""
    path = os.fspath(path)
    header: dict[str, Any] = {"__metadata__": {"nnlite": json.dumps({"version": VERSION, **config}, allow_nan=False)}}
    start = 0
    for name, array in arrays.items():
        code = next(code for code, dtype in DTYPES.items() if dtype == array.dtype.newbyteorder("<"))
        header[name] = {"dtype": code, "shape": list(array.shape), "data_offsets": [start, start + array.nbytes]}
        start += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # the data starts aligned
    folder, base = os.path.split(os.path.abspath(path))
    for left_over in (n for n in os.listdir(folder) if n.startswith(f".{base}.") and n.endswith(".part")):
        with contextlib.suppress(OSError):  # of a save that was killed
            os.unlink(os.path.join(folder, left_over))
    handle, part = tempfile.mkstemp(prefix=f".{base}.", suffix=".part", dir=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for array in arrays.values():
                file.write(np.ascontiguousarray(array, DTYPES[f"F{8 * array.itemsize}"]).tobytes())
            file.flush()
            os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(part, 0o666 & ~mask)  # as any new file; mkstemp's own is for its user only
        os.replace(part, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise


class File:
    """An open file whose header has been read and found whole."""

    def __init__(self, path: str, file: BinaryIO, header: dict[str, Any], start: int) -> None:
        self.path, self._file, self._start = path, file, start
        self.config = _config(path, header.pop("__metadata__", None))
        self.tensors = _tensors(path, header, os.fstat(file.fileno()).st_size - start)
        self.numbers = sum(math.prod(shape) for _, shape, _ in self.tensors.values())

    def arrays(self, shapes: Mapping[str, tuple[int, ...]], dtype: np.dtype) -> dict[str, np.ndarray]:
        """All arrays, if they have these names, shapes and this dtype; CorruptFileError naming one that has not."""
        for name in [*shapes, *self.tensors]:
            if name not in self.tensors or name not in shapes:
                raise CorruptFileError(
                    f"{self.path}: tensor {name!r} is {'missing' if name in shapes else 'not expected'}"
                )
            found, shape, _ = self.tensors[name]
            if shape != shapes[name] or found != dtype:
                wanted = f"{dtype} {shapes[name]}"
                raise CorruptFileError(f"{self.path}: tensor {name!r} is {found} {shape}, expected {wanted}")
        arrays = {}
        for name, (found, shape, start) in self.tensors.items():
            array = np.empty(shape, found)
            self._file.seek(self._start + start)
            if self._file.readinto(array.reshape(-1).view(np.uint8).data) != array.nbytes:  # type: ignore[attr-defined]
                raise CorruptFileError(f"{self.path}: tensor {name!r} is cut short")
            if not np.isfinite(array).all():
                raise CorruptFileError(f"{self.path}: tensor {name!r} contains NaN or infinity")
            arrays[name] = array
        return arrays


@contextlib.contextmanager
def read(path: str | os.PathLike[str]) -> Iterator[File]:
    """Open a file that `write` wrote; CorruptFileError if its header is damaged, OSError if there is none to open."""
    path = os.fspath(path)
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):
        raise CorruptFileError(f"{path}: not a file but a {'folder' if stat.S_ISDIR(mode) else 'device or pipe'}")
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or not 2 <= length <= min(size - 8, LARGEST_HEADER):
            raise CorruptFileError(f"{path}: not a model file: its first 8 bytes give no header that it could hold")
        try:
            header = json.loads(
                file.read(length).decode(), object_pairs_hook=_no_doubles, parse_constant=_no_constant, parse_int=_short
            )
        except (ValueError, RecursionError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
            raise CorruptFileError(f"{path}: the header cannot be read: {error}") from error
        if not isinstance(header, dict):
            raise CorruptFileError(f"{path}: the header is not a JSON object")
        yield File(path, file, header, 8 + length)


def _config(path: str, metadata: Any) -> dict[str, Any]:
    text = metadata.get("nnlite") if isinstance(metadata, dict) else None
    try:
        if not isinstance(text, str):
            raise ValueError("there is none")
        config = json.loads(text, object_pairs_hook=_no_doubles, parse_constant=_no_constant, parse_int=_short)
        version = config["version"] if isinstance(config, dict) else None
    except (ValueError, KeyError, RecursionError) as error:
        raise CorruptFileError(f"{path}: nnlite's description of the network cannot be read: {error}") from error
    if not isinstance(version, int) or isinstance(version, bool):
        raise CorruptFileError(f"{path}: nnlite's description of the network has no version")
    if version != VERSION:
        raise CorruptFileError(
            f"{path}: written in format {version}; this nnlite reads format {VERSION}, try a newer one"
        )
    return config


def _tensors(path: str, header: dict[str, Any], size: int) -> dict[str, tuple[np.dtype, tuple[int, ...], int]]:
    """name -> (dtype, shape, start), in the order of the data, which they must fill without hole or overlap."""
    tensors: dict[str, tuple[np.dtype, tuple[int, ...], int]] = {}
    for name, entry in header.items():
        try:
            dtype, shape, (start, stop) = DTYPES[entry["dtype"]], tuple(entry["shape"]), entry["data_offsets"]
            whole = all(type(n) is int and n >= 0 for n in (*shape, start, stop))
            if not whole or set(entry) != {"dtype", "shape", "data_offsets"}:
                raise ValueError
        except (KeyError, TypeError, ValueError) as error:
            raise CorruptFileError(f"{path}: tensor {name!r} is not described by dtype, shape and offsets") from error
        if stop - start != math.prod(shape) * dtype.itemsize or stop > size:
            raise CorruptFileError(f"{path}: tensor {name!r} of shape {shape} does not fit its place {start} … {stop}")
        tensors[name] = dtype, shape, start
    tensors = dict(sorted(tensors.items(), key=lambda item: item[1][2]))
    end = 0
    for name, (dtype, shape, start) in tensors.items():
        if start != end:
            raise CorruptFileError(f"{path}: tensor {name!r} starts at byte {start}, expected {end}")
        end += math.prod(shape) * dtype.itemsize
    if end != size:
        raise CorruptFileError(f"{path}: {size} bytes of data, but the tensors need {end}")
    return tensors


def _no_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) != len(pairs):
        raise ValueError("a name stands twice")
    return dict(pairs)


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is not a number")


def _short(digits: str) -> int:
    if len(digits) > 20:
        raise ValueError("a number of more than 20 digits")
    return int(digits)

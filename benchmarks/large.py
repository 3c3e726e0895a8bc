"""Training on large data sets beside what the disk and the memory give. `scaling.py` shows it.

A file of float32 rows is written, and read back plainly, first from the disk and then from the system's cache. Then a
small net is trained on it for one epoch in each of the ways in which `fit` takes such data.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from report import number, table

SIZES, BATCH = (256, 64, 10), 256
COLUMNS = SIZES[0]
BLOCK = 16 * 2**20  # bytes that are written or read at once
PART = 2**16  # rows of a chunk that a function hands over
FEW = 2048  # rows that the cache of a core holds
HEAD = ["data", "how", "rows a second", "GB/s", "of reading the disk", "of reading the cache", "of copying memory"]
WAYS = {
    "memmap, not read before": "a numpy.memmap",
    "memmap": "a numpy.memmap that lies in the system's cache",
    "chunks": f"a function that gives chunks of {PART:,} rows of that memmap",
    "array": "an array in memory",
    "few rows": "an array of 2,048 rows again and again, which stay in the cache: what the steps alone allow",
}


def write(path: str, gigabytes: float) -> int:
    """Write the file; its number of rows. The numbers are noise that repeats after each block."""
    rows = int(gigabytes * 1e9) // (4 * COLUMNS)
    noise = np.random.default_rng(0).standard_normal((BLOCK // (4 * COLUMNS), COLUMNS), np.float32)
    with Path(path).open("wb") as file:
        for start in range(0, rows, len(noise)):
            file.write(noise[: rows - start].tobytes())
        file.flush()
        os.fsync(file.fileno())
    return rows


def forget(path: str) -> None:
    """Drop the file from the system's cache, where there is a call for that."""
    if hasattr(os, "posix_fadvise"):
        with Path(path).open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def plain(path: str) -> dict[str, float]:
    """Bytes a second of reading the file from the disk, and from the cache, and of copying memory (bytes copied)."""
    buffer = bytearray(BLOCK)
    found = {}
    for name in ("disk", "cache"):
        if name == "disk":
            forget(path)
        start, size = time.perf_counter(), 0
        with Path(path).open("rb", buffering=0) as file:
            while count := file.readinto(buffer):
                size += count
        found[name] = size / (time.perf_counter() - start)
    source, target = np.ones(16 * BLOCK, np.uint8), np.zeros(16 * BLOCK, np.uint8)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        np.copyto(target, source)
        times.append(time.perf_counter() - start)
    return found | {"copy": source.size / min(times)}


def train(path: str, rows: int, way: str, repeats: int) -> dict[str, Any]:
    """Rows a second of one epoch of `fit`, the fastest of some, with all that it does but compiling; the last loss."""
    import nnlite as nl

    net = nl.mlp(SIZES, "relu", "softmax", device="numba", dtype="float32", seed=0)
    trainer = nl.Trainer(net, "cce", nl.SGD(lr=0.01))
    y = np.random.default_rng(1).integers(SIZES[-1], size=rows)
    x: Any = np.memmap(path, np.float32, "r", shape=(rows, COLUMNS))
    epochs = 1
    if way == "few rows":
        x, y, epochs = np.array(x[:FEW]), y[:FEW], max(1, rows // FEW)
    few = 4 * BATCH + rows % BATCH
    trainer.fit(np.array(x[:few]), y[:few], epochs=1, batch_size=BATCH, progress=False)  # compiles

    def parts() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for start in range(0, rows, PART):
            yield x[start : start + PART], y[start : start + PART]

    data = {"chunks": (parts,), "array": (np.array(x) if way == "array" else x, y)}.get(way, (x, y))
    times = []
    for _ in range(repeats):
        if way == "memmap, not read before":
            forget(path)
        start = time.perf_counter()
        history = trainer.fit(*data, epochs=epochs, batch_size=BATCH, progress=False)
        times.append(time.perf_counter() - start)
    return {"rows_per_s": epochs * len(x) / min(times), "loss": history["loss"][-1]}


def ways(gigabytes: float, memory: float) -> list[str]:
    """The ways in which data of this size are handed over; an array only if half of the free memory holds it."""
    return [way for way in WAYS if way != "array" or gigabytes * 1e9 < memory / 2]


def line(gigabytes: float, way: str, found: dict[str, Any], plain: dict[str, float]) -> dict[str, Any]:
    """What stands in a line of the table."""
    rate = found["rows_per_s"] * 4 * COLUMNS
    shares = {f"of_{name}": rate / plain[name] for name in ("disk", "cache", "copy")}
    return {"gigabytes": gigabytes, "how": way, **found, "gb_per_s": rate / 1e9, **shares}


def text(rows: list[dict[str, Any]], plain: dict[float, dict[str, float]], repeats: int) -> list[str]:
    """The sections of the report."""
    names = ["data", "disk, GB/s", "cache, GB/s", "copy, GB/s"]
    cells = [[f"{size:g} GB", *(number(rate / 1e9) for rate in each.values())] for size, each in plain.items()]
    shown = [
        [
            f"{row['gigabytes']:g} GB",
            row["how"],
            number(row["rows_per_s"]),
            number(row["gb_per_s"]),
            *(f"{row[f'of_{name}']:.0%}" for name in ("disk", "cache", "copy")),
        ]
        for row in rows
    ]
    return [
        "## Large data sets",
        f"Rows of {COLUMNS} float32 ({4 * COLUMNS:,} bytes) in a file. One thread reads it plainly, first from the "
        "disk and then from the system's cache in memory, and copies memory (bytes copied):",
        table(names, cells),
        f"One epoch of `fit`, the fastest of {repeats}, of a {'-'.join(map(str, SIZES))} net on it, batches of "
        f"{BATCH}, shuffled, with all that `fit` does before and after its steps, such as the check that all numbers "
        "are finite. What it is given: "
        + "; ".join(f"{way}: {what}" for way, what in WAYS.items() if any(row["how"] == way for row in rows))
        + ".",
        table(HEAD, shown),
    ]

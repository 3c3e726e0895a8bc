"""Compiled code on disk: kept, found again, made anew where it is damaged, and not needed where nothing can be kept."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("numba")

TRAIN = """
import numpy as np, nnlite as nl
x, y = nl.datasets.logic_gate("xor")
net = nl.mlp([2, 3, 1], "tanh", "sigmoid", device="numba")
nl.Trainer(net, optimizer=nl.SGD(lr=1.0)).fit(x, y, 20, 4, progress=False)
print(float(np.abs(net.parameters).sum()))
"""


def start(cache, **changes):
    """A process that trains with this folder for compiled code."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache)} | changes
    environment = {name: value for name, value in environment.items() if value is not None}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-c", TRAIN], env=environment, text=True, **pipes)


def result(process):
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return float(out)


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A folder that one process has filled, and what it computed."""
    cache = tmp_path_factory.mktemp("compiled")
    return cache, result(start(cache))


def files(cache):
    return sorted(path for path in Path(cache).rglob("*.nb[ic]"))


def copy_of(filled, tmp_path):
    for path in files(filled[0]):
        target = tmp_path / path.relative_to(filled[0])
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    return tmp_path


def test_the_next_process_finds_everything(filled):
    cache, expected = filled
    before = {path: path.stat().st_mtime_ns for path in files(cache)}
    assert len(before) > 10
    assert result(start(cache)) == expected
    assert {path: path.stat().st_mtime_ns for path in files(cache)} == before  # nothing was compiled again


@pytest.mark.parametrize(("damage", "ending"), [("cut", "nbi"), ("flipped", "nbc"), ("empty", "nbc"), ("text", "nbi")])
def test_a_damaged_file_is_made_anew(damage, ending, filled, tmp_path):
    cache = copy_of(filled, tmp_path)
    for path in (path for path in files(cache) if path.name.endswith(ending)):
        content = bytearray(path.read_bytes())
        if damage == "flipped":
            content[len(content) * 2 // 3] ^= 0x10
        damaged = {"cut": content[: len(content) // 2], "empty": b"", "text": b"not a pickle\n"}.get(damage, content)
        path.write_bytes(damaged)
    assert result(start(cache)) == filled[1]
    mended = {path: path.stat().st_mtime_ns for path in files(cache)}
    assert result(start(cache)) == filled[1]
    assert {path: path.stat().st_mtime_ns for path in files(cache)} == mended


def test_no_folder_at_all(tmp_path):
    """Neither a folder that is named, nor one beside the source, nor a home: compiled for this process only."""
    file = tmp_path / "a file"
    file.write_text("")
    code = "import numba.core.caching as c; c.CacheImpl._locator_classes = []\n" + TRAIN
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert process.returncode == 0, process.stderr
    expected = float(process.stdout)
    assert result(start(file / "cannot be", HOME=None)) == expected


def test_eight_processes_at_once(tmp_path, filled):
    processes = [start(tmp_path) for _ in range(8)]
    assert {result(process) for process in processes} == {filled[1]}


def test_scipy_is_imported_by_nobody_but_who_needs_it():
    """Numba would do so to see whether it is there, for 0.2 s and 30 MB; np.dot in somebody's function still works."""
    pytest.importorskip("scipy")
    code = (
        TRAIN
        + """
import sys, numba
assert "scipy.linalg" not in sys.modules
dot = numba.njit(lambda a: np.dot(a, a))(np.eye(3) * 2)
assert (dot == np.eye(3) * 4).all() and "scipy.linalg" in sys.modules
"""
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert process.returncode == 0, process.stderr

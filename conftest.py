"""Fixtures for tests and doctests: one `device` after the other, and `nl` for the examples in docstrings."""

import importlib.util
import os
import sys
from pathlib import Path

os.environ.setdefault("MPLBACKEND", "Agg")  # pictures need no screen

import numpy as np
import pytest

import nnlite as nl

_stand_in = Path(__file__).parent / "tests" / "devices" / "cuda" / "stand_in.py"
_spec = importlib.util.spec_from_file_location("stand_in", _stand_in)
stand_in_module = sys.modules["stand_in"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(stand_in_module)


@pytest.fixture(params=["numpy", "numba", "cupy", "cupy on the CPU"])
def device(request):
    """The name of each device; one that this machine lacks is skipped with the reason.

    cupy runs on a GPU, and once more on a stand-in for CuPy, with the CUDA sources compiled for the CPU.
    """
    if request.param == "cupy on the CPU":
        return request.getfixturevalue("stand_in")
    return there(request.param)


@pytest.fixture(params=["numpy", "numba"])
def host(request):
    """A device in main memory: for what the CUDA sources on a CPU cannot do, or would take minutes for."""
    return there(request.param)


def there(name):
    """The name of a device, if this machine has it; the test is skipped with the reason if not."""
    found = nl.devices()[name]
    if not found.available:
        pytest.skip(f"{name}: {found.detail}")
    return name


@pytest.fixture
def stand_in():
    """device "cupy" on a stand-in for CuPy and for the GPU."""
    if stand_in_module.COMPILER is None:
        pytest.skip("the CUDA sources run on the CPU where g++ is installed")
    with stand_in_module.installed():
        make = sys.modules["nnlite.devices"]._make
        make.cache_clear()
        try:
            yield "cupy"
        finally:
            make.cache_clear()


@pytest.fixture
def empty_folder(tmp_path, monkeypatch):
    """The folder in which a test runs: a new one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def no_figures_left():
    """Close what a test has drawn."""
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


@pytest.fixture
def rng():
    return np.random.Generator(np.random.PCG64(7))


@pytest.fixture(autouse=True)
def _names_in_doctests(doctest_namespace):
    doctest_namespace["nl"], doctest_namespace["np"] = nl, np


@pytest.fixture
def torch():
    """PyTorch, with float64 also for the numbers that an optimizer keeps of its own, such as NAdam's product."""
    torch = pytest.importorskip("torch")
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield torch
    torch.set_default_dtype(before)

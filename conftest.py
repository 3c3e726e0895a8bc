"""Fixtures for tests and doctests: one `device` after the other, and `nl` for the examples in docstrings."""

import os
import sys

os.environ.setdefault("MPLBACKEND", "Agg")  # pictures need no screen

import numpy as np
import pytest
import rig as rig_package

import nnlite as nl

collect_ignore = ["tests/program_of_ranks.py"]  # what mpirun runs: no module, and not every machine has mpi4py
NO_RIG = rig_package.why_not()
if not NO_RIG:
    rig_package.install()


@pytest.fixture(params=["numpy", "numba", "cupy"])
def device(request):
    """The name of each device; one that this machine lacks is skipped with the reason.

    cupy runs on a GPU, or else on one that is not there: the rig.
    """
    if request.param == "cupy" and not NO_RIG:
        request.getfixturevalue("rig")
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
def rig():
    """A card that is not there, for device "cupy": its limits can be set, and it says what was launched."""
    if NO_RIG:
        pytest.skip(NO_RIG)
    with rig_package.plugged_in() as card:
        make = sys.modules["nnlite.devices"]._make
        make.cache_clear()
        try:
            yield card
        finally:
            make.cache_clear()


@pytest.fixture
def only_cublas(rig, monkeypatch):
    """cuBLAS makes all products of matrices, also those for which our own kernel is faster."""
    monkeypatch.setattr("nnlite.devices.cuda.machine.NARROW", 0)


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

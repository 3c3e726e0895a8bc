"""Fixtures for tests and doctests: one `device` after the other, and `nl` for the examples in docstrings."""

import os

os.environ.setdefault("MPLBACKEND", "Agg")  # pictures need no screen

import numpy as np
import pytest

import nnlite as nl


@pytest.fixture(params=["numpy", "numba", "cupy"])
def device(request):
    """The name of each device; one that this machine lacks is skipped with the reason."""
    found = nl.devices()[request.param]
    if not found.available:
        pytest.skip(f"{request.param}: {found.detail}")
    return request.param


@pytest.fixture
def rng():
    return np.random.Generator(np.random.PCG64(7))


@pytest.fixture(autouse=True)
def _names_in_doctests(doctest_namespace):
    doctest_namespace["nl"], doctest_namespace["np"] = nl, np

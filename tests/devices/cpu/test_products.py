"""Matrix products of compiled code against NumPy's: any shape, stored this way or that, added to something or not."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("numba")
from fuzz import guarded
from numba import njit

from nnlite.devices.cpu import products
from nnlite.devices.cpu.memory import address
from nnlite.devices.cpu.products import product


@njit
def multiply(c, s, s_row, a, a_row, a_step, b, b_row, b_step, rows, inner, columns, alpha, adding):
    size = c.itemsize
    start = address(s) if adding else 0
    places = address(c), c.shape[1] * size, start, s_row, address(a), a_row, a_step, address(b), b_row, b_step
    product(*places, rows, inner, columns, alpha)


def both(rows, inner, columns, a_transposed, b_transposed, added, dtype, rng, place=np.ascontiguousarray):
    """C ← S + α A B here and by NumPy in float64; what is added is "nothing", C "itself" or a "bias".

    place: copies an array to where a product may read it from.
    """
    products.ready(np.dtype(dtype))
    a, b = rng.standard_normal((rows, inner)), rng.standard_normal((inner, columns))
    c, bias = rng.standard_normal((rows, columns)), rng.standard_normal(columns)
    a, b, c, bias = (array.astype(dtype) for array in (a, b, c, bias))
    alpha, size = dtype(-0.75), np.dtype(dtype).itemsize
    start = {"nothing": 0, "itself": c.astype(float), "bias": bias}[added]
    expected = start + float(alpha) * (a.astype(float) @ b.astype(float))
    stored_a, stored_b = place(a.T if a_transposed else a), place(b.T if b_transposed else b)
    c, bias = place(c), place(bias)
    of_a = (size, rows * size) if a_transposed else (inner * size, size)
    of_b = (size, inner * size) if b_transposed else (columns * size, size)
    s, s_row = (bias, 0) if added == "bias" else (c, columns * size)
    multiply(c, s, s_row, stored_a, *of_a, stored_b, *of_b, rows, inner, columns, alpha, added != "nothing")
    scale = np.sqrt(inner) * (1e-6 if dtype is np.float32 else 1e-15)
    return c, expected, 10 * scale


@settings(max_examples=150, deadline=None)
@given(
    rows=st.integers(1, 60),
    inner=st.integers(1, 60),
    columns=st.integers(1, 120),
    a_transposed=st.booleans(),
    b_transposed=st.booleans(),
    added=st.sampled_from(["nothing", "itself", "bias"]),
    dtype=st.sampled_from([np.float32, np.float64]),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_shape(rows, inner, columns, a_transposed, b_transposed, added, dtype, seed):
    rng = np.random.default_rng(seed)
    found, expected, atol = both(rows, inner, columns, a_transposed, b_transposed, added, dtype, rng)
    np.testing.assert_allclose(found, expected, rtol=0, atol=atol)


@pytest.mark.skipif(sys.platform == "win32", reason="memory is guarded by mprotect")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("at_the_end", [True, False])
def test_nothing_beside_the_matrices_is_touched(dtype, at_the_end, rng):
    """Every matrix lies beside a page that may not be touched, for every width of a strip and every height of a block.

    Where a row's last vector overlaps the one before it, C itself must not be added twice.
    """

    def place(array):
        copy = guarded(array.shape, dtype, at_the_end)
        copy[...] = array
        return copy

    widest = 2 * max(products.VECTORS, products.ONE_ROW) * products.VECTOR // np.dtype(dtype).itemsize
    several = [*range(1, 2 * products.ROWS), products.REUSED + 1]
    for columns in range(1, widest + 2):
        rows, inner = (int(rng.choice(sizes)) for sizes in (several, [1, 2, 3, products.VECTOR + 1]))
        kind = bool(rng.integers(2)), bool(rng.integers(2)), str(rng.choice(["nothing", "itself", "itself", "bias"]))
        for height in {1, rows}:
            found, expected, atol = both(height, inner, columns, *kind, dtype, rng, place)
            np.testing.assert_allclose(found, expected, rtol=0, atol=atol, err_msg=f"{height, inner, columns, kind}")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("added", ["nothing", "itself", "bias"])
@pytest.mark.parametrize("a_transposed", [False, True])
@pytest.mark.parametrize("b_transposed", [False, True])
def test_large_ones_go_part_by_part(dtype, added, a_transposed, b_transposed, rng):
    """More than DEPTH along `inner`, more than HEIGHT rows, more numbers of B than PACKED; none of them round."""
    rows, inner, columns = products.HEIGHT + 37, products.DEPTH + 117, 391
    assert inner * columns > products.PACKED and columns * np.dtype(dtype).itemsize > products.WIDE * products.VECTOR
    found, expected, atol = both(rows, inner, columns, a_transposed, b_transposed, added, dtype, rng)
    np.testing.assert_allclose(found, expected, rtol=0, atol=atol)


def test_copies_are_kept_until_they_have_been_used():
    """glibc is told to give every freed block back to the system at once: to use one afterwards is then a crash."""
    code = (
        "import numpy as np; from test_products import both, products; rng = np.random.default_rng(0); "
        "sizes = products.HEIGHT + 37, products.DEPTH + 117, 391; "
        "found, expected, atol = both(*sizes, True, True, 'itself', np.float32, rng); "
        "np.testing.assert_allclose(found, expected, rtol=0, atol=atol)"
    )
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "4096", "PYTHONPATH": str(Path(__file__).parent)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=300)


def test_nothing_is_written_beside_the_result(rng):
    """The last vector of a row is often not full; what lies behind it belongs to somebody else."""
    for columns in range(1, 50):
        c = np.full((7, 64), 9.0)
        a, b = rng.standard_normal((7, 5)), rng.standard_normal((5, columns))
        products.ready(np.dtype(np.float64))
        multiply(c, c, 512, a, 40, 8, b, columns * 8, 8, 7, 5, columns, 1.0, False)
        np.testing.assert_allclose(c[:, :columns], a @ b, rtol=1e-12, atol=1e-14)
        assert (c[:, columns:] == 9).all()


def test_nan_and_infinity_get_through(rng):
    a, b = rng.standard_normal((9, 20)), rng.standard_normal((20, 33))
    a[4, 7], b[3, 30] = np.nan, np.inf
    c = np.zeros((9, 33))
    products.ready(np.dtype(np.float64))
    multiply(c, c, 0, a, 160, 8, b, 264, 8, 9, 20, 33, 1.0, False)
    np.testing.assert_array_equal(np.isfinite(c), np.isfinite(a @ b))

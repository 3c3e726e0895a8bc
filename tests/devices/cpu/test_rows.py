"""Rows of any length: in softmax and in metrics, long ones are computed in another way than short ones."""

import re
import sys

import numpy as np
import pytest

numba = pytest.importorskip("numba")
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="memory is guarded by mprotect")

from fuzz import guarded  # noqa: E402

from nnlite.devices.common.reference import KERNELS  # noqa: E402
from nnlite.devices.cpu.eager import LOOPS  # noqa: E402
from nnlite.devices.cpu.loops.linear import BESIDE, TOGETHER  # noqa: E402
from nnlite.devices.cpu.products import ready  # noqa: E402

SHAPES = [(rows, columns) for rows in (1, 5, 17, 130) for columns in (1, 2, 3, 7, 10, 16, 31, 40)]
LARGE = {np.float32: 60.0, np.float64: 500.0}


def operands(shape, dtype):
    """Logits, of which some differ much, and targets; each (N,K)."""
    rng = np.random.default_rng(shape)
    logits = rng.normal(0, 3, shape) + LARGE[dtype] * rng.integers(-1, 2, (shape[0], 1))
    targets = rng.dirichlet(np.ones(shape[1]), shape[0])
    return logits.astype(dtype), targets.astype(dtype)


def beside(array, at_the_end):
    """A copy that ends, or begins, beside memory that may not be touched."""
    copy = guarded(array.shape, array.dtype, at_the_end)
    copy[...] = array
    return copy


def computed(name, operands, at_the_end=True):
    """What the compiled loop gives, every array beside memory that may not be touched."""
    with np.errstate(all="ignore"):
        expected = KERNELS[name](*operands)
    results = [
        beside(np.full_like(r, 7), at_the_end) for r in (expected if isinstance(expected, tuple) else [expected])
    ]
    LOOPS[name](*results, *[beside(o, at_the_end) if isinstance(o, np.ndarray) else o for o in operands])
    return results


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["softmax", "log_softmax", "softmax_cross_entropy"])
def test_softmax_of_any_shape(name, dtype):
    apart = 2e-6 if dtype == np.float32 else 1e-14
    for shape in SHAPES:
        logits, target = operands(shape, dtype)
        given = [logits, target, 0.25] if name == "softmax_cross_entropy" else [logits]
        expected = KERNELS[name](*given)
        for at_the_end in (True, False):
            for made, e in zip(
                computed(name, given, at_the_end), expected if isinstance(expected, tuple) else [expected]
            ):
                assert np.abs(made - e).max() <= apart * max(1, np.abs(e).max()), shape


@pytest.mark.parametrize("columns", [2, 10, 31, 50])
@pytest.mark.parametrize("special", [np.nan, -np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_changes_only_its_own_row(columns, special):
    logits, target = operands((70, columns), np.float32)
    clean = computed("softmax_cross_entropy", [logits, target, 1.0])
    logits[33, columns // 2] = special
    losses, dlogits = computed("softmax_cross_entropy", [logits, target, 1.0])
    others = np.arange(70) != 33
    np.testing.assert_array_equal(losses[others], clean[0][others])
    np.testing.assert_array_equal(dlogits[others], clean[1][others])
    assert not np.isfinite(losses[33])
    (y,) = computed("softmax", [logits])
    assert np.isfinite(y[others]).all()
    np.testing.assert_allclose(y[33].sum(), 1 if special == -np.inf else np.nan, rtol=1e-6)


@pytest.mark.parametrize("columns", [1, 10, 24, 40, 130, 300])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_metrics_of_any_number_of_outputs(columns, dtype):
    rng = np.random.default_rng(columns)
    prediction = rng.integers(-3, 3, (50, columns)).astype(dtype)  # the largest number is there several times
    for name, size in (("add_hits", (2,)), ("add_spreads", (5, columns))):
        expected, sums = np.zeros(size), beside(np.zeros(size), True)
        for batch in range(3):
            target = np.where(rng.random((50, columns)) < 0.5, prediction, 1000 + rng.normal(size=(50, columns)))
            target[rng.random((50, columns)) < 0.1 * batch] = np.nan
            if name == "add_hits":
                target[np.isnan(target).any(axis=1)] = np.nan
            target = target.astype(dtype)
            KERNELS[name](prediction, target, expected)
            LOOPS[name](sums, beside(prediction, True), beside(target, True))
        np.testing.assert_allclose(sums, expected, rtol=1e-12)


@pytest.mark.parametrize("columns", [3, 127, 128, 301])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_are_taken_in_any_order(columns, dtype):
    """Long rows are prefetched; the order ends with the batch, and no row number stands after the last one."""
    rng = np.random.default_rng(columns)
    x = rng.standard_normal((40, columns)).astype(dtype)
    for rows in (1, 2, 3, 40):
        order = rng.permutation(40)
        operands = [x, order, np.array([40 - rows]), rows]
        (taken,) = computed("take_rows", operands)
        np.testing.assert_array_equal(taken, x[order[40 - rows :]])


def test_long_rows_are_prefetched_into_the_second_cache():
    loop = numba.njit(LOOPS["take_rows"].py_func)  # what is kept on disk cannot be looked at
    loop(np.zeros((3, 300), np.float32), np.zeros((3, 300), np.float32), np.arange(3), np.zeros(1, np.int64), 3)
    assert re.search(
        r"call void @llvm\.prefetch\.p0(i8)?\(.*, i32 0, i32 2, i32 1\)", "".join(loop.inspect_llvm().values())
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rows", [1, TOGETHER, TOGETHER + 1, 3 * TOGETHER + 7])
def test_the_sum_of_many_rows_and_columns(rows, dtype, rng):
    """Of whole numbers, so none is rounded; a part of the columns leaves the others as they are."""
    ready(np.dtype(dtype))
    columns = 2 * BESIDE + 37
    dy = beside(rng.integers(-9, 9, (rows, columns)).astype(dtype), at_the_end=True)
    for first, stop in ((0, columns), (5, BESIDE), (BESIDE - 1, columns - 3), (columns - 1, columns)):
        db, b = (beside(np.full(columns, 7, dtype), at_the_end=True) for _ in range(2))
        LOOPS["linear_backward_bias"](db, dy, first, stop)
        LOOPS["linear_backward_bias_sgd"](b, dy, np.array([2], dtype), first, stop)
        expected = np.full((2, columns), 7.0)
        expected[:, first:stop] = dy[:, first:stop].sum(axis=0), 7 - 2 * dy[:, first:stop].sum(axis=0)
        np.testing.assert_array_equal([db, b], expected)

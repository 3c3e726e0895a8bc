"""Every kernel of every device against the reference, by its signature: any dtype, any shape, same results."""

import inspect

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnlite.devices import get_device
from nnlite.devices.common.kernel import Kernels, Signature, kernel, kernel_of
from nnlite.devices.common.ops import Ops
from nnlite.devices.common.reference import KERNELS
from nnlite.devices.cpu.eager import COLUMNS, LOOPS, REPLAY_ONLY, eager
from nnlite.devices.cpu.products import ready

NUMBERS = {
    "scale": 0.37,
    "momentum": 0.9,
    "nesterov": True,
    "beta1": 0.9,
    "beta2": 0.999,
    "epsilon": 1e-8,
    "decay": 0.1,
    "rho": 0.8,
    "growth": 0.004,
    "least": 1e-6,
    "most": 0.9,
    "shorter": 0.5,
    "longer": 1.2,
    "key": 12345,
    "first": 3,
    "rate": 0.3,
    "deviation": 0.7,
    "unbiased": 1.25,
    "share": 0.2,
    "slope": 0.2,
    "alpha": 1.3,
    "low": -0.6,
    "high": 0.7,
    "frequency": 3.0,
    "delta": 0.5,
    "q": 0.3,
    "gamma": 2.0,
    "of_ones": 0.25,
    "of_zeros": 0.75,
    "factor": 0.9,
    "offset": 0.05,
    "no_prediction": 2.0,
    "no_target": 1.0,
    "mean": True,
    "classes": True,
}
SHAPES = [  # N, K, M: one row, one column, sizes that are no multiple of a vector
    {"N": 1, "K": 1, "M": 1, "P": 1, "G": 1, "A": 1, "E": 3},
    {"N": 1, "K": 9, "M": 2, "P": 17, "G": 17, "A": 3, "E": 3},
    {"N": 7, "K": 1, "M": 3, "P": 64, "G": 64, "A": 7, "E": 9},
    {"N": 5, "K": 19, "M": 1, "P": 65, "G": 65, "A": 9, "E": 7},
    {"N": 130, "K": 33, "M": 5, "P": 1001, "G": 1001, "A": 200, "E": 132},
]


def make_operands(signature, sizes, dtype, rng):
    """Arrays for a kernel: probabilities where it takes probabilities, one-hot rows for targets."""
    operands = []
    for name, letters in signature.operands.items():
        if letters is None:
            operands.append(sizes[name] if name in sizes else NUMBERS[name])
            continue
        shape = tuple(int(letter) if letter.isdigit() else sizes[letter] for letter in letters)
        if name == "order":
            operands.append(rng.integers(0, sizes["A"], shape))
        elif name == "position":  # so that the rows end where the order does, or the data
            operands.append(np.array([2 if "order" in signature.operands else sizes["A"] - sizes["N"]]))
        elif name == "draws":
            operands.append(np.array([2]))
        elif name == "clock":
            operands.append(np.array([7, 5, 1]))
        elif name in ("sums", "total", "rates"):
            operands.append(rng.uniform(0, 9, shape))  # float64, whatever the rest is
        elif name == "target":
            operands.append(np.eye(sizes["K"], dtype=dtype)[rng.integers(0, sizes["K"], sizes["N"])])
            if "known" in signature.text:  # some were not measured
                operands[-1][rng.uniform(size=shape) < 0.5] = np.nan
            elif "sums" in signature.operands:  # whole rows, except for the last
                operands[-1][:-1][rng.uniform(size=shape[0] - 1) < 0.5] = np.nan
        elif name == "steps":
            operands.append(np.full(shape, 3, dtype))
        elif name in ("prediction", "y", "v", "u", "highest", "size", "product", "lr", "running_variance"):
            operands.append(rng.uniform(0.05, 0.95, shape).astype(dtype))
        else:
            operands.append(rng.standard_normal(shape).astype(dtype))
    return operands


def run(function, operands, device):
    """Results and the operands after the call, in main memory: in-place kernels show in the operands."""
    operands = [device.asarray(a.copy()) if isinstance(a, np.ndarray) else a for a in operands]
    result = function(*operands)
    results = list(result) if isinstance(result, tuple) else [] if result is None else [result]
    return [device.to_numpy(a) for a in [*results, *operands] if not np.isscalar(a)]


def test_what_a_type_checker_is_told_is_what_there_is():
    told = {name: f for name, f in vars(Ops).items() if inspect.isfunction(f) and not name.startswith("_")}
    assert list(told) == ["call", *KERNELS]
    for name, known in KERNELS.items():
        function = inspect.signature(told[name])
        assert list(function.parameters)[1:] == list(known.signature.operands), name
        arrays = [o for o, p in function.parameters.items() if p.annotation == "Array"]
        assert arrays == [o for o, letters in known.signature.operands.items() if letters], name
        results = function.return_annotation.count("Array")
        assert results == len(known.signature.fresh), name


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", KERNELS)
def test_kernel_equals_reference(name, dtype, device, rng):
    where = get_device(device)
    for sizes in SHAPES:
        operands = make_operands(KERNELS[name].signature, sizes, dtype, rng)
        expected = run(KERNELS[name], operands, get_device("numpy"))
        found = run(getattr(where.ops, name), operands, where)
        tolerance = 1e-5 if dtype is np.float32 else 1e-12
        for e, f in zip(expected, found, strict=True):
            assert f.dtype == e.dtype and f.shape == e.shape
            np.testing.assert_allclose(f, e, rtol=tolerance, atol=tolerance * max(1e-3, np.abs(e).max()))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", KERNELS)
def test_results_have_the_shapes_and_dtype_of_the_signature(name, dtype, rng):
    signature = KERNELS[name].signature
    operands = make_operands(signature, SHAPES[-1], dtype, rng)
    sizes = signature.sizes(operands, name)
    result = KERNELS[name](*operands)
    results = list(result) if isinstance(result, tuple) else [] if result is None else [result]
    assert [r.shape for r in results] == [
        tuple(sizes[letter] for letter in signature.results[n]) for n in signature.fresh
    ]
    assert all(r.dtype == dtype for r in results)


def test_compiled_loops_have_the_references_parameters():
    for name, loop in LOOPS.items():
        signature = KERNELS[name].signature
        in_place = [n for n in signature.results if n in signature.operands]
        whole = ["first", "stop"] if name in COLUMNS else []  # of the share
        expected = [*signature.fresh, *in_place, *signature.inputs, *whole]
        assert list(inspect.signature(loop.py_func).parameters) == expected, name


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_loops_that_only_the_replay_calls_equal_the_reference(dtype, rng):
    numpy, tolerance = get_device("numpy"), 2e-5 if dtype is np.float32 else 1e-12
    large = {"N": 70, "K": 40, "M": 50, "P": 9, "G": 9, "A": 80, "E": 90}
    for name in REPLAY_ONLY:
        for sizes in [*SHAPES, large]:
            operands = make_operands(KERNELS[name].signature, sizes, dtype, rng)
            expected = run(KERNELS[name], operands, numpy)
            found = run(eager(KERNELS[name]), operands, numpy)
            for e, f in zip(expected, found, strict=True):
                np.testing.assert_allclose(f, e, rtol=tolerance, atol=tolerance * np.abs(e).max(), err_msg=name)


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("name", COLUMNS)
def test_shares_of_the_columns_make_the_whole(name, large, rng):
    """What threads make of a product or a gradient, each its columns, is the whole of it."""
    ready(np.dtype(np.float64))
    signature, sizes = KERNELS[name].signature, SHAPES[-1] | ({"M": 60} if large else {})
    operands = make_operands(signature, sizes, np.float64, rng)
    named = dict(zip(signature.operands, operands))
    results = [
        named[written].copy() if written in named else np.zeros([sizes[letter] for letter in letters])
        for written, letters in signature.results.items()
    ]
    whole = KERNELS[name](*operands)
    wholes = whole if isinstance(whole, tuple) else [named[n] if whole is None else whole for n in signature.results]
    size = sizes[COLUMNS[name]]
    for first, stop in ((0, 2), (2, 3), (3, size)):
        LOOPS[name](*results, *[named[n] for n in signature.inputs], first, stop)
    for result, expected in zip(results, wholes, strict=True):
        np.testing.assert_allclose(result, expected, rtol=1e-11, atol=1e-13)


def test_yes_or_no_answers_are_counted_on_both_sides(device, rng):
    """The other half of a kernel whose number chooses between two."""
    where = get_device(device)
    for k in (1, 19):
        target = np.where(rng.uniform(size=(70, k)) < 0.2, np.nan, np.sign(rng.standard_normal((70, k))))
        operands = [rng.uniform(-1, 1, (70, k)), target, False, rng.uniform(0, 9, (7, k))]
        pairs = zip(
            run(KERNELS["add_confusions"], operands, get_device("numpy")),
            run(where.ops.add_confusions, operands, where),
        )
        for e, f in pairs:
            np.testing.assert_allclose(f, e, rtol=1e-12)


def test_every_device_has_every_kernel(device):
    ops = get_device(device).ops
    assert set(KERNELS) <= ops.names() and all(kernel_of(getattr(ops, name)) is KERNELS[name] for name in KERNELS)


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(1, 70), k=st.integers(1, 40), seed=st.integers(0, 2**32 - 1), name=st.sampled_from(sorted(KERNELS))
)
def test_any_shape_on_numba(n, k, seed, name):
    rng = np.random.default_rng(seed)
    sizes = {"N": n, "K": k, "M": 3, "P": n * k, "G": n * k, "A": n, "E": n + 2}
    operands = make_operands(KERNELS[name].signature, sizes, np.float64, rng)
    numba = get_device("numba")
    for e, f in zip(run(KERNELS[name], operands, numba), run(getattr(numba.ops, name), operands, numba), strict=True):
        np.testing.assert_allclose(f, e, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nan_and_infinity_survive(device, dtype):
    where = get_device(device)
    x = np.array([[np.nan, np.inf, -np.inf, 1e4, -1e4, 0.0, -1000.0]], dtype)
    for name in ("sigmoid", "tanh", "tanh_offset", "relu", "softplus"):
        with np.errstate(all="ignore"):
            expected = KERNELS[name](x)
            found = where.to_numpy(getattr(where.ops, name)(where.asarray(x)))
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-37, err_msg=name)
        assert np.isnan(found[0, 0]) and not np.isnan(found[0, 1:]).any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["gelu", "gelu_tanh", "silu", "mish"])
def test_derivatives_far_from_0_are_1_and_0(name, dtype, device):
    """Nanoseconds since 1970 are 1.8e18: where the derivative has x (1 − t²) x², that is 0 times a large number."""
    where = get_device(device)
    x = np.repeat([[1e3, -1e3, 1e9, -1e9, 1e15, -1e15, 1.8e18, -1.8e18]], 3, axis=0).astype(dtype)
    with np.errstate(over="ignore"):
        dx = getattr(where.ops, f"{name}_backward")(where.asarray(np.full_like(x, 0.5)), where.asarray(x))
    np.testing.assert_array_equal(where.to_numpy(dx), np.where(x > 0, 0.5, 0))


def test_what_is_divided_by_the_root_of_infinity_is_0(device, rng):
    """In float32, the square of 1e25 is infinite: a row's variance, a running one, or the mean of squared gradients."""
    where, large = get_device(device), (1e25 * rng.standard_normal((5, 19))).astype(np.float32)
    w, v, u = (where.zeros(95, np.float32) for _ in range(3))
    with np.errstate(over="ignore"):
        y, inverse = where.ops.layer_norm(where.asarray(large), 1e-5)
        running = where.ops.inverse_deviation(where.asarray(np.full(19, np.inf, np.float32)), 1e-5)
        lr = where.asarray(np.ones(1, np.float32))
        where.ops.adadelta_step(w, where.asarray(large.ravel()), v, u, lr, 0.9, 1e-6)
    assert np.isinf(where.to_numpy(v)).all()
    for found in (y, inverse, running, w, u):
        assert not where.to_numpy(found).any()  # NaN would count as something


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_nan_in_a_row_makes_its_loss_nan(device, dtype):
    where = get_device(device)
    p, t = np.array([[0.5, np.nan], [0.5, 0.5]], dtype), np.array([[0.0, 1.0], [0.0, 1.0]], dtype)
    for name, signature in ((n, f.signature) for n, f in KERNELS.items() if "losses" in f.signature.results):
        numbers = [NUMBERS[n] for n in list(signature.operands)[2:]]
        losses, _ = getattr(where.ops, name)(where.asarray(p), where.asarray(t), *numbers)
        assert np.isnan(where.to_numpy(losses)).tolist() == [True, False], name


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 3e-7), (np.float64, 2e-15)])
def test_own_functions_are_accurate(dtype, tolerance):
    """exp, log and tanh on all of their range, by way of the kernels that are made of them.

    The standard is NumPy in higher precision.
    """
    numba = get_device("numba").ops
    x = np.concatenate([-np.logspace(-12, 1.9, 4000), np.linspace(-80, 0, 4001)]).astype(dtype)[None, :]
    exact = x.astype(np.longdouble)
    np.testing.assert_allclose(numba.sigmoid(x), (np.exp(exact) / (1 + np.exp(exact))).astype(dtype), rtol=tolerance)
    np.testing.assert_allclose(numba.softplus(x), np.log1p(np.exp(exact)).astype(dtype), rtol=tolerance)
    p = np.concatenate([np.exp(exact), np.exp(-exact), np.linspace(0.5, 2, 4001)[None, :]], axis=1).astype(dtype).T
    losses, _ = numba.categorical_cross_entropy(p, np.ones_like(p), 1.0)
    np.testing.assert_allclose(losses, -np.log(p[:, 0].astype(np.longdouble)).astype(dtype), rtol=tolerance)
    for signed in (x, -x):
        y = eager(KERNELS["tanh"])(signed)
        np.testing.assert_allclose(y, np.tanh(signed.astype(np.longdouble)).astype(dtype), rtol=tolerance)
        assert np.abs(y).max() == 1


def test_long_bias_sums_keep_their_digits(device):
    where = get_device(device)
    dy = np.full((200_000, 3), 0.1, np.float32)
    db = where.zeros(3, np.float32)
    where.ops.linear_backward_bias(where.asarray(dy), db)
    exact = 200_000 * np.float64(np.float32(0.1))
    assert abs(dy[:, 0].cumsum(dtype=np.float32)[-1] / exact - 1) > 1e-4  # what a plain float32 loop would give
    np.testing.assert_allclose(where.to_numpy(db), exact, rtol=64 * 2.0**-24)  # at most 64 roundings in a row


def test_signature_reads_results_and_refuses_what_does_not_match():
    signature = Signature.parse("dy (N,M), x (N,K), dW (K,M), scale -> dW, z (N)")
    assert signature.fresh == ["z"] and signature.inputs == ["dy", "x", "scale"]
    dy, x, dW = np.zeros((4, 2)), np.zeros((4, 3)), np.zeros((3, 2))
    assert signature.sizes([dy, x, dW, 0.5]) == {"N": 4, "M": 2, "K": 3, "scale": 0.5}
    with pytest.raises(ValueError, match=r"x has shape \(5, 3\), expected \(4, K\)"):
        signature.sizes([dy, np.zeros((5, 3)), dW, 0.5])
    with pytest.raises(ValueError, match=r"does not match.*: the names and their order must be the same"):
        kernel("x (N) -> y (N)")(lambda wrong: wrong)
    with pytest.raises(ValueError, match="needs '->'"):
        Signature.parse("x (N)")
    with pytest.raises(AttributeError, match="there is no kernel 'nothing'"):
        _ = Kernels().nothing

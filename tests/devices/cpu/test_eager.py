"""Compiled loops on whatever a layer of a user's own hands over: what NumPy gives, or an error that says why not."""

import warnings

import numpy as np
import pytest

import nnlite as nl
from nnlite.devices.common.arena import Arena
from nnlite.devices.common.kernel import kernel_of
from nnlite.devices.common.reference import KERNELS

pytest.importorskip("numba")
from nnlite.devices.cpu.eager import APART, LOOPS, eager

SIZES = {"N": 6, "K": 19, "M": 5, "P": 40, "G": 40, "A": 8, "E": 9, "1": 1, "2": 2, "4": 4, "7": 7}
CALLED = [name for name in LOOPS if not name.endswith("_sgd")]  # these are made by planning, for arrays of the net
NUMBERS = {"key": 3, "first": 2, "nesterov": True}


def apart(array):
    """The same numbers, with others between them."""
    between = np.full([2 * size for size in array.shape], 7, array.dtype)
    view = between[(slice(None, None, 2),) * array.ndim]
    view[...] = array
    return view


def unaligned(array):
    memory = np.zeros(array.nbytes + 1, np.uint8)[1:]
    view = memory.view(array.dtype).reshape(array.shape)
    view[...] = array
    return view


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


FORMS = {  # each: the array as something else that holds the same numbers, or fewer digits of them
    "fortran": np.asfortranarray,
    "sliced": apart,
    "transposed": lambda a: np.ascontiguousarray(a.T).T,
    "reversed": lambda a: np.ascontiguousarray(a[::-1])[::-1],
    "permuted": lambda a: np.ascontiguousarray(a[..., ::-1])[..., np.arange(a.shape[-1])[::-1]],
    "unaligned": unaligned,
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
}
INPUTS = {  # what can only be read, or would lose what is written to it
    "read-only": read_only,
    "broadcast": lambda a: np.broadcast_to(a[:1], a.shape),
    "ints": lambda a: (9 * a).astype(int),
    "int8": lambda a: (9 * a).astype(np.int8),
    "bool": lambda a: a > 0.5,
    "float16": lambda a: a.astype(np.float16),
    "float32": lambda a: a.astype(np.float32),
    "float64": lambda a: a.astype(np.float64),
    "float128": lambda a: a.astype(np.longdouble),
}


def operands_of(signature, rng, dtype):
    """Probabilities for every array, one-hot rows for targets, small numbers for counters."""
    made = {}
    for name, letters in signature.operands.items():
        if letters is None:
            made[name] = SIZES.get(name, NUMBERS.get(name, 0.4))
        elif name in ("order", "position", "draws"):
            made[name] = rng.integers(0, 3, [SIZES.get(a) or int(a) for a in letters])
        elif name == "target":
            made[name] = np.eye(SIZES["K"], dtype=dtype)[rng.integers(0, SIZES["K"], SIZES["N"])]
        else:
            made[name] = rng.uniform(0.1, 0.9, [SIZES.get(a) or int(a) for a in letters]).astype(dtype)
            if name in ("sums", "total"):
                made[name] = made[name].astype(np.float64)
    return made


def outcome(function, operands):
    with np.errstate(all="ignore"):
        result = function(*operands.values())
    results = list(result) if isinstance(result, tuple) else [] if result is None else [result]
    return results + [operands[name] for name in kernel_of(function).signature.in_place]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("form", [*FORMS, *INPUTS])
@pytest.mark.parametrize("name", CALLED)
def test_a_compiled_loop_takes_any_form_of_its_operands(name, form, dtype, rng):
    signature = KERNELS[name].signature
    call = eager(KERNELS[name])
    for changed in [name for name, letters in signature.operands.items() if letters and letters[0] not in APART]:
        if form in INPUTS and changed in signature.in_place:
            continue
        given = operands_of(signature, rng, dtype)
        change = (FORMS | INPUTS)[form]
        both = [{n: a.copy() if isinstance(a, np.ndarray) else a for n, a in given.items()} for _ in range(2)]
        for each in both:
            each[changed] = change(each[changed])
        if both[0][changed].dtype.kind in "iub":  # as floats: NumPy refuses to negate a bool, and eˣ of int8 is float16
            both[0][changed] = both[0][changed].astype(np.result_type(both[0][changed], dtype))
        before = [a.copy() if isinstance(a, np.ndarray) else a for a in both[1].values()]
        expected, found = (outcome(f, operands) for f, operands in zip((KERNELS[name], call), both))
        for e, f in zip(expected, found, strict=True):
            digits = (
                3e-3 if form == "float16" else 1e-5 if np.float32 in (dtype, f.dtype) or form == "float32" else 1e-11
            )
            largest = np.abs(e[~np.isnan(e)]).max(initial=digits)  # a variance of equal numbers may be rounding alone
            np.testing.assert_allclose(f, np.float64(e), rtol=digits, atol=digits * largest, err_msg=changed)
        for n, a in zip(given, before):
            if n not in signature.in_place:
                np.testing.assert_array_equal(both[1][n], a)  # what is only read is not written to


@pytest.mark.parametrize("name", LOOPS)
def test_what_does_not_fit_is_refused(name, rng):
    signature = KERNELS[name].signature
    call = eager(KERNELS[name])
    for operand, letters in signature.operands.items():
        if letters is None or len(signature.operands) == 1:
            continue
        given = operands_of(signature, rng, np.float32)
        with pytest.raises(ValueError, match="expected"):
            call(*(given | {operand: given[operand][None]}).values())
        if letters[0] in APART:
            continue
        with pytest.raises(TypeError, match=f"{name}: {operand} holds complex64"):
            call(*(given | {operand: given[operand].astype(np.complex64)}).values())
        others = [a for n, a in signature.operands.items() if a and n != operand]
        for axis, letter in enumerate(letters):
            if any(letter in other for other in others):
                with pytest.raises(ValueError, match="expected"):
                    call(*(given | {operand: np.delete(given[operand], 0, axis)}).values())


# ---- in a net --------------------------------------------------------------------------------------------------------


class Own(nl.Layer):
    """A layer that computes without kernels."""

    def __init__(self, change):
        super().__init__()
        self.change = change

    def forward(self, x):
        return self.change(x)

    def backward(self, dy):
        return self.change(dy)


NOISE = np.random.default_rng(3).standard_normal((40, 12))
LAYERS = {
    "permute": lambda x: x[:, ::-1][:, np.arange(12)],
    "noise in float64": lambda x: x + NOISE[: len(x)],
    "step": lambda x: np.where(x > 0, 1, 0),
    "bool": lambda x: x > 0,
    "int8": lambda x: (3 * x).astype(np.int8),
    "float16": lambda x: x.astype(np.float16),
    "transposed": lambda x: np.asfortranarray(x),
    "reversed": lambda x: x[::-1, ::-1],
    "broadcast": lambda x: np.broadcast_to(x.mean(axis=1, keepdims=True), x.shape),
}


def trained(change, device, dtype, rows=40):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((rows, 4)), rng.standard_normal((rows, 3))
    net = nl.Sequential(
        nl.Dense(4, 12), nl.Tanh(), Own(change), nl.Dense(12, 9), nl.ReLU(), nl.Dense(9, 3), device=device, dtype=dtype
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", nl.steps.EagerWarning)
        history = nl.Trainer(net, "mse", nl.SGD(lr=0.05)).fit(x, y, 4, rows, shuffle=False, progress=False)
    return history["loss"], net.parameters, net.predict(x)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_without_kernels_trains_as_on_numpy(name, dtype):
    for e, f in zip(*(trained(LAYERS[name], device, dtype) for device in ("numpy", "numba"))):
        digits = 1e-5 if dtype == "float32" or name == "float16" else 1e-10
        np.testing.assert_allclose(f, e, rtol=digits, atol=digits)


@pytest.mark.parametrize(
    ("change", "error", "told"),
    [
        (lambda x: x + 1j, TypeError, "linear: x"),
        (lambda x: x[:, :7], ValueError, "linear: W"),
        (lambda x: x[0], ValueError, r"Own.forward\(x\) returned an array of shape \(12,\), but for 40 rows"),
    ],
)
def test_a_layer_that_gives_something_else_is_told_so(change, error, told):
    with pytest.raises(error, match=told):
        trained(change, "numba", "float32")


@pytest.mark.parametrize("form", ["fortran", "float64", "reversed"])
def test_weights_that_somebody_assigned(form, rng):
    outputs = []
    for device in ("numpy", "numba"):
        net = nl.mlp([6, 5, 4], device=device, seed=0)
        net.layers[0].W = (FORMS | INPUTS)[form](np.random.default_rng(1).standard_normal((6, 5)).astype(np.float32))
        outputs.append(net.predict(np.ones((3, 6))))
    np.testing.assert_allclose(outputs[1], outputs[0], rtol=1e-5)
    with pytest.raises(ValueError, match=r"Dense\.W has shape \(4, 5\), expected \(6, 5\)"):
        net.layers[0].W = net.layers[0].W[:4]


def test_memory_that_does_not_lie_in_c_order_has_no_place_in_an_arena():
    """A replay would write beside it."""
    with pytest.raises(ValueError, match="w must be an array in C order"):
        Arena(nl.get_device("numba"), np.float64, {"w": np.ones(5)[::-1]})

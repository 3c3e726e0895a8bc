"""Kernels of a user's own on numba: what may be handed over, what is compiled again and what is not."""

import functools
import os
import subprocess
import sys
import textwrap
import warnings
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from helpers import on_threads

import nnlite as nl
from nnlite.devices.common.arena import Arena
from nnlite.devices.common.kernel import kernel
from nnlite.devices.common.lines import line
from nnlite.devices.common.recording import Call, NotRecordableError, Recorder, Symbol
from nnlite.devices.cpu import table
from nnlite.devices.cpu.own import own_loop, refusal

pytest.importorskip("numba")


@kernel("x (N,K), scale -> y (N,K)")
def scaled(x, scale):
    return x * scale


@kernel("dy (N,K), scale -> dx (N,K)")
def scaled_backward(dy, scale):
    return dy * scale


class Scale(nl.Layer):
    def __init__(self, scale, forward=scaled, backward=scaled_backward):
        super().__init__()
        self.scale, self.kernels = scale, (forward, backward)

    def forward(self, x):
        return self.ops.call(self.kernels[0], x, self.scale)

    def backward(self, dy):
        return self.ops.call(self.kernels[1], dy, self.scale)


def trained(layer, device="numba", threads=1, rows=30):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((rows, 4)), rng.standard_normal((rows, 2))
    net = nl.Sequential(nl.Dense(4, 3), layer, nl.Dense(3, 2), device=device, dtype="float64")
    net.threads = threads
    trainer = nl.Trainer(net, "mse", nl.SGD(lr=0.1))
    return trainer.fit(x, y, 3, rows, progress=False)["loss"], trainer


# ---- numbers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "scale", [np.float32(0.5), np.float16(0.5), np.array(0.5), Fraction(1, 2), np.longdouble(0.5), np.array([0.5])[0]]
)
def test_a_number_of_any_type_is_itself(scale):
    expected, _ = trained(Scale(0.5))
    found, trainer = trained(Scale(scale))
    assert trainer.tape is not None
    assert found == expected


@pytest.mark.parametrize("scale", [3, np.int8(3), np.array(3), True, np.bool_(True)])
def test_a_whole_number_stays_one(scale):
    expected, _ = trained(Scale(scale), "numpy")
    np.testing.assert_allclose(trained(Scale(scale))[0], expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("scale", "why"),
    [
        (2**70, "which 64 bits do not hold: hand over a float"),
        (Fraction(10**400), "which 64 bits do not hold"),
        (Decimal("0.5"), "where a real number is expected"),
        (1j, "where a real number is expected"),
        ("0.5", "where a real number is expected"),
        (None, "where a real number is expected"),
    ],
)
def test_what_is_no_such_number_is_refused(scale, why):
    call = Call("scaled", scaled, (np.zeros((2, 2)), scale), (np.zeros((2, 2)),))
    with pytest.raises(NotRecordableError, match=f"scaled: scale is .*{why}"):
        line(call, lambda array: 0, {})


def test_kernels_of_nnlite_take_whole_numbers_as_numbers():
    """The words of a line are read as the kernel says, on the GPU too: a scale as float64, a key as int64."""
    mse, dropout = (nl.get_device("numpy").ops.mse, nl.get_device("numpy").ops.dropout)
    two = np.zeros((2, 2))
    for scale in (1, np.float32(1), np.array(1), 1.0):
        found = line(Call("mse", mse, (two, two, scale), (np.zeros(2), two)), lambda array: 0, {})
        assert found.kinds[-1] == "number" and found.words[-1] == np.float64(1).view(np.int64)
    for key in (12, np.uint32(12)):
        found = line(
            Call("dropout", dropout, (two, np.zeros(1, int), key, 1, 5), (two, two)), lambda array: 0, {}, first=2
        )
        assert found.kinds[-3:] == ("size", "number", "size") and (found.words[-3], found.words[-1]) == (12, 5 + 2)


def test_a_replay_refuses_products_of_several_dtypes():
    device = nl.get_device("numba")
    arrays = {"x": np.zeros((3, 2)), "W": np.zeros((2, 4), np.float32), "sums": np.zeros(1)}
    arena, recorder = Arena(device, "float64", arrays), Recorder(device.ops, "float64")
    recorder.matmul(*(Symbol(n, arrays[n].shape, arrays[n].dtype, n, 0) for n in ("x", "W")))
    with pytest.raises(NotRecordableError, match="matmul is compiled for arrays of one dtype"):
        device.replay(recorder.tape, None, arena)


# ---- signatures ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("signature", "function", "message"),
    [
        ("x (N) -> y (N)", lambda x: x, "a kernel is a function written with def, which gives it a name"),
        ("x (N) -> y (N)", functools.partial(lambda a, x: x, 1), "a kernel is a function written with"),
        ("x (N) -> y (N)", np.exp, "a kernel is a function written with def"),
        ("x (N) -> y (M)", None, "the result y of .* has the size M, which no operand has"),
        ("x (N) -> y (N,M)", None, "the result y of .* has the size M, which no operand has"),
        ("x (N) -> y", None, "the result y of .* needs a shape"),
        ("x (N) y (N) -> z (N)", None, "is not understood"),
        ("x (N -> z (N)", None, "is not understood"),
        ("x () -> z (N)", None, "is not understood"),
        ("x (N), x (N) -> z (N)", None, "x stands twice"),
        ("x (N,K) -> x (K,N)", None, "x is written in place, so it cannot have two shapes"),
    ],
)
def test_a_kernel_that_cannot_be_is_refused_where_it_is_declared(signature, function, message):
    with pytest.raises(ValueError, match=message):
        kernel(signature)(function)


@pytest.mark.parametrize("signature", ["x (N,K), b (K) -> y (N,K)", "x (N,K), b (N,K) -> x"])
def test_elementwise_is_refused_where_compiled_code_would_leave_an_array(signature):
    with pytest.raises(ValueError, match="an elementwise kernel has arrays of one shape, and writes none in place"):

        @kernel(signature, elementwise=True)
        def added(x, b):
            return x + b


def test_several_results_may_come_as_a_list(device):
    @kernel("x (N,K), scale -> y (N,K), z (N,K)")
    def two(x, scale):
        return [x * scale, x]

    class Two(Scale):
        def forward(self, x):
            return self.ops.call(two, x, self.scale)[0]

    class Named(nl.Activation):
        formula, formula_backward = two, scaled_backward

        def __init__(self, scale):
            super().__init__()
            self.scale = scale

    expected, _ = trained(Scale(0.5), device)
    assert trained(Two(0.5), device)[0] == trained(Named(0.5), device)[0] == expected
    np.testing.assert_array_equal(Named(0.5).forward([[2.0]]), [[1.0]])


def test_more_or_fewer_operands_are_refused_by_name(device):
    class Few(Scale):
        def forward(self, x):
            return self.ops.call(scaled, x)

    for run in (lambda: trained(Few(1.0), device), lambda: Few(1.0).forward([[1.0]])):
        with pytest.raises(ValueError, match="scaled has the operands x, scale, but was given 1"):
            run()


def test_operands_may_have_any_name():
    @kernel("to_y (N,K), loop -> y (N,K)")
    def copied(to_y, loop):
        return to_y * loop

    @kernel("formula (N,K), copy -> _to_y (N,K)")
    def copied_back(formula, copy):
        return formula * copy

    expected, _ = trained(Scale(0.5))
    found, trainer = trained(Scale(0.5, copied, copied_back))
    assert trainer.tape is not None and found == expected


@pytest.mark.parametrize("wanted", ["eager", "auto"])
def test_results_must_have_the_shape_that_the_signature_says(wanted):
    @kernel("x (N,K), scale -> y (N,K)")
    def sums(x, scale):
        return x.sum(axis=0) * scale

    net = nl.Sequential(nl.Dense(4, 3), Scale(0.5, sums), nl.Dense(3, 2), device="numba")
    error, message = (
        (ValueError, r"sums gives y of shape \(3,\)")
        if wanted == "eager"
        else (RuntimeError, r"own raised an error .*\(sums or")
    )
    with pytest.raises(error, match=message), warnings.catch_warnings():
        warnings.simplefilter("ignore", nl.steps.EagerWarning)
        nl.Trainer(net, "mse", replay=wanted).fit(np.ones((9, 4)), np.ones((9, 2)), progress=False)


def test_rows_of_a_batch_that_do_not_come_first_stay_on_one_thread():
    @kernel("x (N,K), scale -> t (K,N)")
    def transposed(x, scale):
        return x.T * scale

    @kernel("t (K,N), scale -> y (N,K)")
    def back(t, scale):
        return t.T * scale

    class There(Scale):
        def forward(self, x):
            return self.ops.call(back, self.ops.call(transposed, x, self.scale), 1.0)

    expected, _ = trained(Scale(0.5), "numpy")
    for threads in (1, 2, 3):
        found, trainer = trained(There(0.5), on_threads(), threads)
        assert f"on {threads} thread" in trainer.plan()
        np.testing.assert_allclose(found, expected, rtol=1e-12)


@kernel("w (P), dw (P), lr (1) -> w")
def normalized(w, dw, lr):
    w -= lr * dw / np.sqrt((dw * dw).sum())


class Normalized(nl.Optimizer):
    def __init__(self):
        super().__init__(0.1)

    def rule(self, ops, w, dw):
        ops.call(normalized, w, dw, self.rate)


@kernel("x (N,P), gain (P) -> y (N,P)")
def amplified(x, gain):
    return x * gain


@kernel("dy (N,P), x (N,P), dgain (P) -> dgain")
def amplified_backward(dy, x, dgain):
    dgain[...] = (dy * x).sum(axis=0)


class Amplified(nl.Layer):
    def __init__(self):
        super().__init__()
        self.shapes = {"gain": (300,)}

    def initial(self, rng):
        return {"gain": rng.standard_normal(300)}

    def forward(self, x):
        self.x = x
        return self.ops.call(amplified, x, self.gain)

    def backward(self, dy):
        self.ops.call(amplified_backward, dy, self.x, self.dgain)
        return self.ops.call(amplified, dy, self.gain)


def test_an_optimizer_and_a_gradient_of_ones_own_may_need_all_parameters_at_once():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((200, 300)), rng.standard_normal((200, 4))
    runs = []
    for device, threads in (("numpy", 1), (on_threads(), 1), (on_threads(), 2), (on_threads(), 3)):
        layers = nl.Dense(300, 300), Amplified(), nl.Tanh(), nl.Dense(300, 4)
        net = nl.Sequential(*layers, device=device, dtype="float64", threads=threads)
        trainer = nl.Trainer(net, "mse", Normalized())
        trainer.fit(x, y, 2, 50, progress=False)
        assert trainer.tape and (threads == 1 or "on 1 thread" not in trainer.plan())
        runs.append(net.parameters)
    expected, *others = runs
    for found in others:
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_what_numba_says_in_colours_is_read_all_the_same():
    """As it writes where the package colorama is installed, which tqdm brings on Windows."""
    told = (
        "\x1b[1mFailed in nopython mode pipeline (step: nopython frontend)\n"
        "\x1b[1m\x1b[1mNo implementation of function <f> found for signature:\n \n >>> array_mean(float64)\n"
        '\x1b[1m\nFile "own.py", line 7:\x1b[0m\n    return d.mean()\n\x1b[1m    ^\x1b[0m \x1b[0m\n'
    )
    assert refusal(ValueError(told)) == "it has no array_mean(float64), in `return d.mean()`"


# ---- errors in compiled code -----------------------------------------------------------------------------------------


@kernel("x (N,K), scale -> y (N,K)")
def beside(x, scale):
    return x * scale + x[0, 100_000_000 * int(scale)]


def test_bounds_are_checked_where_asked_for(monkeypatch):
    monkeypatch.setenv("NNLITE_CHECK_BOUNDS", "1")
    with pytest.raises(RuntimeError, match=r"a kernel of your own raised an error .*\(beside or"):
        trained(Scale(1.0, beside))
    monkeypatch.delenv("NNLITE_CHECK_BOUNDS")
    assert trained(Scale(0.5, beside))[0]  # x[0, 0]; and not what was compiled with checks
    assert own_loop(beside) is not own_loop(scaled)


@pytest.mark.parametrize(("layer", "error"), [(nl.ReLU(), MemoryError), (Scale(0.5), RuntimeError)])
def test_memory_that_runs_out_is_no_error_of_a_kernel(layer, error, monkeypatch):
    """Where there is no kernel of a user's own, nothing but memory can have been wanting."""

    def replay(full, short, first, last, per_epoch, sums, history, marks, *_):
        marks[0, 0] = first < last
        return first

    monkeypatch.setattr(table, "replay", replay)
    with pytest.raises(error, match="memory ran out"):
        trained(layer)


# ---- compiled once more, or not --------------------------------------------------------------------------------------

FACTOR = 0.5
TABLE = np.array([0.5, 3.0])


@kernel("x (N,K), scale -> y (N,K)")
def by_module(x, scale):
    return x * FACTOR * TABLE[0] * scale


def test_a_changed_global_is_seen(monkeypatch):
    def expected():
        return trained(Scale(1.0, by_module), "numpy")[0]

    first = trained(Scale(1.0, by_module))[0]
    np.testing.assert_allclose(first, expected(), rtol=1e-12)
    loop = own_loop(by_module)
    for name, value in (("FACTOR", 2.0), ("TABLE", np.array([2.0, 3.0]))):
        monkeypatch.setitem(globals(), name, value)
        found = trained(Scale(1.0, by_module))[0]
        assert found != first
        np.testing.assert_allclose(found, expected(), rtol=1e-12)
    TABLE[0] = 1.0  # in place
    np.testing.assert_allclose(trained(Scale(1.0, by_module))[0], expected(), rtol=1e-12)
    monkeypatch.undo()
    assert own_loop(by_module) is loop


def made(factor):
    @kernel("x (N,K), scale -> y (N,K)")
    def by_closure(x, scale):
        return x * factor * scale

    return by_closure


def test_the_same_kernel_defined_again_is_not_compiled_again():
    assert own_loop(made(0.5)) is own_loop(made(0.5))
    assert own_loop(made(0.5)) is not own_loop(made(0.25))
    assert own_loop(made(0.5)).key and own_loop(made(np.float32(0.5))).key
    before = None
    for _ in range(3):
        trained(Scale(1.0, made(0.75)))
        before = before or len(table.MADE)
        assert len(table.MADE) == before


def test_what_no_text_can_stand_for_is_not_kept():
    import numba

    helper = numba.njit(lambda x: x * 2)
    other = numba.njit(lambda x: x * 3)

    def calling(function):
        @kernel("x (N,K), scale -> y (N,K)")
        def calls(x, scale):
            return function(x) * scale

        return calls

    assert own_loop(calling(helper)).key == ""
    assert own_loop(calling(helper)) is own_loop(calling(helper))
    assert trained(Scale(0.5, calling(helper)))[0] != trained(Scale(0.5, calling(other)))[0]


SCRIPT = """
import numpy as np, nnlite as nl, sys
from nnlite.devices.cpu import compiling, own
compiled = []
make = compiling.MachineCode._compile_uncached
compiling.MachineCode._compile_uncached = lambda self: compiled.append(self._pyfunc.__name__) or make(self)

FACTOR = float(sys.argv[1])

@nl.kernel("x (N,K) -> y (N,K)")
def f(x):
    return np.tanh(x) * FACTOR

@nl.kernel("dy (N,K) -> dx (N,K)")
def b(dy):
    return dy * FACTOR

class Own(nl.Layer):
    def forward(self, x): return self.ops.call(f, x)
    def backward(self, dy): return self.ops.call(b, dy)

x = np.random.default_rng(0).standard_normal((9, 4))
losses = []
for FACTOR in map(float, sys.argv[1:]):
    found = []
    for device in ("numpy", "numba"):
        net = nl.Sequential(nl.Dense(4, 3), Own(), nl.Dense(3, 4), device=device)
        found.append(nl.Trainer(net, "mse", nl.SGD(lr=0.1)).fit(x, x, 3, progress=False)["loss"])
    np.testing.assert_allclose(*found, rtol=1e-5)
print(sum(name.startswith(("loop_of_f_", "loop_of_b_")) for name in compiled))
"""


def test_a_kernel_is_kept_on_disk_for_what_it_is_made_of(tmp_path):
    """Also where a process has taken a kernel of the same name, that another process has made, from there."""
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "compiled")}

    def compiled(*factors):
        command = [sys.executable, str(script), *map(str, factors)]
        process = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        assert process.returncode == 0, process.stderr
        return int(process.stdout)

    assert compiled(0.5) == 2
    assert compiled(0.25) == 2
    assert compiled(0.5, 0.25, 0.5) == 0
    assert compiled(0.75, 0.5) == 2

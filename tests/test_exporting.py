"""Exported networks, run by those for whom they are: ONNX Runtime, and a C compiler with all its warnings."""

import ctypes
import re
import shutil
import subprocess

import numpy as np
import pytest

import nnlite as nl
from nnlite.activations import ACTIVATIONS

ROWS = 7


def nets():
    """A network with each activation, and others with what is not an activation."""
    for name in ACTIVATIONS:
        yield name, lambda name=name, **options: nl.mlp([3, 5, 4], name, name, **options)
    yield "batch norm", lambda **options: nl.mlp([3, 6, 2], dropout=0.5, batch_norm=True, **options)
    layers = lambda: (nl.LayerNorm(3), nl.GaussianNoise(0.1), nl.Dense(3, 1))  # noqa: E731
    yield "layer norm", lambda **options: nl.Sequential(*layers(), **options)
    yield (
        "residual",
        lambda **options: nl.Sequential(
            nl.Residual(nl.Dense(3, 3), nl.Tanh()),
            nl.Residual(nl.Dense(3, 4), nl.ReLU(), projection=True),
            nl.Sequential(nl.Dense(4, 2), nl.Softmax()),
            **options,
        ),
    )
    yield "no bias", lambda **options: nl.Sequential(nl.Dense(3, 2, bias=False), nl.Identity(), **options)
    yield "one output", lambda **options: nl.Sequential(nl.Dense(3, 1), nl.Softsign(), **options)


NETS = dict(nets())


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    return request.param


@pytest.fixture
def x(dtype, request):
    rows = np.random.default_rng(0).standard_normal((ROWS, 3)) * 3
    rows[0], rows[1] = 0, [40, -40, 90]
    steep = "name" in request.fixturenames and request.getfixturevalue("name") in ("sine", "exponential")
    return (rows / 100 if steep else rows).astype(dtype)  # e^e^x and sin 30x multiply each rounding


def made(name, dtype):
    """The network, with numbers that no initializer draws, and a state that is not the first one."""
    net, rng = NETS[name](device="numpy", dtype=dtype, seed=3), np.random.default_rng(1)
    net.parameters = net.parameters + rng.uniform(-0.3, 0.3, net.parameters.shape)
    for layer in net.layers:
        if isinstance(layer, nl.BatchNorm):
            layer.mean, layer.variance = rng.uniform(-1, 1, layer.inputs), rng.uniform(0.5, 2, layer.inputs)
    return net


def compiled(path, function="predict"):
    """The function of a file of C, compiled without a single warning."""
    if not shutil.which("cc"):
        pytest.skip("there is no C compiler")
    flags = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-Wmissing-prototypes", "-O2"]
    library = path.with_suffix(".so")
    subprocess.run(["cc", *flags, "-shared", "-fPIC", str(path), "-o", str(library), "-lm"], check=True)
    return getattr(ctypes.CDLL(str(library)), function)


def run_c(function, net, x):
    y = np.full((len(x), net.outputs), np.nan, x.dtype)
    for row, answer in zip(x, y):
        function(row.ctypes.data_as(ctypes.c_void_p), answer.ctypes.data_as(ctypes.c_void_p))
    return y


@pytest.mark.parametrize("name", NETS)
def test_c_computes_what_predict_does(name, dtype, x, tmp_path):
    net = made(name, dtype)
    net.export(tmp_path / "model.c")
    digits = 1e-12 if dtype == "float64" else 2e-6
    predict = compiled(tmp_path / "model.c")
    np.testing.assert_allclose(run_c(predict, net, x), net.predict(x), rtol=digits, atol=digits * 40)
    assert np.isnan(run_c(predict, net, x[:1] * np.nan)).all()  # no plausible answer to what is no number


@pytest.mark.parametrize("name", NETS)
def test_onnx_computes_what_predict_does(name, dtype, x, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    net = made(name, dtype)
    net.export(tmp_path / "model.onnx")
    session = runtime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"x": x})
    digits = 1e-6 if dtype == "float32" else 1e-12
    np.testing.assert_allclose(found, net.predict(x), rtol=digits * 2, atol=digits * 40)
    assert session.run(None, {"x": x[:1]})[0].shape == (1, net.outputs)  # any number of rows


@pytest.mark.parametrize("name", ["elu", "mish", "softplus", "selu"])
def test_onnx_keeps_the_digits_of_small_numbers(name, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    same = nl.Dense(2, 2, init=lambda rng, shape: np.eye(2))
    net = nl.Sequential(same, nl.activations.activation(name), device="numpy")
    net.export(tmp_path / "model.onnx")
    session = runtime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    x = np.array([[-9, 9], [-1e-6, 1e-6], [-1e-3, 2e-3], [-0.3, 0.7], [-40, 60], [-12.5, 3e4]], np.float32)
    exact = net.copy().to(dtype="float64").predict(x.astype(np.float64))
    np.testing.assert_allclose(session.run(None, {"x": x})[0], exact, rtol=3e-6, atol=1e-9)


def test_a_layer_of_ones_own_is_written_from_its_formula(x, dtype, tmp_path):
    @nl.kernel("x (N,K) -> y (N,K)")
    def bump(x):
        return np.exp(-(x**2)) + np.where((x > 1) | (x < -1), 1, 0.5)

    class Bump(nl.Layer):
        def forward(self, x):
            return self.ops.call(bump, x)

    net = nl.Sequential(nl.Dense(3, 2), Bump(), device="numpy", dtype=dtype)
    net.export(tmp_path / "model.c", "answer")
    found = run_c(compiled(tmp_path / "model.c", "answer"), net, x)
    np.testing.assert_allclose(found, net.predict(x), rtol=1e-5)


def test_c_is_cpp_too(tmp_path):
    """Its function has C's name there, so that either language can call it."""
    if not shutil.which("c++"):
        pytest.skip("there is no C++ compiler")
    nl.mlp([3, 4, 2], output="softmax", device="numpy").export(tmp_path / "model.c")
    flags = ["-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    subprocess.run(["c++", *flags, "model.c", "-o", "model.so"], check=True, cwd=tmp_path)
    assert ctypes.CDLL(str(tmp_path / "model.so")).predict


def test_c_says_what_it_takes_of_the_stack(tmp_path):
    nl.mlp([3, 40, 2], hidden="gelu", device="numpy", dtype="float32").export(tmp_path / "model.c")
    text = (tmp_path / "model.c").read_text()
    declared = re.findall(r"^ +(float|double|int) t\d+(?:\[(\d+)\])?;", text, re.MULTILINE)
    told = int(re.search(r"Its arrays take ([\d,]+) bytes", text)[1].replace(",", ""))
    assert told == sum({"double": 8}.get(kind, 4) * int(size or 1) for kind, size in declared) > 1000


def test_what_cannot_be_translated_is_named(tmp_path):
    class Sorted(nl.Layer):
        def forward(self, x):
            return np.sort(x, axis=1)

    net = nl.Sequential(nl.Dense(3, 2), Sorted(), device="numpy")
    with pytest.raises(TypeError, match=r"1: Sorted\(\) cannot be exported: it uses np.sort"):
        net.export(tmp_path / "model.c")
    assert not list(tmp_path.iterdir())


def test_wrong_names(tmp_path):
    net = nl.mlp([2, 1], device="numpy")
    with pytest.raises(ValueError, match=r"must end in \.onnx or \.c"):
        net.export(tmp_path / "model.pb")
    for name in ("my predict", "2nd", "größe", "int", "while", "main", "class", "new", "round", "memset"):
        with pytest.raises(ValueError, match=f"one that C allows, not '{name}'"):
            net.export(tmp_path / "model.c", name)
    for name in ("x", "y", "W_0", "tanh", "exp", "sqrtf"):
        with pytest.raises(ValueError, match=f"^'{name}' has a meaning of its own in the file: choose another"):
            net.export(tmp_path / "model.c", name)
    assert not list(tmp_path.iterdir())


def test_a_formula_at_its_corners(tmp_path, dtype):
    @nl.kernel("x (N,K) -> y (N,K)")
    def corners(x):
        return np.sign(x) + np.abs(x) + np.maximum(x, 0)

    class Corners(nl.Layer):
        def forward(self, x):
            return self.ops.call(corners, x)

    net = nl.Sequential(nl.Dense(3, 3, init=lambda rng, shape: np.eye(3)), Corners(), device="numpy", dtype=dtype)
    net.export(tmp_path / "model.c")
    x = np.array([[0, -2, 3], [-0.0, 0, 0]], dtype)
    np.testing.assert_array_equal(run_c(compiled(tmp_path / "model.c"), net, x), [[0, 1, 7], [0, 0, 0]])


def test_c_has_every_bit_of_the_weights(dtype, tmp_path):
    weights = np.random.default_rng(0).standard_normal(300).astype(dtype)
    net = nl.Sequential(nl.Dense(1, 300, init=lambda rng, shape: weights[None]), device="numpy", dtype=dtype)
    net.export(tmp_path / "model.c")
    found = run_c(compiled(tmp_path / "model.c"), net, np.ones((1, 1), dtype))
    np.testing.assert_array_equal(found[0], weights)

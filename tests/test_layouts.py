"""Parameters to PyTorch and Keras and back: the other library then predicts the same."""

import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest

import nnlite as nl

X = np.random.default_rng(0).standard_normal((6, 3))


def net_of(seed, *more):
    layers = nl.Dense(3, 5), nl.BatchNorm(5), nl.Tanh(), nl.Dropout(0.3), nl.Dense(5, 4, bias=False), nl.LayerNorm(4)
    net = nl.Sequential(*layers, *more, nl.Dense(4, 2), device="numpy", dtype="float64", seed=seed)
    rng = np.random.default_rng(seed)
    net.parameters = rng.standard_normal(len(net.parameters))
    net.layers[1].mean, net.layers[1].variance = rng.uniform(-1, 1, 5), rng.uniform(0.5, 2, 5)
    return net


def test_pytorch():
    torch = pytest.importorskip("torch")
    nn, net = torch.nn, net_of(1, nl.PReLU())
    theirs = nn.Sequential(
        *(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Dropout(0.3)),
        *(nn.Linear(5, 4, bias=False), nn.LayerNorm(4), nn.PReLU(), nn.Linear(4, 2)),
    )
    theirs.double().eval().load_state_dict({k: torch.from_numpy(v) for k, v in net.state_dict("torch").items()})
    with torch.no_grad():
        np.testing.assert_allclose(theirs(torch.from_numpy(X)).numpy(), net.predict(X), atol=1e-12)
    other = net_of(2, nl.PReLU())
    other.load_state_dict(theirs.state_dict(), layout="torch")
    np.testing.assert_array_equal(other.predict(X), net.predict(X))


KERAS = """
import keras, numpy as np, sys
keras.config.set_floatx("float64")
L = keras.layers
net = keras.Sequential([keras.Input((3,)), L.Dense(5), L.BatchNormalization(epsilon=1e-5), L.Activation("tanh"),
    L.Dropout(0.3), L.Dense(4, use_bias=False), L.LayerNormalization(epsilon=1e-5), L.Dense(2)])
given = np.load(sys.argv[1])
net.set_weights([given[f"arr_{i}"] for i in range(len(given) - 1)])
np.savez(sys.argv[2], net.predict(given["x"], verbose=0), *net.get_weights())
"""


def test_keras(tmp_path):
    if not all(map(importlib.util.find_spec, ("keras", "jax"))):
        pytest.skip("Keras or JAX is not installed")
    net = net_of(1)
    state = net.state_dict("keras")
    assert list(state)[:4] == ["dense/kernel", "dense/bias", "batch_normalization/gamma", "batch_normalization/beta"]
    np.savez(tmp_path / "ours.npz", *state.values(), x=X)
    # In a process of its own, since it changes what other tests' JAX does.
    command = [sys.executable, "-c", KERAS, str(tmp_path / "ours.npz"), str(tmp_path / "theirs.npz")]
    subprocess.run(command, check=True, env=os.environ | {"KERAS_BACKEND": "jax", "JAX_ENABLE_X64": "1"})
    theirs = np.load(tmp_path / "theirs.npz")
    np.testing.assert_allclose(theirs["arr_0"], net.predict(X), atol=1e-10)
    other = net_of(2)
    other.load_state_dict([theirs[f"arr_{i}"] for i in range(1, len(theirs))], layout="keras")
    np.testing.assert_allclose(other.predict(X), net.predict(X), atol=1e-12)


@pytest.mark.parametrize("layout", ["torch", "keras"])
def test_there_and_back(layout):
    net, other = net_of(1), net_of(2)
    other.load_state_dict(net.state_dict(layout), layout=layout)
    np.testing.assert_array_equal(other.predict(X), net.predict(X))


def test_a_file_that_another_program_wrote(tmp_path):
    library = pytest.importorskip("safetensors.numpy")
    net, other = net_of(1), net_of(2)
    for layout in ("nnlite", "torch"):
        library.save_file(net.state_dict(layout), tmp_path / "theirs.safetensors")
        read = nl.load(tmp_path / "theirs.safetensors", device="numpy", like=other)
        np.testing.assert_array_equal(read.predict(X), net.predict(X))
    assert not np.array_equal(other.predict(X), net.predict(X))  # it is a copy


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"PK\x03\x04" + bytes(300), "is a zip archive"), (b"", "header too small"), (b"x" * 99, "header too large")],
)
def test_a_file_that_is_no_safetensors_file(content, told, tmp_path):
    pytest.importorskip("safetensors.numpy")
    (tmp_path / "m.pt").write_bytes(content)
    with pytest.raises(nl.CorruptFileError, match=told):
        nl.load(tmp_path / "m.pt", device="numpy", like=net_of(1))
    with pytest.raises(OSError, match=r"m\.pt\.missing"):
        nl.load(tmp_path / "m.pt.missing", like=net_of(1))


def test_names_of_a_module_of_ones_own():
    """What the error says works, also with BatchNorm's counter among the names."""
    net, other = net_of(1), net_of(2)
    state = {f"body.{name.replace('0', 'first')}": array for name, array in net.state_dict("torch").items()}
    with pytest.raises(ValueError, match=r"unknown .*if only the names differ, take dict") as caught:
        other.load_state_dict(state, layout="torch")
    told = str(caught.value).rpartition("take ")[2]
    other.load_state_dict(eval(told, {"net": net, "state": state}), layout="torch")
    np.testing.assert_array_equal(other.predict(X), net.predict(X))


def test_what_does_not_fit_is_said():
    net = net_of(1)
    state = net.state_dict("torch")
    del state["0.bias"]
    before = net.parameters.copy()
    with pytest.raises(ValueError, match=r"in torch: missing \['0.bias'\], unknown \['z'\]"):
        net.load_state_dict(state | {"z": np.zeros(1)}, layout="torch")
    with pytest.raises(ValueError, match=r"shape"):
        net.load_state_dict(net.state_dict("torch") | {"0.weight": np.zeros((3, 5))}, layout="torch")
    with pytest.raises(ValueError, match="state has 1 arrays, but this network has 11 in Keras"):
        net.load_state_dict([np.zeros(3)], layout="keras")
    with pytest.raises(TypeError, match=r"layer 6, PReLU.* has no such layer in keras"):
        net_of(1, nl.PReLU()).state_dict("keras")
    with pytest.raises(ValueError, match="layout"):
        net.state_dict("caffe")
    np.testing.assert_array_equal(net.parameters, before)

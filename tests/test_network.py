"""The network: flat parameters and their views, prediction, state, copies, moves."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nnlite as nl


def make(device="numpy", **options):
    return nl.Sequential(nl.Dense(3, 4), nl.Tanh(), nl.Dense(4, 2), nl.Softmax(), device=device, **options)


def test_layers_hold_views_of_the_flat_arrays(device):
    net = make(device)
    assert len(net.parameters) == len(net.gradients) == 3 * 4 + 4 + 4 * 2 + 2
    net.parameters[:12] = 5.0
    net.layers[0].b[...] = 7.0
    assert (net.state_dict()["0.W"] == 5).all() and (net.state_dict()["0.b"] == 7).all()
    net.forward(np.ones((6, 3)))
    net.backward(np.ones((6, 2)))
    flat = net.backend.to_numpy(net.gradients)
    np.testing.assert_array_equal(flat[:12].reshape(3, 4), net.backend.to_numpy(net.layers[0].dW))


def test_forward_and_backward_by_hand(device, rng):
    net = nl.Sequential(nl.Dense(3, 2), nl.Sigmoid(), device=device, dtype="float64")
    x, dy = rng.standard_normal((5, 3)), rng.standard_normal((5, 2))
    W, b = net.state_dict()["0.W"], net.state_dict()["0.b"]
    y = 1 / (1 + np.exp(-(x @ W + b)))
    np.testing.assert_allclose(net.backend.to_numpy(net.forward(x)), y, rtol=1e-12)
    dz = dy * y * (1 - y)
    np.testing.assert_allclose(net.backend.to_numpy(net.backward(dy)), dz @ W.T, rtol=1e-12)
    np.testing.assert_allclose(net.backend.to_numpy(net.layers[0].dW), x.T @ dz, rtol=1e-12)


def test_a_loop_of_ones_own_makes_the_steps_of_a_trainer(device, rng):
    """With what layers do in training: BatchNorm by the batch's own mean, and Dropout by the numbers that are drawn."""
    x, y = rng.standard_normal((8, 3)) * 5 + 9, rng.standard_normal((8, 1))
    layers = nl.Dense(3, 6), nl.BatchNorm(6), nl.Tanh(), nl.Dropout(0.5), nl.Dense(6, 1)
    net = nl.Sequential(*layers, device=device, dtype="float64", seed=0)
    trainer, optimizer = nl.Trainer(net.copy(), "mse", nl.Adam(0.01)), nl.Adam(0.01)
    optimizer.bind(net)
    for _ in range(5):
        trainer.step(x, y)
        prediction = net.forward(x, training=True)
        net.backward(2 * (prediction - net.backend.asarray(y, np.float64)) / len(y))
        optimizer.step()
    theirs, ours = trainer.network.state_dict(), net.state_dict()
    for name, array in theirs.items():
        np.testing.assert_allclose(ours[name], array, rtol=1e-9, atol=1e-12)
    assert abs(ours["1.mean"] - 0).max() > 0.1
    answer = trainer.network.predict(x)
    np.testing.assert_allclose(net.predict(x), answer, rtol=1e-9)
    np.testing.assert_allclose(net.backend.to_numpy(net.forward(x)), answer, rtol=1e-9)  # not in training again


def test_the_input_gradient_may_be_left_out(rng):
    net = make()
    x, dy = rng.standard_normal((5, 3)), np.ones((5, 2), np.float32)
    net.forward(x)
    net.backward(dy)
    whole = net.gradients.copy()
    net.gradients[...] = 0
    assert net.backpropagate(dy) is None
    np.testing.assert_array_equal(net.gradients, whole)


def test_backward_refuses_what_does_not_belong_to_the_last_forward():
    net = make()
    with pytest.raises(RuntimeError, match="backward needs a forward"):
        net.backward(np.ones((5, 2)))
    net.forward(np.ones((5, 3)))
    with pytest.raises(ValueError, match=r"dy has shape \(4, 2\), but the last forward gave \(5, 2\)"):
        net.backward(np.ones((4, 2)))


@pytest.mark.parametrize("batch_size", [None, 1, 3, 7, 100])
def test_predict_answers_every_row(batch_size, device, rng):
    net = make(device, dtype="float64")
    x = rng.standard_normal((7, 3))
    whole = net.predict(x)
    assert isinstance(whole, np.ndarray) and whole.shape == (7, 2)
    np.testing.assert_allclose(net.predict(x, batch_size), whole, rtol=1e-12)
    for i in range(7):
        np.testing.assert_allclose(net.predict(x[i : i + 1])[0], whole[i], rtol=1e-12)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 6),
    order=st.sampled_from("CF"),
    dtype=st.sampled_from(["f2", "f4", "f8", "g", ">f4", ">f8", "i1", "i8", ">i4", "u2", "?"]),
    step=st.sampled_from([1, -1, 2, -3]),
    writeable=st.booleans(),
    name=st.sampled_from(["numpy", "numba"]),
)
def test_any_memory_layout_gives_the_same_answer(rows, order, dtype, step, writeable, name):
    rng = np.random.default_rng(rows)
    net = make(name)
    base = np.asarray(rng.integers(0, 2, (3 * rows, 3 * 3)).astype(dtype), order=order)
    x = base[::step, ::3]
    x.flags.writeable = writeable
    before = x.copy()
    np.testing.assert_array_equal(net.predict(x), net.predict(np.ascontiguousarray(x, np.float32)))
    assert x.tobytes() == before.tobytes()


def test_state_dict_is_a_copy_and_loads_back(device, rng):
    net, other = make(device, seed=1), make(device, seed=2)
    state = net.state_dict()
    assert {name: value.shape for name, value in state.items()} == {
        "0.W": (3, 4), "0.b": (4,), "2.W": (4, 2), "2.b": (2,),
    }  # fmt: skip
    x = rng.standard_normal((5, 3))
    before = net.predict(x)
    for value in state.values():
        value *= 2
    np.testing.assert_array_equal(net.predict(x), before)
    other.load_state_dict(net.state_dict())
    np.testing.assert_array_equal(other.predict(x), before)


def test_a_wrong_state_changes_nothing():
    net = make()
    before = net.state_dict()
    for change, message in (
        ({"0.W": None}, "missing"),
        ({"9.W": np.zeros(3)}, r"unknown \['9.W'\]"),
        ({"2.b": np.zeros(3)}, r"state\['2.b'\] has shape \(3,\), expected \(2,\)"),
        ({"2.b": np.array([0, np.nan])}, r"state\['2.b'\] contains NaN"),
    ):
        state = net.state_dict() | change
        state = {name: value for name, value in state.items() if value is not None}
        with pytest.raises(ValueError, match=message):
            net.load_state_dict(state)
    assert all((net.state_dict()[name] == value).all() for name, value in before.items())


@pytest.mark.parametrize("way", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net)), lambda net: net.copy()])
def test_copies_are_independent_and_their_views_are_whole(way, device, rng):
    net = make(device)
    x = rng.standard_normal((5, 3))
    net.forward(x)
    other = way(net)
    before = net.predict(x)
    np.testing.assert_array_equal(other.predict(x), before)
    other.layers[0].W[...] = 0
    assert (other.backend.to_numpy(other.parameters)[:12] == 0).all()
    np.testing.assert_array_equal(net.predict(x), before)


def test_moving_between_devices_and_dtypes(device, rng):
    net = make("numpy")
    x = rng.standard_normal((5, 3))
    before = net.predict(x)
    assert net.to(device) is net and net.device == device
    np.testing.assert_allclose(net.predict(x), before, rtol=1e-5)
    assert net.to(dtype="float64").predict(x).dtype == np.float64
    assert net.to("numpy", "float32").predict(x).dtype == np.float32


def test_two_networks_never_meet(rng):
    a, b = make(seed=1), make(seed=1)
    a.forward(rng.standard_normal((5, 3)))
    a.backward(np.ones((5, 2)))
    a.parameters -= a.gradients
    assert not b.gradients.any() and not np.array_equal(a.parameters, b.parameters)


def test_mlp_is_sequential_in_one_call():
    net = nl.mlp([3, 4, 2], hidden="tanh", output="softmax", device="numpy")
    assert repr(net) == repr(make())
    np.testing.assert_array_equal(net.parameters, make().parameters)
    assert [*map(repr, nl.mlp([3, 2], output="linear", device="numpy").layers)] == ["Dense(3, 2)"]
    mixed = nl.mlp([3, 4, 5, 2], hidden=["relu", "tanh"], device="numpy")
    steep = nl.LeakyReLU(0.5)
    given = nl.mlp([3, 4, 4, 2], hidden=steep, output=nl.HardTanh(0, 6), device="numpy")
    steep.slope = 0.1  # the network has copies
    kinds = "LeakyReLU(slope=0.5)", "LeakyReLU(slope=0.5)", "HardTanh(low=0.0, high=6.0)"
    assert tuple(map(repr, given.layers[1::2])) == kinds
    assert repr(nl.mlp([3, 4, 5, 2], hidden=["relu", nl.Sine(3)], device="numpy").layers[3]) == "Sine(frequency=3.0)"
    assert [type(layer).__name__ for layer in mixed.layers] == ["Dense", "ReLU", "Dense", "Tanh", "Dense"]


def test_summary_counts():
    text = make().summary()
    assert "0 Dense(3, 4)" in text and "(N, 4)" in text and text.splitlines()[-1].split()[-1] == "26"


def test_device_names():
    assert make("cpu").device == "numba"
    assert make("auto").device in ("auto", "numpy")
    with pytest.raises(ValueError, match="device='tpu' is not known; choose one of 'numpy', 'numba', 'cupy', 'cpu'"):
        make("tpu")
    with pytest.raises(ValueError, match="dtype='int8' is not known; choose 'float32' or 'float64'"):
        make(dtype="int8")
    if not nl.devices()["cupy"].available:
        with pytest.raises(nl.DeviceError, match=r"device 'cupy' cannot be used: .*(pip install|nvidia-smi)"):
            make("gpu")


def test_layers_that_do_not_fit():
    with pytest.raises(ValueError, match=r"Dense\(5, 2\) reads 5 columns, but the layer before it gives 4"):
        nl.Sequential(nl.Dense(3, 4), nl.ReLU(), nl.Dense(5, 2))
    with pytest.raises(TypeError, match="layer 1 is 'relu', expected a layer"):
        nl.Sequential(nl.Dense(3, 4), "relu")
    with pytest.raises(ValueError, match="at least one layer"):
        nl.Sequential()
    shared = nl.Dense(3, 3)
    with pytest.raises(ValueError, match="already in use"):
        nl.Sequential(shared, shared)
    nl.Sequential(shared, device="numpy")
    with pytest.raises(ValueError, match="already in use"):
        nl.Sequential(shared, device="numpy")
    with pytest.raises(ValueError, match=r"sizes=\[3\] must list"):
        nl.mlp([3])
    with pytest.raises(ValueError, match="names 1 activations for 2 hidden layers"):
        nl.mlp([3, 4, 5, 2], hidden=["relu"])
    with pytest.raises(ValueError, match="hidden='swoosh' is not known; choose one of 'identity', 'sigmoid'"):
        nl.mlp([3, 4, 2], hidden="swoosh")
    with pytest.raises(ValueError, match="init='twos' is not known; choose one of 'uniform'"):
        nl.Dense(3, 4, init="twos")


def test_importing_nnlite_is_light():
    """Numba, CuPy, matplotlib and scikit-learn are imported when first used."""
    import subprocess
    import sys

    heavy = ("numba", "cupy", "matplotlib", "sklearn", "scipy", "tqdm")
    code = f"import sys, nnlite; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_shallow_copy_is_independent_and_leaves_the_original_whole(device, rng):
    net, x = make(device), rng.standard_normal((5, 3))
    before, other = net.predict(x), copy.copy(net)
    assert all(a is not b for a, b in zip(net.layers, other.layers))
    other.parameters = np.zeros(len(other.parameters))
    np.testing.assert_array_equal(net.predict(x), before)
    net.layers[0].W = np.ones((3, 4))
    assert (net.state_dict()["0.W"] == 1).all() and (other.state_dict()["0.W"] == 0).all()
    assert net.predict(x).tobytes() != before.tobytes()


@pytest.mark.parametrize("name", ["numpy", "numba"])
def test_to_changes_what_is_asked_for_and_nothing_else(name):
    net = nl.mlp([3, 4, 2], device=name, dtype="float64", seed=0)
    before = net.parameters.copy()
    assert (net.to().device, net.dtype) == (name, np.float64)
    np.testing.assert_array_equal(net.parameters, before)
    assert (net.to(dtype="float32").device, net.dtype) == (name, np.float32)
    other = "numba" if name == "numpy" else "numpy"
    assert (net.to(other).device, net.dtype) == (other, np.float32)


def test_a_copy_knows_the_columns():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"a": [0.0, 1, 2, 3], "b": [1.0, 0, 1, 0]})
    net = nl.mlp([2, 1], device="numpy", seed=0)
    nl.Trainer(net).fit(frame, frame["a"], progress=False)
    for other in (pickle.loads(pickle.dumps(net)), copy.deepcopy(net), net.copy()):
        np.testing.assert_array_equal(other.predict(frame[["b", "a"]]), net.predict(frame))


@pytest.mark.parametrize("columns", [1, 3])
def test_a_layer_that_changes_the_width_must_say_so(columns, device, rng):
    class Cut(nl.Layer):
        def forward(self, x):
            return x[:, :columns] * 1

    class Told(Cut):
        def outputs_for(self, inputs):
            return columns

    x = rng.standard_normal((5, 3))
    net = nl.Sequential(nl.Dense(3, 4), Cut(), device=device)
    with pytest.raises(ValueError, match=r"by outputs_for of the layers it has 4 columns: a layer that changes"):
        net.predict(x)
    told = nl.Sequential(nl.Dense(3, 4), Told(), device=device)
    np.testing.assert_allclose(told.predict(x), net.backend.to_numpy(told.forward(x)), rtol=1e-6)


def test_layers_cannot_be_exchanged(rng):
    """Or else a fit would train one layer, and a prediction use another."""
    net = make("numpy")
    x, layers = rng.standard_normal((5, 3)), net.layers
    before = net.predict(x)
    with pytest.raises(TypeError, match="does not support item assignment"):
        net.layers[-1] = nl.Dense(4, 2)
    with pytest.raises(AttributeError, match=r"cannot be exchanged; make a new one: nl.Sequential\(…\)"):
        net.layers = net.layers[:-1]
    assert net.layers is layers
    np.testing.assert_array_equal(net.predict(x), before)


def test_arrays_that_do_not_fit_are_refused_and_nothing_is_moved(device):
    net = make(device)
    before, place = net.state_dict(), net.parameters
    for values, message in (
        (np.zeros(3), r"parameters has shape \(3,\), expected \(26,\)"),
        (np.full(26, np.nan), "parameters contains NaN"),
        (np.zeros((26, 1)), r"parameters has shape \(26, 1\)"),
    ):
        with pytest.raises(ValueError, match=message):
            net.parameters = values
    assert all((net.state_dict()[name] == value).all() for name, value in before.items())
    net.parameters = np.arange(26)[::-1]
    assert net.parameters is place and net.state_dict()["0.W"][0, 0] == 25
    net.parameters -= 1
    assert net.parameters is place and net.state_dict()["0.W"][0, 0] == 24

"""Layers and activations by themselves: formulas, laws, shapes, and what happens to what does not fit."""

import copy
import math
import pickle

import numpy as np
import pytest
from helpers import Square, to_numpy

import nnlite as nl
from nnlite.activations import ACTIVATIONS
from nnlite.devices import get_device
from nnlite.initializers import INITIALIZERS

Z = np.linspace(-4, 4.1, 21).reshape(3, 7)  # none of them 0, where ReLU has its kink


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_backward_is_the_derivative(name, device):
    layer = ACTIVATIONS[name](device=device)
    dy = np.cos(Z)
    layer.forward(Z)
    dx = layer.backward(dy)
    h = 1e-6
    u = np.sin(3 * Z + 1)  # the direction
    plus, minus = (np.asarray(to_numpy(layer.forward(Z + s * h * u))) for s in (1, -1))
    np.testing.assert_allclose((dy * (plus - minus)).sum() / (2 * h), (to_numpy(dx) * u).sum(), rtol=1e-8)


def test_known_values(device):
    value = {name: to_numpy(kind(device=device).forward(Z)) for name, kind in ACTIVATIONS.items()}
    sigmoid, softplus = 1 / (1 + np.exp(-Z)), np.log(1 + np.exp(Z))
    distribution = np.array([math.erfc(-z / math.sqrt(2)) / 2 for z in Z.ravel()]).reshape(Z.shape)
    softmax = np.exp(Z) / np.exp(Z).sum(axis=1, keepdims=True)
    expected = {
        "identity": Z,
        "sigmoid": sigmoid,
        "tanh": np.tanh(Z),
        "tanh_offset": (1 + np.tanh(Z)) / 2,
        "hard_sigmoid": np.clip((Z + 3) / 6, 0, 1),
        "hard_tanh": np.clip(Z, -1, 1),
        "softsign": Z / (1 + np.abs(Z)),
        "relu": np.where(Z > 0, Z, 0),
        "leaky_relu": np.where(Z > 0, Z, 0.01 * Z),
        "prelu": np.where(Z > 0, Z, 0.25 * Z),
        "elu": np.where(Z > 0, Z, np.exp(Z) - 1),
        "selu": 1.0507009873554805 * np.where(Z > 0, Z, 1.6732632423543772 * (np.exp(Z) - 1)),
        "softplus": softplus,
        "gelu": Z * distribution,
        "gelu_tanh": Z / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (Z + 0.044715 * Z**3))),
        "silu": Z * sigmoid,
        "mish": Z * np.tanh(softplus),
        "sine": np.sin(30 * Z),
        "exponential": np.exp(Z),
        "softmax": softmax,
        "log_softmax": np.log(softmax),
    }
    assert list(value) == list(expected)
    for name, numbers in expected.items():
        np.testing.assert_allclose(value[name], numbers, rtol=1e-12, atol=1e-15, err_msg=name)


GIVEN = {  # with arguments that are not the defaults
    "leaky_relu": nl.LeakyReLU(0.3),
    "prelu": nl.PReLU(-0.4),
    "elu": nl.ELU(0.7),
    "hard_tanh": nl.HardTanh(-0.5, 2.0),
    "sine": nl.Sine(3.0),
}


def oracles(torch):
    """The same activations in PyTorch, with the same arguments."""
    functional = torch.nn.functional
    return {
        "sigmoid": torch.sigmoid,
        "tanh": torch.tanh,
        "hard_sigmoid": lambda x: functional.relu6(x + 3) / 6,  # the 1/6 in hardsigmoid's backward is a float32
        "hard_tanh": lambda x: functional.hardtanh(x, -0.5, 2.0),
        "softsign": functional.softsign,
        "relu": torch.relu,
        "leaky_relu": lambda x: functional.leaky_relu(x, 0.3),
        "prelu": lambda x: functional.prelu(x, torch.tensor([-0.4], dtype=x.dtype)),
        "elu": lambda x: functional.elu(x, 0.7),
        "selu": functional.selu,
        "softplus": functional.softplus,
        "gelu": functional.gelu,
        "gelu_tanh": lambda x: functional.gelu(x, approximate="tanh"),
        "silu": functional.silu,
        "mish": functional.mish,
        "sine": lambda x: torch.sin(3.0 * x),
        "exponential": torch.exp,
        "softmax": lambda x: functional.softmax(x, 1),
        "log_softmax": lambda x: functional.log_softmax(x, 1),
    }


@pytest.mark.parametrize("name", [name for name in ACTIVATIONS if name not in ("identity", "tanh_offset")])
def test_equal_to_pytorch(name, device):
    torch = pytest.importorskip("torch")
    x = torch.tensor(2 * Z, requires_grad=True)
    y = oracles(torch)[name](x)
    y.backward(torch.tensor(np.cos(Z)))
    config = GIVEN[name].config() if name in GIVEN else {}
    layer = ACTIVATIONS[name](**config, device=device)
    np.testing.assert_allclose(to_numpy(layer.forward(2 * Z)), y.detach().numpy(), rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(to_numpy(layer.backward(np.cos(Z))), x.grad.numpy(), rtol=1e-10, atol=1e-14)


def test_the_slope_of_a_prelu_learns_as_pytorchs(device, rng):
    torch = pytest.importorskip("torch")
    x, y = rng.standard_normal((24, 3)), rng.standard_normal((24, 2))
    net = nl.Sequential(nl.Dense(3, 5), nl.PReLU(), nl.Dense(5, 2), device=device, dtype="float64")
    state = net.state_dict()
    twin = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.PReLU(), torch.nn.Linear(5, 2)).double()
    with torch.no_grad():
        for i in (0, 2):
            twin[i].weight.copy_(torch.tensor(state[f"{i}.W"].T))
            twin[i].bias.copy_(torch.tensor(state[f"{i}.b"]))
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.1)
    for i in range(15):
        rows = slice(8 * (i % 3), 8 * (i % 3) + 8)
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(twin(torch.tensor(x[rows])), torch.tensor(y[rows])).backward()
        optimizer.step()
    trainer = nl.Trainer(net, "mse", nl.SGD(lr=0.1))
    trainer.fit(x, y, epochs=5, batch_size=8, shuffle=False, progress=False)
    assert trainer.tape is not None
    state = net.state_dict()
    assert state["1.slope"].shape == (1,) and abs(state["1.slope"][0] - 0.25) > 1e-3
    np.testing.assert_allclose(state["1.slope"], twin[1].weight.detach().numpy(), rtol=1e-10)
    np.testing.assert_allclose(state["0.W"], twin[0].weight.detach().numpy().T, rtol=1e-10)


@pytest.mark.parametrize("name", GIVEN)
def test_arguments_are_saved_with_the_network(name, device, tmp_path, rng):
    layer = copy.copy(GIVEN[name])
    net = nl.Sequential(nl.Dense(3, 4), layer, nl.Dense(4, 2), device=device)
    x = rng.standard_normal((6, 3))
    assert nl.check_gradients(net, "mse", x, rng.standard_normal((6, 2))).ok
    net.save(tmp_path / "net")
    loaded = nl.load(tmp_path / "net", device="numpy")
    assert repr(loaded.layers[1]) == repr(GIVEN[name]) and loaded.layers[1].config() == GIVEN[name].config() != {}
    np.testing.assert_allclose(loaded.predict(x), net.predict(x), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: nl.LeakyReLU(-0.1), "slope must be finite and at least 0, not -0.1"),
        (lambda: nl.ELU(0), "alpha must be finite and above 0"),
        (lambda: nl.HardTanh(1, 1), "high must be finite and above 1"),
        (lambda: nl.Sine(float("nan")), "frequency must be finite"),
        (lambda: nl.PReLU(float("inf")), "slope must be finite"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(make, told):
    with pytest.raises(ValueError, match=told):
        make()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_functions_of_large_and_small_numbers(dtype, device):
    """Nothing overflows, and what is small keeps its digits."""
    x = dtype([-1e4, -90, -20, -1e-6, 1e-6, 20, 90, 1e4])
    value = {
        name: to_numpy(ACTIVATIONS[name](device=device).forward(x)) for name in ACTIVATIONS if name != "exponential"
    }
    near = {"rtol": 2e-6 if dtype is np.float32 else 1e-13, "atol": 1e-37}
    exact = x.astype(np.float64)
    np.testing.assert_allclose(value["silu"], exact * np.exp(-np.logaddexp(0, -exact)), **near)
    np.testing.assert_allclose(value["elu"], np.where(x > 0, exact, np.expm1(np.minimum(exact, 0))), **near)
    np.testing.assert_allclose(value["mish"], exact * np.tanh(np.logaddexp(0, exact)), **near)
    np.testing.assert_allclose(value["gelu"][3:], exact[3:] * [0.5, 0.5, 1, 1, 1], rtol=1e-5)
    assert (np.abs(value["gelu"][:3]) <= 1e-5).all()
    np.testing.assert_allclose(value["log_softmax"], exact - 1e4, rtol=1e-6)
    for name, y in value.items():
        assert not np.isnan(y).any(), name


@pytest.mark.parametrize(("dtype", "near"), [(np.float32, 5e-7), (np.float64, 1e-15)])
def test_powers_of_e_as_far_as_there_are_numbers(dtype, near, device):
    highest = np.log(np.finfo(dtype).max)  # 88.7 or 709.8
    x = np.concatenate([np.linspace(-highest + 2, highest - 1e-3, 4001), [63.9, 64, 64.1, -2000, 2000]]).astype(dtype)
    with np.errstate(over="ignore"):
        y = to_numpy(nl.Exponential(device=device).forward(x[:, None]))[:, 0]
        np.testing.assert_allclose(y, np.exp(x.astype(np.longdouble)).astype(dtype), rtol=near)


@pytest.mark.parametrize(("dtype", "most"), [(np.float32, 3e-6), (np.float64, 1e-12)])
def test_sines_of_many_turns(dtype, most):
    """Small numbers by vectors, and large ones in the slow way, where those would lose all digits."""
    for size in (1.0, 30.0, 3e3, 1e9, 1e15):
        x = (size * np.linspace(-1, 1, 1001)).astype(dtype)
        layer = nl.Sine(1, device="numba")
        np.testing.assert_allclose(layer.forward(x), np.sin(x.astype(np.float64)), atol=most)
        np.testing.assert_allclose(layer.backward(np.ones_like(x)), np.cos(x.astype(np.float64)), atol=most)


@nl.kernel("x (N,K), power -> y (N,K), s (N,K)")
def powered(x, power):
    """y = s² power with s = x², so that dy/dx is 4 power x s."""
    s = x * x
    return s * s * power, s


@nl.kernel("dy (N,K), s (N,K), x (N,K), power -> dx (N,K)")
def powered_backward(dy, s, x, power):
    """dx = 4 power dy x s."""
    return 4 * power * dy * x * s


class Powered(nl.Activation):
    """An activation of one's own: two kernels, and a number."""

    formula, formula_backward = powered, powered_backward

    def __init__(self, power=0.5):
        super().__init__()
        self.power = power


def test_an_activation_of_ones_own_is_two_kernels(device, rng):
    x, y = rng.standard_normal((9, 3)), rng.standard_normal((9, 2))
    assert Powered.kept == ("s", "x") and Powered().config() == {"power": 0.5}
    np.testing.assert_allclose(to_numpy(Powered().forward(x)), x**4 / 2, rtol=1e-12)
    net = nl.Sequential(nl.Dense(3, 4), Powered(), nl.Dense(4, 2), device=device, dtype="float64")
    assert nl.check_gradients(net, "mse", x, y).ok
    trainer = nl.Trainer(net)
    trainer.fit(x, y, progress=False)
    assert trainer.tape is not None
    with pytest.raises(
        AttributeError, match=r"there is no kernel 'taanh'; one of your own is called by ops.call; known are .*tanh"
    ):
        type("Misspelt", (nl.Activation,), {"formula": "taanh"})


@pytest.mark.parametrize("name", nl.elsewhere.ACTIVATIONS)
def test_names_from_elsewhere_are_understood_or_answered(name):
    meant = nl.elsewhere.ACTIVATIONS[name]
    assert name not in ACTIVATIONS and name.isalnum() and name.islower()
    if meant in ACTIVATIONS:
        assert type(nl.activations.activation(name)) is ACTIVATIONS[meant]
    else:
        with pytest.raises(ValueError, match=r"is not known: (it is|the nearest is) .*choose one of 'identity'"):
            nl.activations.activation(name)


def test_names_are_understood_however_they_are_written():
    for name, kind in (("LeakyReLU", nl.LeakyReLU), ("leaky-relu", nl.LeakyReLU), ("logistic", nl.Sigmoid)):
        assert type(nl.activations.activation(name)) is kind
    assert type(nl.mlp([2, 3, 1], hidden="swish", device="numpy").layers[1]) is nl.SiLU
    with pytest.raises(AttributeError, match=r"has no attribute 'Hardtanh'; in nnlite: nl\.HardTanh\(low, high\)"):
        _ = nl.Hardtanh
    assert nl.Linear is nl.Dense
    with pytest.raises(AttributeError, match=r"has no attribute 'Nothing'$"):
        _ = nl.Nothing


def test_numbers_that_must_come_out(device):
    """The edges of the number range."""
    softmax, sigmoid, relu = (kind(device=device) for kind in (nl.Softmax, nl.Sigmoid, nl.ReLU))
    np.testing.assert_array_equal(to_numpy(softmax.forward([1e4, 0.0])), [1, 0])
    assert to_numpy(sigmoid.forward([-1000.0]))[0] == 0
    assert to_numpy(sigmoid.backward([1.0]))[0] == 0
    for x in (-89.0, -1000.0, 1000.0):  # crysx_nn's was NaN here
        assert np.isfinite(to_numpy(sigmoid.forward(np.float32([x])))).all()
        assert np.isfinite(to_numpy(sigmoid.backward(np.float32([1.0])))).all()
    assert np.isnan(to_numpy(relu.forward([np.nan]))[0])
    relu.forward([0.0, -1.0, 2.0])
    np.testing.assert_array_equal(to_numpy(relu.backward([1.0, 1.0, 1.0])), [0, 0, 1])


def test_softmax_laws(device, rng):
    softmax = nl.Softmax(device=device)
    x = rng.standard_normal((5, 9)) * 30
    y = to_numpy(softmax.forward(x))
    np.testing.assert_allclose(y.sum(axis=1), 1, rtol=1e-14)
    np.testing.assert_allclose(to_numpy(softmax.forward(x + 100.0)), y, rtol=1e-11)
    np.testing.assert_allclose(to_numpy(softmax.backward(np.ones_like(x))), 0, atol=1e-15)  # a shift changes nothing


def test_shapes_other_than_a_table(device):
    tanh = nl.Tanh(device=device)
    assert tanh.forward(np.zeros(3)).shape == (3,)
    assert tanh.forward(np.zeros((2, 3, 4))).shape == (2, 3, 4)
    assert tanh.forward([1, 2]).dtype == np.float64
    assert tanh.forward(np.zeros(3, np.float32)).dtype == np.float32
    with pytest.raises(ValueError, match=r"y has shape"):
        tanh.forward(np.zeros((2, 3)))
        tanh.backward(np.zeros((3, 2)))


def test_dense_by_itself(device, rng):
    dense = nl.Dense(3, 2, device=device)
    x, dy = rng.standard_normal((5, 3)), rng.standard_normal((5, 2))
    W = to_numpy(dense.W)
    np.testing.assert_allclose(to_numpy(dense.forward(x)), x @ W + to_numpy(dense.b), rtol=1e-12)
    np.testing.assert_allclose(to_numpy(dense.backward(dy)), dy @ W.T, rtol=1e-12)
    np.testing.assert_allclose(to_numpy(dense.dW), x.T @ dy, rtol=1e-12)
    np.testing.assert_allclose(to_numpy(dense.db), dy.sum(axis=0), rtol=1e-12)
    assert dense.forward(x[0]).shape == (2,)
    with pytest.raises(ValueError, match=r"W has shape \(3, 2\), expected \(4, M\)"):
        dense.forward(np.zeros((5, 4)))  # and no loop reads past an end


def test_dense_without_bias(device, rng):
    dense = nl.Dense(3, 2, bias=False, device=device)
    x = rng.standard_normal((4, 3))
    np.testing.assert_allclose(to_numpy(dense.forward(x)), x @ to_numpy(dense.W), rtol=1e-12)
    dense.backward(np.ones((4, 2)))
    np.testing.assert_allclose(to_numpy(dense.dW), x.T @ np.ones((4, 2)), rtol=1e-12)
    with pytest.raises(AttributeError, match="Dense has no attribute 'b'"):
        _ = dense.b


def test_the_callers_array_is_not_changed(device):
    for name, kind in ACTIVATIONS.items():
        x = Z.copy()
        layer = kind(device=device)
        layer.forward(x)
        layer.backward(x)
        np.testing.assert_array_equal(x, Z, err_msg=name)


def test_own_layer_needs_only_forward_and_backward(rng):
    net = nl.Sequential(nl.Dense(3, 4), Square(), nl.Dense(4, 2), device="numpy")
    assert nl.check_gradients(net, "mse", rng.standard_normal((5, 3)), rng.standard_normal((5, 2))).ok


@pytest.mark.parametrize(
    ("name", "mean_square"),
    [
        ("uniform", 1 / 3),
        ("xavier_uniform", 1 / (3 * 400)),
        ("glorot_uniform", 2 / 600),
        ("glorot_normal", 2 / 600),
        ("he_uniform", 2 / 400),
        ("he_normal", 2 / 400),
        ("lecun_normal", 1 / 400),
        ("truncated_normal", 1 / 400),
        ("orthogonal", 1 / 400),
        ("siren", 2 / (400 * 30**2)),
        ("siren_first", 1 / (3 * 400**2)),
        ("zeros", 0),
    ],
)
def test_initializers_have_their_variance(name, mean_square, rng):
    W = INITIALIZERS[name](rng, (400, 200))
    assert W.shape == (400, 200)
    assert abs(W.mean()) < 5 * np.sqrt(mean_square / W.size) + 1e-12
    np.testing.assert_allclose((W * W).mean(), mean_square, rtol=0.02)


@pytest.mark.parametrize("shape", [(6, 6), (9, 4), (4, 9), (1, 5), (5, 1)])
def test_orthogonal_keeps_lengths(shape, rng):
    W = INITIALIZERS["orthogonal"](rng, shape)
    assert W.shape == shape and W.flags.c_contiguous
    np.testing.assert_allclose(W.T @ W if shape[0] >= shape[1] else W @ W.T, np.eye(min(shape)), atol=1e-14)


def test_orthogonal_prefers_no_direction(rng):
    """Without the choice of signs, the first number of Q would always be negative."""
    firsts = [INITIALIZERS["orthogonal"](rng, (3, 3))[0, 0] for _ in range(400)]
    assert 0.4 < (np.array(firsts) > 0).mean() < 0.6


def test_truncated_normal_has_no_large_weights(rng):
    W = INITIALIZERS["truncated_normal"](rng, (100, 500))
    assert np.abs(W).max() <= 2 / 0.8796 / np.sqrt(100) and np.abs(W).max() > 1.99 / 0.8797 / np.sqrt(100)


def test_siren_keeps_sines_apart(rng):
    """The values before the sines keep a deviation of about 1 from layer to layer, as the paper shows."""
    net = nl.Sequential(
        nl.Dense(2, 256, "siren_first"), nl.Sine(), *(nl.Dense(256, 256, "siren"), nl.Sine()) * 1, device="numpy"
    )
    x = net.layers[1].forward(net.layers[0].forward(rng.uniform(-1, 1, (500, 2)).astype(np.float32)))
    assert 0.9 < np.std(30 * net.layers[2].forward(x)) < 1.1
    with pytest.raises(ValueError, match="frequency must be finite and above 0"):
        nl.initializers.siren(0)


@pytest.mark.parametrize(
    ("bias_init", "expected"),
    [(0.0, [0, 0]), (1, [1, 1]), (np.float32(0.5), [0.5, 0.5]), ("zeros", [0, 0]), (lambda rng, shape: [3, 4], [3, 4])],
)
def test_biases_begin_as_told(bias_init, expected, device, tmp_path):
    layer = nl.Dense(3, 2, bias_init=bias_init)
    net = nl.Sequential(layer, device=device)
    np.testing.assert_array_equal(net.state_dict()["0.b"], expected)
    np.testing.assert_array_equal(net.state_dict()["0.W"], nl.mlp([3, 2], device=device).state_dict()["0.W"])
    net.save(tmp_path / "net")
    np.testing.assert_array_equal(nl.load(tmp_path / "net", device="numpy").state_dict()["0.b"], expected)
    assert nl.Dense(3, 2, bias_init="xavier_uniform").b.shape == (2,)


@pytest.mark.parametrize(
    ("bias_init", "told"),
    [
        ("nothing", "bias_init='nothing' is not known; choose one of 'uniform'"),
        (float("nan"), "bias_init must be finite"),
        (lambda rng, shape: np.ones(3), r"bias_init=.* gave an array of shape \(3,\), expected finite \(2,\)"),
    ],
)
def test_biases_that_cannot_be(bias_init, told):
    with pytest.raises(ValueError, match=told):
        nl.Sequential(nl.Dense(3, 2, bias_init=bias_init), device="numpy")


def test_uniform_takes_a_range(rng):
    W = nl.initializers.uniform(-0.3, 0.3)(rng, (50, 60))
    assert -0.3 <= W.min() < -0.29 and 0.29 < W.max() <= 0.3
    with pytest.raises(ValueError, match="must not be above"):
        nl.initializers.uniform(1, 0)


def test_one_seed_one_network(device):
    sizes = [5, 4, 3]
    a, b, c = (nl.mlp(sizes, device=d, seed=s) for d, s in ((device, 3), ("numpy", 3), (device, 4)))
    for name, value in a.state_dict().items():
        np.testing.assert_array_equal(value, b.state_dict()[name])
    assert not np.array_equal(a.state_dict()["0.W"], c.state_dict()["0.W"])


@pytest.mark.parametrize("rate", [0.0, 0.25, 0.9])
def test_dropout_keeps_the_mean_and_its_share(rate, device):
    layer = nl.Dropout(rate, device=device)
    to_numpy = get_device(device).to_numpy
    layer.training = True
    x = np.ones((200, 300))
    y = to_numpy(layer.forward(x))
    kept = to_numpy(layer.backward(x))
    np.testing.assert_array_equal(y, kept)  # what was dropped has no gradient, and what was kept the same factor
    values = np.unique(y)
    np.testing.assert_allclose(values, [1.0] if rate == 0 else [0.0, 1 / (1 - rate)])
    share = (y == 0).mean()
    assert abs(share - rate) < 4 * np.sqrt(0.25 / x.size) + 1e-12
    again = to_numpy(layer.forward(x))
    assert rate == 0 or 0.1 < (again != y).mean() / (2 * rate * (1 - rate)) < 2  # another draw, as independent
    layer.training = False
    assert layer.forward(x) is x and layer.backward(x) is x


def test_dropout_draws_no_rows_or_columns_alike():
    layer = nl.Dropout(0.5)
    layer.training = True
    mask = layer.forward(np.ones((256, 256))) > 0
    for each in (mask, mask.T):
        alike = (each[1:] == each[:-1]).mean(axis=1)
        assert abs(alike - 0.5).max() < 0.2 and abs(mask.mean(axis=0) - 0.5).max() < 0.2


def test_dropout_is_for_training_only(device, rng):
    x, y = rng.standard_normal((40, 3)), rng.standard_normal((40, 1))
    net = nl.Sequential(nl.Dense(3, 50), nl.ReLU(), nl.Dropout(0.5), nl.Dense(50, 1), device=device, dtype="float64")
    np.testing.assert_array_equal(net.predict(x), net.predict(x))
    assert nl.check_gradients(net, "mse", x, y).ok
    trainer = nl.Trainer(net, "mse", nl.SGD(lr=1e-12))
    history = trainer.fit(x, y, epochs=1, batch_size=40, validation_data=(x, y), progress=False)
    assert history["loss"] != history["val_loss"]
    np.testing.assert_allclose(trainer.evaluate(x, y)["loss"], history["val_loss"][-1], rtol=1e-6)
    assert not any(layer.training for layer in net.layers)


def test_a_copy_and_a_saved_network_keep_their_dropout(tmp_path, rng):
    x, y = rng.standard_normal((20, 3)), rng.standard_normal((20, 2))
    net = nl.Sequential(nl.Dense(3, 2), nl.Dropout(0.3), device="numpy", seed=4)
    nl.Trainer(net).fit(x, y, progress=False)
    twin = net.copy()
    assert int(twin.layers[1].draws[0]) == 1 and twin.layers[1].key == net.layers[1].key
    net.save(tmp_path / "net")
    assert repr(nl.load(tmp_path / "net", device="numpy").layers[1]) == "Dropout(rate=0.3)"


@pytest.mark.parametrize("rate", [1.0, -0.1, float("nan"), "half", True])
def test_dropout_refuses_other_rates(rate):
    with pytest.raises((ValueError, TypeError), match="rate must be"):
        nl.Dropout(rate)


# ---- used alone, and taken by a network ---------------------------------------------------------------------------


@nl.kernel("x (N,K), f (K) -> y (N,K), s (N)")
def stretched(x, f):
    """y = x f; s = Σₖ x."""
    return x * f, x.sum(axis=1)


class Stretch(nl.Layer):
    """y = x f, with a parameter, a state, and a name that begins with d."""

    def __init__(self, columns, mask=1.0):
        super().__init__()
        self.shapes = {"f": (columns,)}
        self.state = {"seen": np.zeros(1, np.int64), "level": np.zeros(columns)}
        self.mask, self.x, self.y = mask, 5, "a name of one's own"

    def forward(self, x):
        return self.ops.call(stretched, x, self.f)[0] * self.mask

    def initial(self, rng):
        return {"f": rng.standard_normal(*self.shapes["f"])}


def test_arrays_are_there_at_once_and_no_others(device):
    for layer, names in (
        (nl.Dense(3, 2, device=device), ("W", "b", "dW", "db")),
        (nl.Dense(3, 2, bias=False), ("W", "dW")),
        (Stretch(3), ("f", "df", "seen", "level")),
        (nl.Dropout(), ("draws",)),
    ):
        others = {"W", "b", "dW", "db", "f", "df", "draws", "seen"} - set(names)
        for name in (*others, "xW", "d", "", "dd", "dx", "__array__"):
            assert not hasattr(layer, name), name
            assert not layer.attached
        for name in names:
            assert to_numpy(getattr(layer, name)).shape == to_numpy(getattr(copy.copy(layer), name)).shape
    with pytest.raises(AttributeError, match="no attribute 'xW'"):
        _ = nl.Dense(3, 2).xW


def test_a_layer_that_calls_no_constructor_is_told_so():
    class Forgot(nl.Layer):
        def __init__(self):
            self.factor = 2

    with pytest.raises(AttributeError, match=r"Forgot.__init__ must call super\(\).__init__\(\) first"):
        nl.Sequential(nl.Dense(3, 2), Forgot(), device="numpy")


@pytest.mark.parametrize("make", [lambda: nl.Dense(3, 2), *ACTIVATIONS.values(), lambda: nl.Dropout(0.3)])
def test_backward_before_forward_says_so(make):
    layer = make()
    if not isinstance(layer, nl.Identity):
        with pytest.raises(AttributeError, match=f"{type(layer).__name__}.backward needs a forward before it"):
            layer.backward(np.ones((5, 2)))


def test_a_kernel_of_ones_own_in_a_layer_by_itself():
    layer = Stretch(3)
    for x in ([1.0, 2.0, 3.0], np.ones((2, 3), np.float32), np.ones((2, 4, 3), int)):
        y = layer.forward(x)
        assert y.shape == np.shape(x)
        np.testing.assert_allclose(y, np.asarray(x) * layer.f, rtol=1e-6)
    with pytest.raises(ValueError, match=r"stretched: f has shape \(3,\), expected \(4\)"):
        layer.forward(np.ones((2, 4)))


@pytest.mark.parametrize("use", ["nothing", "read", "forward", "copy"])
def test_what_is_read_is_drawn_by_the_network_all_the_same(use, device):
    """Also where an initializer of one's own draws from elsewhere."""
    count = iter(range(1, 100))

    def init(rng, shape):
        next(count)
        return rng.standard_normal(shape)

    layers = [nl.Dense(3, 4, init, device=device), nl.Dropout(0.5, device=device), Stretch(4)]
    if use == "read":
        assert to_numpy(layers[0].W).shape == (3, 4) and layers[2].f.shape == (4,)
    elif use == "forward":
        layers[0].forward(np.ones((2, 3)))
    elif use == "copy":
        _ = layers[0].W
        layers = [copy.deepcopy(layer) for layer in layers]
    net = nl.Sequential(*layers, device=device, seed=3)
    other = nl.Sequential(nl.Dense(3, 4, init), nl.Dropout(0.5), Stretch(4), device=device, seed=3)
    for name, value in other.state_dict().items():
        np.testing.assert_array_equal(net.state_dict()[name], value)
    assert net.layers[1].key == other.layers[1].key


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
@pytest.mark.parametrize("assigned", ["before it is used", "after it is used", "in place"])
def test_assigned_weights_stay(assigned, way, device):
    """In the layer, in its copies, and in the network that takes it."""
    layer, mine = nl.Dense(3, 2, device=device), np.arange(6.0).reshape(3, 2)
    if assigned != "before it is used":
        _ = layer.W
    if assigned == "in place":
        layer.W[...] = layer.ops.device.asarray(mine)
    else:
        layer.W = mine
        mine += 1  # the numbers were copied in
        mine -= 1
    twin = way(layer)
    for each in (layer, twin):
        np.testing.assert_array_equal(to_numpy(each.W), mine)
        np.testing.assert_array_equal(to_numpy(each.b), 0)
    twin.W = mine + 1
    np.testing.assert_array_equal(to_numpy(layer.W), mine)
    with pytest.raises(ValueError, match=r"Dense.W has shape \(2, 3\), expected \(3, 2\)"):
        twin.W = mine.T
    with pytest.raises(ValueError, match=r"Dense\.W contains NaN"):
        twin.W = mine * np.nan
    net = nl.Sequential(layer, nl.ReLU(), device=device)
    np.testing.assert_array_equal(net.state_dict()["0.W"], mine)
    np.testing.assert_array_equal(nl.Sequential(twin, device=device).state_dict()["0.W"], mine + 1)


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("trained", [False, True])
def test_a_copy_of_a_networks_layer_keeps_its_parameters(way, trained, device, dtype, rng):
    """For an encoder without its decoder, or for another head: the layers of a network belong to it alone."""
    inside = nl.Chain(nl.Dense(4, 3), nl.BatchNorm(3), nl.Residual(nl.Dense(3, 3), nl.PReLU()))
    net = nl.Sequential(nl.Dense(2, 4), nl.Tanh(), inside, nl.Dense(3, 2), device=device, dtype=dtype, seed=5)
    x = rng.standard_normal((6, 2))
    if trained:
        nl.Trainer(net).fit(x, x, epochs=2, progress=False)
    before = net.state_dict()
    part = nl.Sequential(*map(way, net.layers[:3]), device=device, dtype=dtype, seed=1)
    assert part.state_dict().keys() == {name for name in before if not name.startswith("3.")}
    for name, value in part.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    whole = nl.Sequential(*map(way, net.layers), device=device, dtype=dtype, seed=1)
    np.testing.assert_array_equal(whole.predict(x), net.predict(x))
    nl.Trainer(whole).fit(x, x, progress=False)
    assert all((net.state_dict()[name] == value).all() for name, value in before.items())


def test_an_assigned_array_is_not_the_callers():
    layer, mine = nl.Dense(3, 2), np.ones((3, 2))
    layer.W = mine
    mine[...] = 7
    np.testing.assert_array_equal(layer.W, 1)


def test_state_takes_assigned_numbers(device):
    net = nl.Sequential(nl.Dense(3, 2), nl.Dropout(0.5), device=device)
    draws = net.layers[1].draws
    net.layers[1].draws = [5]
    assert net.layers[1].draws is draws and net.state_dict()["1.draws"].tolist() == [5]
    layer = nl.Dropout()
    layer.draws = [3]
    layer.training = True
    layer.forward(np.ones((2, 2)))
    assert layer.draws.tolist() == [4] and copy.deepcopy(layer).draws.tolist() == [4]
    with pytest.raises(ValueError, match=r"Dropout.draws has shape \(2,\), expected \(1,\)"):
        layer.draws = [1, 2]


def test_a_copy_keeps_attributes_of_any_name():
    net = nl.Sequential(nl.Dense(3, 4), Stretch(4, mask=3.0), device="numpy")
    x = np.ones((2, 3), np.float32)
    for other in (net.copy(), pickle.loads(pickle.dumps(net)), copy.copy(net)):
        assert (other.layers[1].mask, other.layers[1].x, other.layers[1].y) == (3.0, 5, "a name of one's own")
        np.testing.assert_array_equal(other.predict(x), net.predict(x))


def test_hard_sigmoid_is_cut_off_exactly_where_it_says(device):
    """x / 6 + ½ at −3, with one rounding for both operations, would be 2.8e-17, and its derivative 1/6."""
    for dtype in ("float32", "float64"):
        layer = nl.HardSigmoid(device=device)
        assert layer.forward(np.array([[-3, 3, 0]], dtype)).tolist() == [[0, 1, 0.5]]
        assert layer.backward(np.ones((1, 3), dtype)).tolist() == [[0, 0, pytest.approx(1 / 6)]]


# ---- what a layer of one's own gives back -------------------------------------------------------------------------


class Forgetful(nl.Layer):
    """ReLU, but for what it returns."""

    def __init__(self, forward=True, backward=True):
        super().__init__()
        self.returns = {"forward": forward, "backward": backward}

    def forward(self, x):
        self.y = self.ops.relu(x)
        return self.y if self.returns["forward"] else None

    def backward(self, dy):
        dx = self.ops.relu_backward(dy, self.y)
        return dx if self.returns["backward"] is True else self.returns["backward"]


@pytest.mark.parametrize(
    ("returns", "told"),
    [
        (
            {"forward": None},
            r"Forgetful.forward\(x\) returned None, .*for 6 rows .* y \(6, columns\): is its last line a return",
        ),
        ({"backward": None}, r"Forgetful.backward\(dy\) returned None, .* it must return dx \(6, columns\)"),
        ({"backward": np.ones(4)}, r"backward\(dy\) returned an array of shape \(4,\), but for 6 rows"),
        ({"backward": 3}, r"backward\(dy\) returned 3, but for 6 rows"),
        ({"backward": [[1.0] * 999] * 6}, r"backward\(dy\) returned \[\[1\.0[^b]{0,40}, but for 6 rows"),
    ],
)
def test_a_forgotten_return_is_told(returns, told, device, rng):
    x, y = rng.standard_normal((6, 3)), rng.standard_normal((6, 2))
    net = nl.Sequential(nl.Dense(3, 4), Forgetful(**returns), nl.Dense(4, 2), device=device)
    for compute in (lambda: nl.Trainer(net).fit(x, y, progress=False), lambda: nl.check_gradients(net, "mse", x, y)):
        with pytest.raises(ValueError, match=told):
            compute()


def test_the_first_layer_need_not_return_a_gradient(device, rng):
    net = nl.Sequential(Forgetful(backward=None), nl.Dense(3, 2), device=device)
    assert net.forward(rng.standard_normal((6, 3))).shape == (6, 2)
    assert net.backward(np.ones((6, 2))) is None

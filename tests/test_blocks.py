"""Normalization, noise, layers made of layers, and frozen layers: their laws, PyTorch, and every way to run them."""

import copy
import math
import pickle

import numpy as np
import pytest
from helpers import on_threads, to_numpy
from test_optimizers import CASES

import nnlite as nl
from nnlite.devices.common.planning import fuse


def frozen(layer):
    layer.trainable = False
    return layer


class Gated(nl.Layer):
    """y = f(x) + x with layers of one's own in attributes: one by itself, and some in a list."""

    def __init__(self, columns):
        super().__init__()
        self.first, self.rest = nl.Dense(columns, columns), [nl.Tanh(), nl.Dense(columns, columns, bias=False)]
        self.again = self.first  # the same layer under another name

    def forward(self, x):
        f = self.first.forward(x)
        for layer in self.rest:
            f = layer.forward(f)
        return self.ops.add(f, x)

    def backward(self, dy):
        df = dy
        for layer in (*reversed(self.rest), self.first):
            df = layer.backward(df)
        return self.ops.add(df, dy)


BLOCKS = {  # layers that take 6 columns and give 6
    "batch norm": lambda: [nl.BatchNorm(6)],
    "batch norm, other numbers": lambda: [nl.BatchNorm(6, momentum=0.4, epsilon=0.1, affine=False)],
    "frozen batch norm": lambda: [frozen(nl.BatchNorm(6))],
    "layer norm": lambda: [nl.LayerNorm(6)],
    "layer norm, other numbers": lambda: [nl.LayerNorm(6, epsilon=0.1, affine=False)],
    "noise": lambda: [nl.GaussianNoise(0.2), nl.Dropout(0.3)],
    "residual": lambda: [nl.Residual(nl.Dense(6, 9), nl.Tanh(), nl.Dense(9, 6))],
    "residual with all": lambda: [nl.Residual(nl.BatchNorm(6), nl.Dense(6, 6), nl.Dropout(0.2), nl.LayerNorm(6))],
    "projection": lambda: [nl.Residual(nl.Dense(6, 4), nl.Tanh(), projection=True), nl.Dense(4, 6)],
    "network": lambda: [nl.Sequential(nl.Dense(6, 4), nl.Sequential(nl.Tanh(), nl.Dense(4, 6)), device="numpy")],
    "frozen": lambda: [nl.Dense(6, 5), frozen(nl.Dense(5, 6)), nl.Tanh(), frozen(nl.Residual(nl.Dense(6, 6)))],
    "one's own": lambda: [Gated(6)],
}


def make(name, device="numpy", optimizer=None, dtype="float64", loss="mse", **options):
    layers = [nl.Dense(3, 6), *BLOCKS[name](), nl.Tanh(), *BLOCKS[name](), nl.Dense(6, 2)]
    net = nl.Sequential(*layers, device=device, dtype=dtype, seed=3)
    return nl.Trainer(net, loss, optimizer or nl.SGD(lr=0.1), **options)


@pytest.fixture
def data(rng):
    return rng.standard_normal((23, 3)), rng.standard_normal((23, 2))


def fit(trainer, data, epochs=3, batch_size=5, **options):  # a last batch of 3 rows
    return dict(trainer.fit(*data, epochs=epochs, batch_size=batch_size, progress=False, **options))


def assert_alike(found, expected, tolerance):
    for name, value in expected.network.state_dict().items():
        np.testing.assert_allclose(
            found.network.state_dict()[name], value, rtol=tolerance, atol=tolerance, err_msg=name
        )


# ---- what holds for each of them ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BLOCKS)
def test_gradients(name, device, data):
    net = make(name, device).network
    before = net.state_dict()
    report = nl.check_gradients(net, "mse", data[0][:7], data[1][:7])
    assert report.ok, str(report)
    assert len(report.checks) == 1 + len(list(net.segments()))
    for each, value in net.state_dict().items():
        np.testing.assert_array_equal(value, before[each])


@pytest.mark.parametrize("name", BLOCKS)
def test_predictions_may_be_taken_back(name, device, data):
    """`backward` after a forward that is no training: the derivative of what predictions compute."""
    trainer = make(name, device)
    fit(trainer, data)
    net, (x, dy), h = trainer.network, data, 1e-5
    net.forward(x)
    dx, u = to_numpy(net.backward(dy)), np.sin(x)
    plus, minus = net.predict(x + h * u), net.predict(x - h * u)
    np.testing.assert_allclose((dx * u).sum(), (dy * (plus - minus)).sum() / (2 * h), rtol=1e-7)


@pytest.mark.parametrize("optimizer", ["sgd", "nesterov", "adam"])
@pytest.mark.parametrize("name", BLOCKS)
def test_recorded_on_every_device_as_on_numpy(name, optimizer, device, data):
    """To 1e-10; a Dense before a BatchNorm has a bias without gradient, of which Adam makes steps of any size."""
    made = CASES[optimizer].ours
    expected, found, eager = make(name, optimizer=made()), make(name, device, made()), make(name, device, made())
    eager.replay = "eager"
    histories = [fit(trainer, data, validation_data=data) for trainer in (expected, found, eager)]
    assert found.tape is not None and eager.tape is None
    blurred = optimizer == "adam" and "batch norm" in name
    for trainer, history in ((found, histories[1]), (eager, histories[2])):
        for column, values in histories[0].items():
            np.testing.assert_allclose(history[column], values, rtol=1e-7 if blurred else 1e-10)
        if not blurred:
            assert_alike(trainer, expected, 1e-10)
        np.testing.assert_allclose(
            trainer.network.predict(data[0]), expected.network.predict(data[0]), atol=1e-7 if blurred else 1e-10
        )
    short = make(name, device, dtype="float32"), make(name, dtype="float32")
    for trainer in short:
        fit(trainer, data, epochs=1)
    assert_alike(*short, 2e-5)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("name", BLOCKS)
def test_threads_and_tiles_change_nothing_but_the_order_of_sums(name, threads, rng):
    data = rng.standard_normal((300, 3)), rng.standard_normal((300, 2))
    expected = make(name)
    fit(expected, data, batch_size=250)
    found = []
    for _ in range(2):
        trainer = make(name, on_threads(smallest_tile=8, tile_bytes=4_000, smallest_shared=0))
        trainer.network.threads = threads
        fit(trainer, data, batch_size=250)
        found.append(trainer.network.parameters.copy())
    assert f"on {threads} thread" in trainer.plan()
    assert ("tiles" in trainer.plan()) == (name not in WHOLE_BATCH), "rows of a batch meet, or they do not"
    assert_alike(trainer, expected, 1e-10)
    np.testing.assert_array_equal(*found)


WHOLE_BATCH = ("batch norm", "batch norm, other numbers", "frozen batch norm", "residual with all")


@pytest.mark.parametrize("name", [name for name in BLOCKS if name != "one's own"])
def test_saved_and_loaded(name, device, data, tmp_path):
    trainer = make(name, device)
    fit(trainer, data)
    trainer.network.save(tmp_path / "net")
    other = nl.load(tmp_path / "net", device)
    assert repr(other.layers) == repr(trainer.network.layers) and other.dtype == trainer.network.dtype
    assert other.summary().splitlines()[1:-4] == trainer.network.summary().splitlines()[1:-5]
    assert other.state_dict().keys() == trainer.network.state_dict().keys()
    for each, value in trainer.network.state_dict().items():
        np.testing.assert_array_equal(other.state_dict()[each], value)
    np.testing.assert_array_equal(other.predict(data[0]), trainer.network.predict(data[0]))
    assert other.trained() == trainer.network.trained()
    other.save(tmp_path / "other")
    assert (tmp_path / "other").read_bytes() == (tmp_path / "net").read_bytes()


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
@pytest.mark.parametrize("name", BLOCKS)
def test_copies_are_independent_and_go_on_alike(name, way, data):
    trainer = make(name)
    fit(trainer, data)
    other = nl.Trainer(way(trainer.network), "mse", nl.SGD(lr=0.1))
    mine, its = (dict(nl.architecture.families(each.network.layers)) for each in (trainer, other))
    assert mine.keys() == its.keys() and all(mine[path] is not its[path] for path in mine)
    before = trainer.network.state_dict()
    other._shuffles = copy.deepcopy(trainer._shuffles)
    fit(other, data)
    for each, value in trainer.network.state_dict().items():
        np.testing.assert_array_equal(value, before[each])
    fit(trainer, data)
    assert_alike(other, trainer, 0)


@pytest.mark.parametrize("name", BLOCKS)
def test_a_snapshot_is_an_exact_checkpoint(name, data):
    first, second = make(name, optimizer=nl.Adam()), make(name, optimizer=nl.Adam())
    fit(first, data)
    for each, array in second.new_step().arrays().items():
        array[...] = first.new_step().arrays()[each]
    second._shuffles = copy.deepcopy(first._shuffles)
    assert fit(first, data) == fit(second, data)
    assert_alike(second, first, 0)


# ---- PyTorch --------------------------------------------------------------------------------------------------------


def in_torch(layers, torch):
    """The same layers in PyTorch, with the same parameters and state."""
    made = []
    for layer in layers:
        if isinstance(layer, nl.Dense):
            theirs = torch.nn.Linear(layer.inputs, layer.outputs, bias=layer.bias).double()
            pairs = {"weight": layer.W.T} | ({"bias": layer.b} if layer.bias else {})
        elif isinstance(layer, nl.BatchNorm):
            theirs = torch.nn.BatchNorm1d(layer.inputs, layer.epsilon, layer.momentum, layer.affine).double()
            pairs = {"weight": layer.gamma, "bias": layer.beta} if layer.affine else {}
        elif isinstance(layer, nl.LayerNorm):
            theirs = torch.nn.LayerNorm(layer.inputs, layer.epsilon, layer.affine).double()
            pairs = {"weight": layer.gamma, "bias": layer.beta} if layer.affine else {}
        elif isinstance(layer, nl.Residual):
            theirs, pairs = residual_of(torch, in_torch(layer.layers, torch), layer.projection), {}
        elif isinstance(layer, nl.Chain):
            theirs, pairs = in_torch(layer.layers, torch), {}
        else:
            theirs, pairs = {"Tanh": torch.nn.Tanh}[type(layer).__name__](), {}
        with torch.no_grad():
            for name, value in pairs.items():
                getattr(theirs, name).copy_(torch.tensor(value.copy()))
        for parameter in theirs.parameters():
            parameter.requires_grad_(layer.trainable and parameter.requires_grad)
        made.append(theirs)
    return torch.nn.Sequential(*made)


def residual_of(torch, inside, projection):
    class Residual(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inside = inside
            self.projection = in_torch([projection], torch) if projection else torch.nn.Identity()

        def forward(self, x):
            return self.projection(x) + self.inside(x)

    return Residual()


class Trained:
    """A model of PyTorch's without its frozen parameters."""

    def __init__(self, model):
        self.model = model

    def parameters(self):
        return [p for p in self.model.parameters() if p.requires_grad]

    def __iter__(self):
        return iter(self.model)


# PyTorch's frozen BatchNorm still follows its batches, and a rate of dropout follows other random numbers
ALIKE = [name for name in BLOCKS if name not in ("frozen batch norm", "noise", "residual with all", "one's own")]


@pytest.mark.parametrize("optimizer", ["sgd", "decay", "decay without biases", "nesterov", "adam"])
@pytest.mark.parametrize("name", ALIKE)
def test_trajectory_equals_pytorch(name, optimizer, device, rng):
    """Losses of 40 steps and predictions after them, of which every fifth has a batch of 3 rows; to 1e-10."""
    torch = pytest.importorskip("torch")
    x, y = rng.standard_normal((23, 3)), rng.standard_normal((23, 2))
    trainer = make(name, "numpy", CASES[optimizer].ours())
    net = trainer.network
    model = in_torch(net.layers, torch)
    net.to(device)
    theirs = CASES[optimizer].theirs(torch, Trained(model))
    blurred = optimizer == "adam" and "batch norm" in name  # which divides gradients that are nothing but rounding
    losses = []
    for _ in range(8):
        total = 0.0
        for start in range(0, 23, 5):
            theirs.zero_grad()
            batch = torch.tensor(x[start : start + 5])
            loss = torch.nn.functional.mse_loss(model(batch), torch.tensor(y[start : start + 5]))
            loss.backward()
            theirs.step()
            total += loss.item() * len(batch)
        losses.append(total / 23)
    found = fit(trainer, (x, y), epochs=8, shuffle=False)["loss"]
    np.testing.assert_allclose(found, losses, rtol=1e-6 if blurred else 1e-10)
    model.eval()
    expected = model(torch.tensor(x)).detach().numpy()
    np.testing.assert_allclose(
        net.predict(x), expected, rtol=1e-5 if blurred else 1e-9, atol=1e-6 if blurred else 1e-11
    )


# ---- normalization ------------------------------------------------------------------------------------------------


def test_batch_norm_by_hand(device, rng):
    x = 1e3 + 7 * rng.standard_normal((40, 3))
    layer = nl.BatchNorm(3, momentum=0.25, epsilon=1e-3, device=device)
    layer.gamma, layer.beta, layer.training = [1.0, 2.0, 3.0], [0.0, -1.0, 4.0], True
    where = nl.get_device(device)
    y = to_numpy(layer.forward(x))
    normal = (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + 1e-3)
    np.testing.assert_allclose(y, normal * [1, 2, 3] + [0, -1, 4], rtol=1e-9)
    mean, variance = 0.25 * x.mean(axis=0), 0.75 + 0.25 * x.var(axis=0, ddof=1)
    np.testing.assert_allclose(to_numpy(layer.mean), mean, rtol=1e-12)
    np.testing.assert_allclose(to_numpy(layer.variance), variance, rtol=1e-12)
    dx = to_numpy(layer.backward(where.asarray(np.ones_like(x))))
    np.testing.assert_allclose(dx, 0, atol=1e-12)  # a shift of all rows changes nothing
    np.testing.assert_allclose(to_numpy(layer.dbeta), 40)
    layer.training = False
    expected = (x - mean) / np.sqrt(variance + 1e-3) * [1, 2, 3] + [0, -1, 4]
    np.testing.assert_allclose(to_numpy(layer.forward(x)), expected, rtol=1e-10)
    np.testing.assert_allclose(to_numpy(layer.mean), mean, rtol=1e-12)  # predictions move nothing


@pytest.mark.parametrize("kind", [nl.BatchNorm, nl.LayerNorm])
def test_what_is_normal_has_mean_0_and_variance_1(kind, device, rng):
    x = np.float32(10 + 3 * rng.standard_normal((3000, 50)))
    layer, axis = kind(50, epsilon=1e-12, affine=False, device=device), 0 if kind is nl.BatchNorm else 1
    layer.training = True
    y = to_numpy(layer.forward(x))
    assert y.dtype == np.float32
    np.testing.assert_allclose(y.mean(axis=axis, dtype=float), 0, atol=1e-5)
    np.testing.assert_allclose(y.var(axis=axis, dtype=float), 1, rtol=1e-5)


def test_rows_that_are_all_alike_are_finite(device):
    for layer in (nl.BatchNorm(3, device=device), nl.LayerNorm(3, device=device)):
        layer.training = True
        for x in (np.zeros((4, 3)), np.full((4, 3), 1e8)):
            np.testing.assert_array_equal(to_numpy(layer.forward(x)), 0)
            assert np.isfinite(to_numpy(layer.backward(np.ones((4, 3))))).all()


def test_a_batch_of_one_row_is_normalised_by_the_running_moments(device, data):
    trainer = make("batch norm", device)
    fit(trainer, data)
    net, before = trainer.network, trainer.network.state_dict()
    expected = float(((net.predict(data[0][:1]) - data[1][:1]) ** 2).mean())
    assert trainer.step(data[0][:1], data[1][:1]) == pytest.approx(expected, rel=1e-10)
    moved = {name for name, value in net.state_dict().items() if not np.array_equal(value, before[name])}
    assert {"0.W", "1.gamma", "1.beta"} <= moved and not {"1.mean", "1.variance"} & moved
    fit(trainer, [each[:21] for each in data], batch_size=5)  # and a last batch of one row
    assert trainer.tape is not None


def test_a_frozen_batch_norm_changes_nothing_of_itself(device, data):
    trainer = make("batch norm", device)
    fit(trainer, data)
    frozen(trainer.network.layers[1])
    before = trainer.network.state_dict()
    fit(trainer, data)
    moved = {name for name, value in trainer.network.state_dict().items() if not np.array_equal(value, before[name])}
    assert moved == {"0.W", "0.b", "3.gamma", "3.beta", "3.mean", "3.variance", "4.W", "4.b"}


def test_a_divergence_takes_the_running_moments_back(device, data):
    x = data[0].astype(np.float32)
    for call in (lambda trainer, x: trainer.step(x, data[1]), lambda trainer, x: fit(trainer, (x, data[1]))):
        trainer = make("batch norm", device, dtype="float32")
        fit(trainer, (x, data[1]))
        before = trainer.network.state_dict()
        with pytest.raises(nl.DivergedError):
            call(trainer, x * 1e30)  # whose variance float32 does not hold
        for name, value in trainer.network.state_dict().items():
            np.testing.assert_array_equal(value, before[name])


def test_widths_and_numbers_that_do_not_fit():
    with pytest.raises(ValueError, match=r"BatchNorm\(5\) reads 5 columns, but the layer before it gives 4"):
        nl.Sequential(nl.Dense(3, 4), nl.BatchNorm(5), device="numpy")
    with pytest.raises(ValueError, match=r"LayerNorm\(5, affine=False\) reads 5 columns"):
        nl.Sequential(nl.Dense(3, 4), nl.LayerNorm(5, affine=False), device="numpy")
    for momentum in (-0.1, 1.5):
        with pytest.raises(ValueError, match="momentum must be"):
            nl.BatchNorm(3, momentum=momentum)
    for kind in (nl.BatchNorm, nl.LayerNorm):
        with pytest.raises(ValueError, match="epsilon must be finite and above 0, not 0"):
            kind(3, epsilon=0)
        with pytest.raises(ValueError, match="inputs must be at least 1, not 0"):
            kind(0)
    for deviation in (0, -1, np.inf):
        with pytest.raises(ValueError, match="deviation must be finite and above 0"):
            nl.GaussianNoise(deviation)


# ---- noise ----------------------------------------------------------------------------------------------------------


def test_noise_is_normal(device):
    layer = nl.GaussianNoise(0.5, device=device)
    layer.training = True
    x = np.full((400, 500), 3.0)
    z, again = ((to_numpy(layer.forward(x)) - x) / 0.5 for _ in range(2))
    spread = 4 / np.sqrt(z.size)
    assert abs(z.mean()) < spread and abs((z * z).mean() - 1) < 2 * spread
    assert abs((z**3).mean()) < 4 * spread and abs((z**4).mean() - 2.9) < 0.1 and abs(z).max() < 6
    for other in (again, z.T[:400, :400], np.roll(z, 1), np.roll(z, 500)):
        assert abs((z[:400, :400] * other[:400, :400]).mean()) < 2 * spread, "independent of each other"
    below = (z[..., None] < np.linspace(-3, 3, 25)).mean(axis=(0, 1))
    expected = [0.5 * (1 + math.erf(t / math.sqrt(2))) for t in np.linspace(-3, 3, 25)]
    np.testing.assert_allclose(below, expected, atol=0.006)
    np.testing.assert_array_equal(layer.backward(x), x)
    layer.training = False
    assert layer.forward(x) is x


@pytest.mark.parametrize("name", ["dropout", "gaussian_noise"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_noise_is_the_same_on_every_device_and_in_every_slice(dtype, name, device):
    where, draws, x = nl.get_device(device), np.array([2**33 + 7]), np.ones((37, 5), dtype)

    def drawn(where, start, stop, batch=0):
        """What is drawn for these rows of x, which stand behind so many others in the batch."""
        kernel, rows = getattr(where.ops, name), where.asarray(x[start:stop])
        found = kernel(rows, where.asarray(draws), 2**32 - 1, 0.5, batch + start)
        return where.to_numpy(found[0] if name == "dropout" else found)

    far = 2**31 - 5  # the place of a number in the batch does not fit into 32 bits
    for batch in (0, far):
        expected = drawn(nl.get_device("numpy"), 0, 37, batch)
        np.testing.assert_array_equal(drawn(where, 0, 37, batch), expected)
        np.testing.assert_array_equal(
            np.concatenate([drawn(where, 0, 20, batch), drawn(where, 20, 37, batch)]), expected
        )
    assert (drawn(where, 0, 37) != drawn(where, 0, 37, far)).any()


def test_the_gradient_check_finds_what_is_wrong_in_training_alone(data):
    class Loud(nl.GaussianNoise):
        def backward(self, dy):
            return dy * 1.001 if self.training else dy

    class Biased(nl.BatchNorm):
        def back(self, dy, frozen):
            return self.scaled_backward(dy, frozen) * self.inverse

    for layer in (Loud(0.1), nl.Residual(Loud(0.1)), Biased(6)):
        net = nl.Sequential(nl.Dense(3, 6), layer, nl.Tanh(), nl.Dense(6, 2), device="numpy")
        report = nl.check_gradients(net, "mse", *data)
        wrong = {check.name for check in report.checks if not check.ok}
        assert {"x", "0.W"} <= wrong and not {"3.W", "3.b"} & wrong
    net = nl.Sequential(nl.Dense(3, 6), nl.Residual(nl.Dense(6, 6), Loud(0.1)), nl.Dense(6, 2), device="numpy")
    report = nl.check_gradients(net, "mse", *data)
    assert {check.name for check in report.checks if not check.ok} == {"x", "0.W", "0.b", "1.0.W", "1.0.b"}
    assert [check.layer for check in report.checks if check.name == "1.0.W"] == ["Dense(6, 6)"]


# ---- layers made of layers ------------------------------------------------------------------------------------------


def test_names_and_places_of_what_is_inside(device):
    net = make("network", device).network
    names = ["0.W", "0.b", "1.0.W", "1.0.b", "1.1.1.W", "1.1.1.b"]
    assert list(net.state_dict())[:6] == names
    inner = net.layers[1].layers[1].layers[1]
    inner.W = np.full((4, 6), 2.0)
    assert (net.state_dict()["1.1.1.W"] == 2).all()
    own = make("one's own", device).network
    assert [name for name, *_ in own.segments()][2:5] == ["1.first.W", "1.first.b", "1.rest.1.W"]
    assert own.layers[1].again is own.layers[1].first


def test_a_network_inside_is_drawn_anew_or_keeps_what_it_has_learnt(device, data):
    def inner(trained):
        net = nl.Sequential(nl.Dense(3, 3), nl.BatchNorm(3), nl.Dropout(0.5), device=device, dtype="float64", seed=5)
        if trained:
            nl.Trainer(net, "mse", nl.SGD(lr=0.1)).fit(data[0], data[0], progress=False)
        return net

    one = nl.Sequential(inner(False), nl.Dense(3, 2), device=device, dtype="float64", seed=1)
    other = nl.Sequential(nl.Dense(3, 3), nl.BatchNorm(3), nl.Dropout(0.5), nl.Dense(3, 2), dtype="float64", seed=1)
    np.testing.assert_array_equal(one.state_dict()["0.0.W"], other.state_dict()["0.W"])
    assert one.layers[0].layers[2].key == other.layers[2].key
    base = inner(True)
    before, answers = base.state_dict(), base.predict(data[0])
    net = nl.Sequential(base, nl.Dense(3, 2), device=device, dtype="float64", seed=1)
    for name, value in before.items():
        np.testing.assert_array_equal(net.state_dict()[f"0.{name}"], value)
    frozen(net.layers[0])
    fit(nl.Trainer(net), data)
    head = net.state_dict()
    np.testing.assert_allclose(net.predict(data[0]), answers @ head["1.W"] + head["1.b"], rtol=1e-10)
    fit(nl.Trainer(nl.Sequential(nl.Residual(base), nl.Dense(3, 2), device=device, dtype="float64")), data)
    for name, value in base.state_dict().items():
        np.testing.assert_array_equal(value, before[name])  # the network by itself is as it was


def test_widths_of_layers_of_layers():
    with pytest.raises(ValueError, match=r"cannot add x, of 3 columns, to f\(x\), of 4: .* or take projection=True"):
        nl.Residual(nl.Dense(3, 4))
    with pytest.raises(ValueError, match=r"Dense\(5, 2\) reads 5 columns, but the layer before it gives 4"):
        nl.Chain(nl.Dense(3, 4), nl.Tanh(), nl.Dense(5, 2))
    with pytest.raises(ValueError, match=r"Dense\(5, 2\) reads 5 columns, but the layer before it gives 4"):
        nl.Sequential(nl.Residual(nl.Dense(3, 4), projection=True), nl.Chain(nl.Tanh(), nl.Dense(5, 2)), device="numpy")
    with pytest.raises(ValueError, match="projection=True needs layers that tell their widths"):
        nl.Residual(nl.Tanh(), projection=True)
    with pytest.raises(ValueError, match="Residual needs at least one layer"):
        nl.Residual()
    with pytest.raises(TypeError, match="layer 1 is 'relu', expected a layer"):
        nl.Chain(nl.Dense(3, 4), "relu")
    shared = nl.Dense(3, 3)
    with pytest.raises(ValueError, match=r"layer 1\.0, Dense\(3, 3\), is already in use"):
        nl.Sequential(shared, nl.Residual(shared), device="numpy")
    net = nl.Sequential(nl.Residual(nl.Tanh()), nl.Chain(nl.Chain(nl.Tanh()), nl.Dense(3, 2)), device="numpy")
    assert (net.inputs, net.outputs) == (3, 2)
    assert nl.Sequential(nl.Chain(nl.Tanh()), device="numpy").predict([[0.0, 1.0]]).shape == (1, 2)


def test_a_layer_of_layers_by_itself(device, rng):
    x, dy = rng.standard_normal((5, 3)), rng.standard_normal((5, 3))
    layer = nl.Residual(nl.Dense(3, 4), nl.Dropout(0.5), nl.Dense(4, 3), device=device)
    found = to_numpy(layer.forward(x))
    first, last = layer.layers[::2]
    y = x + (x @ to_numpy(first.W) + to_numpy(first.b)) @ to_numpy(last.W) + to_numpy(last.b)
    np.testing.assert_allclose(found, y, rtol=1e-12)
    expected = dy + dy @ to_numpy(last.W).T @ to_numpy(first.W).T
    np.testing.assert_allclose(to_numpy(layer.backward(dy)), expected, rtol=1e-12)
    assert not np.array_equal(to_numpy(first.W).ravel()[:9], to_numpy(last.W).ravel()[:9])
    layer.training = True
    assert layer.layers[1].training and not np.allclose(to_numpy(layer.forward(x)), y)


def test_a_layer_inside_must_be_registered_to_be_saved(tmp_path):
    net = nl.Sequential(nl.Residual(Gated(3)), device="numpy")
    with pytest.raises(TypeError, match="Gated is a layer of your own"):
        net.save(tmp_path / "net")


@pytest.mark.parametrize(
    "config",
    [
        {"layer": "Residual", "layers": [{"layer": "Dense", "inputs": 2, "outputs": 3}]},
        {"layer": "Residual", "layers": 5},
        {"layer": "Chain", "layers": [{"layer": "Chain", "layers": []}]},
        {"layer": "Tanh", "layers": [{"layer": "Tanh"}]},
        {"layer": "BatchNorm", "inputs": 3, "device": "numba"},
    ],
)
def test_descriptions_of_layers_that_are_damaged(config, tmp_path):
    from nnlite import files

    files.write(tmp_path / "net", {}, {"layers": [config], "dtype": "float32"})
    with pytest.raises(nl.CorruptFileError, match="the description of the network is damaged"):
        nl.load(tmp_path / "net", "numpy")


def test_paths_of_frozen_layers_are_checked(tmp_path):
    from nnlite import files

    for paths in (["1"], [0], 5, "0.0"):
        config = {"layers": [{"layer": "Tanh"}], "dtype": "float32", "frozen": paths}
        files.write(tmp_path / "net", {}, config)
        with pytest.raises(nl.CorruptFileError, match="the description of the network is damaged"):
            nl.load(tmp_path / "net", "numpy")


def test_a_changed_layer_inside_is_recorded_anew(device, data):
    """And what is inside is not taken for changed where nothing is."""
    trainer, other = make("residual with all", device), make("residual with all", device)
    for each in (trainer, other):
        fit(each, data)
        each.network.predict(data[0])
    program = trainer._kept._programs.copy()
    sweep = trainer.network._predictor.recorded[trainer.network.device].sweep
    trainer.network.layers[0].bias = True  # an attribute of any layer was set
    fit(trainer, data), fit(other, data)
    trainer.network.predict(data[0])
    assert trainer.network._predictor.recorded[trainer.network.device].sweep is sweep
    assert list(trainer._kept._programs.values())[-1] == list(program.values())[-1]
    for each in (trainer, other):
        each.network.layers[1].layers[2].rate = 0.9
        each.network.layers[1].layers[0].epsilon = 0.5
    answers = other.network.copy().predict(data[0])
    np.testing.assert_array_equal(trainer.network.predict(data[0]), answers)
    other.replay = "eager"
    fit(trainer, data), fit(other, data)
    assert_alike(trainer, other, 1e-12)


def test_the_end_of_a_network_inside_must_fit_the_loss(device, rng):
    x, labels = rng.standard_normal((20, 3)), rng.integers(0, 4, 20)
    end = nl.Chain(nl.Dense(5, 4), nl.Softmax())
    net = nl.Sequential(nl.Dense(3, 5), end, device=device, dtype="float64")
    trainer = nl.Trainer(net, "cce", metrics=["accuracy"])
    fit(trainer, (x, labels))
    flat = nl.Trainer(
        nl.Sequential(nl.Dense(3, 5), nl.Dense(5, 4), nl.Softmax(), device=device, dtype="float64"), "cce"
    )
    fit(flat, (x, labels))
    np.testing.assert_allclose(net.predict(x), flat.network.predict(x), rtol=1e-10)
    with pytest.raises(ValueError, match=r"expects probabilities, but the network ends in Dense\(5, 4\)"):
        nl.Trainer(nl.Sequential(nl.Dense(3, 5), nl.Chain(nl.Dense(5, 4)), device=device), "cce")


def test_the_names_of_others():
    assert nl.Linear is nl.Dense and nl.Skip is nl.Residual


def test_mlp_with_batch_norm_and_dropout(data):
    net = nl.mlp([3, 8, 5, 2], hidden=["relu", "tanh"], dropout=0.2, batch_norm=True, device="numpy")
    names = ["Dense", "BatchNorm", "ReLU", "Dropout", "Dense", "BatchNorm", "Tanh", "Dropout", "Dense"]
    assert [type(layer).__name__ for layer in net.layers] == names
    assert [layer.bias for layer in net.layers if isinstance(layer, nl.Dense)] == [False, False, True]
    assert net.layers[1].inputs == 8 and net.layers[3].rate == 0.2
    assert nl.check_gradients(net, "mse", *data).ok
    with pytest.raises(ValueError, match="dropout must be"):
        nl.mlp([3, 8, 2], dropout=1.0)


def test_a_log_softmax_inside_means_the_same_as_one_at_the_end(device, rng):
    x, labels = rng.standard_normal((20, 3)), rng.integers(0, 4, 20)
    dense, losses = nl.Dense(3, 4), []
    dense.W, dense.b = rng.standard_normal((3, 4)), rng.standard_normal(4)
    for layers in ([dense, nl.LogSoftmax()], [nl.Chain(dense, nl.LogSoftmax())]):
        net = nl.Sequential(*map(copy.deepcopy, layers), device=device, dtype="float64")
        losses.append(nl.Trainer(net, "cce", metrics=["accuracy"]).fit(x, labels, epochs=3, progress=False))
    for name in ("loss", "accuracy"):
        np.testing.assert_allclose(losses[0][name], losses[1][name], rtol=1e-10)


def test_a_frozen_prelu_gets_no_gradient(device, data):
    net = nl.Sequential(nl.Dense(3, 4), frozen(nl.PReLU()), nl.Dense(4, 2), device=device, dtype="float64")
    trainer = nl.Trainer(net)
    fit(trainer, data)
    assert to_numpy(net.layers[1].slope)[0] == 0.25 and "dslope" not in str(trainer.tape)


# ---- frozen layers --------------------------------------------------------------------------------------------------


def frozen_net(device, optimizer, *layers, dtype="float64"):
    net = nl.mlp([3, 4, 5, 4, 2], "tanh", device=device, dtype=dtype, seed=2)  # Dense at 0, 2, 4, 6
    for layer in layers:
        frozen(net.layers[layer])
    return nl.Trainer(net, "mse", optimizer)


def test_nothing_is_computed_for_a_frozen_layer_and_below_the_first_that_learns(data):
    trainer = frozen_net("numpy", nl.SGD(lr=0.1), 0, 2)
    fit(trainer, data)
    text = str(trainer.tape)
    assert "4.dW" in text and "6.dW" in text and "0.dW" not in text and "2.dW" not in text
    backward = [call.name for call in trainer.tape.calls if call.name in ("linear_backward", "tanh_backward")]
    assert backward == ["linear_backward", "tanh_backward"]
    trainer = frozen_net("numpy", nl.SGD(lr=0.1), 2)
    fit(trainer, data)
    names = [call.name for call in trainer.tape.calls]
    assert names.count("linear_backward_weights") == 3 and names.count("linear_backward") == 3
    assert names.count("sgd_step") == 2
    fused = [call.name for call in fuse(trainer.tape.calls)]
    assert "sgd_step" not in fused and fused.count("linear_backward_weights_sgd") == 3


@pytest.mark.parametrize("layers", [(0,), (2,), (6,), (0, 2), (0, 4), (2, 6)])
@pytest.mark.parametrize("name", CASES)
def test_frozen_parameters_stay_whatever_moves_the_others(name, layers, device, data):
    """Also after a momentum has been gathered; the others go on as if nothing else were there."""
    trainer = frozen_net(device, CASES[name].ours())
    fit(trainer, data, epochs=1)
    for layer in layers:
        frozen(trainer.network.layers[layer])
    before = trainer.network.state_dict()
    fit(trainer, data)
    kept = {f"{layer}.{each}" for layer in layers for each in "Wb"}
    for each, value in trainer.network.state_dict().items():
        assert np.array_equal(value, before[each]) == (each in kept), each
    for layer in layers:
        trainer.network.layers[layer].trainable = True
    fit(trainer, data, epochs=1)
    assert not any(np.array_equal(value, before[each]) for each, value in trainer.network.state_dict().items())


@pytest.mark.parametrize("layers", [(0,), (2,), (0, 4), (2, 6)])
@pytest.mark.parametrize("name", CASES)
def test_frozen_layers_equal_pytorchs(name, layers, torch, device, rng):
    """First step by step, then recorded; what an earlier step left in the gradients of frozen layers plays no part."""
    x, y = rng.standard_normal((12, 3)), rng.standard_normal((12, 2))
    case = CASES[name]
    trainer = frozen_net("numpy", case.ours(), *layers)
    model = in_torch(trainer.network.layers, torch)
    trainer.network.to(device)
    trainer.network.gradients = np.full(trainer.network.gradients.shape, 7.0)
    trained, losses = Trained(model), []
    theirs = case.theirs(torch, trained)
    for _ in range(30):
        theirs.zero_grad()
        loss = torch.nn.functional.mse_loss(model(torch.tensor(x)), torch.tensor(y))
        loss.backward()
        case.before(torch, trained)
        theirs.step()
        case.after(torch, trained)
        losses.append(loss.item())
    found = [trainer.step(x, y) for _ in range(10)]
    found += fit(trainer, (x, y), epochs=20, batch_size=12, shuffle=False)["loss"]
    np.testing.assert_allclose(found, losses, rtol=1e-10)
    for i in (0, 2, 4, 6):
        W = model[i].weight.detach().numpy().T
        np.testing.assert_allclose(trainer.network.state_dict()[f"{i}.W"], W, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("replay", ["auto", "eager"])
def test_to_freeze_and_unfreeze_is_noticed(replay, device, data):
    trainer, other = frozen_net(device, nl.SGD(lr=0.1, momentum=0.9)), frozen_net("numpy", nl.SGD(lr=0.1, momentum=0.9))
    trainer.replay = replay
    for layers in ((), (2,), (0, 2), (4,), ()):
        for each in (trainer, other):
            for i in (0, 2, 4, 6):
                each.network.layers[i].trainable = i not in layers
            fit(each, data)
            each.step(*data)
        assert_alike(trainer, other, 1e-10)


def test_a_frozen_layer_of_layers_freezes_what_is_inside(data):
    net = make("residual with all").network
    frozen(net.layers[1])
    before = net.state_dict()
    fit(nl.Trainer(net), data)
    moved = {name for name, value in net.state_dict().items() if not np.array_equal(value, before[name])}
    assert {"0.W", "3.1.W", "3.0.mean", "1.2.draws"} <= moved and not any(
        name.startswith("1.") for name in moved - {"1.2.draws"}
    )
    net.layers[1].layers[1].trainable = True
    fit(nl.Trainer(net), data)
    assert not np.array_equal(net.state_dict()["1.1.W"], before["1.1.W"])
    np.testing.assert_array_equal(net.state_dict()["1.3.gamma"], before["1.3.gamma"])


def test_what_a_layer_of_ones_own_must_tell():
    class Block(nl.Layer):
        def __init__(self):
            super().__init__()
            self.first, self.second = nl.Dense(3, 8), nl.Dense(8, 1)

        def forward(self, x):
            return self.second.forward(self.first.forward(x))

        def backward(self, dy):
            return self.first.backward(self.second.backward(dy))

    class Scaled(nl.Layer):
        def __init__(self):
            super().__init__()
            self.shapes = {"scale": (1, 3)}

    with pytest.raises(ValueError, match="its outputs are not known: a layer of your own tells them by"):
        nl.Trainer(nl.Sequential(Block()))
    Block.inputs, Block.outputs = 3, 1
    x = np.ones((8, 3))
    assert nl.Trainer(nl.Sequential(Block())).fit(x, x[:, :1], progress=False).epochs == 1
    told = (
        r"Scaled has no first value of 'scale': write `initial\(self, rng\)` that returns {'scale': array}, or assign"
    )
    with pytest.raises(ValueError, match=told):
        nl.Sequential(Scaled())
    with pytest.raises(ValueError, match=told):
        _ = Scaled().scale
    layer = Scaled()
    layer.scale = x[:1]
    assert nl.Sequential(layer, nl.Dense(3, 1)).parameters.size == 7


def test_a_frozen_layer_of_ones_own_stays_too(data):
    trainer = make("one's own")
    frozen(trainer.network.layers[1])
    before = trainer.network.state_dict()
    fit(trainer, data)
    for name, value in trainer.network.state_dict().items():
        assert np.array_equal(value, before[name]) == name.startswith("1."), name


def test_where_all_is_frozen_there_is_nothing_to_train(data):
    trainer = frozen_net("numpy", nl.SGD(), 0, 2, 4, 6)
    for call in (lambda: fit(trainer, data), lambda: trainer.step(*data)):
        with pytest.raises(
            ValueError, match=r"no layer has parameters that may be trained: set layer.trainable = True"
        ):
            call()
    assert trainer.evaluate(*data)["loss"] > 0


def test_the_summary_shows_state_frozen_layers_and_what_is_inside(data):
    text = make("residual with all").network.summary()
    assert "  1.1 Dense(6, 6)" in text and "  1.0 BatchNorm(6)" in text
    head, *lines = text.splitlines()
    assert head.split() == ["layer", "output", "shape", "parameters", "state"]
    (norm,) = [line for line in lines if "1.0 BatchNorm" in line]
    assert norm.split()[-5:] == ["12", "mean", "(6),", "variance", "(6)"]
    assert lines[-1].split()[-2:] == [str(20 + 2 * (12 + 42 + 12) + 14 + 4), str(2 * 13)]
    text = frozen_net("numpy", nl.SGD(), 2).network.summary()
    assert "2 Dense(4, 5), frozen" in text and "frozen" in text.splitlines()[-2]
    assert text.splitlines()[-2].split()[1:] == ["25", "of", "the", "parameters"] and "state" not in text

"""Minimising over all rows at once: exact derivatives, NIST's certified fits, and a sine to ten digits."""

import copy
import itertools
import sys

import numpy as np
import pytest
from helpers import Square

import nnlite as nl
from nnlite.minimizing import Objective, levenberg_marquardt

# ---- formulas of NIST's Statistical Reference Datasets, as layers ----------------------------------------------------


@nl.kernel("x (N,1), b (2) -> y (N,1)")
def saturation(x, b):
    """y = b₀ (1 − e^(−b₁x))."""
    return b[0] * (1 - np.exp(-b[1] * x))


@nl.kernel("dy (N,1), x (N,1), b (2), db (2) -> db")
def saturation_backward(dy, x, b, db):
    e = np.exp(-b[1] * x)
    db[0] = (dy * (1 - e)).sum()
    db[1] = (dy * b[0] * x * e).sum()


@nl.kernel("x (N,1), b (7) -> y (N,1)")
def rational(x, b):
    """y = (b₀ + b₁x + b₂x² + b₃x³) / (1 + b₄x + b₅x² + b₆x³)."""
    return (b[0] + x * (b[1] + x * (b[2] + x * b[3]))) / (1 + x * (b[4] + x * (b[5] + x * b[6])))


@nl.kernel("dy (N,1), x (N,1), b (7), db (7) -> db")
def rational_backward(dy, x, b, db):
    below = 1 + x * (b[4] + x * (b[5] + x * b[6]))
    y = (b[0] + x * (b[1] + x * (b[2] + x * b[3]))) / below
    slope = dy / below
    for i in range(4):
        db[i] = slope.sum()
        slope = slope * x
        if i < 3:
            db[4 + i] = -(slope * y).sum()


class Formula(nl.Layer):
    """One number in, one out, by a formula with parameters b."""

    inputs = 1

    def __init__(self, forward, backward, start):
        super().__init__()
        self.formulas, self.start = (forward, backward), start
        self.shapes = {"b": (len(start),)}

    def initial(self, rng):
        return {"b": np.array(self.start, np.float64)}

    def forward(self, x):
        self.x = x
        return self.ops.call(self.formulas[0], x, self.b)

    def backward(self, dy):
        self.ops.call(self.formulas[1], dy, self.x, self.b, self.db)

    def outputs_for(self, inputs):
        return 1


# y, x by columns; the certified parameters, and the certified sum of the squares of the residuals
MISRA1A_Y = [10.07, 14.73, 17.94, 23.93, 29.61, 35.18, 40.02, 44.82, 50.76, 55.05, 61.01, 66.40, 75.47, 81.78]
MISRA1A_X = [77.6, 114.9, 141.1, 190.8, 239.9, 289.0, 332.8, 378.4, 434.8, 477.3, 536.8, 593.1, 689.1, 760.0]
THURBER_Y = [
    *(80.574, 84.248, 87.264, 87.195, 89.076, 89.608, 89.868, 90.101, 92.405, 95.854, 100.696, 101.060, 401.672),
    *(390.724, 567.534, 635.316, 733.054, 759.087, 894.206, 990.785, 1090.109, 1080.914, 1122.643, 1178.351),
    *(1260.531, 1273.514, 1288.339, 1327.543, 1353.863, 1414.509, 1425.208, 1421.384, 1442.962, 1464.350),
    *(1468.705, 1447.894, 1457.628),
]
THURBER_X = [
    *(-3.067, -2.981, -2.921, -2.912, -2.840, -2.797, -2.702, -2.699, -2.633, -2.481, -2.363, -2.322, -1.501),
    *(-1.460, -1.274, -1.212, -1.100, -1.046, -0.915, -0.714, -0.566, -0.545, -0.400, -0.309),
    *(-0.109, -0.103, 0.010, 0.119, 0.377, 0.790, 0.963, 1.006, 1.115, 1.572, 1.841, 2.047, 2.200),
]
MISRA1A = (saturation, saturation_backward), MISRA1A_X, MISRA1A_Y, [238.94212918, 5.5015643181e-4], 0.12455138894
THURBER = (
    (rational, rational_backward),
    THURBER_X,
    THURBER_Y,
    [1288.1396800, 1491.0792535, 583.23836877, 75.416644291, 0.96629502864, 0.39797285797, 0.049727297349],
    5642.7082397,
)


@pytest.mark.parametrize(
    ("case", "start"),
    [
        (MISRA1A, (500, 1e-4)),
        (MISRA1A, (250, 5e-4)),
        (THURBER, (1000, 1000, 400, 40, 0.7, 0.3, 0.03)),
        (THURBER, (1300, 1500, 500, 75, 1, 0.4, 0.05)),
    ],
)
def test_certified_fits_of_nist(case, start, device):
    """From NIST's two starts each: the certified sum of squares to 10 digits, the parameters to 7."""
    formulas, x, y, parameters, squares = case
    net = nl.Sequential(Formula(*formulas, start), device=device, dtype="float64")
    history = nl.Trainer(net, "mse").minimize(x=np.array(x)[:, None], y=y, method="lm", tolerance=0)
    assert history["loss"][-1] * len(x) == pytest.approx(squares, rel=1e-10)
    np.testing.assert_allclose(net.state_dict()["0.b"], parameters, rtol=1e-7)


# ---- nets ------------------------------------------------------------------------------------------------------------


def sine(rows=200):
    x = np.linspace(-np.pi, np.pi, rows)[:, None]
    return x, np.sin(x)


def test_a_sine_to_ten_digits(device):
    """20 hidden units: mean squared error at most 1e-10 (1e-4 for a GPU that is imitated)."""
    x, y = sine(20 if device.startswith("cupy") else 200)
    goal = 1e-4 if device.startswith("cupy") else 1e-10
    net = nl.mlp([1, 20, 1], hidden="tanh", device=device, dtype="float64", seed=0)
    trainer = nl.Trainer(net, "mse")
    history = trainer.minimize(x, y, "lm", goal=goal)
    assert trainer.history == history and 1 < len(history["loss"]) < 200
    assert all(np.diff(history["loss"]) < 0)
    found = trainer.evaluate(x, y)["loss"]
    assert found <= goal and history["loss"][-1] == pytest.approx(found, rel=1e-6)


def test_few_iterations_from_any_start():
    """A sine of two periods, too, which has flat stretches on the way."""
    x, y = sine()[0], np.sin(2 * sine()[0])
    for seed in range(4):
        net = nl.mlp([1, 20, 1], hidden="tanh", device="numba", dtype="float64", seed=seed)
        losses = nl.Trainer(net, "mse").minimize(x, y, "lm", goal=1e-10)["loss"]
        assert losses[-1] <= 1e-10 and len(losses) < 250, seed


def test_the_units_of_the_parameters_do_not_matter():
    """The same fit with x in thousandths: the second parameter is then a thousandth, and all losses are the same."""
    formulas, x, y, _, _ = MISRA1A
    losses = []
    for unit in (1, 1000):
        net = nl.Sequential(Formula(*formulas, (500, 1e-4 / unit)), device="numpy", dtype="float64")
        trainer = nl.Trainer(net, "mse")
        losses.append(trainer.minimize(unit * np.array(x)[:, None], y, "lm", iterations=6)["loss"])
    assert len(losses[0]) == 6
    np.testing.assert_allclose(*losses, rtol=1e-6)


def test_another_damping_needs_no_new_jacobian():
    x, y = sine()
    net = nl.mlp([1, 6, 1], hidden="tanh", device="numpy", dtype="float64", seed=0)
    trainer = nl.Trainer(net, "mse")
    f = Objective(trainer.new_step(), *trainer.checked(x, y), "auto")
    counts = dict.fromkeys(("jacobian", "solver"), 0)

    def counted(name, function):
        def call(*arguments):
            counts[name] += 1
            return function(*arguments)

        return call

    f.jacobian, f.device = counted("jacobian", f.jacobian), copy.copy(f.device)
    f.device.solver = counted("solver", f.device.solver)
    iterations = len(list(levenberg_marquardt(f, 40, 0.0, 0.0)))
    assert counts["jacobian"] == iterations == 40 < counts["solver"]


def objective(device, loss="mse", sizes=(3, 4, 2), dtype="float64", replay="auto", extra=()):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((11, sizes[0])), rng.standard_normal((11, sizes[-1]))
    layers = [nl.Dense(*sizes[:2]), nl.Tanh(), *extra, nl.Dense(*sizes[1:])]
    net = nl.Sequential(*layers, device=device, dtype=dtype, seed=0)
    trainer = nl.Trainer(net, loss, replay=replay)
    return Objective(trainer.new_step(), *trainer.checked(x, y), replay)


@pytest.mark.parametrize("kind", ["plain", "dropout", "eager", "not of kernels"])
def test_the_derivatives_are_those_of_the_residuals(kind, device):
    extra = {"dropout": [nl.Dropout(0.5)], "not of kernels": [Square()]}.get(kind, [])
    if kind == "not of kernels" and device.startswith("cupy"):
        pytest.skip("its arrays are imitated")
    f = objective(device, replay="eager" if kind == "eager" else "auto", extra=extra)
    w, rng = f.start, np.random.default_rng(1)
    J, slope = f.jacobian(w), f.value_and_gradient(w)[1]
    assert J.shape == (22, len(w))
    v, h = rng.standard_normal(len(w)), 1e-6
    np.testing.assert_allclose(J @ v, (f.residuals(w + h * v) - f.residuals(w - h * v)) / (2 * h), atol=1e-7)
    np.testing.assert_allclose(slope, 2 * J.T @ f.residuals(w) / 22, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("loss", [nl.MSE, nl.MAE, nl.HalfMSE])
def test_the_gradient_is_that_of_the_value(loss, reduction, device):
    f = objective(device, loss(reduction=reduction))
    w, v = f.start, np.random.default_rng(1).standard_normal(len(f.start))
    above, below = (f.value_and_gradient(w + h * v)[0] for h in (1e-6, -1e-6))
    assert f.value_and_gradient(w)[1] @ v == pytest.approx((above - below) / 2e-6, rel=1e-5)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("loss", [nl.MSE, nl.HalfMSE])
def test_the_history_has_the_loss_that_evaluate_gives(loss, reduction, device):
    x, y = sine(30)
    net = nl.mlp([1, 3, 2], hidden="tanh", device=device, dtype="float64")
    trainer = nl.Trainer(net, loss(reduction=reduction))
    target = np.hstack([y, y + 0.3 * x])
    history = trainer.minimize(x, target, "lm", iterations=5)
    assert len(history["loss"]) == 5
    assert history["loss"][-1] == pytest.approx(trainer.evaluate(x, target)["loss"], rel=1e-9)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_lbfgs_finds_what_scipy_finds(dtype, device, rng):
    """Logistic regression has one minimum: against SciPy's own method with a gradient written out."""
    optimize = pytest.importorskip("scipy.optimize")
    x = rng.standard_normal((60, 3))
    y = (x @ [1.0, -2.0, 0.5] + rng.standard_normal(60) > 0).astype(float)

    def value(w):
        z = x @ w[:3] + w[3]
        return np.mean(np.logaddexp(0, z) - y * z)

    best = optimize.minimize(value, np.zeros(4), method="BFGS", options={"gtol": 1e-9})
    net = nl.mlp([3, 1], output="sigmoid", device=device, dtype=dtype, seed=0)
    trainer = nl.Trainer(net, "bce")
    history = trainer.minimize(x, y, "lbfgs", tolerance=1e-15)
    rough = 1e-5 if dtype == "float32" else 1e-10
    assert trainer.evaluate(x, y)["loss"] == pytest.approx(best.fun, rel=rough)
    assert history["loss"][-1] == pytest.approx(best.fun, rel=rough) and history["loss"][0] > history["loss"][-1]


@pytest.mark.parametrize("method", ["lm", "lbfgs"])
def test_frozen_layers_stay_as_they_are(method, device, rng):
    """The others find the least loss that they can reach, whatever the gradients of the frozen ones were before."""
    if method == "lbfgs":
        pytest.importorskip("scipy")
    x = rng.standard_normal((40, 2))
    y = np.sin(x[:, :1])
    net = nl.mlp([2, 5, 4, 1], "tanh", device=device, dtype="float64", seed=3)
    trainer = nl.Trainer(net, "mse")
    trainer.step(x, y)
    for i in (0, 4):
        net.layers[i].trainable = False
    before = net.state_dict()
    losses = trainer.minimize(x, y, method, iterations=30)["loss"]
    assert losses[-1] < 0.5 * losses[0] and losses[-1] == pytest.approx(trainer.evaluate(x, y)["loss"], rel=1e-9)
    for name, value in net.state_dict().items():
        assert np.array_equal(value, before[name]) == (name[0] in "04"), name
    net.layers[2].trainable = False
    with pytest.raises(ValueError, match="no layer has parameters that may be trained"):
        trainer.minimize(x, y, method)


def test_targets_that_were_not_measured(device, rng):
    pytest.importorskip("scipy")
    x, y = rng.standard_normal((30, 2)), rng.standard_normal((30, 2))
    y[rng.uniform(size=y.shape) < 0.3] = np.nan
    net = nl.mlp([2, 6, 2], "tanh", device=device, dtype="float64", seed=3)
    trainer = nl.Trainer(net, nl.MSE(ignore_nan=True))
    losses = trainer.minimize(x, y, "lbfgs", iterations=20)["loss"]
    assert losses[-1] < 0.8 * losses[0] and losses[-1] == pytest.approx(trainer.evaluate(x, y)["loss"], rel=1e-9)
    with pytest.raises(ValueError, match="not one with ignore_nan"):
        trainer.minimize(x, y, "lm")


def test_both_stop_at_the_goal_and_after_iterations():
    x, y = sine()
    for method in ("lm", "lbfgs"):
        if method == "lbfgs":
            pytest.importorskip("scipy")
        trainer = nl.Trainer(nl.mlp([1, 5, 1], hidden="tanh", dtype="float64", device="numpy"), "mse")
        losses = trainer.minimize(x, y, method, goal=0.05)["loss"]
        assert losses[-1] <= 0.05 < losses[-2] and trainer.evaluate(x, y)["loss"] == pytest.approx(losses[-1])
        assert len(trainer.minimize(x, y, method, iterations=2)["loss"]) == 2


def test_what_cannot_be_minimised(monkeypatch):
    x, y = sine(20)
    trainer = nl.Trainer(nl.mlp([1, 2, 1], device="numpy", dtype="float64"), "mae")
    with pytest.raises(ValueError, match=r'method="lm" is for least squares, .* "mse" or "half_mse", not MAE'):
        trainer.minimize(x, y, "lm")
    with pytest.raises(ValueError, match="method='newton' is not known"):
        trainer.minimize(x, y, "newton")
    with pytest.raises(ValueError, match="goal must be"):
        trainer.minimize(x, y, goal=-1)
    with pytest.raises(ValueError, match="20 rows"):
        trainer.minimize(x, y[:7])
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(ImportError, match=r'needs SciPy: pip install "nnlite\[scipy\]"'):
        trainer.minimize(x, y)
    net = nl.Sequential(nl.Dense(1, 1), device="numpy", dtype="float64")
    net.parameters = [1e200, 0.0]
    with pytest.raises(nl.DivergedError):
        nl.Trainer(net, "mse").minimize(1e200 * x, y, "lm")
    assert net.parameters.tolist() == [1e200, 0]


@pytest.mark.parametrize("method", ["lbfgs", "lm"])
def test_an_interrupt_leaves_what_was_reached(method, monkeypatch):
    """The history has all iterations, and the loss of the parameters is that of the last one."""
    x = np.linspace(-1, 1, 50)[:, None]
    trainer = nl.Trainer(nl.mlp([1, 8, 1], hidden="tanh", dtype="float64", device="numpy", seed=0), "mse")
    compute, calls = Objective.residuals if method == "lm" else Objective.value_and_gradient, itertools.count()

    def interrupted(objective, w):
        if next(calls) == 40:
            raise KeyboardInterrupt
        return compute(objective, w)

    monkeypatch.setattr(Objective, compute.__name__, interrupted)
    with pytest.raises(KeyboardInterrupt):
        trainer.minimize(x, np.sin(3 * x), method=method)
    losses = trainer.history["loss"]
    assert len(losses) > 5 and losses == sorted(losses, reverse=True)
    assert trainer.evaluate(x, np.sin(3 * x))["loss"] == pytest.approx(losses[-1], rel=1e-9)

"""Recording: what a tape says, that replaying it is the same as eager training, and what cannot be recorded."""

import contextlib
import re
import threading

import numpy as np
import pytest
from helpers import Square, on_threads

import nnlite as nl
from nnlite.devices import get_device
from nnlite.devices.common.arena import Arena
from nnlite.devices.common.recording import NotRecordableError, Recorder, Symbol


@pytest.fixture
def data(rng):
    """x (23, 3), y (23, 2) of probabilities: a number of rows that no batch size divides."""
    return rng.standard_normal((23, 3)), rng.uniform(0.1, 0.9, (23, 2))


def train(data, device, dtype, replay, loss="mse", optimizer=None, metrics=(), hidden="tanh", output="identity", **fit):
    net = nl.mlp([3, 6, 5, 2], hidden=hidden, output=output, device=device, dtype=dtype, seed=1)
    trainer = nl.Trainer(net, loss, optimizer() if optimizer else nl.SGD(lr=0.1), metrics, replay=replay)
    history = trainer.fit(*data, **{"epochs": 4, "batch_size": 5, "progress": False} | fit)
    return net.backend.to_numpy(net.parameters), history, trainer


def equal(data, device, dtype, **options):
    """Replayed and eager training agree; on numpy, where both call the same kernels, bit for bit."""
    eager, eager_history, trainer = train(data, device, dtype, "eager", **options)
    assert trainer.tape is None
    replayed, history, trainer = train(data, device, dtype, "auto", **options)
    assert trainer.tape is not None
    tolerance = {"numpy": 0.0}.get(device, 1e-6 if dtype == "float32" else 1e-12)
    np.testing.assert_allclose(replayed, eager, rtol=tolerance, atol=tolerance)
    for name in eager_history:
        np.testing.assert_allclose(history[name], eager_history[name], rtol=max(10 * tolerance, 1e-15), err_msg=name)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("hidden", nl.activations.ACTIVATIONS)
def test_activations(hidden, dtype, device, data):
    lr = {"sine": 1e-7, "log_softmax": 1e-3}.get(hidden, 0.1)  # steeper ones would make much of every rounding
    x, y = data
    data = x / 10 if hidden == "sine" else x, y  # as would two layers of sin(30 x), in sums of another order
    equal(data, device, dtype, hidden=hidden, optimizer=lambda: nl.SGD(lr=lr))


ENDS = {"probability": "sigmoid", "class": "softmax"}  # the output that fits a loss's target


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("name", "output"),
    [
        *((name, ENDS.get(loss.target, "identity")) for name, loss in nl.losses.LOSSES.items()),
        *[("mse", "sigmoid"), ("half_mse", "softplus"), ("bce", "tanh_offset"), ("cce", "log_softmax")],
    ],
)
def test_losses_and_metrics(name, output, dtype, missing, device, data):
    x, y = data
    loss = nl.losses.LOSSES[name](ignore_nan=missing)
    if loss.target == "class":
        y = y / y.sum(axis=1, keepdims=True)
    elif loss.target == "side":
        y = np.where(y > 0.5, 1.0, -1.0)
    elif loss.target != "probability":
        y = np.eye(2)[y.argmax(axis=1)]
    metrics = ["mae", "rmse", "r2"] if loss.target == "side" else ["accuracy", "mae", "rmse", "r2"]
    if missing:
        y[4:7] = np.nan
        y[11:13, 0 if loss.target != "class" else slice(None)] = np.nan
    equal((x, y), device, dtype, loss=loss, output=output, metrics=metrics)


@nl.kernel("p (N,K), t (N,K) -> losses (N), dp (N,K)")
def fourth_power(p, t):
    """ℓₙ = Σₖ (p − t)⁴."""
    e = p - t
    return (e * e * e * e).sum(axis=1), 4 * e * e * e


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_kernel_in_the_place_of_a_loss(dtype, device, data):
    equal(data, device, dtype, loss=fourth_power, optimizer=lambda: nl.SGD(lr=1e-3))
    assert nl.check_gradients(nl.mlp([3, 5, 2], hidden="tanh", device=device), fourth_power, *data).ok


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "optimizer",
    [
        lambda: nl.SGD(lr=0.1, weight_decay=0.01),
        lambda: nl.SGD(lr=0.05, momentum=0.9),
        lambda: nl.SGD(lr=0.05, momentum=0.9, nesterov=True),
        lambda: nl.Adam(lr=0.01, weight_decay=0.01),
    ],
)
def test_optimizers(optimizer, dtype, device, data):
    equal(data, device, dtype, optimizer=optimizer)


@pytest.mark.parametrize("batch_size", [1, 4, 23, 100])
@pytest.mark.parametrize("shuffle", [True, False])
def test_batches(batch_size, shuffle, device, data):
    equal(data, device, "float64", batch_size=batch_size, shuffle=shuffle, epochs=3)


def test_one_output_and_a_layer_without_bias(device, data):
    x, y = data
    runs = []
    for replay in ("eager", "auto"):
        net = nl.Sequential(
            nl.Dense(3, 4, bias=False), nl.ReLU(), nl.Dense(4, 1), nl.Sigmoid(), device=device, dtype="float64"
        )
        trainer = nl.Trainer(net, "bce", metrics=["accuracy"], replay=replay)
        history = trainer.fit(x, y[:, 0] > 0.5, epochs=3, batch_size=4, progress=False)
        runs.append((net.state_dict()["0.W"], history["accuracy"]))
    np.testing.assert_allclose(runs[1][0], runs[0][0], rtol=1e-12)
    assert runs[0][1] == runs[1][1]


def test_products_large_enough_for_blas(device, rng):
    x, y = rng.standard_normal((90, 40)), rng.integers(0, 30, 90)
    runs = []
    for replay in ("eager", "auto"):
        net = nl.mlp([40, 50, 30], hidden="relu", output="softmax", device=device, dtype="float64")
        nl.Trainer(net, "cce", replay=replay).fit(x, y, epochs=3, batch_size=64, progress=False)
        runs.append(net.backend.to_numpy(net.parameters))
    np.testing.assert_allclose(runs[1], runs[0], rtol=1e-11, atol=1e-14)


def test_many_epochs_in_one_call_are_many_epochs(device, data):
    """With validation every epoch is a window of its own; without, all are one."""
    alone, history, _ = train(data, device, "float64", "auto", epochs=50)
    watched, watched_history, _ = train(data, device, "float64", "auto", epochs=50, validation_data=data)
    np.testing.assert_array_equal(alone, watched)
    assert history["loss"] == watched_history["loss"] and len(watched_history["val_loss"]) == 50


def test_the_tape_can_be_read(data):
    _, _, trainer = train(data, "numpy", "float32", "auto", metrics=["mae"])
    lines = str(trainer.tape).splitlines()
    assert len(lines) == len(trainer.tape)
    assert lines[0].split() == [
        "0",
        "take_rows",
        "y1",
        "(5,",
        "3)",
        "←",
        "x",
        "(23,",
        "3),",
        "order",
        "(92),",
        "position",
        "(1),",
        "N=5",
    ]
    assert any("linear " in line and "← y1 (5, 3), 0.W (3, 6), 0.b (6)" in line for line in lines)
    assert any("sgd_step" in line and "parameters (71) ← gradients (71), rate (1)" in line for line in lines)
    assert lines[-1].split()[1:] == ["advance", "position", "(1)", "←", "N=5"]
    assert not any("linear_backward " in line and "0.W" in line for line in lines), "nobody needs the data's gradient"


def test_what_was_recorded_leaves_no_symbols_behind(data, device):
    class Keeps(nl.metrics.MeanAbsoluteError):
        def add(self, ops, prediction, target, sums):
            self.last = prediction
            super().add(ops, prediction, target, sums)

    _, _, trainer = train(data, device, "float32", "auto", metrics=[Keeps()])
    assert trainer.tape is not None
    for each in (trainer.network, *trainer.network.layers, trainer.loss, trainer.optimizer, *trainer.metrics):
        assert not any(isinstance(value, Symbol) for value in vars(each).values())
    assert trainer.network.forward(data[0]).shape == (23, 2)
    trainer.network.backward(np.ones((23, 2)))


def test_results_share_space_but_never_at_the_same_time(rng):
    """A tape of random reads: no result lies where another lies that is still to be read."""
    device = get_device("numpy")
    for seed in range(20):
        choice = np.random.default_rng(seed)
        recorder = Recorder(device.ops, np.float32)
        known = [Symbol("x", (9, 5), np.float32, "x", 0)]
        for _ in range(30):
            read = known[int(choice.integers(0, len(known)))]
            known.append(recorder.tanh(read) if choice.random() < 0.5 else recorder.tanh_backward(read, known[-1]))
        arena = Arena(device, np.float32, {"x": np.zeros((9, 5), np.float32)})
        arena.place("results", [(call, time) for time, call in enumerate(recorder.tape.calls)])
        calls = recorder.tape.calls
        last = {id(s): i for i, call in enumerate(calls) for s in (*call.operands, *call.results)}
        for i, call in enumerate(calls):
            (mine,) = call.results
            for other in (r for earlier in calls[:i] for r in earlier.results if last[id(r)] >= i):
                assert mine.offset + mine.size <= other.offset or other.offset + other.size <= mine.offset
        assert arena.bytes < 30 * 9 * 5 * 4


def test_symbols_refuse_to_be_numbers():
    symbol = Symbol("x", (2, 3), np.float32, "x", 0)
    for use in (lambda: np.tanh(symbol), lambda: symbol + 1, lambda: 2 * symbol, lambda: symbol @ np.zeros((3, 1))):
        with pytest.raises(TypeError):
            use()
    with pytest.raises(NotRecordableError, match="x \\(2, 3\\) is only being recorded and has no numbers"):
        np.asarray(symbol)
    recorder = Recorder(get_device("numpy").ops, np.float32)
    with pytest.raises(NotRecordableError, match=r"tanh: x is an array \(2, 3\), which is not part"):
        recorder.tanh(np.zeros((2, 3)))


class OwnOptimizer(nl.Optimizer):
    def rule(self, ops, w, dw):
        w -= self.rate * dw


class WrongGradient(nl.Dense):
    """Changes a gradient behind the kernels' back."""

    def backward_parameters(self, dy):
        super().backward_parameters(dy)
        self.dW *= 0.5


@pytest.mark.parametrize(
    ("layer", "optimizer", "culprit"),
    [
        (Square, nl.SGD, "Square"),
        (nl.Tanh, OwnOptimizer, "OwnOptimizer"),
        (lambda: WrongGradient(4, 4), nl.SGD, "WrongGradient"),
    ],
)
def test_what_is_not_made_of_kernels_trains_eagerly_and_is_named(layer, optimizer, culprit, device, data):
    runs = []
    for replay in ("auto", "eager"):
        net = nl.Sequential(nl.Dense(3, 4), layer(), nl.Dense(4, 2), device=device, dtype="float64")
        trainer = nl.Trainer(net, "mse", optimizer(lr=0.1), replay=replay)
        if replay == "auto":
            with pytest.warns(nl.steps.EagerWarning, match=f"^{culprit} cannot be recorded, so every step is made in"):
                trainer.fit(*data, epochs=2, batch_size=5, progress=False)
        else:
            trainer.fit(*data, epochs=2, batch_size=5, progress=False)
        assert trainer.tape is None
        runs.append(net.backend.to_numpy(net.parameters))
    np.testing.assert_array_equal(*runs)


@nl.kernel("w (P), dw (P), lr (1), t -> w")
def slower(w, dw, lr, t):
    w -= lr * dw / t


class Counting(nl.Optimizer):
    def __init__(self, lr):
        super().__init__(lr)
        self.t = 0

    def rule(self, ops, w, dw):
        self.t += 1
        ops.call(slower, w, dw, self.rate, self.t)


class Alternating(nl.Layer):
    """It computes otherwise in every second step."""

    steps = 0

    def forward(self, x):
        self.steps += self.training
        return self.ops.tanh(x) if self.steps % 2 else self.ops.add(x, x)

    def backward(self, dy):
        return self.ops.add(dy, dy)


@pytest.mark.parametrize(
    ("layer", "optimizer", "why"),
    [
        (nl.Tanh, Counting, "one step calls slower .* t=1, and the next one slower .* t=2; a number that changes"),
        (lambda: nl.Residual(nl.Dense(4, 4), Alternating()), nl.SGD, "one step calls tanh .*, and the next one add"),
    ],
)
def test_a_number_of_python_that_changes_from_step_to_step_is_not_frozen(layer, optimizer, why, device, data):
    runs = []
    for replay in ("auto", "eager"):
        net = nl.Sequential(nl.Dense(3, 4), layer(), nl.Dense(4, 2), device=device, dtype="float64")
        trainer = nl.Trainer(net, "mse", optimizer(lr=0.1), replay=replay)
        warned = pytest.warns(nl.EagerWarning, match=why) if replay == "auto" else contextlib.nullcontext()
        with warned:
            trainer.fit(*data, epochs=2, batch_size=5, progress=False)
        runs.append(net.backend.to_numpy(net.parameters))
    np.testing.assert_array_equal(*runs)


def test_an_array_that_no_shapes_name_is_told(device, data):
    class Forgotten(nl.Layer):
        def forward(self, x):
            return self.ops.matmul(x, self.matrix)

        def backward(self, dy):
            return self.ops.matmul(dy, self.matrix)

    net = nl.Sequential(nl.Dense(3, 4), Forgotten(), nl.Dense(4, 2), device=device, dtype="float64")
    net.layers[1].matrix = net.backend.asarray(np.eye(4))
    with pytest.warns(nl.EagerWarning, match=r"W is an array \(4, 4\), .* its `shapes` and its `state` name;"):
        nl.Trainer(net, "mse").fit(*data, progress=False)


def test_an_interrupted_training_keeps_whole_steps_and_finished_epochs(data, monkeypatch, device):
    net = nl.mlp([3, 6, 2], device=device, dtype="float64")
    trainer = nl.Trainer(net, "mse", nl.SGD(lr=0.1))
    run, calls = nl.steps.Steps.runs, []

    def interrupted(steps, epochs):
        for call in run(steps, epochs):
            calls.append(call)
            if call[1] >= 3 * steps.per_epoch:
                raise KeyboardInterrupt
            yield call

    monkeypatch.setattr(nl.steps.Steps, "runs", interrupted)
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(*data, epochs=10_000, batch_size=5, progress=False)
    done = calls[-1][1]  # steps
    assert len(trainer.history["loss"]) == done // 5
    again = nl.Trainer(nl.mlp([3, 6, 2], device=device, dtype="float64"), "mse", nl.SGD(lr=0.1))
    monkeypatch.setattr(nl.steps.Steps, "runs", run)
    history = again.fit(*data, epochs=done // 5, batch_size=5, progress=False)
    np.testing.assert_allclose(history["loss"], trainer.history["loss"], rtol=1e-12)


@nl.kernel("x (N,K) -> y (N,K), s (N,K)")
def swish(x):
    """y = x s, s = 1 / (1 + e⁻ˣ): a kernel in no device's table."""
    s = 1 / (1 + np.exp(-x))
    return x * s, s


@nl.kernel("dy (N,K), y (N,K), s (N,K) -> dx (N,K)")
def swish_backward(dy, y, s):
    return dy * (s + y * (1 - s))


@nl.kernel("dw (P), most -> dw")
def clip(dw, most):
    """In place."""
    np.clip(dw, -most, most, dw)


@nl.kernel("x (N,K) -> y (N,K)")
def not_for_numba(x):
    return np.apply_over_axes(np.sum, x, 1) * 0 + x


class Swish(nl.Layer):
    def forward(self, x):
        self.y, self.s = self.ops.call(swish, x)
        return self.y

    def backward(self, dy):
        return self.ops.call(swish_backward, dy, self.y, self.s)


class ClippedSGD(nl.SGD):
    def rule(self, ops, w, dw):
        ops.call(clip, dw, 0.01)
        super().rule(ops, w, dw)


class NotForNumba(nl.Layer):
    def forward(self, x):
        return self.ops.call(not_for_numba, x)

    def backward(self, dy):
        return dy


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_users_own_kernels_are_recorded(dtype, threads, device, data):
    device = on_threads() if device == "numba" else device
    runs = []
    for replay in ("eager", "auto"):
        net = nl.Sequential(nl.Dense(3, 4), Swish(), nl.Dense(4, 2), device=device, dtype=dtype)
        net.threads = threads
        trainer = nl.Trainer(net, "mse", ClippedSGD(lr=0.5), replay=replay)
        trainer.fit(*data, epochs=3, batch_size=5, progress=False)
        runs.append(net.backend.to_numpy(net.parameters))
    names = [call.name for call in trainer.tape.calls]
    assert {"swish", "swish_backward", "clip", "sgd_step"} <= set(names)
    np.testing.assert_allclose(runs[1], runs[0], rtol=1e-5 if dtype == "float32" else 1e-12, atol=1e-7)


def test_a_kernel_that_numba_cannot_compile_trains_eagerly_and_is_named(data):
    runs = []
    for device in ("numpy", "numba"):
        net = nl.Sequential(nl.Dense(3, 4), NotForNumba(), nl.Dense(4, 2), device=device, dtype="float64")
        trainer = nl.Trainer(net, "mse", nl.SGD(lr=0.01))
        if device == "numba":
            with pytest.warns(
                nl.steps.EagerWarning, match="cannot compile the kernel not_for_numba: Use of unsupported"
            ):
                trainer.fit(*data, epochs=2, progress=False)
        else:
            trainer.fit(*data, epochs=2, progress=False)
            assert "not_for_numba" in str(trainer.tape)
        runs.append(net.parameters)
    np.testing.assert_allclose(runs[0], runs[1], rtol=1e-12)


@nl.kernel("x (N,K), target (N,K) -> losses (N), dx (N,K)")
def masked(x, target):
    d = x - target
    d[d > 0] *= 2  # Numba's compiler fails at two axes, with an AssertionError that has no text
    return (d * d).sum(axis=1), 2 * d * np.where(d > 0, 2, 1)


@nl.kernel("x (N,K), target (N,K) -> losses (N), dx (N,K)")
def averaged(x, target):
    d = x - target
    return (d * d).mean(axis=1), 2 * d / d.shape[1]


@nl.kernel("x (N,K), target (N,K) -> losses (N), dx (N,K)")
def importing(x, target):
    import math

    return (x - target).sum(axis=1) * math.pi, np.full_like(x, math.pi)


@pytest.mark.parametrize(
    ("loss", "why"),
    [
        (averaged, r"averaged: it has no array_mean\(array\(float64.*, in `return \(d \* d\)\.mean\(axis=1\), "),
        (masked, r"masked: (its compiler gives up \(AssertionError\)|it has no getitem\(array\(float64)"),
        (importing, "importing: Use of unsupported opcode"),
    ],
)
def test_a_loss_that_numba_cannot_compile_says_which_call_it_is_and_trains_all_the_same(data, loss, why):
    losses = []
    for device in ("numpy", "numba"):
        trainer = nl.Trainer(nl.mlp([3, 4, 2], device=device, dtype="float64", seed=0), loss)
        warned = pytest.warns(nl.EagerWarning, match=why) if device == "numba" else contextlib.nullcontext()
        with warned:
            losses.append(trainer.fit(*data, epochs=2, progress=False)["loss"])
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-12)


@nl.kernel("x (N,K) -> y (N,K)")
def dropout(x):
    """The name of a kernel that is there, with other operands."""
    return x * 0.5


@nl.kernel("x (N,K), order (K) -> y (N,K)")
def weigh_columns(x, order):
    """An operand with the name of one that the batch is taken by."""
    return x * order


class Named(nl.Layer):
    def forward(self, x):
        return self.ops.call(weigh_columns, self.ops.call(dropout, x), self.b)

    def backward(self, dy):
        return self.ops.call(dropout, self.ops.call(weigh_columns, dy, self.b))

    def initial(self, rng):
        return {"b": np.arange(1.0, 5.0)}


@pytest.mark.parametrize("threads", [1, 2])
def test_a_users_own_names_mean_nothing(threads, device, data):
    device = on_threads() if device == "numba" else device
    runs = []
    for replay in ("eager", "auto"):
        layer = Named()
        layer.shapes = {"b": (4,)}
        net = nl.Sequential(nl.Dense(3, 4), layer, nl.Dense(4, 2), device=device, dtype="float64")
        net.threads = threads
        trainer = nl.Trainer(net, "mse", nl.SGD(lr=0.01), replay=replay)
        trainer.fit(*data, epochs=3, batch_size=10, progress=False)
        runs.append(net.backend.to_numpy(net.parameters))
    assert {"own_dropout", "weigh_columns"} <= {call.name for call in trainer.tape.calls}
    np.testing.assert_allclose(runs[1], runs[0], rtol=1e-12)


@nl.kernel("x (N,K) -> y (N,K)")
def fails_late(x):
    if np.abs(x).max() > 3:
        raise ValueError("too large")
    return x * 1


@nl.kernel("x (N,K) -> y (N,K)")
def of_another_shape(x):
    return np.concatenate((x, x))


@pytest.mark.parametrize("kernel", [fails_late, of_another_shape])
@pytest.mark.parametrize("threads", [1, 2, 3, 4])
def test_an_error_in_a_compiled_kernel_stops_the_training(kernel, threads, data):
    class Layer(nl.Layer):
        def forward(self, x):
            return self.ops.call(kernel, x)

        def backward(self, dy):
            return dy

    x, y = data[0].copy(), data[1]
    x[17 if threads < 3 else slice(None), 0] = 1000  # one thread fails, or all at once
    net = nl.Sequential(Layer(), nl.Dense(3, 2), device=on_threads(), dtype="float64")
    net.threads = threads
    before = net.parameters.copy()
    trainer = nl.Trainer(net, "mse", nl.SGD(lr=1e-9))
    for _ in range(2):  # the second time as the first
        with pytest.raises(RuntimeError, match="a kernel of your own raised an error in compiled code"):
            trainer.fit(x, y, epochs=2, batch_size=23, progress=False)
    np.testing.assert_array_equal(net.parameters, before)
    fine = nl.mlp([3, 2], device=net.backend)
    nl.Trainer(fine).fit(*data, progress=False)  # nor is anybody else's stopped


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", [nl.SGD, nl.Adam])
def test_dropout_is_recorded_with_its_state(dtype, optimizer, device, data):
    """Eager or replayed, on every device, from one seed: the same masks, so the same weights."""
    runs, states = [], []
    for where, replay in (("numpy", "eager"), (device, "eager"), (device, "auto")):
        layers = nl.Dense(3, 8), nl.Tanh(), nl.Dropout(0.4), nl.Dense(8, 2), nl.Dropout(0.1)
        net = nl.Sequential(*layers, device=where, dtype=dtype, seed=5)
        trainer = nl.Trainer(net, "mse", optimizer(lr=0.05), metrics=["mae"], replay=replay)
        trainer.fit(*data, epochs=4, batch_size=5, progress=False)
        runs.append(net.backend.to_numpy(net.parameters))
        states.append([int(net.layers[i].draws[0]) for i in (2, 4)])
    assert [call.name for call in trainer.tape.calls].count("dropout") == 2
    assert states == [[20, 20]] * 3  # one draw a step
    tolerance = 1e-5 if dtype == "float32" else 1e-11
    np.testing.assert_allclose(runs[1], runs[0], rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(runs[2], runs[1], rtol=tolerance, atol=tolerance)


def test_the_summary_says_what_a_recorded_step_takes(data, device):
    net = train(data, device, "float32", "auto")[2].network
    parameters, step, _ = net.summary().splitlines()[-3:]
    assert parameters.split(None, 1) == ["memory", "parameters 284 bytes, gradients 284 bytes"]
    assert re.fullmatch(r"recorded step +[\d,.]+ (bytes|KiB) for a batch of 5 rows", step)
    assert "recorded" not in nl.mlp([3, 2], device=device).summary()


def test_what_takes_long_before_the_first_step_is_said(data, monkeypatch, capsys):
    """Nothing, if it does not take long; a word instead of a silent bar, if it does."""
    train(data, "numpy", "float32", "auto", progress=True)
    assert "compiling" not in capsys.readouterr().err

    made = nl.steps.Steps.__init__

    def patient(self, *arguments):
        made(self, *arguments)
        threading.Event().wait(1.3)

    monkeypatch.setattr(nl.steps.Steps, "__init__", patient)
    train(data, "numpy", "float32", "auto", progress=True)
    assert "compiling for this CPU, which is kept for later" in capsys.readouterr().err

"""Training: batches, epochs, losses and metrics over rows, devices that agree, and what divergence leaves behind."""

import contextlib

import numpy as np
import pytest

import nnlite as nl


@pytest.fixture
def data(rng):
    """x (23, 3), y (23, 2): a number of rows that no batch size divides."""
    x = rng.standard_normal((23, 3))
    return x, np.stack([np.tanh(x[:, 0] - x[:, 1]), x.sum(axis=1) / 3], axis=1)


def make(device="numpy", dtype="float64", loss="mse", optimizer=None, metrics=(), seed=0, output="identity"):
    net = nl.mlp([3, 6, 2], hidden="tanh", output=output, device=device, dtype=dtype, seed=seed)
    return nl.Trainer(net, loss, optimizer or nl.SGD(lr=0.1), metrics)


def weights(trainer):
    return trainer.network.backend.to_numpy(trainer.network.parameters)


def test_an_epoch_sees_every_row_once(device, data):
    seen = []

    class Watched(nl.MSE):
        def kernel(self, prediction, target, scale):
            seen.append(trainer.network.backend.to_numpy(target).copy())
            return super().kernel(prediction, target, scale)

    trainer = make(device, loss=Watched())
    x, y = data
    with pytest.warns(nl.steps.EagerWarning, match="Watched cannot be recorded"):
        trainer.fit(x, y, epochs=2, batch_size=5, progress=False)
    assert [len(t) for t in seen] == [5, 5, 5, 5, 3] * 2
    first, second = np.concatenate(seen[:5]), np.concatenate(seen[5:])
    for epoch in (first, second):
        np.testing.assert_array_equal(np.sort(epoch, axis=0), np.sort(y, axis=0))
    assert not np.array_equal(first, second) and not np.array_equal(first, y)


def test_epoch_loss_is_the_mean_over_rows(data):
    x, y = data
    trainer = make(optimizer=nl.SGD(lr=1e-12), metrics=["mae", "rmse", "r2"])
    history = trainer.fit(x, y, epochs=1, batch_size=5, progress=False)
    p = trainer.network.predict(x)
    assert history["loss"][0] == pytest.approx(((p - y) ** 2).mean(), rel=1e-9)
    assert history["mae"][0] == pytest.approx(np.abs(p - y).mean(), rel=1e-9)
    assert history["rmse"][0] == pytest.approx(np.sqrt(((p - y) ** 2).mean()), rel=1e-9)
    expected = trainer.evaluate(x, y)
    assert {name: values[0] for name, values in history.items()} == pytest.approx(expected, rel=1e-9)
    assert trainer.evaluate(x, y, batch_size=4) == pytest.approx(expected, rel=1e-12)


def test_training_is_gradient_descent_by_hand(device, data):
    """One epoch of short batches without shuffling, against the formulas written out in NumPy."""
    x, y = data
    net = nl.Sequential(nl.Dense(3, 2), device=device, dtype="float64")
    W, b = net.state_dict()["0.W"], net.state_dict()["0.b"]
    nl.Trainer(net, "mse", nl.SGD(lr=0.2)).fit(x, y, epochs=1, batch_size=9, shuffle=False, progress=False)
    for rows in (slice(0, 9), slice(9, 18), slice(18, 23)):
        error = x[rows] @ W + b - y[rows]
        slope = 2 * error / error.size
        W, b = W - 0.2 * x[rows].T @ slope, b - 0.2 * slope.sum(axis=0)
    np.testing.assert_allclose(net.state_dict()["0.W"], W, rtol=1e-12)
    np.testing.assert_allclose(net.state_dict()["0.b"], b, rtol=1e-12)


@pytest.mark.parametrize(
    ("loss", "output"),
    [("mse", "identity"), ("mae", "tanh"), ("cce", "softmax"), ("bce", "sigmoid"), ("half_mse", "softplus")],
)
def test_devices_agree(loss, output, device, data):
    x, y = data
    y = (y > 0).astype(float) if loss != "cce" else (y[:, 0] > 0).astype(int)
    runs = {}
    for where in ("numpy", device):
        for dtype in ("float64", "float32"):
            trainer = make(where, dtype, loss, output=output)
            history = trainer.fit(x, y, epochs=3, batch_size=8, progress=False)
            runs[where, dtype] = (weights(trainer), history["loss"][-1])
    for dtype, tolerance in (("float64", 1e-10), ("float32", 1e-5)):
        np.testing.assert_allclose(runs[device, dtype][0], runs["numpy", dtype][0], rtol=tolerance, atol=tolerance)
        assert runs[device, dtype][1] == pytest.approx(runs["numpy", dtype][1], rel=tolerance)


def test_the_same_seed_gives_the_same_bits(device, data):
    first, second, other = (make(device, seed=s) for s in (5, 5, 6))
    for trainer in (first, second, other):
        trainer.fit(*data, epochs=4, batch_size=7, progress=False)
    assert weights(first).tobytes() == weights(second).tobytes() != weights(other).tobytes()


@pytest.mark.parametrize(("loss", "output"), [("cce", "softmax"), ("bce", "sigmoid")])
def test_an_activation_before_its_loss_is_trained_from_logits(loss, output, device, data):
    """Two layers as the user wrote them, and one stable kernel, are the same function."""
    x, y = data
    y = np.eye(2)[(y[:, 0] > 0).astype(int)]
    fused, logits = make(device, loss=loss, output=output), make(device, loss=nl.losses.LOSSES[loss](from_logits=True))
    assert fused.depth == len(fused.network.layers) - 1
    for trainer in (fused, logits):
        trainer.fit(x, y, epochs=2, batch_size=6, progress=False)
    np.testing.assert_allclose(weights(fused), weights(logits), rtol=1e-12)
    p = fused.network.predict(x)
    value = nl.losses.LOSSES[loss]().forward(p, y)
    assert fused.evaluate(x, y)["loss"] == pytest.approx(value, rel=1e-9)


def test_stable_where_probabilities_underflow(device):
    net = nl.Sequential(nl.Dense(1, 2), nl.Softmax(), device=device)
    net.load_state_dict({"0.W": [[1000.0, -1000.0]], "0.b": [0.0, 0.0]})
    trainer = nl.Trainer(net, "cce", nl.SGD(lr=1.0))
    assert trainer.step([[1.0]], [1]) == 2000
    np.testing.assert_allclose(net.state_dict()["0.W"], [[999, -999]])


@pytest.mark.parametrize(
    "loss", [nl.BinaryCrossEntropy(from_logits=True), nl.CategoricalCrossEntropy(from_logits=True)]
)
def test_metrics_of_logits_are_of_probabilities(loss, data):
    x, y = data
    y = np.eye(2)[(y[:, 0] > 0).astype(int)]
    trainer = make(loss=loss, metrics=["accuracy", "mae"])
    z = trainer.network.predict(x)
    p = nl.Softmax().forward(z) if loss.target == "class" else nl.Sigmoid().forward(z)
    assert trainer.evaluate(x, y)["mae"] == pytest.approx(np.abs(p - y).mean(), rel=1e-12)


def test_validation_each_epoch(data):
    x, y = data
    trainer = make(metrics=["r2"])
    history = trainer.fit(x, y, epochs=3, validation_data=(x[:5], y[:5]), progress=False)
    assert list(history) == ["loss", "r2", "val_loss", "val_r2"] and all(len(v) == 3 for v in history.values())
    assert history["val_loss"][-1] == trainer.evaluate(x[:5], y[:5])["loss"]
    plain = make(metrics=["r2"])
    plain.fit(x, y, epochs=3, progress=False)
    np.testing.assert_array_equal(weights(plain), weights(trainer))  # looking changes nothing


def test_step_returns_the_loss_before_the_update(device, data):
    trainer = make(device)
    expected = trainer.evaluate(*data)["loss"]
    assert trainer.step(*data) == pytest.approx(expected, rel=1e-12)
    assert trainer.evaluate(*data)["loss"] < expected


@pytest.mark.parametrize(("reduction", "share"), [("sum", 23 * 2), ("none", 23)])
def test_reductions_scale_the_gradient(reduction, share, data):
    """The gradient of a sum is that of the mean times what was averaged over; the learning rate takes it up."""
    mean, other = make(optimizer=nl.SGD(lr=0.1)), make(loss=nl.MSE(reduction), optimizer=nl.SGD(lr=0.1 / share))
    for trainer in (mean, other):
        trainer.fit(*data, epochs=1, batch_size=23, progress=False)
    np.testing.assert_allclose(weights(mean), weights(other), rtol=1e-12)


@pytest.mark.filterwarnings("ignore::nnlite.ScaleWarning")
def test_divergence_says_where_and_keeps_finite_parameters(device, data):
    x, y = data
    for dtype in ("float32", "float64"):
        trainer = make(device, dtype, optimizer=nl.SGD(lr=1e6, momentum=0.9), output="softplus")
        with pytest.raises(
            nl.DivergedError, match=r"in epoch \d+, batch \d+.*Try a learning rate below lr=1e\+06"
        ) as error:
            trainer.fit(x * 1e6, y, epochs=500, batch_size=5, progress=False)
        assert error.value.epoch >= 1 and 1 <= error.value.batch <= 5
        assert np.isfinite(weights(trainer)).all()
        assert len(trainer.history.get("loss", [])) == error.value.epoch - 1
        trainer.optimizer.lr = 1e-9  # and the trainer is of use again
        assert np.isfinite(trainer.step(x, y))


def test_a_diverging_step_changes_nothing(device, data):
    trainer = make(device, optimizer=nl.SGD(lr=1e308))
    before = weights(trainer).copy()
    with pytest.raises(nl.DivergedError, match="the network is back at finite parameters"):
        trainer.step(data[0] * 100, data[1] * 100)
    np.testing.assert_array_equal(weights(trainer), before)


def test_history_is_a_mapping_and_draws_itself(data, tmp_path):
    trainer = make()
    history = trainer.fit(*data, epochs=3, progress=False)
    assert trainer.history == history and dict(history) == {"loss": history["loss"]}
    assert "3 epochs" in repr(history)
    axes = history.plot(tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG") and axes.has_data()
    import matplotlib.pyplot

    matplotlib.pyplot.close("all")


def test_the_progress_shows_loss_and_metrics(data, capsys):
    make(metrics=["r2"]).fit(*data, epochs=2, progress=True)
    shown = capsys.readouterr().err
    assert "epoch 2/2" in shown and "loss=" in shown and "r2=" in shown
    make().fit(*data, epochs=2, progress=False)
    captured = capsys.readouterr()
    assert captured.err == captured.out == ""


def test_no_epochs_change_nothing(data):
    trainer = make()
    before = weights(trainer).copy()
    assert dict(trainer.fit(*data, epochs=0)) == {}
    np.testing.assert_array_equal(weights(trainer), before)


def test_training_goes_on_where_it_stopped(data):
    """Two fits of two epochs are one of four: the shuffles and the optimizer go on."""
    whole, parts = (make(optimizer=nl.Adam(lr=0.01)) for _ in range(2))
    whole.fit(*data, epochs=4, batch_size=6, progress=False)
    for _ in range(2):
        parts.fit(*data, epochs=2, batch_size=6, progress=False)
    np.testing.assert_array_equal(weights(whole), weights(parts))


def test_a_network_may_move_between_fits(device, data):
    trainer = make("numpy", optimizer=nl.Adam(lr=0.01))
    stay = make("numpy", optimizer=nl.Adam(lr=0.01))
    trainer.fit(*data, epochs=2, progress=False)
    trainer.network.to(device)
    trainer.fit(*data, epochs=2, progress=False)
    stay.fit(*data, epochs=4, progress=False)
    np.testing.assert_allclose(weights(trainer), weights(stay), rtol=1e-10)


def test_names_for_everything_and_combinations_that_make_no_sense():
    assert type(make(optimizer="adam").optimizer) is nl.Adam
    net = nl.mlp([3, 2], device="numpy")
    for arguments, error, message in (
        ({"loss": "hinged"}, ValueError, "loss='hinged' is not known; choose one of 'mse'"),
        ({"optimizer": "sgdd"}, ValueError, "optimizer='sgdd' is not known; choose one of 'sgd', 'adam'"),
        ({"metrics": ["f2"]}, ValueError, "metric='f2' is not known; choose one of 'accuracy'"),
        ({"metrics": "accuracy"}, TypeError, r'metrics must be a list such as \["accuracy"\]'),
        (
            {"loss": "cce"},
            ValueError,
            r"expects probabilities, but the network ends in Dense\(3, 2\): end it in Softmax",
        ),
    ):
        with pytest.raises(error, match=message):
            nl.Trainer(net, **arguments)
    with pytest.raises(ValueError, match="has Softmax inside: take it from the network's end"):
        make(loss=nl.CategoricalCrossEntropy(from_logits=True), output="softmax")
    with pytest.raises(ValueError, match="needs one output for each class"):
        nl.Trainer(nl.mlp([3, 1], output="sigmoid", device="numpy"), "cce")
    with pytest.raises(TypeError, match="network must be a Sequential"):
        nl.Trainer("net")
    with pytest.raises(ValueError, match="nothing to train"):
        nl.Trainer(nl.Sequential(nl.ReLU(), device="numpy"))


@pytest.mark.parametrize(
    ("outputs", "output", "loss", "message"),
    [
        (
            1,
            "softmax",
            "bce",
            r"Softmax over a single output, which is always 1: for two classes end it in Sigmoid\(\)",
        ),
        (1, "softmax", "mse", r"Softmax over a single output, which is always 1"),
        (1, "softmax", "cce", "needs one output for each class, but the network has a single one.*BinaryCrossEntropy"),
        (
            3,
            "sigmoid",
            "cce",
            r"that sum to 1, but the network ends in Sigmoid\(\): end it in Softmax\(\), or use Binary",
        ),
        (3, "tanh_offset", "cce", r"that sum to 1, but the network ends in TanhOffset\(\): end it in Softmax\(\)"),
        (
            3,
            "sigmoid",
            nl.CategoricalCrossEntropy(True),
            r"values before the Softmax: take Sigmoid\(\) from the network",
        ),
        (3, "softmax", nl.BinaryCrossEntropy(True), r"values before the Sigmoid: take Softmax\(\) from the network"),
        (3, "tanh_offset", nl.BinaryCrossEntropy(True), r"values before the Sigmoid: take TanhOffset\(\) from the"),
    ],
)
def test_outputs_that_a_loss_cannot_teach_are_refused(outputs, output, loss, message):
    with pytest.raises(ValueError, match=message):
        nl.Trainer(nl.mlp([3, outputs], output=output, device="numpy"), loss)


def test_a_loss_with_a_constructor_of_its_own(data):
    """Before the activation of its link it keeps what it was made with; a formula of its own sees what it expects."""

    class Named(nl.CategoricalCrossEntropy):
        def __init__(self, label):
            super().__init__(reduction="sum")
            self.label = label

    class Weighted(Named):
        def kernel(self, prediction, target, scale):
            assert not self.from_logits and float(prediction.sum(axis=1).max()) < 1.001
            losses, slope = super().kernel(prediction, target, scale)
            return 3 * losses, 3 * slope

    x, y = data[0], (data[1][:, 0] > 0).astype(int)
    plain, named, weighted = (
        nl.Trainer(nl.mlp([3, 6, 2], output="softmax", device="numpy", dtype="float64"), each, replay="eager")
        for each in (nl.CategoricalCrossEntropy(reduction="sum"), Named("a"), Weighted("b"))
    )
    assert named.loss.label == "a" and named.loss.from_logits and named.depth == plain.depth
    assert named.evaluate(x, y) == plain.evaluate(x, y)
    assert weighted.evaluate(x, y)["loss"] == pytest.approx(3 * plain.evaluate(x, y)["loss"], rel=1e-9)
    weighted.fit(x, y, epochs=2, progress=False)


def test_a_terminal_that_is_gone_does_not_stop_training(data, monkeypatch):
    class Gone:
        encoding = "utf-8"

        def write(self, text):
            raise BrokenPipeError(32, "Broken pipe")

        def flush(self):
            raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr("sys.stderr", Gone())
    history = make().fit(*data, epochs=3, progress=True)
    assert len(history["loss"]) == 3


# ---- which loss follows which activation --------------------------------------------------------------------------


def ends_in(output, loss, outputs=3, device="numpy"):
    return nl.Trainer(nl.mlp([2, outputs], output=output, device=device), loss)


@pytest.mark.parametrize("loss", ["cce", "kl", "categorical_focal"])
@pytest.mark.parametrize("output", ["softmax", "log_softmax"])
def test_losses_on_classes_are_computed_from_logits(loss, output):
    trainer = ends_in(output, loss)
    assert trainer.depth == 1 and trainer.loss.from_logits
    x = np.random.default_rng(0).standard_normal((5, 2)).astype(np.float32)
    predicted = trainer.loss.on(trainer.network.ops).predictions(trainer.network.propagate(x, 1))
    np.testing.assert_allclose(predicted, trainer.network.predict(x), rtol=1e-6)  # metrics get what predict gives


@pytest.mark.parametrize(
    ("loss", "output"), [("binary_focal", "sigmoid"), (nl.Poisson(log_input=False), "exponential")]
)
def test_other_losses_are_computed_from_logits(loss, output):
    trainer = ends_in(output, loss)
    assert trainer.depth == 1 and trainer.loss.from_logits


def test_logarithms_of_probabilities_are_trained_as_pytorch_trains_them(device, rng):
    """LogSoftmax and NLLLoss there, LogSoftmax and cce here; and CrossEntropyLoss, which makes no difference."""
    torch = pytest.importorskip("torch")
    x, y = rng.standard_normal((12, 3)), rng.integers(0, 4, 12)
    for loss in ("cce", nl.CategoricalCrossEntropy(from_logits=True)):
        net = nl.mlp([3, 4], output="log_softmax", device=device, dtype="float64")
        twin = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.LogSoftmax(1)).double()
        with torch.no_grad():
            twin[0].weight.copy_(torch.tensor(net.state_dict()["0.W"].T))
            twin[0].bias.zero_()
        optimizer = torch.optim.SGD(twin.parameters(), lr=0.5)
        for _ in range(5):
            optimizer.zero_grad()
            torch.nn.functional.nll_loss(twin(torch.tensor(x)), torch.tensor(y)).backward()
            optimizer.step()
        trainer = nl.Trainer(net, loss, nl.SGD(lr=0.5))
        trainer.fit(x, y, epochs=5, batch_size=12, progress=False)
        np.testing.assert_allclose(net.state_dict()["0.W"], twin[0].weight.detach().numpy().T, rtol=1e-10)
        np.testing.assert_allclose(net.predict(x), twin(torch.tensor(x)).detach().numpy(), rtol=1e-9)


@pytest.mark.parametrize(
    ("output", "loss", "told"),
    [
        ("sigmoid", "hinge", r"Hinge expects values around 0, but the network ends in Sigmoid\(\)"),
        ("relu", "squared_hinge", r"SquaredHinge expects values around 0, but the network ends in ReLU\(\)"),
        ("softplus", "poisson", r"Poisson\(log_input=True\) expects values before the Exponential: take Softplus\(\)"),
        ("exponential", "poisson", r"Poisson\(log_input=True\) has Exponential inside: take it from the network's end"),
        (
            "gelu",
            nl.Poisson(log_input=False),
            r"expects rates.*ends in GELU\(\): end it in Exponential\(\), or take log_in",
        ),
        (
            "leaky_relu",
            "bce",
            r"expects probabilities, but the network ends in LeakyReLU\(\): end it in Sigmoid\(\)",
        ),
        ("hard_sigmoid", "cce", r"expects probabilities that sum to 1, but the network ends in HardSigmoid\(\)"),
        ("log_softmax", "bce", r"expects probabilities, but the network ends in LogSoftmax\(\)"),
        ("hard_sigmoid", nl.BinaryCrossEntropy(True), r"expects values before the Sigmoid: take HardSigmoid\(\)"),
        ("identity", "kl", r"KLDivergence expects probabilities, but the network ends in Dense"),
    ],
)
def test_a_loss_that_does_not_fit_the_end_is_refused(output, loss, told):
    with pytest.raises(ValueError, match=told):
        ends_in(output, loss)


def test_losses_that_fit_the_end():
    for output, loss in (
        ("hard_sigmoid", "bce"),
        ("tanh_offset", "binary_focal"),
        ("softplus", nl.Poisson(log_input=False)),
        ("relu", nl.Poisson(log_input=False)),
        ("identity", "poisson"),
        ("tanh", "hinge"),
        ("hard_tanh", "squared_hinge"),
        ("sine", "huber"),
    ):
        assert ends_in(output, loss).depth == (1 if output == "identity" else 2)


def test_sides_and_counts_are_checked_as_targets(device, rng):
    x = rng.standard_normal((6, 2))
    hinge, poisson = ends_in("identity", "hinge", 1, device), ends_in("identity", "poisson", 1, device)
    with pytest.raises(
        ValueError, match=r"y has \[0\] in row 1, where −1 or \+1 is expected; from 0 and 1, 2 \* y - 1"
    ):
        hinge.fit(x, np.array([1, 0, 1, 1, 0, 1]), progress=False)
    with pytest.raises(ValueError, match=r"y has \[-1\] in row 2, below 0, which a count is not"):
        poisson.fit(x, np.array([0, 3, -1, 2, 1, 0]), progress=False)


def test_sides_are_learnt_and_counted(device):
    x, y = nl.datasets.blobs(n=90, classes=3, seed=1)
    trainer = nl.Trainer(nl.mlp([2, 3], device=device), "hinge", nl.SGD(lr=0.1), ["accuracy"])
    trainer.fit(x, y, epochs=40, progress=False)  # labels: one class against all others
    outputs = trainer.network.predict(x)
    right = (outputs > 0) == (np.eye(3)[y] > 0)
    assert trainer.evaluate(x, y)["accuracy"] == pytest.approx(right.mean()) and right.mean() > 0.8


def test_metrics_of_the_logarithms_of_rates_are_of_rates(device, rng):
    x, y = rng.standard_normal((30, 2)), rng.poisson(3, (30, 1))
    trainer = nl.Trainer(nl.mlp([2, 1], device=device, dtype="float64"), "poisson", metrics=["mae"])
    expected = np.abs(np.exp(trainer.network.predict(x)) - y).mean()
    assert trainer.evaluate(x, y)["mae"] == pytest.approx(expected, rel=1e-12)


# ---- targets that were not measured --------------------------------------------------------------------------------


def some_unknown(rng, rows=24):
    """x (rows, 3), y (rows, 2), some of which were not measured."""
    x, y = rng.standard_normal((rows, 3)), rng.standard_normal((rows, 2))
    y[rng.uniform(size=y.shape) < 0.4] = np.nan
    return x, y


def test_a_step_with_unknown_targets_equals_pytorchs(device, rng):
    """The mean of each batch is over what was measured in it. Rows of which nothing was measured are in no batch."""
    torch = pytest.importorskip("torch")
    x, y = some_unknown(rng)
    y[8:14] = np.nan
    net = nl.mlp([3, 2], device=device, dtype="float64")
    twin = torch.nn.Linear(3, 2).double()
    with torch.no_grad():
        twin.weight.copy_(torch.tensor(net.state_dict()["0.W"].T))
        twin.bias.zero_()
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.1)
    measured = np.flatnonzero(~np.isnan(y).all(axis=1))
    assert 8 < len(measured) <= 18
    for _ in range(2):
        for start in range(0, len(measured), 8):
            rows = measured[start : start + 8]
            known = torch.tensor(~np.isnan(y[rows]))
            optimizer.zero_grad()
            torch.nn.functional.huber_loss(twin(torch.tensor(x[rows]))[known], torch.tensor(y[rows])[known]).backward()
            optimizer.step()
    trainer = nl.Trainer(net, nl.Huber(ignore_nan=True), nl.SGD(lr=0.1))
    trainer.fit(x, y, epochs=2, batch_size=8, shuffle=False, progress=False)
    assert trainer.tape is not None
    np.testing.assert_allclose(net.state_dict()["0.W"], twin.weight.detach().numpy().T, rtol=1e-10)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_evaluations_are_means_over_what_is_known(reduction, device, rng):
    x, y = some_unknown(rng, 70)
    loss, metrics = nl.MSE(reduction, ignore_nan=True), ["mae", "rmse", "r2"]
    trainer = nl.Trainer(nl.mlp([3, 2], device=device, dtype="float64"), loss, metrics=metrics)
    known, p = ~np.isnan(y), trainer.network.predict(x)
    e = (p - y)[known]
    spread = np.nanmean((y - np.nanmean(y, axis=0)) ** 2, axis=0)
    expected = {"loss": (e**2).mean() * (2 if reduction == "sum" else 1), "mae": np.abs(e).mean()}
    expected |= {"rmse": np.sqrt((e**2).mean()), "r2": 1 - (np.nanmean((p - y) ** 2, axis=0) / spread).mean()}
    for size in (None, 9):
        assert trainer.evaluate(x, y, batch_size=size) == pytest.approx(expected, rel=1e-11)
    history = trainer.fit(x, y, epochs=1, batch_size=7, validation_data=(x, y), progress=False)
    assert np.isfinite(history["loss"] + history["val_r2"]).all()
    before = trainer.evaluate(x, y)["loss"] * (known.sum() / 2 if reduction == "sum" else 1)
    assert trainer.step(x, y) == pytest.approx(before, rel=1e-11)


def test_labels_that_are_not_known(device, rng):
    x, y = rng.standard_normal((20, 3)), rng.integers(0, 3, 20).astype(float)
    y[::3] = np.nan
    net = nl.mlp([3, 3], output="softmax", device=device, dtype="float64")
    trainer = nl.Trainer(net, nl.CategoricalCrossEntropy(ignore_nan=True), metrics=["accuracy"])
    known = ~np.isnan(y)
    plain = nl.Trainer(net.copy(), "cce", metrics=["accuracy"])
    assert trainer.evaluate(x, y) == pytest.approx(plain.evaluate(x[known], y[known].astype(int)), rel=1e-12)
    with pytest.raises(ValueError, match="y has the label nan in row 0"):
        plain.fit(x, y, progress=False)
    with pytest.raises(ValueError, match="y has no number that was measured"):
        trainer.fit(x, y * np.nan, progress=False)


# ---- names from elsewhere ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", nl.elsewhere.FIT)
def test_arguments_from_elsewhere_are_answered(name, data):
    with pytest.raises(TypeError, match=f"^fit has no argument {name}: "):
        make().fit(*data, **{name: 1})


@pytest.mark.parametrize("name", nl.elsewhere.EVALUATE)
def test_arguments_of_evaluate_from_elsewhere_are_answered(name, data):
    with pytest.raises(TypeError, match=f"^evaluate has no argument {name}: "):
        make().evaluate(*data, **{name: 1})


def test_other_arguments_are_refused_as_usual(data):
    with pytest.raises(TypeError, match="unexpected keyword argument 'zap'"):
        make().fit(*data, zap=1)


# ---- what is one's own and does not fit ------------------------------------------------------------------------------


def test_a_layer_that_computes_with_numpy_is_told_what_to_do():
    class Own(nl.Layer):
        def __init__(self, outside):
            super().__init__()
            self.outside = outside

        def forward(self, x):
            return np.multiply(x, 2.0) if self.outside else x * 2.0

        def backward(self, dy):
            return dy * 2.0

    for outside, said in ((True, "np.multiply computes with y"), (False, "a Symbol stands for an array")):
        net = nl.Sequential(nl.Dense(2, 2), Own(outside), device="numpy")
        with pytest.warns(nl.EagerWarning, match=rf"Own cannot be recorded.*{said}.*one of your own \(nl\.kernel\)"):
            nl.Trainer(net, "mse").fit(np.ones((4, 2)), np.ones((4, 2)), progress=False)


def test_what_a_loss_and_a_layer_of_ones_own_lack_is_named():
    class Own(nl.Loss):
        def forward(self, prediction, target):
            return 0.0

    class Scale(nl.Layer):
        def __init__(self):
            self.shapes = {"g": (2,)}

    net = nl.Sequential(nl.Dense(2, 2), device="numpy")
    with pytest.raises(
        NotImplementedError, match=r"Own has no kernel: write kernel\(self, prediction, target, scale\)"
    ):
        nl.Trainer(net, Own()).fit(np.ones((4, 2)), np.ones((4, 2)), progress=False)
    with pytest.raises(AttributeError, match=r"Scale\.__init__ must call super\(\)\.__init__\(\) first"):
        nl.Sequential(nl.Dense(2, 2), Scale())


def test_single_steps_make_no_epochs():
    """A schedule by epochs would never go on."""
    for by, rates in (("epoch", [0.1, 0.1]), ("step", [0.1, 0.05])):
        trainer = nl.Trainer(nl.mlp([2, 1], device="numpy"), "mse", nl.SGD(nl.schedules.Exponential(0.1, 0.5, by=by)))
        seen = []
        for _ in rates:
            seen.append(trainer.optimizer.lr)
            told = pytest.warns(UserWarning, match=r'take by="step", or set trainer\.optimizer\.lr yourself')
            with told if by == "epoch" else contextlib.nullcontext():
                trainer.step(np.ones((4, 2)), np.ones((4, 1)))
        assert seen == rates


def test_a_trainers_loss_may_be_given_again():
    """Also to another trainer, though the last activation has been taken into it; with what has been set meanwhile."""
    first, second = (nl.mlp([2, 3, 2], output=output, device="numpy") for output in ("softmax", "softmax"))
    trainer = nl.Trainer(first, nl.CategoricalCrossEntropy(label_smoothing=0.25))
    trainer.loss.reduction = "sum"
    trainer.loss = trainer.loss
    for loss in (trainer.loss, nl.Trainer(second, trainer.loss).loss):
        assert loss.from_logits and repr(loss) == "CategoricalCrossEntropy(reduction='sum', label_smoothing=0.25)"
    with pytest.raises(ValueError, match="has Softmax inside"):
        nl.Trainer(second, nl.CategoricalCrossEntropy(from_logits=True))


@pytest.mark.parametrize("name", ["on", "attach", "state", "shapes"])
def test_names_that_a_layer_needs_for_itself_are_refused(name):
    class Own(nl.Layer):
        def __init__(self):
            super().__init__()
            setattr(self, name, [2.0])

    with pytest.raises((AttributeError, TypeError), match=rf"Own\.{name} is a (method of every layer|dict, name)"):
        Own()

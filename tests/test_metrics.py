"""Metrics: known values, sums over uneven batches, and scikit-learn as a second opinion."""

import numpy as np
import pytest

import nnlite as nl
from nnlite import metrics as metrics_module
from nnlite.metrics import METRICS, confusion_matrix


def test_against_scikit_learn(rng):
    metrics = pytest.importorskip("sklearn.metrics")
    p, t = rng.standard_normal((50, 3)), rng.standard_normal((50, 3))
    labels = rng.integers(0, 3, 50)
    assert METRICS["mae"]()(p, t) == pytest.approx(metrics.mean_absolute_error(t, p))
    assert METRICS["rmse"]()(p, t) == pytest.approx(np.sqrt(metrics.mean_squared_error(t, p)))
    assert METRICS["r2"]()(p, t) == pytest.approx(metrics.r2_score(t, p))
    assert METRICS["accuracy"]()(p, labels) == metrics.accuracy_score(labels, p.argmax(axis=1))
    np.testing.assert_array_equal(confusion_matrix(p, labels), metrics.confusion_matrix(labels, p.argmax(axis=1)))


@pytest.mark.parametrize("name", [name for name, kind in METRICS.items() if kind().has_sums])
def test_shares_of_batches_add_up(name, rng):
    metric = METRICS[name]()
    p, t = rng.uniform(0, 1, (23, 2)), rng.uniform(0, 1, (23, 2)) + 5
    t = np.eye(2)[rng.integers(0, 2, 23)] if isinstance(metric, nl.metrics.AnswerMetric) else t
    sums = np.zeros(metric.shape(2))
    for a, b in ((0, 9), (9, 18), (18, 23)):
        metric.add(metrics_module.HOST.ops, p[a:b], t[a:b], sums)
    assert metric.value(sums) == pytest.approx(metric(p, t), rel=1e-12)


SMALL_SPREADS = {  # mean, standard deviation: Σ t² − (Σ t)² / N has no digit left of these
    "a million and 1": (1e6, 1),
    "a year and its thousandth": (2020, 1e-3),
    "seconds since 1970": (1.7e9, 1),
    "a thousand and its millionth": (1e3, 1e-3),
    "far below zero": (-1e9, 1),
    "around zero": (0, 1e-3),
}


@pytest.mark.parametrize("cuts", [(), (1,), (1, 2, 3), (250,), (7, 8, 300, 499)])
@pytest.mark.parametrize(("mean", "deviation"), SMALL_SPREADS.values(), ids=SMALL_SPREADS)
def test_r2_where_the_spread_is_small_beside_the_mean(mean, deviation, cuts, device, rng):
    """Batch by batch, sorted so that no batch is like another, and after the sums were set to zero."""
    r2_score = pytest.importorskip("sklearn.metrics").r2_score
    t = np.sort(mean + deviation * rng.standard_normal((500, 3)) * [1, 2, 3], axis=0)
    p = t + 0.1 * deviation * rng.standard_normal(t.shape)
    where, metric = nl.get_device(device), METRICS["r2"]()
    sums = where.zeros(metric.shape(3), np.float64)
    for _ in range(2):
        sums[...] = 0
        parts = [(where.asarray(p[a:b]), where.asarray(t[a:b])) for a, b in zip([0, *cuts], [*cuts, 500])]
        for part in parts:
            metric.add(where.ops, *part, sums)
    assert metric.value(where.to_numpy(sums)) == pytest.approx(r2_score(t, p), rel=1e-9)


@pytest.mark.parametrize("cuts", [(), (3,), (1, 2, 3, 4), (6, 8)])
def test_r2_where_the_first_targets_were_not_measured(cuts, device, rng):
    """Each output begins with another row; the mean is large, so that a wrong first target would cost all digits."""
    r2_score = pytest.importorskip("sklearn.metrics").r2_score
    p, t = rng.standard_normal((2, 12, 3)) + 1e9
    t[:5, 0] = t[0, 1] = t[6:, 2] = np.nan
    where, metric = nl.get_device(device), METRICS["r2"]()
    sums = where.zeros(metric.shape(3), np.float64)
    for a, b in zip([0, *cuts], [*cuts, 12]):
        metric.add(where.ops, where.asarray(p[a:b]), where.asarray(t[a:b]), sums)
    known = ~np.isnan(t)
    expected = [r2_score(t[known[:, k], k], p[known[:, k], k]) for k in range(3)]
    assert metric.value(where.to_numpy(sums)) == pytest.approx(np.mean(expected), rel=1e-9)


@pytest.mark.parametrize(("mean", "deviation"), SMALL_SPREADS.values(), ids=SMALL_SPREADS)
def test_r2_of_chunks_is_r2_of_the_whole(mean, deviation, rng):
    r2_score = pytest.importorskip("sklearn.metrics").r2_score
    t = np.sort(mean + deviation * rng.standard_normal((60, 2)), axis=0)
    p = t + 0.3 * deviation * rng.standard_normal(t.shape)
    metric = METRICS["r2"]()
    total = np.zeros(metric.shape(2))
    for a, b in ((0, 1), (1, 20), (20, 20), (20, 60)):
        sums = np.zeros(metric.shape(2))
        if a < b:
            metric.add(metrics_module.HOST.ops, p[a:b], t[a:b], sums)
        total = metric.merge(total, sums)
    assert metric.value(total) == pytest.approx(r2_score(t, p), rel=1e-9)


@pytest.mark.parametrize("source", ["arrays", "chunks"])
@pytest.mark.filterwarnings("ignore::nnlite.ScaleWarning")
def test_r2_of_a_small_spread_in_training(source, device, rng):
    """The last epoch's, of a network in float64 that moves too little to be another one by the end of it."""
    r2_score = pytest.importorskip("sklearn.metrics").r2_score
    x = np.sort(rng.standard_normal((90, 1)), axis=0)
    y = 2020 + 1e-3 * (x + 0.3 * rng.standard_normal(x.shape))
    net = nl.Sequential(nl.Dense(1, 1), device=device, dtype="float64")
    net.load_state_dict({"0.W": [[1e-3]], "0.b": [2020.0]})
    trainer = nl.Trainer(net, "mse", nl.SGD(lr=1e-12), metrics=["r2"])
    arguments = (x, y) if source == "arrays" else ([(x[:50], y[:50]), (x[50:], y[50:])],)
    history = trainer.fit(*arguments, epochs=3, batch_size=20, progress=False)
    expected = r2_score(y, net.predict(x))
    assert 0.5 < expected < 0.99
    np.testing.assert_allclose(history["r2"], expected, rtol=1e-6)
    assert trainer.evaluate(x, y, batch_size=7)["r2"] == pytest.approx(expected, rel=1e-6)


def test_squares_of_large_float32_errors_do_not_overflow(device):
    where = nl.get_device(device)
    p, t = np.array([[3e20], [1.0]], np.float32), np.array([[0.0], [1.0]], np.float32)
    for name, expected in (("rmse", 3e20 / np.sqrt(2)), ("r2", 1 - 9e40 / 0.5)):
        metric = METRICS[name]()
        sums = where.zeros(metric.shape(1), np.float64)
        metric.add(where.ops, where.asarray(p), where.asarray(t), sums)
        assert metric.value(where.to_numpy(sums)) == pytest.approx(expected, rel=1e-6)


def test_r2_of_a_constant_target():
    r2 = METRICS["r2"]()
    assert r2([[1.0], [1.0]], [[1.0], [1.0]]) == 1
    assert r2([[1.0], [2.0]], [[1.0], [1.0]]) == 0
    assert r2([[2.0], [2.0]], [[1.0], [3.0]]) == 0


@pytest.mark.parametrize("name", ["r2", "explained_variance"])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_target_that_never_changes_has_no_spread_at_all(name, weighted, rng):
    target = np.full((10, 1), 0.6)  # whose mean is rounded
    weight = rng.random(10) if weighted else None
    weight_of_first_rows = None if weight is None else np.where(np.arange(10) < 3, 0, weight)
    for each in (weight, weight_of_first_rows):
        assert METRICS[name]().measure(rng.standard_normal((10, 1)), target, each) == 0
        assert METRICS[name]().measure(target, target, each) == 1


def test_one_output_counts_by_its_side_of_a_half():
    assert METRICS["accuracy"]()([0.9, 0.2, 0.6], [1, 0, 0]) == pytest.approx(2 / 3)
    np.testing.assert_array_equal(confusion_matrix([[0.9], [0.2], [0.6]], [1, 0, 0]), [[1, 1], [0, 1]])
    np.testing.assert_array_equal(confusion_matrix([0, 1, 2, 2, 1], [0, 1, 1, 2, 1]), [[1, 0, 0], [0, 2, 1], [0, 0, 1]])
    np.testing.assert_array_equal(confusion_matrix([0, 1, 1], [0, 1, 0]), [[1, 1], [0, 1]])


def multi_label(rng, n=200, outputs=3):
    x = rng.standard_normal((n, outputs))
    return x, (x > 0) * 1.0


def passes_on(outputs, activation, device="numpy", scale=50.0):
    """A network whose outputs are its inputs, times a scale, through an activation."""
    layers = [nl.Dense(outputs, outputs), *([] if activation is None else [activation()])]
    net = nl.Sequential(*layers, device=device)
    net.load_state_dict({"0.W": scale * np.eye(outputs), "0.b": np.zeros(outputs)})
    return net


def test_accuracy_of_several_yes_or_no_counts_each(device, rng):
    metrics = pytest.importorskip("sklearn.metrics")
    x, y = multi_label(rng)
    trainer = nl.Trainer(passes_on(3, nl.Sigmoid, device), "bce", nl.SGD(lr=1e-9), metrics=["accuracy"])
    assert trainer.evaluate(x, y)["accuracy"] == 1
    assert trainer.fit(x, y, progress=False)["accuracy"] == [1]
    wrong = y.copy()
    wrong[:50, 1] = 1 - wrong[:50, 1]
    expected = metrics.accuracy_score(wrong.ravel(), (x > 0).ravel())
    assert trainer.evaluate(x, wrong)["accuracy"] == pytest.approx(expected) == pytest.approx(1 - 50 / 600)
    assert METRICS["accuracy"]()(trainer.network.predict(x), wrong) == pytest.approx(expected)
    with pytest.raises(ValueError, match=r"take one matrix for each output k: confusion_matrix\(prediction\[:, k\]"):
        confusion_matrix(trainer.network.predict(x), wrong)


@pytest.mark.parametrize("loss", ["mse", "mae", "half_mse"])
@pytest.mark.parametrize("activation", [nl.Sigmoid, nl.Softmax, nl.TanhOffset, None])
def test_accuracy_of_classes_under_losses_for_numbers(activation, loss, rng):
    """As crysx_nn trains: one-hot rows, or a single 0 or 1, under the mean squared error."""
    x = rng.standard_normal((100, 4))
    labels = x.argmax(axis=1)
    net = passes_on(4, activation, scale=1.0)
    trainer = nl.Trainer(net, loss, metrics=["accuracy"])
    flipped = np.where(np.arange(100) < 25, (labels + 1) % 4, labels)
    for y in (flipped, np.eye(4)[flipped], 2 * np.eye(4)[flipped] - 1, 0.1 + 0.8 * np.eye(4)[flipped]):
        assert trainer.evaluate(x, y)["accuracy"] == 0.75
    one = nl.Trainer(passes_on(1, nl.Sigmoid), loss, metrics=["accuracy"])
    assert one.evaluate(x[:, :1], x[:, 0] > 0)["accuracy"] == 1


@pytest.mark.parametrize("activation", [nl.Tanh, None])
def test_accuracy_of_minus_one_and_one_goes_by_the_sign(activation, device, rng):
    x = rng.uniform(-0.4, 0.4, (60, 1))  # nothing is above ½
    y = np.sign(x)
    trainer = nl.Trainer(passes_on(1, activation, device, scale=1.0), "mse", metrics=["accuracy"])
    assert trainer.evaluate(x, y, batch_size=7)["accuracy"] == 1
    assert METRICS["accuracy"]()(x, y) == 1
    np.testing.assert_array_equal(confusion_matrix(x, y), np.diag([(x <= 0).sum(), (x > 0).sum()]))
    y[:15] *= -1
    assert trainer.evaluate(x, y)["accuracy"] == 0.75


def test_accuracy_by_its_kind(rng):
    x, y = multi_label(rng)
    net = passes_on(3, nl.Tanh, scale=0.4)
    each = nl.Trainer(net, "mse", metrics=[nl.metrics.Accuracy("each")])
    assert each.evaluate(x, 2 * y - 1)["accuracy"] == 1
    one_hot = np.eye(3)[x.argmax(axis=1)]
    for_class = nl.Trainer(passes_on(3, nl.Sigmoid), "bce", metrics=[nl.metrics.Accuracy("class")])
    assert for_class.evaluate(x, one_hot)["accuracy"] > 0.8
    with pytest.raises(ValueError, match="y has rows with several classes or none, but accuracy takes the largest"):
        for_class.evaluate(x, y)
    with pytest.raises(ValueError, match="kind='all' is not known; choose one of 'class', 'each'"):
        nl.metrics.Accuracy("all")
    single = nl.Trainer(passes_on(1, nl.Sigmoid), "mse", metrics=[nl.metrics.Accuracy("class")])
    assert single.evaluate(x[:, :1], 1 - y[:, 0])["accuracy"] == 0  # one output is a class too: not always right


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (lambda y: y[:, :1], r"accuracy counts yes-or-no targets, 0 and 1 or −1 and \+1, but y has .*'r2', 'rmse' or"),
        (lambda y: y, r"accuracy counts labels or one-hot rows, but y has the row \[.*take the metrics 'r2', 'rmse'"),
        (lambda y: np.arange(40) % 3.0, "accuracy counts yes-or-no targets.*but y has 2;"),
        (
            lambda y: (y > 0) * 1.0,
            r'largest output for the class: count each output by nl.metrics.Accuracy\(kind="each"\)',
        ),
        (lambda y: np.full((40, 1), 7.0), "accuracy counts yes-or-no targets.*but y has 7;"),
    ],
)
def test_accuracy_of_numbers_is_refused(y, message, rng):
    x = rng.standard_normal((40, 3))
    target = y(rng.standard_normal((40, 3)))
    outputs = 1 if target.ndim == 1 else target.shape[1]
    trainer = nl.Trainer(nl.mlp([3, outputs], device="numpy"), "mse", metrics=["accuracy"])
    for call in (trainer.evaluate, lambda x, y: trainer.fit(x, y, progress=False), trainer.step):
        with pytest.raises(ValueError, match=message):
            call(x, target)
    if outputs == 1:
        for call in (METRICS["accuracy"](), confusion_matrix):
            with pytest.raises(ValueError, match="target has"):
                call(np.zeros((40, 1)), target)


def test_logits_are_told_or_refused(rng):
    metrics = pytest.importorskip("sklearn.metrics")
    z = rng.standard_normal(50)
    labels = z + 0.5 * rng.standard_normal(50) > 0
    expected = metrics.accuracy_score(labels, z > 0)
    for call in (METRICS["accuracy"](), confusion_matrix):
        with pytest.raises(ValueError, match=r"prediction has values outside 0 … 1, which .* from_logits=True"):
            call(z, labels)
    assert nl.metrics.Accuracy(from_logits=True)(z, labels) == pytest.approx(expected)
    np.testing.assert_array_equal(
        confusion_matrix(z, labels, from_logits=True), metrics.confusion_matrix(labels, z > 0)
    )
    net = passes_on(1, None, scale=1.0)
    trainer = nl.Trainer(net, nl.BinaryCrossEntropy(from_logits=True), metrics=["accuracy"])
    given = nl.Trainer(net, nl.BinaryCrossEntropy(from_logits=True), metrics=[nl.metrics.Accuracy(from_logits=True)])
    for each in (trainer, given):
        assert each.evaluate(z[:, None], labels)["accuracy"] == pytest.approx(expected)


def test_names_are_columns_of_the_history_each_its_own():
    class Named(nl.Metric):
        def __init__(self, name):
            self.name = name

    net = nl.mlp([2, 1], device="numpy")
    for name in ("loss", "val_mae", None):
        with pytest.raises(ValueError, match=r"metrics\[1\] has the name .*give it another `name`"):
            nl.Trainer(net, metrics=["mae", Named(name)])
    for twice in (["mae", "mae"], ["mae", Named("mae")]):
        with pytest.raises(ValueError, match="metrics has 'mae' twice; give one of them another `name`"):
            nl.Trainer(net, metrics=twice)


def test_what_does_not_fit():
    with pytest.raises(ValueError, match=r"target has shape \(2,\), but there are 3 rows"):
        METRICS["accuracy"]()(np.zeros((3, 2)), [0, 1])
    with pytest.raises(ValueError, match="target has the label 2 in row 1"):
        confusion_matrix(np.zeros((2, 2)), [0, 2])


def test_a_new_metric_is_add_and_value(rng):
    class WorstError(nl.Metric):
        name = "bias"

        def add(self, ops, prediction, target, sums):
            sums += (prediction - target).sum(), prediction.size

    x, y = rng.standard_normal((10, 2)), rng.standard_normal((10, 1))
    trainer = nl.Trainer(nl.mlp([2, 1], device="numpy"), metrics=[WorstError()])
    assert trainer.evaluate(x, y)["bias"] == pytest.approx((trainer.network.predict(x) - y).mean(), rel=1e-5)


def test_targets_that_were_not_measured_do_not_count(rng):
    p, t = rng.standard_normal((30, 2)), rng.standard_normal((30, 2))
    t[5:12, 0] = t[3, 1] = np.nan
    known = ~np.isnan(t)
    for kind in (nl.metrics.MeanAbsoluteError, nl.metrics.RootMeanSquaredError):
        expected = kind()(p[known], t[known])
        assert kind(ignore_nan=True)(p, t) == pytest.approx(expected, rel=1e-13)
    expected = np.mean([nl.metrics.R2()(p[known[:, k], k], t[known[:, k], k]) for k in (0, 1)])
    assert nl.metrics.R2(ignore_nan=True)(p, t) == pytest.approx(expected, rel=1e-12)
    labels = np.array([0, np.nan, 1])
    assert nl.metrics.Accuracy(ignore_nan=True)([[0.9, 0.1], [0.2, 0.8], [0.8, 0.2]], labels) == 0.5
    assert nl.metrics.Accuracy(ignore_nan=True)([0.9, 0.2, 0.8], labels) == 0.5
    with pytest.raises(ValueError, match="target contains NaN at row 3, column 1"):
        nl.metrics.MeanAbsoluteError()(p, t)


def test_a_function_gets_the_weights_of_the_rows_that_were_measured():
    """Also by ** in its signature. Rows of which a target is missing are left out, with their weights."""
    seen = []

    def by_name(y, prediction, sample_weight=None):
        seen.append((y.tolist(), prediction.tolist(), sample_weight))
        return 0.0

    def by_stars(y, prediction, **options):
        return by_name(y, prediction, **options)

    prediction, target = np.array([[1.0, 2], [3, 4], [5, 6]]), np.array([[1.0, 0], [np.nan, 1], [0, 1]])
    for function in (by_name, by_stars):
        metric = nl.metrics.metric(function)
        assert metric.takes_weights
        metric.measure(prediction, target, np.array([1.0, 2, 3]))
        y, answers, weight = seen.pop()
        assert (y, answers, weight.tolist()) == ([[1, 0], [0, 1]], [[1, 2], [5, 6]], [1, 3])
    assert not nl.metrics.metric(lambda y, prediction: 0.0).takes_weights


@pytest.mark.parametrize("batch_size", [1, 4, 9])
def test_an_output_of_which_nothing_was_measured_does_not_count(batch_size, device, rng):
    x, y = rng.standard_normal((9, 3)), rng.standard_normal((9, 2))
    y[:, 1] = np.nan
    net = nl.mlp([3, 2], device=device, dtype="float64", seed=1)
    trainer = nl.Trainer(net, nl.MSE(ignore_nan=True), nl.SGD(1e-9), metrics=["r2", "explained_variance"])
    found = trainer.evaluate(x, y, batch_size=batch_size)
    p = net.predict(x)
    error = y[:, 0] - p[:, 0]
    assert found["r2"] == pytest.approx(1 - (error**2).mean() / y[:, 0].var())
    assert found["explained_variance"] == pytest.approx(1 - error.var() / y[:, 0].var())
    assert nl.metrics.R2(ignore_nan=True)(p, y) == pytest.approx(found["r2"])
    history = trainer.fit(x, y, batch_size=batch_size, validation_data=(x, y), progress=False)
    assert history["r2"] == pytest.approx([found["r2"]], rel=1e-6) == history["val_r2"]

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


@pytest.mark.parametrize("name", METRICS)
def test_shares_of_batches_add_up(name, rng):
    metric = METRICS[name]()
    p, t = rng.uniform(0, 1, (23, 2)), rng.uniform(0, 1, (23, 2)) + 5
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
    bounds = (0, *cuts, 500)
    for _ in range(2):
        sums[...] = 0
        parts = [(where.asarray(p[a:b]), where.asarray(t[a:b])) for a, b in zip(bounds, bounds[1:])]
        for part in parts:
            metric.add(where.ops, *part, sums)
    assert metric.value(where.to_numpy(sums)) == pytest.approx(r2_score(t, p), rel=1e-9)


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


def test_one_output_counts_by_its_side_of_a_half():
    assert METRICS["accuracy"]()([0.9, 0.2, 0.6], [1, 0, 0]) == pytest.approx(2 / 3)
    np.testing.assert_array_equal(confusion_matrix([[0.9], [0.2], [0.6]], [1, 0, 0]), [[1, 1], [0, 1]])


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

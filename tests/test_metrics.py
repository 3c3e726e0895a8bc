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

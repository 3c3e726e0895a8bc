"""Metrics of classes, of order, of probabilities and of numbers: equal to scikit-learn's, with and without weights."""

import functools

import numpy as np
import pytest
from helpers import on_threads

import nnlite as nl
from nnlite import metrics as ours

sk = pytest.importorskip("sklearn.metrics")


def problem(kind, rng, n=120):
    """Predictions with ties, and what scikit-learn takes: y, scores, answers."""
    if kind == "binary":
        y = rng.integers(0, 2, n)
        p = np.round(np.clip(0.3 * y + rng.uniform(0.05, 0.65, n), 0, 1), 2)
        return p[:, None], y, y, p, (p > 0.5).astype(int)
    if kind == "labels":
        p = np.round(rng.uniform(0, 1, (n, 3)), 2)
        y = rng.integers(0, 3, (n, 3))
        y = (y > 1).astype(float)
        return p, y, y, p, (p > 0.5).astype(int)
    y = rng.integers(0, 4, n)
    z = np.round(rng.standard_normal((n, 5)) + 1.5 * np.eye(5)[y], 1)  # class 4 has no rows
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    return p, y, y, p, p.argmax(axis=1)


def weights_or_none(weighted, rng, n=120):
    return rng.integers(0, 4, n) * 0.7 if weighted else None


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", ["binary", "labels", "classes"])
@pytest.mark.parametrize("average", ["macro", "micro", "weighted", None])
def test_counts_of_classes_equal_scikit_learn(average, kind, weighted, rng):
    p, t, y, _, answers = problem(kind, rng)
    w = weights_or_none(weighted, rng)
    named = {"average": "binary" if kind == "binary" else average, "sample_weight": w, "zero_division": 0}
    for metric, function in (
        (ours.Precision, sk.precision_score),
        (ours.Recall, sk.recall_score),
        (ours.F1, sk.f1_score),
    ):
        expected = function(
            y, answers, **named, **({"labels": range(5)} if (kind, average) == ("classes", None) else {})
        )
        np.testing.assert_allclose(metric(average)(p, t, w), expected, rtol=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
def test_specificity_and_balanced_accuracy_equal_scikit_learn(weighted, rng):
    p, t, y, _, answers = problem("binary", rng)
    w = weights_or_none(weighted, rng)
    assert ours.Specificity()(p, t, w) == pytest.approx(sk.recall_score(y, answers, pos_label=0, sample_weight=w))
    assert ours.BalancedAccuracy()(p, t, w) == pytest.approx(sk.balanced_accuracy_score(y, answers, sample_weight=w))
    p, t, y, _, answers = problem("classes", rng)
    expected = [sk.recall_score(y != k, answers != k, sample_weight=w) for k in range(5)]
    np.testing.assert_allclose(ours.Specificity(None)(p, t, w), expected, rtol=1e-12)
    seen = answers != 4  # scikit-learn warns of answers that are no class
    expected = sk.balanced_accuracy_score(y[seen], answers[seen], sample_weight=None if w is None else w[seen])
    assert ours.BalancedAccuracy()(p[seen], t[seen], None if w is None else w[seen]) == pytest.approx(expected)


@pytest.mark.parametrize("weighted", [False, True])
def test_order_of_rows_equals_scikit_learn(weighted, rng):
    w = weights_or_none(weighted, rng)
    p, t, y, scores, _ = problem("binary", rng)
    assert len(np.unique(scores)) < len(scores)  # there are ties
    assert ours.ROCAUC()(p, t, w) == pytest.approx(sk.roc_auc_score(y, scores, sample_weight=w), rel=1e-12)
    expected = sk.average_precision_score(y, scores, sample_weight=w)
    assert ours.AveragePrecision()(p, t, w) == pytest.approx(expected, rel=1e-12)
    two = np.column_stack([1 - scores, scores])  # two classes are measured by the second one
    assert ours.AveragePrecision()(two, y, w) == pytest.approx(expected, rel=1e-12)
    p, t, y, scores, _ = problem("labels", rng)
    assert ours.ROCAUC()(p, t, w) == pytest.approx(sk.roc_auc_score(y, scores, sample_weight=w), rel=1e-12)
    expected = sk.average_precision_score(y, scores, sample_weight=w)
    assert ours.AveragePrecision()(p, t, w) == pytest.approx(expected, rel=1e-12)
    p, t, y, _, _ = problem("classes", rng)
    p = p[:, :4] / p[:, :4].sum(axis=1, keepdims=True)
    expected = sk.roc_auc_score(y, p, multi_class="ovr", sample_weight=w)
    assert ours.ROCAUC()(p, t, w) == pytest.approx(expected, rel=1e-12)
    assert ours.AveragePrecision()(p, t, w) == pytest.approx(
        sk.average_precision_score(y, p, sample_weight=w), rel=1e-12
    )


def test_an_output_of_one_kind_says_nothing_about_order(rng):
    p, y = rng.uniform(size=(20, 3)), rng.integers(0, 2, 20)
    assert ours.ROCAUC()(p, y) == pytest.approx(np.mean([sk.roc_auc_score(y == k, p[:, k]) for k in (0, 1)]))
    assert np.isnan(ours.ROCAUC()(p[:, 0], np.ones(20)))


@pytest.mark.parametrize("weighted", [False, True])
def test_probabilities_equal_scikit_learn(weighted, rng):
    w = weights_or_none(weighted, rng)
    p, _, y, _, _ = problem("binary", rng)
    p[:4] = [[0.0], [1.0], [0.5], [0.0]]
    for given, q in ((p, p[:, 0]), (np.column_stack([1 - p[:, 0], p[:, 0]]),) * 2):
        assert ours.LogLoss()(given, y, w) == pytest.approx(sk.log_loss(y, q, sample_weight=w), rel=1e-12)
        assert ours.Brier()(given, y, w) == pytest.approx(sk.brier_score_loss(y, p[:, 0], sample_weight=w), rel=1e-12)
    p, _, y, _, _ = problem("classes", rng)
    expected = sk.log_loss(y, p, sample_weight=w, labels=range(5))
    assert ours.LogLoss()(p, y, w) == pytest.approx(expected, rel=1e-12)
    expected = np.average(np.square(p - np.eye(5)[y]).sum(axis=1), weights=w)
    assert ours.Brier()(p, y, w) == pytest.approx(expected, rel=1e-12)
    for k in (1, 2, 3):
        expected = sk.top_k_accuracy_score(y, p, k=k, sample_weight=w, labels=range(5))
        assert ours.TopKAccuracy(k)(p, y, w) == pytest.approx(expected, rel=1e-12)
    with pytest.raises(ValueError, match="prediction has values outside 0 … 1, which LogLoss expects"):
        ours.LogLoss()(3 * p, y)


@pytest.mark.parametrize("weighted", [False, True])
def test_numbers_equal_scikit_learn(weighted, rng):
    w = weights_or_none(weighted, rng)
    t = rng.standard_normal((120, 3))
    p = 0.3 + t + 0.5 * rng.standard_normal((120, 3))
    t[4, 1] = 0
    for metric, function in (
        (ours.MeanAbsoluteError, sk.mean_absolute_error),
        (ours.MeanAbsolutePercentageError, sk.mean_absolute_percentage_error),
        (ours.ExplainedVariance, sk.explained_variance_score),
        (ours.R2, sk.r2_score),
    ):
        assert metric()(p, t, w) == pytest.approx(function(t, p, sample_weight=w), rel=1e-12), metric
    expected = np.sqrt(sk.mean_squared_error(t, p, sample_weight=w))
    assert ours.RootMeanSquaredError()(p, t, w) == pytest.approx(expected, rel=1e-12)
    known = slice(None) if w is None else w > 0
    assert ours.MaxError()(p[:, 0], t[:, 0], w) == pytest.approx(sk.max_error(t[known, 0], p[known, 0]))
    assert ours.ExplainedVariance()(np.ones(4), np.ones(4)) == 1  # scikit-learn's conventions for a constant
    assert ours.ExplainedVariance()([1.0, 2.0], [1.0, 1.0]) == 0


def test_what_was_not_measured_does_not_count(rng):
    p, t = rng.uniform(0.1, 0.9, (60, 2)), rng.integers(0, 2, (60, 2)).astype(float)
    t[10:20, 0] = t[5, 1] = np.nan
    known = ~np.isnan(t)
    for kind in (ours.MeanAbsolutePercentageError, ours.MaxError):
        whole = np.where(t == 0, 1.0, t)
        assert kind(ignore_nan=True)(p, whole) == pytest.approx(kind()(p[known], whole[known]))
    net = nl.Sequential(nl.Dense(2, 2), nl.Sigmoid(), device="numpy", dtype="float64")
    net.load_state_dict({"0.W": np.eye(2), "0.b": np.zeros(2)})
    z = np.log(p / (1 - p))
    trainer = nl.Trainer(net, nl.BinaryCrossEntropy(ignore_nan=True), metrics=["recall", "roc_auc", "log_loss"])
    found = trainer.evaluate(z, t)
    of = [(t[known[:, k], k], p[known[:, k], k]) for k in (0, 1)]
    assert found["recall"] == pytest.approx(np.mean([sk.recall_score(y, q > 0.5) for y, q in of]))
    assert found["roc_auc"] == pytest.approx(np.mean([sk.roc_auc_score(y, q) for y, q in of]))
    assert found["log_loss"] == pytest.approx(found["loss"])
    weighted = trainer.evaluate(z, t, sample_weight=np.ones(60))
    assert all(weighted[name] == pytest.approx(found[name], rel=1e-12) for name in found)


def test_a_function_that_is_left_without_rows_is_named():
    """A row is left out if one of its targets was not measured: scikit-learn would speak of an array with 0 samples."""
    x, net = np.eye(3), nl.Sequential(nl.Dense(3, 3), device="numpy")
    metrics = ["mae", sk.median_absolute_error]
    trainer = nl.Trainer(net, nl.MSE(ignore_nan=True), metrics=metrics)
    with pytest.raises(ValueError, match="median_absolute_error is given the rows of which all targets were measured"):
        trainer.evaluate(x, np.where(x == 1, np.nan, x))


# ---- in a Trainer ---------------------------------------------------------------------------------------------------


def still(outputs, activation, device, dtype="float64"):
    """A network whose answers are its inputs, through an activation; a step does not move it by more than rounding."""
    net = nl.Sequential(nl.Dense(outputs, outputs), activation(), device=device, dtype=dtype)
    net.load_state_dict({"0.W": np.eye(outputs), "0.b": np.zeros(outputs)})
    return net, nl.SGD(lr=1e-15)


def my_hits(y, prediction):
    assert y.shape == (90,) and prediction.shape == (90, 3)
    return np.mean(y == prediction.argmax(axis=1))


ALL = ["accuracy", "balanced_accuracy", "precision", "recall", "f1", "specificity", "roc_auc", "average_precision"]
ALL += ["brier", "mae", "rmse", "r2", "max_error", "explained_variance"]


@pytest.mark.parametrize("source", ["arrays", "chunks", "eager"])
def test_training_and_evaluation_give_what_the_metrics_give(source, host, rng):
    """For every metric by name, a column for each class, and functions; in windows of several epochs, and shuffled."""
    x, y = rng.standard_normal((90, 3)), rng.integers(0, 3, 90)
    net, optimizer = still(3, nl.Softmax, host)
    functions = [my_hits, functools.partial(sk.log_loss, labels=range(3))]
    metrics = [*ALL, nl.metrics.TopKAccuracy(2), nl.metrics.F1(average=None), *functions]
    trainer = nl.Trainer(net, "cce", optimizer, metrics=metrics, replay="eager" if source == "eager" else "auto")
    data = (x, y) if source != "chunks" else ([(x[:50], y[:50]), (x[50:], y[50:])],)
    history = trainer.fit(*data, epochs=3, batch_size=20, progress=False, validation_data=(x, y))
    p = net.predict(x)
    expected = {name: nl.metrics.metric(name)(p, y) for name in ALL}
    expected |= {f"f1_{k}": value for k, value in enumerate(nl.metrics.F1(average=None)(p, y))}
    expected |= {"top_2_accuracy": nl.metrics.TopKAccuracy(2)(p, y), "my_hits": my_hits(y, p)}
    expected["log_loss"] = sk.log_loss(y, p)
    names = ["loss", *(name for each in trainer.metrics for name in each.names(trainer.network.outputs))]
    assert list(history) == [*names, *(f"val_{name}" for name in names)]
    for name, value in expected.items():
        for found in (history[name], history[f"val_{name}"], [trainer.evaluate(x, y, batch_size=7)[name]]):
            np.testing.assert_allclose(found, value, rtol=1e-9, err_msg=name)
    if source == "arrays":
        alone = nl.Trainer(net, "cce", optimizer, metrics=metrics)
        again = alone.fit(x, y, epochs=40, batch_size=90, progress=False)  # one window, one tape: rows used in place
        assert len(again["roc_auc"]) == 40
        np.testing.assert_allclose(again["roc_auc"], expected["roc_auc"], rtol=1e-9)


@pytest.mark.parametrize("rows", [100, 1024])  # of a batch: shared out by rows, and cut into tiles
def test_threads_write_down_all_predictions(rows, rng):
    x = rng.standard_normal((2 * rows + 100, 4))
    y = (x[:, :1] + x[:, 1:2] * rng.standard_normal(x[:, :1].shape) > 0) * 1.0
    w = rng.uniform(0, 2, len(x))
    found = []
    for place in ("numpy", on_threads()):
        net = nl.mlp([4, 16, 1], output="sigmoid", device=place, dtype="float64", threads=2, seed=0)
        trainer = nl.Trainer(net, "bce", nl.SGD(lr=0.5), metrics=["roc_auc", "recall"])
        found.append([trainer.fit(x, y, 3, rows, progress=False, sample_weight=w), trainer.plan()])
        found[-1].append(trainer.fit(x, y, 3, rows, progress=False))
    assert "2 threads" in found[1][1] and ("tiles" in found[1][1]) == (rows == 1024)
    for which in (0, 2):
        for name in found[0][which]:
            np.testing.assert_allclose(found[1][which][name], found[0][which][name], rtol=1e-9, err_msg=name)


def test_metrics_by_names_from_elsewhere_and_what_is_refused(rng):
    net = nl.mlp([2, 3], output="softmax", device="numpy")
    trainer = nl.Trainer(net, "cce", metrics=["acc", "auc", nl.metrics.Recall])
    assert [each.name for each in trainer.metrics] == ["accuracy", "roc_auc", "recall"]
    for metrics, message in (
        (["mse"], "it is the square of 'rmse'"),
        (["top_5_accuracy"], "top_5_accuracy of 3 outputs is always 1: choose k below their number"),
        ([nl.metrics.F1(None), nl.metrics.F1(None)], "metrics has 'f1_0' twice"),
    ):
        with pytest.raises(ValueError, match=message):
            nl.Trainer(net, "cce", metrics=metrics)
    with pytest.raises(ValueError, match="average='binary' is not known; choose one of 'macro'"):
        nl.metrics.F1("binary")
    with pytest.raises(
        ValueError, match=r"brier is about probabilities, which a network that ends in Tanh\(\) does not"
    ):
        nl.Trainer(nl.mlp([2, 1], output="tanh", device="numpy"), "mse", metrics=["brier"])
    trainer = nl.Trainer(nl.mlp([2, 1], device="numpy"), "mse", metrics=["f1"])
    with pytest.raises(ValueError, match=r"f1 counts yes-or-no targets, 0 and 1 or −1 and \+1, but y has"):
        trainer.evaluate(rng.standard_normal((9, 2)), rng.standard_normal(9))


def test_scores_of_minus_one_and_one_go_by_the_sign(host, rng):
    x = rng.uniform(-0.4, 0.4, (60, 1))  # nothing is above ½
    y = np.sign(x + rng.uniform(-0.2, 0.2, x.shape))
    net = nl.Sequential(nl.Dense(1, 1), device=host, dtype="float64")
    net.load_state_dict({"0.W": [[1.0]], "0.b": [0.0]})
    expected = sk.f1_score(y.ravel() > 0, x.ravel() > 0)
    for loss in ("mse", "hinge"):
        trainer = nl.Trainer(net, loss, nl.SGD(lr=1e-15), metrics=["f1", "specificity"])
        assert trainer.evaluate(x, y)["f1"] == pytest.approx(expected)
        assert trainer.fit(x, y, batch_size=7, progress=False)["f1"] == [pytest.approx(expected)]
    assert nl.metrics.F1()(x, y) == pytest.approx(expected)


def test_a_metric_is_one_formula_over_all_rows(rng):
    class Median(nl.Metric):
        name = "median"

        def measure(self, prediction, target, weight=None):
            return float(np.median(np.abs(prediction - target)))

    x, y = rng.standard_normal((31, 2)), rng.standard_normal((31, 1))
    trainer = nl.Trainer(nl.mlp([2, 1], device="numpy", dtype="float64"), metrics=[Median()])
    expected = np.median(np.abs(trainer.network.predict(x) - y))
    assert trainer.evaluate(x, y)["median"] == pytest.approx(expected)
    assert trainer.fit(x, y, batch_size=31, progress=False)["median"] == [pytest.approx(expected)]

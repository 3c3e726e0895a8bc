"""The number of epochs, the simplest models, and the pictures."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nnlite as nl
from nnlite.cli import report
from nnlite.datasets import Split
from nnlite.tables import baselines, learning, pictures
from nnlite.tables.learning import fit_until_best


def noisy(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A straight line with so much noise that a long training learns the noise."""
    rng = np.random.Generator(np.random.PCG64(seed))
    x = rng.normal(size=(rows, 10))
    return x, x[:, :1] + rng.normal(0, 2, (rows, 1))


def trainer(rate: float = 0.02) -> nl.Trainer:
    return nl.Trainer(nl.mlp([10, 40, 1], device="numpy", dtype="float64"), "mse", nl.Adam(rate))


def test_the_parameters_of_the_best_epoch_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning, "SMALL", 50)
    x, y = noisy(200)
    one = trainer()
    fit_until_best(one, x, y, most=100, batch_size=32)
    history = one.history
    best = int(np.argmin(history["val_loss"]))
    assert len(history["loss"]) == best + 1 + learning.PATIENCE < 100
    held = nl.datasets.split(x, y, learning.HELD, seed=0, stratify=False)
    assert one.evaluate(held.x_test, held.y_test)["loss"] == pytest.approx(history["val_loss"][best], rel=1e-12)


def test_few_rows_are_all_trained_on_for_the_epochs_that_cross_validation_finds() -> None:
    x, y = noisy(60)
    told: list[str] = []
    one, other = trainer(), trainer()
    fit_until_best(one, x, y, most=60, batch_size=16, tell=told.append)
    history, epochs = one.history, one.history.epochs
    assert told == ["cross-validation in 5 parts finds the best number of epochs", f"{epochs} epochs"]
    assert 1 <= epochs < 60 and len(history["val_loss"]) == epochs
    assert history["val_loss"][-1] == min(history["val_loss"])
    other.fit(x, y, epochs, 16, progress=False)
    np.testing.assert_array_equal(one.network.parameters, other.network.parameters)


def interrupted(trainer: nl.Trainer, epoch: int) -> None:
    if epoch == 8:
        raise KeyboardInterrupt


def test_an_interrupt_leaves_the_best_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning, "SMALL", 50)
    x, y = noisy(200)
    one = trainer()
    with pytest.raises(KeyboardInterrupt):
        fit_until_best(one, x, y, most=100, batch_size=32, callbacks=[interrupted])
    losses = one.history["val_loss"]
    assert len(losses) == 8 and int(np.argmin(losses)) < 7
    held = nl.datasets.split(x, y, learning.HELD, seed=0, stratify=False)
    loss = one.evaluate(held.x_test, held.y_test)["loss"]
    assert loss == pytest.approx(min(losses), rel=1e-12)


@pytest.mark.parametrize("small", [50, 2000], ids=["rows held back", "cross-validation"])
def test_a_training_that_was_stopped_goes_on(small: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning, "SMALL", small)
    x, y = noisy(100)
    whole, one, other = trainer(0.005), trainer(0.005), trainer(0.005)
    how: Any = {"most": 100, "batch_size": 32}
    fit_until_best(whole, x, y, **how)
    assert 8 < whole.history.epochs < 100
    path = tmp_path / "checkpoint.safetensors"
    with pytest.raises(KeyboardInterrupt):
        fit_until_best(one, x, y, **how, callbacks=[interrupted, nl.Checkpoint(path)])
    other.resume(path)
    told: list[str] = []
    fit_until_best(other, x, y, **how, tell=told.append)
    assert not told, "cross-validation is not repeated"
    assert other.history == whole.history
    np.testing.assert_array_equal(other.network.parameters, whole.network.parameters)


def test_a_later_fit_adds_to_the_history() -> None:
    x, y = noisy(60)
    one = trainer()
    one.fit(x, y, 3, progress=False)
    fit_until_best(one, x, y, most=20, batch_size=16)
    losses = one.history["val_loss"]
    assert len(losses) == one.history.epochs > 3
    assert np.isnan(losses[:3]).all() and losses[-1] == min(losses[3:])


def test_every_rank_cross_validates_alone() -> None:
    x, y = noisy(60)
    one, ranks = trainer(), threading.Lock()  # like ranks, it cannot be copied
    one.ranks = ranks  # type: ignore[assignment]
    curve = learning._cross_validated(one, x, y, 5, 16, 0, print)
    assert one.ranks is ranks
    np.testing.assert_array_equal(curve, learning._cross_validated(trainer(), x, y, 5, 16, 0, print))


def test_parts_are_alike() -> None:
    labels = np.repeat([0, 1, 2], [50, 30, 7])
    parts = learning._parts(labels[:, None], labels, 5, seed=0)
    assert sorted(np.concatenate(parts).tolist()) == list(range(87))
    assert all(np.bincount(labels[part], minlength=3).tolist() in ([10, 6, 1], [10, 6, 2]) for part in parts)


def test_ridge_and_logistic_regression_are_scikit_learns() -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    rng = np.random.Generator(np.random.PCG64(0))
    x, new = rng.normal(5, [1, 1e3, 1e-3], (200, 3)), rng.normal(5, [1, 1e3, 1e-3], (90, 3))
    scaled, scaled_new = (x - x.mean(0)) / x.std(0), (new - x.mean(0)) / x.std(0)
    y = scaled @ [[1.0], [2], [3]] + rng.normal(size=(200, 1))
    np.testing.assert_allclose(
        baselines.ridge(x, y, new), linear.Ridge().fit(scaled, y).predict(scaled_new).reshape(-1, 1)
    )
    labels = np.digitize(y[:, 0], [-2, 2])
    theirs = linear.LogisticRegression(max_iter=1000).fit(scaled, labels).predict(scaled_new)
    assert (baselines.logistic(x, labels, 3, new) == theirs).mean() > 0.98


def split(classes: bool) -> Split:
    rng = np.random.Generator(np.random.PCG64(0))
    x = rng.normal(size=(300, 3))
    y = (x[:, 0] + 0.5 * x[:, 1] ** 2 > 0.3).astype(int) if classes else 2 * x[:, :1] + 1
    return Split(x[:200], y[:200], x[200:], y[200:])


def test_what_is_said_of_classes() -> None:
    parts = split(True)
    right = np.eye(2)[parts.y_test]
    told = report.lines(parts, ["no", "yes"], right)
    usual, linear = told[0].split("; ")
    most = ["no", "yes"][int(parts.y_train.mean() > 0.5)]
    assert usual.startswith(f"always '{most}': ") and 80 < float(linear.split()[-2]) < 100
    assert told[1].startswith("recall: no 100.0 % of ")
    assert told[2:] == ["this is almost too good: was one of the columns made from the target?"]
    assert len(report.lines(Split(*parts[:2], *(part[:49] for part in parts[2:])), ["no", "yes"], right[:49])) == 2
    told = report.lines(parts, ["no", "yes"], 1 - right)
    assert told[1].startswith("recall: no 0.0 % of ")
    assert told[2:] == ["the network is far worse here than logistic regression: take logistic regression"]
    linear = baselines.logistic(*parts[:2], 2, parts.x_test)
    hits = np.flatnonzero(linear == parts.y_test)
    linear[hits[:3]] = 1 - linear[hits[:3]]  # three more are wrong
    told = report.lines(parts, ["no", "yes"], np.eye(2)[linear])
    assert told[2:] == ["the network is no better here than logistic regression"]


def test_of_many_classes_the_worst_are_said() -> None:
    rng = np.random.Generator(np.random.PCG64(0))
    y = np.arange(4000) % 2000
    found = np.eye(2000)[np.where(y % 400 == 7, 0, y)]  # five classes are never found
    told = report.lines(Split(rng.normal(size=(4000, 9)), y, rng.normal(size=(4000, 9)), y), ["k"] * 2000, found)
    assert re.fullmatch(r"always 'k': 0.05 %; logistic regression is left out, since it might take [56]\d s", told[0])
    worst = ", ".join(["k 0.0 % of 2"] * 5)
    assert told[1:] == [f"recall of the worst: {worst}; of 1,995 other classes 100.0 % or more, on average 100.0 %"]


def test_what_would_take_long_is_left_out() -> None:
    assert baselines.seconds(3200, 2, 2000) > report.MOST_SECONDS > baselines.seconds(50_000, 100, 2)
    assert baselines.seconds(50_000, 5000) > report.MOST_SECONDS > baselines.seconds(50_000, 500)
    parts = split(False)
    wide = Split(np.empty((10**6, 1000)), *parts[1:])
    assert report.lines(wide._replace(y_train=np.ones((9, 1))), None, parts.y_test)[0].endswith("take 100 s")
    groups = {str(i): [0] for i in range(50)}
    many, few = (nl.mlp([3, classes], device="numpy") for classes in (10_000, 100))
    x = np.zeros((2000, 3))
    assert report.slow_importance(many, x, groups) and not report.slow_importance(few, x, groups)
    shown = Split(x, np.zeros(2000, int), x, np.zeros(2000, int))
    assert not report.pictures(many, shown, ["k"] * 10_000, groups, np.zeros((2000, 1)))


def test_what_is_said_of_numbers() -> None:
    parts = split(False)
    told = report.lines(parts, None, parts.y_test)
    assert told[0].startswith("the mean for every row: RMSE 1.799; ridge")
    assert told[1:] == ["this is almost too good: was one of the columns made from the target?"]
    assert len(report.lines(Split(*parts[:2], *(part[:49] for part in parts[2:])), None, parts.y_test[:49])) == 1
    told = report.lines(parts, None, parts.y_test + 1)
    assert told[1:] == ["the network is far worse here than ridge regression: take ridge regression"]
    error = baselines.ridge(*parts[:2], parts.x_test) - parts.y_test
    told = report.lines(parts, None, parts.y_test + 1.5 * error)
    assert told[1] == "the network is no better here than ridge regression"


@pytest.mark.parametrize("classes", [True, False])
def test_importance_finds_the_column_that_matters(classes: bool) -> None:
    parts = split(classes)
    net = nl.mlp([3, 2 if classes else 1], device="numpy")
    W = np.zeros((3, 2 if classes else 1))
    W[0, -1] = 2
    net.load_state_dict({"0.W": W, "0.b": np.array([0.0, 0.0] if classes else [1.0])})
    groups = {"a": [0], "b": [1, 2]}
    drops = report.importance(net, parts.x_test, parts.y_test, not classes, groups)
    assert drops["b"] == pytest.approx(0, abs=1e-12) and drops["a"] > 0.1
    assert drops == report.importance(net, parts.x_test, parts.y_test, not classes, groups), "by a seed"


def test_the_pictures(no_figures_left: None) -> None:
    ax = pictures.importance({"a": 0.1, "b": 0.5, **{f"c{i}": 0.0 for i in range(30)}}, "R²")
    assert len(ax.patches) == pictures.MOST_BARS and ax.get_yticklabels()[-1].get_text() == "b"
    assert max(bar.get_width() for bar in ax.patches) == 0.5 and "R²" in ax.get_xlabel()
    ax = pictures.predicted_against_true([[1.0], [2.0]], [1.5, 2.5])
    assert ax.collections[0].get_offsets().tolist() == [[1.5, 1.0], [2.5, 2.0]]
    with pytest.raises(ValueError, match="equally many rows"):
        pictures.predicted_against_true([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="must name a column"):
        pictures.importance({})


@pytest.mark.parametrize("weighted", [False, True])
def test_cross_validation_is_that_of_a_loop_over_the_parts(weighted: bool) -> None:
    """Each part is predicted by a network that has not seen it, with the weights of its own rows."""
    x, y = noisy(60)
    weight = np.linspace(0.5, 3, 60) if weighted else None
    curves = []
    for held in learning._parts(x, y, learning.FOLDS, 0):
        seen = np.ones(60, bool)
        seen[held] = False
        fold, more = trainer(0.003), [] if weight is None else [weight[held]]
        losses = fold.fit(
            *(x[seen], y[seen], 40, 16),
            validation_data=(x[held], y[held], *more),
            callbacks=[nl.EarlyStopping(patience=2 * learning.PATIENCE, restore_best=False)],
            sample_weight=None if weight is None else weight[seen],
            progress=False,
        )["val_loss"]
        curves.append([*losses, *[losses[-1]] * (40 - len(losses))])
    expected = np.mean(curves, axis=0)
    np.testing.assert_array_equal(learning._cross_validated(trainer(0.003), x, y, 40, 16, 0, print, weight), expected)
    one = trainer(0.003)
    fit_until_best(one, x, y, most=40, batch_size=16, sample_weight=weight)
    assert 1 < one.history.epochs == 1 + int(expected.argmin()) < 40


def test_rows_held_back_have_their_own_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning, "SMALL", 50)
    x, y = noisy(200)
    weight = np.linspace(0.5, 3, 200)
    learn, _, held, _ = nl.datasets.split(np.arange(200), y, learning.HELD, 0, stratify=False)
    assert len(held) == 30
    one, other = trainer(), trainer()
    fit_until_best(one, x, y, most=5, batch_size=32, sample_weight=weight)
    other.fit(
        *(x[learn], y[learn], 5, 32),
        validation_data=(x[held], y[held], weight[held]),
        sample_weight=weight[learn],
        progress=False,
    )
    assert dict(one.history) == dict(other.history)


def test_epochs_at_most() -> None:
    assert [learning.most_epochs(rows) for rows in (100, 640, 3200, 10**6)] == [500, 500, 100, 5]

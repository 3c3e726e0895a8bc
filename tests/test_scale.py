"""Columns of large numbers are told before the first epoch, and only where a net would suffer from them."""

import warnings

import numpy as np
import pytest

import nnlite as nl


def fit(net, x, y, loss="mse", **options):
    trainer = nl.Trainer(net, loss, nl.SGD(lr=1e-12))
    trainer.fit(x, y, epochs=1, progress=False, **options)
    return trainer


def numbers(rng, *sizes):
    """(300, columns): normal numbers of these sizes."""
    return rng.standard_normal((300, len(sizes))) * sizes


def test_a_column_of_large_numbers_is_told(device, rng):
    net = nl.mlp([3, 4, 1], device=device, seed=0)
    told = r"column 1 of x has numbers of about 1,?000: a net .* \(lesson 21\), or put nl\.BatchNorm\(3\) first"
    with pytest.warns(nl.ScaleWarning, match=told) as found:
        trainer = fit(net, numbers(rng, 1, 900, 1), numbers(rng, 1))
    assert [each.filename for each in found] == [__file__]
    trainer.fit(numbers(rng, 1, 900, 1), numbers(rng, 1), progress=False)  # not again: a warning would be an error here


def test_a_mean_is_as_bad_as_a_deviation(rng):
    with pytest.warns(nl.ScaleWarning, match="column 0 of x has numbers of about 1,?000, and 1 more of the 3 columns"):
        fit(nl.mlp([3, 1]), numbers(rng, 1, 1, 1) + [2000, 0, 150], numbers(rng, 1))


@pytest.mark.parametrize("missing", [False, True])
def test_targets_of_large_numbers_are_told(missing, rng):
    y = numbers(rng, 2e5)
    y[::2] = np.nan if missing else y[::2]
    with pytest.warns(
        nl.ScaleWarning,
        match=r"column 0 of y has numbers of about 1?e?\+?0?5?1?0?0?,?0?0?0?: .* undo that in predictions",
    ):
        fit(nl.mlp([2, 1]), numbers(rng, 1, 1), y, nl.MSE(ignore_nan=missing))


@pytest.mark.parametrize(
    ("output", "told"),
    [
        ("sigmoid", r"y has numbers outside 0 … 1, which Sigmoid\(\) cannot give: scale them, or leave it out"),
        ("tanh", "outside -1 … 1, which Tanh"),
        ("relu", "outside 0 and above, which ReLU"),
    ],
)
def test_targets_out_of_reach_are_told(output, told, rng):
    with pytest.warns(nl.ScaleWarning, match=told):
        fit(nl.mlp([2, 1], output=output), numbers(rng, 1, 1), numbers(rng, 3))
    within = {"sigmoid": (0, 1), "tanh": (-1, 1), "relu": (0, 50)}[output]
    fit(nl.mlp([2, 1], output=output), numbers(rng, 1, 1), rng.uniform(*within, (300, 1)))  # no warning


def test_what_a_net_bears_is_not_told(rng):
    x, large, y = numbers(rng, 1, 60), numbers(rng, 1, 1e4), numbers(rng, 1)
    x[[0, 100, 200]] = 1e5  # some rows are not what a column is like
    labels, counts = rng.integers(0, 2, 300), rng.integers(0, 2000, 300)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(nl.mlp([2, 1]), x, y)
        fit(nl.Sequential(nl.BatchNorm(2), nl.Dense(2, 1)), large, y)
        fit(nl.mlp([2, 2], output="softmax"), x, labels, "cce")
        fit(nl.mlp([2, 1]), numbers(rng, 1, 1), counts, "poisson")


def test_noise_about_the_ends_of_what_a_net_can_give_is_not_told(rng):
    """Such as the rounding of scikit-learn's MinMaxScaler, or what a sensor makes of 0."""
    x, y = numbers(rng, 1, 1), rng.uniform(0, 1, (300, 1))
    y[::3] = 1 + 2e-16
    amounts = np.maximum(x[:, :1], 0) + numbers(rng, 0.05)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(nl.mlp([2, 1], output="sigmoid", dtype="float64"), x, y)
        fit(nl.mlp([2, 1], output="relu"), x, amounts)
        nl.Trainer(nl.mlp([2, 1])).fit(1000 * x, y, epochs=0, progress=False)  # nothing is trained


def test_parts_of_the_same_data_get_the_same_text(rng):
    """Python tells each text of a line once: a search over ten folds is to tell it once."""
    x, y = numbers(rng, 900, 1), numbers(rng, 1)
    texts = set()
    for fold in range(10):
        with pytest.warns(nl.ScaleWarning) as found:
            fit(nl.mlp([2, 1]), x[fold::10], y[fold::10])
        texts |= {str(each.message) for each in found}
    assert len(texts) == 1


def test_estimators_say_what_scikit_learns_do(rng):
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        nl.MLPRegressor(max_iter=2).fit(numbers(rng, 1, 1e4), numbers(rng, 1e4)[:, 0])
    assert not [each for each in found if each.category is nl.ScaleWarning]

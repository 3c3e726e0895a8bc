"""Scales of columns, and their way into a network's weights."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

import nnlite as nl
from nnlite.tables.scaling import Scale, fold


@pytest.mark.parametrize("sizes", [[4, 1], [4, 6, 1], [4, 6, 5, 1]])
def test_folding_changes_no_prediction(sizes: list[int], tmp_path: Path) -> None:
    rng = np.random.Generator(np.random.PCG64(1))
    x = rng.normal([0, 1e6, 5, -3], [1, 1, 1e-4, 1e3], (50, 4))
    x[:, 2] = 0.1  # constant, and 0.1 has rounding in its mean
    y = rng.normal(300, 20, (50, 1))
    x_scale, y_scale = Scale.of(x), Scale.of(y)
    assert x_scale.deviation[2] == 1
    net = nl.mlp(sizes, "tanh", device="numpy", dtype="float64")
    nl.Trainer(net, optimizer=nl.Adam(0.01)).fit(x_scale.apply(x), y_scale.apply(y), epochs=3, progress=False)
    before = net.predict(x_scale.apply(x)) * y_scale.deviation + y_scale.mean
    fold(net, x_scale, y_scale)
    net.save(tmp_path / "m.safetensors")
    after = nl.load(tmp_path / "m.safetensors", device="numpy").predict(x)
    np.testing.assert_allclose(after, before, rtol=1e-9)


def test_folding_leaves_a_softmax_alone() -> None:
    rng = np.random.Generator(np.random.PCG64(1))
    x = rng.normal([0, 1e3], [1, 9], (20, 2))
    scale = Scale.of(x)
    net = nl.mlp([2, 5, 3], output="softmax", device="numpy", dtype="float64")
    before = net.predict(scale.apply(x))
    fold(net, scale)
    np.testing.assert_allclose(net.predict(x), before, rtol=1e-9)


def test_a_scale_keeps_its_digits_where_the_spread_is_small_beside_the_mean() -> None:
    rng = np.random.Generator(np.random.PCG64(1))
    x = rng.normal([1.7e9, -1e6, 0.0], [1e-3, 1e-6, 1.0], (300_000, 3))
    exact = [math.fsum(column) / len(column) for column in x.T.tolist()]
    spread = [math.fsum((number - mean) ** 2 for number in column) for mean, column in zip(exact, x.T.tolist())]
    scale = Scale.of(x)
    np.testing.assert_allclose(scale.deviation, np.sqrt(np.array(spread) / len(x)), rtol=1e-6)
    assert (np.abs(scale.apply(x).mean(axis=0)) < 1e-3).all()


def test_numbers_too_large_to_be_squared() -> None:
    with pytest.raises(ValueError, match="column 2 has numbers too large"):
        Scale.of(np.array([[1.0, 1e300], [2.0, -1e300]]))


def test_a_column_of_0_and_1_is_not_made_larger_the_rarer_its_1() -> None:
    x = np.zeros((1000, 2))
    x[7, 0], x[:, 1] = 1, np.arange(1000)
    assert Scale.of(x).apply(x)[7, 0] == pytest.approx(2, rel=0.01)

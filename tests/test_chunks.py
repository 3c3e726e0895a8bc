"""Training in chunks: the same as on the whole, whatever the chunks come from, and what is refused."""

import numpy as np
import pytest

import nnlite as nl
from nnlite import chunks


@pytest.fixture
def data(rng):
    return rng.standard_normal((230, 3)), rng.integers(0, 4, 230)


def fit(device, *arguments, shuffle=False, **options):
    net = nl.mlp([3, 6, 4], output="softmax", device=device, dtype="float64", seed=1)
    trainer = nl.Trainer(net, "cce", nl.Adam(lr=0.01), metrics=["accuracy"])
    history = trainer.fit(*arguments, epochs=3, batch_size=20, shuffle=shuffle, progress=False, **options)
    return net.backend.to_numpy(net.parameters), history


def parts(x, y, rows):
    return [(x[i : i + rows], y[i : i + rows]) for i in range(0, len(x), rows)]


def test_chunks_in_order_are_the_whole(device, data):
    """Chunks of whole batches, the last one short: the same steps, the same sums."""
    whole, history = fit(device, *data)
    for source in (parts(*data, 60), tuple(parts(*data, 60)), lambda: iter(parts(*data, 60))):
        found, found_history = fit(device, source)
        np.testing.assert_allclose(found, whole, rtol=1e-12)
        for name in history:
            np.testing.assert_allclose(found_history[name], history[name], rtol=1e-12)


def test_a_large_memmap_is_cut_into_chunks(device, data, tmp_path, monkeypatch):
    x, y = data
    x.astype(np.float32).tofile(tmp_path / "x")
    mapped = np.memmap(tmp_path / "x", np.float32, "r", shape=x.shape)
    whole, _ = fit(device, x.astype(np.float32), y)
    seen = []
    samples = nl.gate.samples
    monkeypatch.setattr(nl.gate, "samples", lambda a, *rest: seen.append(len(a)) or samples(a, *rest))
    np.testing.assert_array_equal(fit(device, mapped, y)[0], whole)
    assert seen == [230]  # small enough to be taken whole
    seen.clear()
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 80 * 3 * 8)
    np.testing.assert_allclose(fit(device, mapped, y)[0], whole, rtol=1e-12)
    assert seen == [80, 80, 70] * 3  # never more than a chunk


def test_shuffled_chunks_see_every_row_once(device):
    x, y = np.arange(30.0).reshape(-1, 1), np.arange(30.0)
    orders = []

    class Seen(nl.metrics.Metric):
        name = "seen"

        def add(self, ops, prediction, target, sums):
            orders[-1].extend(np.asarray(target).ravel().tolist())

        def value(self, sums):
            return 0.0

    net = nl.mlp([1, 1], device="numpy", dtype="float64")
    trainer = nl.Trainer(net, "mse", nl.SGD(lr=1e-9), metrics=[Seen()], replay="eager")
    for _ in range(2):
        orders.append([])
        trainer.fit(parts(x, y, 7), batch_size=4, progress=False)
    assert sorted(orders[0]) == sorted(orders[1]) == y.tolist()
    assert orders[0] != orders[1] and orders[0] != y.tolist()


def test_the_callers_chunks_are_not_written_to(device, data):
    x, y = data[0], data[1]
    given = [(x[:100], y[:100]), (x[100:200], y[100:200])]
    before = x.copy()
    fit(device, given)
    np.testing.assert_array_equal(x, before)


def test_validation_comes_after_every_epoch(device, data):
    _, history = fit(device, parts(*data, 100), validation_data=data)
    assert len(history["val_loss"]) == len(history["loss"]) == 3


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        (lambda x, y: x, TypeError, "y is missing; without it x must be chunks"),
        (lambda x, y: 5, TypeError, "y is missing; without it x must be chunks"),
        (lambda x, y: iter([(x, y)]), ValueError, "x can be read once only, but epochs=3: hand over a list, or the"),
        (lambda x, y: [], ValueError, "x has no chunks"),
        (lambda x, y: [(x, y), x], ValueError, "chunk 1 must be a pair \\(x, y\\), not a ndarray"),
        (lambda x, y: [(x, y[:9])], ValueError, r"y of chunk 0 has shape \(9,\), but there are 230 rows"),
        (lambda x, y: [(x, y), (x * np.nan, y)], ValueError, "x of chunk 1 contains NaN at row 0, column 0"),
    ],
)
def test_what_is_wrong_is_said(source, error, message, data):
    with pytest.raises(error, match=message):
        fit("numpy", source(*data))

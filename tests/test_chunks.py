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


def mapped(path, x):
    x.tofile(path)
    return np.memmap(path, x.dtype, "r", shape=x.shape)


def rows_of_each_chunk(monkeypatch):
    seen = []
    samples = nl.gate.samples
    monkeypatch.setattr(nl.gate, "samples", lambda a, *rest: seen.append(len(a)) or samples(a, *rest))
    return seen


@pytest.mark.parametrize("shuffle", [True, False])
def test_a_memmap_that_fits_into_memory_trains_as_an_array_does(shuffle, device, data, tmp_path, monkeypatch):
    """However large it is beside a chunk; joblib hands its workers arrays of more than 1 MB in this form."""
    x, y = data
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 80 * 3 * 8)
    whole, history = fit(device, x, y, shuffle=shuffle)
    seen = rows_of_each_chunk(monkeypatch)
    found, found_history = fit(device, mapped(tmp_path / "x", x), mapped(tmp_path / "y", y), shuffle=shuffle)
    np.testing.assert_array_equal(found, whole)
    assert dict(found_history) == dict(history) and seen == [230]


@pytest.mark.parametrize("memory", [230 * 3 * 8, None])
def test_a_memmap_that_does_not_fit_is_cut_into_chunks(memory, device, data, tmp_path, monkeypatch):
    x, y = data
    whole, _ = fit(device, x, y)
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 80 * 3 * 8)
    monkeypatch.setattr(chunks, "available_memory", lambda: memory)
    seen = rows_of_each_chunk(monkeypatch)
    np.testing.assert_allclose(fit(device, mapped(tmp_path / "x", x), y)[0], whole, rtol=1e-12)
    assert seen == [80, 80, 70] * 3  # never more than a chunk
    seen.clear()
    assert not np.allclose(fit(device, mapped(tmp_path / "x", x), y, shuffle=True)[0], whole)
    assert seen == [80, 80, 70] * 3


@pytest.mark.parametrize(("rows", "stretch_bytes"), [(100, 8), (100, 24), (128, 16), (1000, 2**16)])
def test_chunks_of_a_file_in_order_of_class_are_mixed(rows, stretch_bytes, tmp_path, monkeypatch):
    """Every row once an epoch, in another order each time, and every chunk with all classes in nearly equal shares."""
    x, y = np.arange(4003.0).reshape(-1, 1), np.arange(4003) * 4 // 4003
    monkeypatch.setattr(chunks, "CHUNK_BYTES", rows * 8)
    monkeypatch.setattr(chunks, "STRETCH_BYTES", stretch_bytes)
    monkeypatch.setattr(chunks, "available_memory", lambda: x.nbytes)
    found = chunks.Chunks.of(mapped(tmp_path / "x", x), list(y), 8, epochs=2)
    shuffles, epochs = np.random.default_rng(3), []
    for _ in range(2):
        parts = list(found.epoch(shuffles))
        assert [len(part) for part, _ in parts] == [*[rows] * (4003 // rows), 4003 % rows]
        for part, labels in parts[:-1]:
            np.testing.assert_array_equal(labels, y[part[:, 0].astype(int)])
            shares = np.bincount(labels, minlength=4) / rows
            assert shares.min() > 0.05  # of four sorted classes a chunk cut in order would have one
        epochs.append(np.concatenate([part[:, 0] for part, _ in parts]))
        assert sorted(epochs[-1]) == x[:, 0].tolist()
    assert epochs[0].tolist() != epochs[1].tolist()


def test_an_array_too_large_for_the_device_is_shuffled_whole():
    x, y = np.arange(1000.0).reshape(-1, 1), np.arange(1000)
    found = chunks.Chunks.of(x, y, 8, epochs=1, room=1000 * 8)
    first, _ = next(iter(found.epoch(np.random.default_rng(0))))
    assert len(first) == 125 and first.max() - first.min() > 900
    assert np.diff(first[:, 0]).max() > 20 and (np.diff(first[:, 0]) == 1).mean() < 0.3  # row by row, not in stretches


def test_a_file_in_order_of_class_is_learned_as_an_array_is(tmp_path, monkeypatch, rng):
    """What a network that saw class after class forgets: the accuracy of the history is that of the data."""
    labels = np.repeat(np.arange(4), 500)
    x = np.array([[3.0, 0], [0, 3], [-3, 0], [0, -3]])[labels] + rng.standard_normal((2000, 2))
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 500 * 2 * 8)
    monkeypatch.setattr(chunks, "STRETCH_BYTES", 5 * 2 * 8)
    monkeypatch.setattr(chunks, "available_memory", lambda: x.nbytes)
    net = nl.mlp([2, 4], output="softmax", device="numpy", dtype="float64")
    trainer = nl.Trainer(net, "cce", nl.SGD(lr=0.3), metrics=["accuracy"])
    history = trainer.fit(mapped(tmp_path / "x", x), labels, epochs=5, progress=False)
    truth = trainer.evaluate(x, labels)["accuracy"]
    assert truth > 0.93 and history["accuracy"][-1] == pytest.approx(truth, abs=0.02)


def test_how_much_memory_is_available():
    found = chunks.available_memory()
    assert found is None or 2**20 < found < 2**50


def test_memory_where_the_system_tells_less(monkeypatch):
    def refuse(*_, **__):
        raise OSError("no such file")

    monkeypatch.setattr(chunks, "open", refuse, raising=False)
    monkeypatch.setattr(chunks.os, "sysconf", {"SC_PHYS_PAGES": 1000, "SC_PAGE_SIZE": 4096}.get, raising=False)
    assert chunks.available_memory() == 4_096_000
    monkeypatch.delattr(chunks.os, "sysconf")
    assert chunks.available_memory() is None


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


def test_processes_cut_a_memmap_alike_whatever_memory_each_finds_free(tmp_path, monkeypatch):
    x = np.memmap(tmp_path / "x", np.float32, "w+", shape=(100, 4))
    y = np.zeros((100, 1), np.float32)
    for free in (1, 2**40):
        monkeypatch.setattr(chunks, "available_memory", lambda free=free: free)
        assert (chunks.Chunks.of(x, y, 4, 1) is None) == (free > 1)
        assert chunks.Chunks.of(x, y, 4, 1, shared=True) is None
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 400)
    assert chunks.Chunks.of(x, y, 4, 1, shared=True) is not None


def test_a_list_of_chunks_comes_in_another_order_in_each_epoch():
    """With `shuffle`, and else as it is. A weight of the loss tells which chunk was trained on last."""
    chunks = [(np.full((4, 1), float(k)), np.full((4, 1), float(k))) for k in range(6)]

    def ends(shuffle):
        orders = []

        class Seen(nl.Loss):
            name = "seen"

            def kernel(self, prediction, target, scale):
                orders.append(int(target[0, 0]))
                return ((prediction - target) ** 2).mean(axis=1), (prediction - target) * scale

        net = nl.Sequential(nl.Dense(1, 1), device="numpy", dtype="float64", seed=0)
        trainer = nl.Trainer(net, Seen(), nl.SGD(lr=1e-6), replay="eager")
        trainer.fit(chunks, epochs=3, batch_size=4, shuffle=shuffle, progress=False)
        return [orders[k : k + 6] for k in range(0, 18, 6)]

    assert ends(False) == [list(range(6))] * 3
    found = ends(True)
    assert all(sorted(epoch) == list(range(6)) for epoch in found) and len({*map(tuple, found)}) > 1

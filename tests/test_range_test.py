"""The learning-rate range test: what it measures, when it ends, and that the trainer stays as it was."""

import copy

import numpy as np
import pytest

import nnlite as nl


@pytest.fixture
def data(rng):
    """x (23, 3), y (23, 2)."""
    x = rng.standard_normal((23, 3))
    return x, np.stack([np.tanh(x[:, 0] - x[:, 1]), x.sum(axis=1) / 3], axis=1)


def make(device="numpy", optimizer=None, loss="mse", metrics=()):
    net = nl.mlp([3, 6, 2], hidden="tanh", device=device, dtype="float64", seed=0)
    return nl.Trainer(net, loss, optimizer or nl.SGD(lr=0.1, momentum=0.5), metrics)


@pytest.mark.parametrize("batch_size", [5, 23, 100])
def test_the_losses_are_those_of_steps_made_by_hand(batch_size, host, data, monkeypatch):
    monkeypatch.setattr(nl.steps, "MOST_INDICES", 2 * 23)
    trainer = make(host, metrics=["r2"])
    found = nl.lr_range_test(trainer, *data, lowest=1e-4, highest=1e-1, steps=13, batch_size=batch_size)
    np.testing.assert_allclose(found.rates, np.geomspace(1e-4, 1e-1, 13), rtol=1e-12)
    shuffles, losses = np.random.Generator(np.random.PCG64(0)), []
    while len(losses) < 13:
        order = shuffles.permuted(np.arange(23))
        for start in range(0, 23, batch_size):
            rows = order[start : start + batch_size]
            trainer.optimizer.lr = found.rates[min(len(losses), 12)]
            losses.append(trainer.step(data[0][rows], data[1][rows]))
    np.testing.assert_allclose(found.losses, losses[:13], rtol=1e-10)


def test_the_trainer_stays_as_it_was(host, data):
    schedule = nl.schedules.Cosine(0.1, 50, by="step")
    tested, other = (make(host, nl.Adam(lr=schedule), metrics=["r2"]) for _ in range(2))
    for trainer in (tested, other):
        trainer.fit(*data, epochs=2, batch_size=5, progress=False)
    state = copy.deepcopy(vars(tested))
    nl.lr_range_test(tested, *data, batch_size=5)
    assert tested.optimizer.schedule is schedule and vars(tested).keys() == state.keys()
    for trainer in (tested, other):
        trainer.fit(*data, epochs=2, batch_size=5, progress=False)
    assert tested.history == other.history
    for name, array in tested.new_step().arrays().items():
        np.testing.assert_array_equal(array, other.new_step().arrays()[name])


def test_columns_of_a_frame_are_not_kept(data):
    pandas = pytest.importorskip("pandas")
    trainer = make()
    nl.lr_range_test(trainer, pandas.DataFrame(data[0], columns=["a", "b", "c"]), data[1], steps=5)
    assert trainer.network.columns is None and trainer.history == {} and trainer.tape is None


def test_it_ends_when_the_loss_grows_and_suggests_a_rate_below(host, data):
    trainer = make(host, nl.SGD())
    found = nl.lr_range_test(trainer, *data, highest=1e3, steps=60)
    assert 20 < len(found.rates) == len(found.losses) < 60 and np.isfinite(found.losses).all()
    assert found.losses[-1] > 2 * found.losses.min()
    assert 1e-3 < found.suggestion < found.rates[found.smooth.argmin()] < found.rates[-1] < 1e3
    assert f"suggestion={found.suggestion:.2g}" in repr(found)
    trainer.optimizer.lr = found.suggestion
    history = trainer.fit(*data, epochs=60, progress=False)
    assert history["loss"][-1] < history["loss"][0] / 2


@pytest.mark.filterwarnings("ignore:the loss is least at:UserWarning")  # since these rates move nothing
def test_missing_targets_do_not_count(data):
    x, y = data
    y = y.copy()
    y[::3, 0] = np.nan
    trainer = make(loss=nl.MSE(ignore_nan=True))
    found = nl.lr_range_test(trainer, x, y, lowest=1e-12, highest=1e-11, steps=5, batch_size=23)
    np.testing.assert_allclose(found.losses, trainer.evaluate(x, y)["loss"], rtol=1e-9)


def test_an_epoch_may_have_far_more_steps_than_the_test(rng):
    x = rng.standard_normal((20_000, 3))
    found = nl.lr_range_test(nl.Trainer(nl.mlp([3, 1], device="numpy")), x, x[:, 0], batch_size=1)
    assert len(found.rates) <= 100 and found.rates[-1] <= 10


def test_a_network_that_is_trained_already_is_told():
    data = nl.datasets.blobs(400)
    trainer = nl.Trainer(nl.mlp([2, 16, 3], output="softmax", device="numpy", seed=0), "cce", nl.Adam())
    trainer.fit(*data, epochs=200, progress=False)
    with pytest.warns(UserWarning, match="the loss is least at .*, so this test suggests nothing: the network may be"):
        nl.lr_range_test(trainer, *data)


def test_what_is_refused(data):
    trainer = make()
    for wrong in ({"lowest": 0}, {"lowest": 1.0, "highest": 0.5}, {"steps": 1}, {"batch_size": 0}):
        with pytest.raises(ValueError, match=next(reversed(wrong))):
            nl.lr_range_test(trainer, *data, **wrong)
    with pytest.raises(TypeError, match="trainer must be a Trainer"):
        nl.lr_range_test(trainer.network, *data)
    with pytest.raises(ValueError, match=r"training diverges at lowest=1e\+300 already"):
        nl.lr_range_test(trainer, data[0] * 1e9, data[1], lowest=1e300, highest=1e305)


def test_the_picture(data, tmp_path, no_figures_left):
    found = nl.lr_range_test(make(), *data)
    axes = found.plot(tmp_path / "rates.png")
    assert (tmp_path / "rates.png").read_bytes().startswith(b"\x89PNG")
    dots, line, suggestion = axes.get_lines()
    np.testing.assert_array_equal(dots.get_ydata(), found.losses)
    np.testing.assert_array_equal(line.get_ydata(), found.smooth)
    assert set(suggestion.get_xdata()) == {found.suggestion} and axes.get_xscale() == "log"

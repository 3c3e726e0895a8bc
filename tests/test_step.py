"""A step on other arrays, windows of epochs, what is left of an interrupted training, and exact checkpoints."""

import gc
import signal

import numpy as np
import pytest
from helpers import handling, interrupted_after

import nnlite as nl
from nnlite import steps


@pytest.fixture(autouse=True)
def collector():
    """Switch Python's garbage collector on again, which an interrupt at the first line of a finally leaves off."""
    yield
    gc.enable()


@nl.kernel("x (B,K), mean (K), seen (1) -> mean, seen")
def follow(x, mean, seen):
    """mean ← the mean of all rows so far, in place."""
    for i in range(x.shape[0]):
        seen[0] += 1
        for k in range(x.shape[1]):
            mean[k] += (x[i, k] - mean[k]) / seen[0]


@nl.kernel("x (N,K), mean (K) -> y (N,K)")
def centred(x, mean):
    """y = x − mean."""
    return x - mean


@nl.kernel("dy (N,K) -> dx (N,K)")
def passed_on(dy):
    """dx = dy."""
    return dy * 1


class Centre(nl.Layer):
    """y = x − the mean of the rows that training has seen."""

    def __init__(self, columns):
        super().__init__()
        self.state = {"mean": np.zeros(columns), "seen": np.zeros(1, np.int64)}

    def forward(self, x):
        if self.training:
            self.ops.call(follow, x, self.mean, self.seen)
        return self.ops.call(centred, x, self.mean)

    def backward(self, dy):
        return self.ops.call(passed_on, dy)


class Assigning(Centre):
    """The same in NumPy, with the state assigned to."""

    def forward(self, x):
        if self.training:
            self.seen = self.seen + len(x)
            self.mean = self.mean + (x - self.mean).sum(axis=0) / self.seen[0]
        return x - self.mean

    def backward(self, dy):
        return dy


def make(device, dtype="float64", centre=Centre, replay="auto", metrics=("r2",)):
    layers = [centre(3)] if centre else []
    net = nl.Sequential(*layers, nl.Dense(3, 6), nl.Tanh(), nl.Dropout(0.3), nl.Dense(6, 2), device=device, dtype=dtype)
    return nl.Trainer(net, "mse", nl.Adam(lr=0.01), metrics, replay)


@pytest.fixture
def data(rng):
    return rng.standard_normal((23, 3)), rng.standard_normal((23, 2))


def everything(trainer):
    """All that a step keeps, as bytes."""
    to_numpy = trainer.network.backend.to_numpy
    return {name: np.array(to_numpy(array)).tobytes() for name, array in trainer.new_step().arrays().items()}


def fit(trainer, data, epochs, **options):
    return dict(trainer.fit(*data, epochs=epochs, batch_size=5, progress=False, **options))


@pytest.mark.parametrize("validated", [False, True])
@pytest.mark.parametrize("replay", ["auto", "eager"])
def test_epochs_together_are_epochs_one_by_one(validated, replay, device, data, monkeypatch):
    """Bit for bit: history, shuffles, dropout, all that a step keeps; whatever the window."""
    options = {"validation_data": (data[0][:7], data[1][:7])} if validated else {}
    whole, parts, windows = (make(device, centre=None, replay=replay) for _ in range(3))
    expected = fit(whole, data, 5, **options)
    found = [fit(parts, data, epochs, **options) for epochs in (3, 2)]
    assert {name: found[0][name] + found[1][name] for name in expected} == expected
    monkeypatch.setattr(steps, "MOST_INDICES", 2 * 23)
    assert fit(windows, data, 5, **options) == expected
    assert everything(whole) == everything(parts) == everything(windows)
    assert all(len(values) == 5 for values in expected.values())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_state_goes_on_from_a_snapshot_bit_for_bit(dtype, host, data):
    """What a checkpoint needs: `arrays()` and the shuffles, put into a new trainer."""
    first, second = make(host, dtype), make(host, dtype)
    fit(first, data, 3)
    assert first.tape is not None
    snapshot = {name: array.copy() for name, array in first.new_step().arrays().items()}
    shuffles = first._shuffles.bit_generator.state
    assert {"0.mean", "0.seen", "3.draws", "m", "v", "steps", "rate", "parameters"} <= set(snapshot)
    expected = fit(first, data, 4), everything(first)
    second.network.layers[3].key = first.network.layers[3].key
    for name, array in second.new_step().arrays().items():
        array[...] = snapshot[name]
    second._shuffles.bit_generator.state = shuffles
    assert (fit(second, data, 4), everything(second)) == expected
    np.testing.assert_array_equal(first.network.layers[0].seen, [7 * 23])
    np.testing.assert_allclose(first.network.layers[0].mean, data[0].mean(axis=0), rtol=1e-4, atol=1e-6)


@pytest.mark.filterwarnings("ignore::nnlite.steps.EagerWarning")
def test_state_is_the_networks_however_it_is_written(host, data):
    """By a kernel in place, or by assignment in NumPy, which is made step by step."""
    kernel, assigning = make(host), make(host, centre=Assigning)
    for trainer in (kernel, assigning):
        fit(trainer, data, 2)
        assert trainer.network.layers[0].seen.tolist() == [46]
        np.testing.assert_allclose(trainer.network.state_dict()["0.mean"], data[0].mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(assigning.network.predict(data[0]), kernel.network.predict(data[0]), rtol=1e-9)
    copied = assigning.network.copy()
    assert copied.predict(data[0]).tobytes() == assigning.network.predict(data[0]).tobytes()
    assigning.network.layers[0].mean = np.ones(3)
    assert copied.predict(data[0]).tobytes() != assigning.network.predict(data[0]).tobytes()
    assert (assigning.network.state_dict()["0.mean"] == 1).all()
    with pytest.raises(ValueError, match=r"Assigning.mean has shape \(2,\), expected \(3,\)"):
        assigning.network.layers[0].mean = np.ones(2)


def test_a_step_on_other_arrays_leaves_its_own_alone(device, data):
    trainer = make(device, centre=None)
    step, before = trainer.new_step(), everything(trainer)
    x, target = trainer.checked(*data)
    other = {name: array.copy() for name, array in step.arrays().items()}
    layers = [dict(vars(layer)) for layer in step.network.layers]
    step.on(trainer.network.ops, other).learn(x, target)
    assert everything(trainer) == before
    assert [dict(vars(layer)) for layer in step.network.layers] == layers
    trainer.step(*data)
    after = everything(trainer)
    to_numpy = trainer.network.backend.to_numpy
    assert {name: np.array(to_numpy(array)).tobytes() for name, array in other.items()} == after != before


@pytest.mark.parametrize("validated", [False, True])
@pytest.mark.parametrize("replay", ["auto", "eager"])
def test_the_history_of_an_interrupted_training_has_whole_epochs(validated, replay, host, data, monkeypatch):
    """Wherever it is interrupted: every epoch that is there is right, and has all columns."""
    options = {"validation_data": (data[0][:7], data[1][:7])} if validated else {}
    monkeypatch.setattr(steps, "MOST_INDICES", 2 * 23)

    def trainer():
        made = make(host, centre=None, replay=replay)
        fit(made, data, 1)
        made.history = nl.history.History()
        return made

    whole = trainer()
    lines = interrupted_after(0, lambda: fit(whole, data, 5, **options))
    expected, rng, seen = dict(whole.history), np.random.default_rng(3), set()
    for at in rng.integers(1, lines, 60):
        cut = trainer()
        interrupted_after(int(at), lambda cut=cut: fit(cut, data, 5, **options))
        lengths = {len(values) for values in cut.history.values()}
        assert len(lengths) <= 1 and set(cut.history) in (set(), set(expected))
        assert all(values == expected[name][: len(values)] for name, values in cut.history.items())
        seen |= lengths
        assert isinstance(cut.network.parameters, np.ndarray)
        fit(cut, data, 1)
    assert len(seen) > 1, "it was never interrupted between epochs"


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="there are no timers here")
@pytest.mark.parametrize("validated", [False, True])
def test_a_signal_that_interrupts_leaves_whole_epochs(validated, host, data):
    options = {"validation_data": data} if validated else {}
    epochs = 3000 if host == "numba" else 500  # that take longer than the last timer
    expected = fit(make(host), data, epochs, **options)

    def interrupt(*_):
        raise KeyboardInterrupt

    with handling(signal.SIGALRM, interrupt):
        for turn in range(1, 13):
            trainer = make(host)
            fit(trainer, data, 0)
            signal.setitimer(signal.ITIMER_REAL, 0.003 * turn)
            try:
                fit(trainer, data, epochs, **options)
            except KeyboardInterrupt:
                pass
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
            assert len({len(values) for values in trainer.history.values()}) <= 1
            assert all(values == expected[name][: len(values)] for name, values in trainer.history.items())

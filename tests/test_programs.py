"""Programs that are kept and used again: never stale, never many, and nobody else's while they run."""

import copy
import gc
import pickle
import signal
import subprocess
import sys
import threading
import weakref
from pathlib import Path

import numpy as np
import pytest
from helpers import handling

import nnlite as nl
from nnlite import programs, sweeps
from nnlite.twins import settings

LOSSES = {
    "mse": ("identity", nl.MSE),
    "half_mse": ("softplus", nl.HalfMSE),
    "mae": ("tanh", nl.MAE),
    "bce": ("sigmoid", nl.BinaryCrossEntropy),
    "cce": ("softmax", nl.CategoricalCrossEntropy),
}


OUTSIDE = 1.0  # a constant in the machine code of `scaled`
AROUND = 1.0  # a number that a layer's methods take from outside


@nl.kernel("x (N,K), factor -> y (N,K)")
def scaled(x, factor):
    """y = factor · x."""
    return x * factor * OUTSIDE


scaled_again = scaled


class Scale(nl.Layer):
    """y = f x, where f is an attribute, or lies in a list, a dict or an object."""

    share = 1.0

    def __init__(self, factor=2.0):
        super().__init__()
        self.factor = factor
        self.inside = {"factor": [1.0]}
        self.kernel = scaled

    def _factor(self):
        return self.factor * self.inside["factor"][0] * self.share * AROUND

    def forward(self, x):
        return self.ops.call(self.kernel, self.ops.call(scaled_again, x, 1.0), self._factor())

    def backward(self, dy):
        return self.ops.call(self.kernel, dy, self._factor())


@nl.kernel("x (N,K), factor -> y (N,K)")
def shifted(x, factor):
    """y = x + factor."""
    return x + factor


class Shrinking(nl.optimizers.Optimizer):
    """An optimizer whose learning rate is a plain number in what is recorded."""

    def __init__(self, lr=0.1):
        super().__init__(lr)

    def rule(self, ops, w, dw):
        ops.call(shrink, w, dw, self.lr)


@nl.kernel("w (P), dw (P), lr -> w")
def shrink(w, dw, lr):
    """w ← w − lr dw, in place."""
    w -= lr * dw


class Weighted(nl.MSE):
    """A loss with a number of its own."""

    weight = 1.0

    def kernel(self, prediction, target, scale):
        return self.ops.mse(prediction, target, scale * self.weight)


@pytest.fixture
def counted(monkeypatch):
    """How often something was recorded."""
    calls = []
    original = programs.record
    monkeypatch.setattr(programs, "record", lambda *a: calls.append(1) or original(*a))
    return calls


@pytest.fixture(params=[1, 2])
def threads(request, monkeypatch):
    """One thread, or two that share out even the smallest evaluation."""
    monkeypatch.setattr(sweeps, "WORTH_A_THREAD", 1e-9)
    return request.param


def make(device, dtype="float32", loss="mse", metrics=(), output=None, optimizer=None, layers=(), outputs=2):
    output = output or LOSSES[loss][0] if isinstance(loss, str) else output or "identity"
    end = [nl.activations.activation(output)] if output != "identity" else []
    net = nl.Sequential(nl.Dense(3, 6), nl.Tanh(), *layers, nl.Dense(6, outputs), *end, device=device, dtype=dtype)
    return nl.Trainer(net, loss, optimizer or nl.SGD(lr=0.1), metrics)


def data(rows, outputs=2, kind="real", seed=5):
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((rows, 3)), rng.standard_normal((rows, outputs))
    return x, {"real": y, "each": (y > 0) * 1.0, "class": np.eye(outputs)[(y.argmax(axis=1))]}[kind]


def weights(trainer):
    return np.array(trainer.network.backend.to_numpy(trainer.network.parameters))


# ---- predictions --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", [lambda: nl.Dense(3, 2), nl.Identity])  # rows that are used in place, and copied ones
@pytest.mark.parametrize("thread", [0, 1])
def test_threads_take_batches_from_both_ends_until_none_is_left(layer, thread):
    """Here another thread has taken two of five from this one's end, and does not answer them."""
    pytest.importorskip("numba")
    net = nl.Sequential(nl.Dense(3, 3), layer(), device="numba")
    x, taken = np.ones((40, 3), np.float32), np.array([2, 2, 0] if thread == 0 else [2, 0, 2])
    answer = np.zeros((40, net.outputs), np.float32)
    net.predict(x[:8])
    sweep = net._predictor.recorded["numba"].sweep
    program = sweep._taken(8, {"x": x, "answer": answer})
    assert program.replay.sweep({"x": x, "answer": answer}, 0, 5, taken, thread)
    here, elsewhere = (answer[16:], answer[:16]) if thread == 0 else (answer[:24], answer[24:])
    np.testing.assert_allclose(here, net.predict(x[: len(here)]), rtol=1e-6)
    assert not elsewhere.any() and taken[0] == 6


@pytest.mark.parametrize("rows", [64, 65, 79])  # batches of 16: nothing is left over, or one row, or 8, 4, 2 and 1
def test_no_two_threads_answer_the_same_rows(monkeypatch, rows):
    """A softmax works in the answer itself, so another thread would meet half of it there, and begin with that."""
    pytest.importorskip("numba")
    monkeypatch.setattr(sweeps, "WORTH_A_THREAD", 1e-9)
    net = nl.mlp([3, 4, 2], output="softmax", device="numba", seed=0)
    net.threads = 2
    x, run, parts = data(rows)[0].astype(np.float32), sweeps.Sweep._run, []
    here = threading.get_ident
    monkeypatch.setattr(sweeps.Sweep, "_run", lambda sweep, *part: parts.append((here(), *part)) or run(sweep, *part))
    answer = net.predict(x)
    answered = np.zeros(rows, int)
    for thread, _, start, size, times, _, *together in parts:
        if together:
            assert (start, size, times) == (0, 16, rows // 16)
        else:
            assert thread == here()
            answered[start : start + size * times] += 1
    assert not any(answered[: rows - rows % 16]) and all(answered[rows - rows % 16 :] == 1)
    net.threads = 1
    np.testing.assert_allclose(answer, net.predict(x), rtol=1e-6)


def test_threads_give_the_same_answers_again_and_again():
    pytest.importorskip("numba")
    net = nl.mlp([3, 40, 10], output="softmax", device="numba", seed=0)
    net.threads = 4
    x = data(4095)[0].astype(np.float32)
    first = net.predict(x)
    for _ in range(300):
        np.testing.assert_array_equal(net.predict(x), first)


def test_the_work_of_a_row_does_not_depend_on_the_first_call():
    pytest.importorskip("numba")
    found = set()
    for rows in (32, 100, 300):
        net = nl.mlp([3, 40, 10], output="softmax", device="numba", seed=0)
        net.threads = 2
        net.predict(np.ones((rows, 3), np.float32))
        found.add(net._predictor.recorded["numba"].sweep.work)
    assert len(found) == 1 and found.pop() > 0


def test_as_many_threads_as_there_is_work_for_share_the_rows(monkeypatch):
    pytest.importorskip("numba")
    asked, together = [], sweeps.together
    monkeypatch.setattr(
        sweeps, "together", lambda share, threads, *how: asked.append(threads) or together(share, threads)
    )
    net = nl.mlp([3, 16, 2], output="softmax", device="numba", seed=0)
    net.threads = 4  # more than the machine has, perhaps
    x = data(200)[0].astype(np.float32)
    alone = net.predict(x)
    sweep = net._predictor.recorded["numba"].sweep
    for worth, rows, threads in ((2.5, 200, 2), (1.5, 200, None), (100, 200, 4), (100, 40, 2), (100, 31, None)):
        asked.clear()
        monkeypatch.setattr(sweeps, "WORTH_A_THREAD", sweep.work * rows / worth)
        np.testing.assert_allclose(net.predict(x[:rows]), alone[:rows], rtol=1e-5, atol=1e-6)
        assert asked == [threads][: threads is not None]


@pytest.mark.parametrize("output", [("softmax", 10), ("softmax", 3), ("sigmoid", 1), ("identity", 5)])
@pytest.mark.parametrize("hidden", ["tanh", "relu", "gelu"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_row_is_answered_alike_at_every_place_of_a_batch(hidden, output, dtype):
    """To the last bit, so that it does not matter which rows stand before it."""
    pytest.importorskip("numba")
    net = nl.mlp([13, 17, output[1]], hidden, output[0], device="numba", dtype=dtype, threads=1, seed=0)
    x = np.random.default_rng(0).standard_normal((40, 13)).astype(dtype)
    for size in (8, 32):
        first = net.predict(x[:size])
        for place in (1, 3, 6):
            moved = net.predict(x[place : place + size])
            np.testing.assert_array_equal(moved[: size - place], first[place:])


@pytest.mark.parametrize(("cached", "size"), [(1e9, 16), (0, 32)])
def test_parameters_larger_than_the_cache_are_read_for_fewer_batches(monkeypatch, cached, size):
    pytest.importorskip("numba")
    monkeypatch.setattr(sweeps, "WORTH_A_THREAD", 1e-9)
    monkeypatch.setattr(sweeps, "CACHED", cached)
    net = nl.mlp([3, 4, 2], device="numba", seed=0)
    net.threads = 2
    x, run, sizes = data(70)[0].astype(np.float32), sweeps.Sweep._run, set()
    monkeypatch.setattr(sweeps.Sweep, "_run", lambda sweep, *part: sizes.add(part[2]) or run(sweep, *part))
    answer = net.predict(x)
    assert max(sizes) == size
    net.threads = 1
    np.testing.assert_allclose(answer, net.predict(x), rtol=1e-5, atol=1e-6)


def test_a_thread_waits_awake_only_for_a_while():
    """For threads that end, and for one that works on, in which case it is to sleep."""
    pytest.importorskip("numba")
    wait = nl.devices.get_device("numba").wait_awake
    for idle in ([1, 1], [1, 0]):
        wait(np.array(idle))
    assert nl.devices.get_device("numpy").wait_awake is None


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_row_is_answered_alike_alone_and_among_others(dtype, threads, host):
    """Up to the order in which a product of so many rows adds: some roundings."""
    net = make(host, dtype).network
    net.threads = threads
    x = data(300)[0].astype(dtype)
    whole = net.predict(x)
    near = {"rtol": 1e-5, "atol": 1e-6} if dtype == "float32" else {"rtol": 1e-12, "atol": 1e-13}
    np.testing.assert_allclose(whole, net.backend.to_numpy(net.forward(x)), **near)
    for rows in [*range(1, 300, 1 if host == "numba" else 37), 300]:
        np.testing.assert_allclose(net.predict(x[:rows]), whole[:rows], **near)
        np.testing.assert_allclose(net.predict(x[rows - 1 : rows]), whole[rows - 1 : rows], **near)
    for size in (1, 2, 3, 5, 127, 128, 129, 1000):
        np.testing.assert_allclose(net.predict(x, size), whole, **near)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_arrays_of_any_kind_are_answered_alike(dtype, threads, host, tmp_path):
    net = make(host, dtype).network
    net.threads = threads
    x = data(300)[0].astype(dtype)
    whole = net.predict(x)
    x.tofile(tmp_path / "x")
    wide = np.zeros((600, 7), dtype)
    wide[::2, 1:7:2] = x
    fixed = x.copy()
    fixed.flags.writeable = False
    apart = np.zeros(x.nbytes + 1, np.uint8)[1:].view(dtype).reshape(x.shape)  # not aligned
    apart[...] = x
    for given in (
        fixed,
        np.asfortranarray(x),
        wide[::2, 1:7:2],
        np.memmap(tmp_path / "x", dtype, "r", shape=(300, 3)),
        x[::-1].copy()[::-1],
        x.astype(x.dtype.newbyteorder()),
        apart,
        x.tolist(),
    ):
        before = np.array(given)
        assert net.predict(given).tobytes() == whole.tobytes()
        np.testing.assert_array_equal(np.array(given), before)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused_by_its_place(value, threads, host):
    net = make(host).network
    net.threads = threads
    x = data(300)[0].astype(np.float32)
    net.predict(x)
    for row in (0, 130, 298, 299):
        for column in (0, 2):
            bad = x.copy()
            bad[row, column] = value
            what = "NaN" if np.isnan(value) else "infinity"
            for given in (bad, np.asfortranarray(bad)):
                with pytest.raises(ValueError, match=f"x contains {what} at row {row}, column {column}"):
                    net.predict(given)
            with pytest.raises(ValueError, match=f"x contains {what} at row 0, column {column}"):
                net.predict(bad[row : row + 1])
    both = x.copy()
    both[7, 0], both[7, 1] = np.inf, -np.inf
    with pytest.raises(ValueError, match="x contains infinity at row 7, column 0"):
        net.predict(both)


def test_huge_numbers_whose_sum_is_infinite_are_answered(threads, device):
    net = nl.Sequential(nl.Dense(3, 2), nl.Sigmoid(), device=device)
    net.load_state_dict({"0.W": np.full((3, 2), 2e-38), "0.b": np.zeros(2)})
    net.threads = threads
    x = np.ones((300, 3), np.float32)
    x[[0, 150, 299]] = 3e38
    expected = 1 / (1 + np.exp(-(x.astype(float) @ np.full((3, 2), 2e-38))))
    np.testing.assert_allclose(net.predict(x), expected, rtol=1e-5)


# ---- evaluations --------------------------------------------------------------------------------------------------


def by_hand(loss, reduction, p, t):
    """The loss as its formula says it, in NumPy."""
    each = {
        "mse": lambda: (p - t) ** 2,
        "half_mse": lambda: (p - t) ** 2 / 2,
        "mae": lambda: np.abs(p - t),
        "bce": lambda: -(t * np.log(p) + (1 - t) * np.log(1 - p)),
        "cce": lambda: -t * np.log(p),
    }[loss]()
    of_row = each.sum(axis=1) if loss == "cce" or reduction == "sum" else each.mean(axis=1)
    return of_row.mean()


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("loss", LOSSES)
def test_an_evaluation_is_the_formula(loss, reduction, threads, host):
    kind = {"bce": "each", "cce": "class"}.get(loss, "real")
    metrics = ["mae", "rmse", "r2"] + ["accuracy"] * (kind != "real")
    trainer = make(host, "float64", LOSSES[loss][1](reduction=reduction), metrics, LOSSES[loss][0], outputs=3)
    trainer.network.threads = threads
    for rows in (2, 127, 128, 129, 300, 1000):
        x, t = data(rows, 3, kind)
        p = trainer.network.predict(x)
        found = trainer.evaluate(x, t)
        assert found["loss"] == pytest.approx(by_hand(loss, reduction, p, t), rel=1e-9)
        assert found["mae"] == pytest.approx(np.abs(p - t).mean(), rel=1e-9)
        assert found["rmse"] == pytest.approx(np.sqrt(((p - t) ** 2).mean()), rel=1e-9)
        spread = ((t - t.mean(axis=0)) ** 2).sum(axis=0)
        ratios = np.where(spread > 0, 1 - ((p - t) ** 2).sum(axis=0) / np.where(spread > 0, spread, 1), 0.0)
        assert found["r2"] == pytest.approx(ratios.mean(), rel=1e-9, abs=1e-12)
        if kind == "class":
            assert found["accuracy"] == (p.argmax(axis=1) == t.argmax(axis=1)).mean()
        elif kind == "each":
            assert found["accuracy"] == ((p > 0.5) == (t > 0.5)).mean()
        for size in (1, 7, 128):
            assert trainer.evaluate(x, t, size) == pytest.approx(found, rel=1e-9, abs=1e-12)


def test_r2_far_from_zero_is_merged_and_not_added(threads, device):
    trainer = make(device, "float64", metrics=["r2"])
    trainer.network.threads = threads
    x, t = data(1000)
    t += 1e6
    p = trainer.network.predict(x)
    ratios = 1 - ((p - t) ** 2).sum(axis=0) / ((t - t.mean(axis=0)) ** 2).sum(axis=0)
    assert trainer.evaluate(x, t)["r2"] == pytest.approx(ratios.mean(), rel=1e-6)


def test_a_loss_that_is_not_finite_is_told(threads, device):
    trainer = make(device, metrics=["mae"])
    trainer.network.threads = threads
    x, t = data(300)
    t[299] = 3e38  # whose square is infinite in float32
    found = trainer.evaluate(x, t)
    assert found["loss"] == np.inf and np.isfinite(found["mae"])
    trainer.network.parameters[...] = np.inf
    assert np.isnan(trainer.evaluate(x, data(300)[1])["loss"])


# ---- kept, and thrown away ----------------------------------------------------------------------------------------


def test_what_was_recorded_is_used_again(threads, device, counted):
    trainer = make(device, metrics=["r2"], layers=[nl.Dropout(0.3)])
    trainer.network.threads = threads
    x, y = data(300)

    def everything():
        trainer.fit(x, y, epochs=3, batch_size=7, progress=False, validation_data=(x[:50], y[:50]))
        trainer.evaluate(x, y)
        trainer.network.predict(x)

    everything()
    first = len(counted)
    assert first
    counted.clear()
    everything()
    trainer.optimizer.lr = 0.01
    everything()
    assert len(counted) <= (threads - 1) * first  # where two work at the same time, each needs its own


def test_a_bounded_number_of_programs_is_kept(counted):
    trainer = make("numpy")
    x, y = data(1001)
    for size in range(1, 1001, 10):
        trainer.fit(x, y, epochs=1, batch_size=size, progress=False)
        trainer.network.predict(x, size)
        trainer.evaluate(x[:size], y[:size])
    chunks = [(x[:size], y[:size]) for size in range(1, 1001, 10)]
    trainer.fit(chunks, epochs=1, batch_size=64, progress=False)
    trainer.evaluate(x, y)
    assert len(trainer._kept._programs) <= programs.MOST_KEPT
    assert all(sum(map(len, sweep.free.values())) <= 14 for sweep in kept_sweeps(trainer))


def kept_sweeps(trainer):
    net = trainer.network
    return net._predictor.recorded[net.device].sweep, trainer._kept._programs["evaluation", net.device, False][1]


@pytest.mark.parametrize("replay", ["auto", "eager"])
def test_the_callers_arrays_are_not_kept(replay, threads, host):
    trainer = make(host)
    trainer.replay = replay
    trainer.network.threads = threads
    uses = {
        "fit": lambda x, y: trainer.fit(x, y, epochs=2, progress=False),
        "validation": lambda x, y: trainer.fit(x[:9] * 1, y[:9] * 1, validation_data=(x, y), progress=False),
        "evaluate": trainer.evaluate,
        "predict": lambda x, y: trainer.network.predict(x),
    }

    def used(use):
        x, y = (np.ascontiguousarray(each, np.float32) for each in data(300))
        use(x, y)
        return weakref.ref(x), weakref.ref(y)

    for name, use in uses.items():
        references = used(use)
        gc.collect()
        assert [reference() for reference in references] == [None, None], name


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from Linux' /proc")
def test_memory_does_not_grow(host):
    """Of 1,000 cycles with data of ever other sizes, in a process of its own."""
    code = f"""
import gc
from pathlib import Path
import numpy as np
import nnlite as nl

def cycle(i):
    x, y = rng.standard_normal((60 + i % 100, 20)).astype(np.float32), rng.integers(0, 3, 60 + i % 100)
    trainer.fit(x, y, batch_size=16 + i % 50, progress=False, validation_data=(x, y))
    trainer.network.predict(x), trainer.evaluate(x, y)
    if i % 10 == 0:
        trainer.fit([(x, y)] * 3, batch_size=i % 90 + 1, progress=False)

def used():
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1])

rng = np.random.default_rng(0)
trainer = nl.Trainer(nl.mlp([20, 64, 3], output="softmax", device={host!r}), "cce", nl.Adam(), ["accuracy"])
for i in range(200):
    cycle(i)
before = used()
for i in range(1000):
    cycle(i)
assert used() < 1.05 * before, (used(), before)
"""
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert process.returncode == 0, process.stderr


CHANGES = {
    "rate of a Dropout": lambda t: setattr(t.network.layers[2], "rate", 0.9),
    "attribute of a layer": lambda t: setattr(t.network.layers[3], "factor", -1.0),
    "list in a dict of a layer": lambda t: t.network.layers[3].inside["factor"].__setitem__(0, 0.5),
    "dict of a layer": lambda t: t.network.layers[3].inside.update(factor=[3.0]),
    "constant of a kernel": lambda t: globals().update(OUTSIDE=-0.5),
    "global number of a layer": lambda t: globals().update(AROUND=-0.5),
    "attribute of a layer's class": lambda t: setattr(Scale, "share", -0.5),
    "kernel defined again": lambda t: globals().update(scaled_again=shifted),
    "method of a layer's class": lambda t: setattr(Scale, "_factor", lambda self: -self.factor),
    "a frozen layer": lambda t: setattr(t.network.layers[4], "trainable", False),
    "kernel of a layer": lambda t: setattr(t.network.layers[3], "kernel", shifted),
    "lr": lambda t: setattr(t.optimizer, "lr", 0.02),
    "momentum": lambda t: setattr(t.optimizer, "momentum", 0.5),
    "no momentum": lambda t: (setattr(t.optimizer, "nesterov", False), setattr(t.optimizer, "momentum", 0.0)),
    "nesterov": lambda t: setattr(t.optimizer, "nesterov", False),
    "weight_decay": lambda t: setattr(t.optimizer, "weight_decay", 0.3),
    "reduction": lambda t: setattr(t.loss, "reduction", "sum"),
    "attribute of a loss": lambda t: setattr(t.loss, "weight", 3.0),
    "another loss": lambda t: setattr(t, "loss", nl.MAE()),
    "another loss by name": lambda t: setattr(t, "loss", "half_mse"),
    "another optimizer": lambda t: setattr(t, "optimizer", nl.Adam(lr=0.03)),
    "another optimizer by name": lambda t: setattr(t, "optimizer", "adam"),
    "other metrics": lambda t: setattr(t, "metrics", ["mae", "r2"]),
    "no metrics": lambda t: setattr(t, "metrics", []),
    "threads": lambda t: setattr(t.network, "threads", 1),
    "dtype": lambda t: t.network.to(dtype="float32"),
    "moved to where it is": lambda t: t.network.to(t.network.device),
    "numpy": lambda t: t.network.to("numpy"),
    "load_state_dict": lambda t: t.network.load_state_dict(
        {name: np.asarray(a) / 2 for name, a in t.network.state_dict().items() if "draws" not in name}
    ),
    "a parameter": lambda t: setattr(t.network.layers[0], "W", np.full((3, 6), 0.25)),
    "all parameters": lambda t: setattr(t.network, "parameters", np.linspace(-1, 1, len(t.network.parameters))),
    "parameters in place": lambda t: t.network.parameters.__imul__(0.5),
}


@pytest.mark.parametrize("replay", ["auto", "eager"])
@pytest.mark.parametrize("change", CHANGES)
def test_programs_are_never_out_of_date(change, replay, host, monkeypatch):
    """After a change all goes on as from a new Trainer on a new network that has this change from the start."""
    for name, value in {"OUTSIDE": 1.0, "AROUND": 1.0, "scaled_again": scaled}.items():
        monkeypatch.setattr(sys.modules[__name__], name, value)
    for name in ("share", "_factor"):
        monkeypatch.setattr(Scale, name, vars(Scale)[name])
    x, y = data(50)

    def trainer():
        loss, optimizer = Weighted(), nl.SGD(lr=0.05, momentum=0.9, nesterov=True)
        layers = [nl.Dropout(0.2), Scale()]
        made = make(host, "float64", loss, ["r2"], layers=layers, optimizer=optimizer)
        made.replay = replay
        return made

    used, new = trainer(), trainer()
    state = used.network.state_dict()
    used.fit(x, y, epochs=2, batch_size=8, progress=False)
    used.evaluate(x, y), used.network.predict(x)
    used.network.load_state_dict(state)
    used.optimizer.reset()
    used._shuffles = np.random.Generator(np.random.PCG64(0))
    for each in (used, new):
        CHANGES[change](each)
    for _ in range(2):
        assert used.network.predict(x).tobytes() == new.network.predict(x).tobytes()
        assert used.evaluate(x, y) == new.evaluate(x, y)
        histories = [dict(each.fit(x, y, epochs=2, batch_size=8, progress=False)) for each in (used, new)]
        assert histories[0] == histories[1]
        assert weights(used).tobytes() == weights(new).tobytes()


class Shift(nl.Layer):
    """y = x + mean + means[0], with arrays that are neither parameters nor state."""

    def __init__(self):
        super().__init__()
        self.mean, self.means, self.x = np.zeros(3), [np.zeros(3)], None

    def forward(self, x):
        self.x = x
        return x + self.mean + self.means[0]

    def backward(self, dy):
        return dy


class Odd:
    """An object that must not be asked whether it equals another one."""

    def __init__(self, factor):
        self.factor = factor

    def __eq__(self, other):
        raise AssertionError("nobody may ask")

    __hash__ = None


def test_objects_in_attributes_are_compared_by_which_they_are():
    layer = Scale()
    layer.object, layer.objects = Odd(1.0), [Odd(2.0)]
    first = settings(layer)
    assert first == settings(layer)
    layer.objects[0] = Odd(2.0)
    second = settings(layer)
    assert first != second
    layer.object = Odd(1.0)
    assert second != settings(layer)


SHIFTS = {
    "another array": lambda layer: setattr(layer, "mean", np.ones(3)),
    "numbers in an array": lambda layer: layer.mean.fill(1.0),
    "numbers in another array": lambda layer: (setattr(layer, "mean", np.ones(3)), layer.mean.fill(2.0)),
    "an array in a list": lambda layer: layer.means.__setitem__(0, np.ones(3)),
}


@pytest.mark.filterwarnings("ignore::nnlite.EagerWarning")
@pytest.mark.parametrize("change", SHIFTS)
def test_arrays_in_a_layers_attributes_may_be_replaced(change, host):
    x, y = data(20)
    used, new = (
        nl.Trainer(nl.Sequential(Shift(), nl.Dense(3, 2), device=host, dtype="float64", seed=0), "mse")
        for _ in range(2)
    )
    used.network.forward(x), used.network.predict(x), used.evaluate(x, y)
    for each in (used, new):
        SHIFTS[change](each.network.layers[0])
    assert used.network.predict(x).tobytes() == new.network.predict(x).tobytes()
    assert used.evaluate(x, y) == new.evaluate(x, y)
    assert dict(used.fit(x, y, epochs=2, progress=False)) == dict(new.fit(x, y, epochs=2, progress=False))
    assert used.network.predict(x).tobytes() == new.network.predict(x).tobytes()


def test_another_loss_is_trained_as_a_new_trainer_trains_it(device):
    """Also where it has no activation inside, and the one before had."""
    x, y = data(40, kind="class")
    trainer = make(device, "float64", "cce", ["accuracy"])
    assert trainer.depth == 3
    trainer.loss = "mse"
    new = make(device, "float64", "mse", ["accuracy"], output="softmax")
    assert trainer.depth == new.depth == 4
    for each in (trainer, new):
        each.fit(x, y, epochs=2, progress=False)
    assert weights(trainer).tobytes() == weights(new).tobytes()
    assert trainer.evaluate(x, y) == new.evaluate(x, y)
    trainer.loss = "cce"
    assert trainer.depth == 3 and trainer.loss.from_logits
    with pytest.raises(ValueError, match="loss='hinged' is not known"):
        trainer.loss = "hinged"
    with pytest.raises(ValueError, match="already trains another network"):
        trainer.optimizer = new.optimizer
    assert trainer.depth == 3 and trainer.optimizer is not new.optimizer
    trainer.fit(x, y, progress=False)


def test_metrics_follow_another_loss(device):
    x, y = data(40, kind="each")
    trainer = make(device, "float64", "mse", ["accuracy"], output="sigmoid")
    with pytest.raises(ValueError, match="several classes or none"):
        trainer.evaluate(x, y)
    trainer.loss = "bce"
    found = trainer.evaluate(x, y)["accuracy"]
    assert found == ((trainer.network.predict(x) > 0.5) == (y > 0.5)).mean()


@pytest.mark.parametrize("beta", ["beta1", "beta2", "epsilon", "weight_decay"])
def test_numbers_of_adam_may_be_set(beta, device):
    x, y = data(30)
    used, new = (make(device, "float64", optimizer=nl.Adam(lr=0.01)) for _ in range(2))
    used.fit(x, y, epochs=1, progress=False)
    new.fit(x, y, epochs=1, progress=False)
    setattr(used.optimizer, beta, 0.3)
    fresh = nl.Adam(lr=0.01, **{beta: 0.3})
    fresh.bind(new.network)
    for name, array in new.optimizer.arrays().items():
        fresh.arrays()[name][...] = array
    new.optimizer = fresh
    for each in (used, new):
        each.fit(x, y, epochs=2, progress=False)
    assert weights(used).tobytes() == weights(new).tobytes()


@pytest.mark.parametrize("kind", [Shrinking, None])
def test_an_optimizer_of_your_own_may_have_its_rate_as_a_number(kind, device):
    class Mine(nl.SGD):
        def rule(self, ops, w, dw):
            ops.call(shrink, w, dw, self.lr)

    x, y = data(30)
    used, plain = make(device, "float64", optimizer=(kind or Mine)(lr=0.1)), make(device, "float64")
    for lr in (0.1, 0.03):
        for each in (used, plain):
            each.optimizer.lr = lr
            each.fit(x, y, epochs=2, progress=False)
        np.testing.assert_allclose(weights(used), weights(plain), rtol=1e-12)


def test_a_network_may_move_while_it_trains_in_chunks(device):
    x, y = data(40)
    used, new = (make(device, "float64", optimizer=nl.Adam(lr=0.01)) for _ in range(2))

    def chunks(moving):
        for part in range(4):
            if moving and part:
                used.network.to(device)
            yield x[part * 10 : part * 10 + 10], y[part * 10 : part * 10 + 10]

    histories = [
        each.fit(lambda moving=each is used: chunks(moving), epochs=3, batch_size=4, progress=False)
        for each in (used, new)
    ]
    assert dict(histories[0]) == dict(histories[1])
    assert weights(used).tobytes() == weights(new).tobytes()
    assert used.evaluate(x, y) == new.evaluate(x, y)


@pytest.mark.parametrize("what", ["network", "trainer"])
@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, lambda thing: pickle.loads(pickle.dumps(thing))])
def test_copies_do_not_disturb_the_original(what, way, device):
    x, y = data(40)
    used, new = (make(device, "float64", optimizer=nl.Adam(lr=0.01), layers=[nl.Dropout(0.2)]) for _ in range(2))
    for turn in range(3):
        for each in (used, new):
            each.fit(x, y, epochs=1, progress=False)
        other = way(used.network if what == "network" else used)
        net = other if what == "network" else other.network
        assert net.predict(x).tobytes() == new.network.predict(x).tobytes()
        if what == "trainer" and way is not copy.copy:
            other.fit(x, y, epochs=1, progress=False)
            third = copy.deepcopy(used)
            third.fit(x, y, epochs=1, progress=False)
            assert weights(other).tobytes() == weights(third).tobytes()
        elif what == "network":
            nl.Trainer(net, optimizer=nl.SGD(lr=0.5)).fit(x, y, progress=False)
            net.parameters[...] = 0
        assert used.network.predict(x).tobytes() == new.network.predict(x).tobytes(), turn
        assert used.evaluate(x, y) == new.evaluate(x, y)


@pytest.mark.parametrize("loss", [nl.MSE, lambda **options: nl.MSE(reduction="sum", **options)])
def test_a_trainer_in_a_file_goes_on_as_the_original(loss, device, tmp_path):
    joblib = pytest.importorskip("joblib")
    x, y = data(40)
    trainer = make(device, "float64", loss(device=device), ["r2"], "identity", nl.Adam(lr=0.01), [nl.Dropout(0.2)])
    trainer.network.forward(x)
    trainer.loss.forward(trainer.network.backend.asarray(y), trainer.network.backend.asarray(y))
    for _ in range(2):  # before a fit, and after one
        joblib.dump(trainer, tmp_path / "trainer")
        others = [joblib.load(tmp_path / "trainer"), pickle.loads(pickle.dumps(trainer)), copy.deepcopy(trainer)]
        histories = [dict(each.fit(x, y, epochs=2, progress=False)) for each in (trainer, *others)]
        for each, history in zip(others, histories[1:]):
            assert history == histories[0]
            assert weights(each).tobytes() == weights(trainer).tobytes()
            assert each.evaluate(x, y) == trainer.evaluate(x, y)


# ---- beside others ------------------------------------------------------------------------------------------------


def beside(work, *others, rounds=1):
    """Do the work in this thread, and the others in one thread each, over and over, for as long as it lasts."""
    errors, over = [], threading.Event()
    barrier = threading.Barrier(len(others) + 1)

    def again(other):
        barrier.wait()
        try:
            while not over.is_set():
                other()
        except BaseException as error:
            errors.append(error)

    pool = [threading.Thread(target=again, args=(other,)) for other in others]
    for thread in pool:
        thread.start()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        barrier.wait()
        for _ in range(rounds):
            work()
    finally:
        sys.setswitchinterval(interval)
        over.set()
        for thread in pool:
            thread.join()
    assert not errors, errors


@pytest.mark.parametrize("replay", ["auto", "eager"])
def test_a_fit_with_everything_beside_it_is_as_a_fit_alone(host, replay, tmp_path):
    x, y = data(60)
    x = x.astype(np.float32)

    def new():
        trainer = make(host, layers=[nl.Dropout(0.2)], optimizer=nl.Adam(lr=0.01), metrics=["r2"])
        trainer.replay = replay
        return trainer

    trainer, alone = new(), new()
    net, numbers = trainer.network, iter(range(1, 10**9))

    def fit(each, rounds):
        for i in range(rounds):
            each.fit(x, y, epochs=2, batch_size=5 + i % 20, progress=False)  # other sizes: it is recorded each time

    def check(answer):
        assert answer.shape == (60, 2) and np.isfinite(answer).all()

    rounds = 30 if replay == "auto" else 8
    beside(
        lambda: fit(trainer, rounds),
        lambda: check(net.predict(x, next(numbers) % 70 + 1)),
        lambda: trainer.evaluate(x, y),
        lambda: check(net.copy().predict(x)),
        lambda: net.save(tmp_path / "net"),
        lambda: pickle.loads(pickle.dumps(trainer)).evaluate(x, y),
        lambda: (net.state_dict(), net.summary(), copy.copy(net)),
    )
    fit(alone, rounds)
    assert weights(trainer).tobytes() == weights(alone).tobytes()
    assert nl.load(tmp_path / "net", device=host).predict(x).shape == (60, 2)


def test_many_threads_predict_what_one_does(host):
    net = make(host, layers=[Scale(), nl.Dropout(0.1)]).network
    x = data(300)[0].astype(np.float32)
    expected = {rows: net.copy().predict(x[:rows]) for rows in range(1, 301, 13)}

    def check():
        for rows, answer in expected.items():
            assert net.predict(x[:rows]).tobytes() == answer.tobytes()

    beside(check, check, check, lambda: setattr(net.layers[3], "rate", 0.1), rounds=10)


@pytest.mark.parametrize("one_trainer", [False, True])
def test_two_fits_at_once_leave_a_network_of_use(host, one_trainer):
    x, y = data(60)
    first = make(host, optimizer=nl.SGD(lr=0.01))
    second = first if one_trainer else nl.Trainer(first.network, optimizer=nl.SGD(lr=0.01))
    histories = []

    def fit(trainer):
        history = trainer.fit(x, y, epochs=3, batch_size=7, progress=False, validation_data=(x, y))
        histories.append({column: len(values) for column, values in history.items()})

    beside(lambda: fit(first), lambda: fit(second), rounds=20)
    assert all(lengths == {"loss": 3, "val_loss": 3} for lengths in histories)
    assert isinstance(first.network.parameters, np.ndarray) and np.isfinite(first.network.parameters).all()
    loss = first.evaluate(x, y)["loss"]
    first.fit(x, y, epochs=5, progress=False)
    assert first.evaluate(x, y)["loss"] <= loss * 1.01


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="there are no timers here")
def test_a_signal_handler_may_save_evaluate_and_predict_during_a_fit(host, tmp_path):
    x, y = data(60)
    trainer, alone = (make(host, layers=[nl.Dropout(0.2)]) for _ in range(2))
    calls = []

    def handler(*_):
        trainer.network.save(tmp_path / "net")
        trainer.evaluate(x, y), trainer.network.predict(x)
        calls.append(1)
        signal.setitimer(signal.ITIMER_REAL, 0.003)  # again, but never within itself

    with handling(signal.SIGALRM, handler):
        signal.setitimer(signal.ITIMER_REAL, 0.003)
        for size in range(3, 33):
            trainer.fit(x, y, epochs=3, batch_size=size, progress=False)
    for size in range(3, 33):
        alone.fit(x, y, epochs=3, batch_size=size, progress=False)
    assert calls and weights(trainer).tobytes() == weights(alone).tobytes()


def test_a_prediction_between_forward_and_backward_changes_nothing(device):
    """Nor do an evaluation, a fit's recording or a copy, also for a layer that keeps things in a list."""

    class Listed(nl.Layer):
        def __init__(self):
            super().__init__()
            self.saved, self.inner = [None], nl.Tanh(device=device)

        def forward(self, x):
            self.saved[0] = self.inner.forward(x)
            return self.saved[0]

        def backward(self, dy):
            return self.ops.tanh_backward(dy, self.saved[0])

    for layers in ([nl.Tanh()], [Listed()]):
        trainer = make(device, "float64", layers=layers)
        net, (x, _), z = trainer.network, data(5), data(9)
        dy = np.ones((5, 2))
        net.forward(x)
        expected = net.backend.to_numpy(net.backward(dy)).copy(), net.backend.to_numpy(net.gradients).copy()
        net.forward(x)
        net.predict(z[0]), trainer.evaluate(*z), net.copy(), copy.copy(net).predict(z[0])
        np.testing.assert_array_equal(net.backend.to_numpy(net.backward(dy)), expected[0])
        np.testing.assert_array_equal(net.backend.to_numpy(net.gradients), expected[1])


# ---- rows that are used where they are ----------------------------------------------------------------------------


@nl.kernel("x (N,K) -> x")
def halve(x):
    """x ← x / 2, in place."""
    x *= 0.5


class Halves(nl.Layer):
    """A layer that changes the array that it is given."""

    def forward(self, x):
        self.ops.call(halve, x)
        return x


def calls(network):
    """The names of the calls that the compiled replay of a prediction makes."""
    (program, *_), *_ = network._predictor.recorded[network.device].sweep.free.values()
    planned, _ = program.replay._planned(program.tape, alone=True)
    return [each.call.name for each in planned]


def test_rows_are_neither_copied_before_nor_after(threads):
    net = nl.mlp([3, 6, 2], "tanh", "sigmoid", device="numba", threads=threads)
    x = data(300)[0].astype(np.float32)
    expected = net.copy().to("numpy").predict(x)
    np.testing.assert_allclose(net.predict(x), expected, rtol=1e-5)
    found = calls(net)
    assert "linear" in found and "read_rows" not in found and "write_rows" not in found


@pytest.mark.parametrize(
    "layers", [lambda: (Halves(), nl.Dense(3, 2)), lambda: (nl.Dense(3, 2), Halves()), lambda: (nl.Dropout(0.5),)]
)
def test_rows_of_the_user_are_never_changed(layers, host):
    """By a layer that changes its operand in place; and an answer that is x itself is a copy of it."""
    net = nl.Sequential(*layers(), device=host)
    first = data(300)[0].astype(np.float32)
    for x in (first, first[:1].copy()):
        before = x.copy()
        answer = net.predict(x)
        again = net.predict(x)
        np.testing.assert_array_equal(x, before)
        np.testing.assert_array_equal(again, answer)
        assert not np.shares_memory(answer, x)
        if isinstance(net.layers[0], nl.Dropout):
            np.testing.assert_array_equal(answer, x)

"""Device "auto": little work as NumPy calls, more by compiled loops; decided from sizes alone."""

import pickle
import subprocess
import sys

import numpy as np
import pytest

import nnlite as nl
from nnlite import estimate
from nnlite.devices import auto

pytest.importorskip("numba")
UNCOMPILED = 'made from Python: device "auto" compiles only what takes NumPy longer than about 1 s'
X = np.random.default_rng(0).standard_normal((40, 3)).astype(np.float32)
Y = X[:, :1] * X[:, 1:2]


def trainer(device="auto"):
    net = nl.mlp([3, 4, 1], hidden="tanh", device=device)
    return nl.Trainer(net, optimizer=nl.SGD(lr=0.1), metrics=["r2"])


def fit(made, epochs=3, rows=40):
    return made.fit(X[:rows], Y[:rows], epochs, 8, validation_data=(X, Y), progress=False)


def test_little_work_does_not_even_import_numba():
    code = """
import sys, numpy as np, nnlite as nl
net = nl.mlp([3, 4, 1], device="auto")
trainer = nl.Trainer(net, metrics=["r2"])
trainer.fit(np.ones((9, 3)), np.ones(9), 5, validation_data=(np.ones((9, 3)), np.arange(9.0)), progress=False)
trainer.evaluate(np.ones((9, 3)), np.arange(9.0))
net.predict(np.ones((9, 3)))
assert "numba" not in sys.modules and net.device == "auto", net.device
print(trainer.plan())
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.strip().endswith(UNCOMPILED)


def test_more_work_is_compiled(monkeypatch):
    small, large, numpy, numba = trainer(), trainer(), trainer("numpy"), trainer("numba")
    uncompiled = fit(small)
    monkeypatch.setattr(auto, "WORTH", 1e-4)
    compiled = fit(large)
    assert small.plan().endswith(UNCOMPILED) and large.plan() == "compiled loop on 1 thread"
    assert uncompiled == fit(numpy) and compiled == fit(numba)  # to the last bit
    np.testing.assert_allclose(compiled["val_loss"], uncompiled["val_loss"], rtol=1e-4)


def test_numba_always_compiles():
    made = trainer("numba")
    fit(made, epochs=1)
    assert made.plan() == "compiled loop on 1 thread"


def test_short_fits_add_up(monkeypatch):
    monkeypatch.setattr(auto, "WORTH", 0.01)

    def compiled():
        made = trainer()
        return [(fit(made), made.plan().startswith("compiled"))[1] for _ in range(20)]

    found = compiled()
    assert not found[0] and found[-1] and found == sorted(found) == compiled()


def test_rows_without_a_number_are_compiled():
    made = trainer()
    made.fit(lambda: [(X, Y)], epochs=1, progress=False)
    assert made.plan().startswith("compiled")
    made.fit(X, Y, progress=False)  # nobody knows how many rows the other fit had
    assert made.plan().endswith(UNCOMPILED)


def test_the_estimate_comes_from_sizes_alone():
    net = nl.mlp([64, 64, 10], device="numpy")
    assert estimate.seconds(net, 1438, 32, True) == estimate.seconds(net.copy().to("numba"), 1438, 32, True)
    steps = [estimate.seconds(net, 1000, batch, True) for batch in (1, 10, 100)]
    assert steps[0] > 5 * steps[1] > 5 * steps[2] > 0
    wide = nl.mlp([64, 2000, 10], device="numpy")
    assert estimate.seconds(wide, 1000, 100, True) > 10 * steps[2] > 30 * estimate.seconds(net, 1000, 100, False) / 2


def test_predictions_by_their_size(monkeypatch):
    net = nl.mlp([3, 40, 1], device="auto")
    many = np.random.default_rng(1).standard_normal((5000, 3)).astype(np.float32)
    few = net.predict(X)
    np.testing.assert_array_equal(few, net.copy().to("numpy").predict(X))
    monkeypatch.setattr(auto, "WORTH", 1e-4)
    np.testing.assert_array_equal(net.predict(many), net.copy().to("numba").predict(many))
    np.testing.assert_array_equal(net.predict(X), few)


@pytest.mark.parametrize("through", [nl.Sequential.copy, lambda net: pickle.loads(pickle.dumps(net))])
def test_copies_stay_on_auto(through):
    net = nl.mlp([3, 4, 1], device="auto")
    assert through(net).device == "auto" and through(net).backend is net.backend
    assert net.to("numpy").device == "numpy" and net.to("auto").device == "auto"


def test_layers_alone_and_single_steps():
    made, reference = trainer(), trainer("numpy")
    assert made.step(X, Y) == reference.step(X, Y)
    layer = nl.Tanh(device="auto")
    np.testing.assert_array_equal(layer.forward(X), nl.Tanh(device="numpy").forward(X))


def test_eager_steps_are_not_compiled():
    made = nl.Trainer(nl.mlp([3, 4, 1], device="auto"), replay="eager")
    fit(made, epochs=1)
    assert made.plan() != "" and made.tape is None


def test_only_auto_estimates_the_work_of_a_fit(monkeypatch):
    def asked(*_, **__):
        raise AssertionError("nobody needs this estimate")

    monkeypatch.setattr("nnlite.trainer.seconds", asked)
    fit(trainer("numba"))
    with pytest.raises(AssertionError, match="nobody needs"):
        fit(trainer())

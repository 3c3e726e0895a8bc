"""Dask and Ray: networks, and scikit-learn's searches over nnlite's estimators, are trained in their workers."""

import os
import subprocess
import sys
from pathlib import Path

import joblib
import numpy as np
import pytest

import nnlite as nl

selection = pytest.importorskip("sklearn.model_selection")
pytestmark = pytest.mark.filterwarnings("ignore")  # of their own libraries

DATA = nl.datasets.moons(n=200, noise=0.1, seed=0)
WIDTHS = [2, 4, 8, 16]


def accuracy(data, width):
    """Train a network of this width; its accuracy, where it was trained, where its data lie, whether it owns them."""
    x, y = data
    net = nl.mlp([x.shape[1], width, 2], output="softmax", device="numpy", seed=0)
    trainer = nl.Trainer(net, "cce", nl.Adam(lr=0.01), metrics=["accuracy"])
    trainer.fit(x, y, epochs=3, progress=False)
    return trainer.evaluate(x, y)["accuracy"], os.getpid(), x.ctypes.data, x.flags.writeable


def search(**jobs):
    """The mean scores of scikit-learn's search over two widths and two learning rates."""
    classifier = nl.MLPClassifier(max_iter=5, random_state=0, device="numpy")
    grid = {"hidden_layer_sizes": [(4,), (8,)], "learning_rate_init": [0.01, 0.1]}
    return selection.GridSearchCV(classifier, grid, cv=2, **jobs).fit(*DATA).cv_results_["mean_test_score"]


@pytest.fixture
def dask(tmp_path):
    distributed = pytest.importorskip("distributed")
    cluster = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None, "local_directory": str(tmp_path)}
    with distributed.LocalCluster(**cluster) as workers, distributed.Client(workers) as client:
        yield client


@pytest.fixture
def ray(monkeypatch):
    ray = pytest.importorskip("ray")
    monkeypatch.syspath_prepend(Path(__file__).parent)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # so that its workers find this file
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield ray
    ray.shutdown()


def test_dask(dask):
    shared = dask.scatter(DATA, broadcast=True)
    found = dask.gather([dask.submit(accuracy, shared, width) for width in WIDTHS])
    assert [score for score, *_ in found] == [accuracy(DATA, width)[0] for width in WIDTHS]
    places = {(process, place) for _, process, place, _ in found}
    assert os.getpid() not in {process for process, _ in places}
    assert len(places) == len({process for process, _ in places})  # one copy in each worker, for all its networks

    with joblib.parallel_backend("dask", scatter=[*DATA]):  # each array is sent once, and not with every fit
        np.testing.assert_array_equal(search(n_jobs=2), search())


def test_ray(ray):
    from ray.util.joblib import register_ray

    shared = ray.put(DATA)
    found = ray.get([ray.remote(accuracy).remote(shared, width) for width in WIDTHS])
    assert [score for score, *_ in found] == [accuracy(DATA, width)[0] for width in WIDTHS]
    assert os.getpid() not in {process for _, process, _, _ in found}
    assert not any(writeable for *_, writeable in found)  # all read the same memory, which nobody may change

    register_ray()
    with joblib.parallel_backend("ray"):
        np.testing.assert_array_equal(search(n_jobs=2), search())


SCRIPT = """
import copy, os, pickle, threading

import joblib
import numpy as np

import nnlite as nl

TWICE, LOCK = 2.0, threading.Lock()


@nl.kernel("x (N,K) -> y (N,K)")
def locked(x):
    with LOCK:
        return locked.formula(x[1:]) if len(x) > 1 else x


@nl.kernel("p (N,K), t (N,K) -> losses (N), dp (N,K)")
def squares(p, t):
    return ((p - t) ** 2).sum(axis=1), TWICE * (p - t)


class Bent(nl.Layer):
    def forward(self, x):
        self.x = x
        return self.ops.call(bent, x)

    def backward(self, dy):
        return self.ops.call(bent_backward, dy, self.x)


@nl.kernel("x (N,K) -> y (N,K)", elementwise=True)
def bent(x):
    return x / (1 + np.abs(x))


@nl.kernel("dy (N,K), x (N,K) -> dx (N,K)", elementwise=True)
def bent_backward(dy, x):
    return dy / (1 + np.abs(x)) ** 2


def losses(net):
    x = np.linspace(-1, 1, 60).reshape(20, 3)
    return os.getpid(), nl.Trainer(net, squares).fit(x, x[:, :1], epochs=2, progress=False)["loss"]


if __name__ == "__main__":
    nets = [nl.Sequential(nl.Dense(3, 4), Bent(), nl.Dense(4, 1), device="numpy", seed=seed) for seed in (1, 2)]
    found = joblib.Parallel(n_jobs=2)(joblib.delayed(losses)(net) for net in nets)
    assert os.getpid() not in {process for process, _ in found}
    assert [answer for _, answer in found] == [losses(net)[1] for net in nets]
    for kernel in (bent, locked):
        assert copy.deepcopy(kernel) is pickle.loads(pickle.dumps(kernel)) is kernel
"""


def test_kernels_of_a_script_reach_the_workers_of_joblib(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT, encoding="utf-8")
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr

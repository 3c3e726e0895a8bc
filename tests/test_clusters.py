"""Dask and Ray: networks, and scikit-learn's searches over nnlite's estimators, are trained in their workers."""

import os
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

"""scikit-learn's own tests of its MLP, from the installed package, run on nnlite's estimators in their place."""

import importlib.util
from pathlib import Path

import pytest

import nnlite as nl

sklearn = pytest.importorskip("sklearn")
pytest.importorskip("scipy")
threadpoolctl = pytest.importorskip("threadpoolctl")  # scikit-learn needs it

# The tests are written for warnings that are shown, not raised.
pytestmark = pytest.mark.filterwarnings("default")

LEFT_OUT = {
    "test_fit": "writes coefs_, intercepts_ and private attributes before the first fit",
    "test_gradient": "calls the private _loss_grad_lbfgs; tests/estimators/test_estimators.py compares whole fits",
    "test_learning_rate_warmstart": "reads the private _optimizer",
    "test_adaptive_learning_rate": "reads the private _optimizer",
    "test_early_stopping_stratified": "matches the text of train_test_split's error; ours is a ValueError too",
}


def replaced() -> dict:
    """The names in scikit-learn's file, with its two estimators replaced by ours."""
    path = Path(importlib.util.find_spec("sklearn.neural_network").origin).parent / "tests" / "test_mlp.py"
    if not path.exists():
        pytest.skip("this scikit-learn was installed without its tests", allow_module_level=True)
    text, theirs = path.read_text(encoding="utf-8"), "from sklearn.neural_network import MLPClassifier, MLPRegressor\n"
    assert theirs in text
    names = {"__name__": __name__}
    exec(compile(text.replace(theirs, "from nnlite import MLPClassifier, MLPRegressor\n"), str(path), "exec"), names)
    return names


THEIRS = replaced()
assert THEIRS["MLPClassifier"] is nl.MLPClassifier
globals().update({name: test for name, test in THEIRS.items() if name.startswith("test_") and name not in LEFT_OUT})


@pytest.fixture
def global_random_seed():
    return 42


@pytest.fixture(autouse=True)
def one_thread_of_blas():
    """SciPy's L-BFGS calls BLAS on small vectors, whose threads would only wait for each other."""
    with threadpoolctl.threadpool_limits(1):
        yield


def test_that_tests_are_run_and_those_left_out_exist():
    version = tuple(map(int, sklearn.__version__.split(".")[:2]))
    if version >= (1, 9):
        assert set(LEFT_OUT) <= set(THEIRS)
    assert sum(name.startswith("test_") for name in THEIRS) - len(LEFT_OUT) > 25

"""The estimators, alone and inside scikit-learn."""

import inspect
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest

import nnlite as nl
from nnlite.estimators import inputs

sklearn = pytest.importorskip("sklearn")
pd = pytest.importorskip("pandas")
sparse = pytest.importorskip("scipy.sparse")

import joblib  # noqa: E402
from sklearn import datasets, neural_network  # noqa: E402
from sklearn.base import clone, is_classifier, is_regressor  # noqa: E402
from sklearn.calibration import CalibratedClassifierCV  # noqa: E402
from sklearn.ensemble import BaggingClassifier  # noqa: E402
from sklearn.exceptions import ConvergenceWarning, NotFittedError  # noqa: E402
from sklearn.inspection import permutation_importance  # noqa: E402
from sklearn.metrics import accuracy_score, r2_score  # noqa: E402
from sklearn.model_selection import GridSearchCV, cross_val_score  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler, scale  # noqa: E402
from sklearn.utils.estimator_checks import check_estimator  # noqa: E402

X, Y = datasets.load_iris(return_X_y=True)  # (150, 4), (150,)
X = scale(X)
BOTH = [nl.MLPClassifier, nl.MLPRegressor]
BRIEF = {"max_iter": 5, "n_iter_no_change": np.inf, "random_state": 0}


def theirs(estimator):
    """scikit-learn's estimator with the parameters of ours."""
    kind = getattr(neural_network, type(estimator).__name__)
    known = inspect.signature(kind).parameters
    return kind(**{name: value for name, value in estimator.get_params().items() if name in known})


def fitted(estimator, *args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return estimator.fit(*args, **options)


def assert_same_weights(one, other, tolerance=1e-10):
    for mine, its in zip([*one.coefs_, *one.intercepts_], [*other.coefs_, *other.intercepts_], strict=True):
        np.testing.assert_allclose(mine, its, rtol=tolerance, atol=tolerance)


# ---- the same numbers as scikit-learn --------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", BOTH)
def test_scikit_learns_checks_pass(kind):
    if "on_fail" not in inspect.signature(check_estimator).parameters:  # before 1.6
        check_estimator(kind())
        return
    found = check_estimator(kind(), on_fail=None)
    bad = [(each["check_name"], each["exception"]) for each in found if each["status"] not in ("passed", "skipped")]
    assert not bad
    assert sum(each["status"] == "passed" for each in found) > 50


SETTINGS = [
    {"solver": "sgd", "batch_size": 40, "learning_rate_init": 0.05},
    {"solver": "sgd", "momentum": 0.0, "activation": "tanh", "alpha": 0.5, "batch_size": 150},
    {"solver": "sgd", "learning_rate": "invscaling", "learning_rate_init": 0.5, "nesterovs_momentum": False},
    {
        "solver": "sgd",
        "learning_rate": "adaptive",
        "learning_rate_init": 0.05,
        "tol": 0.02,
        "n_iter_no_change": 3,
        "alpha": 1.0,
        "max_iter": 60,
    },
    {"solver": "lbfgs", "activation": "logistic", "hidden_layer_sizes": (9, 8), "max_iter": 12},
]


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: "-".join(map(str, setting.values())))
@pytest.mark.parametrize("weight", [None, np.linspace(0.5, 1.5, 150)], ids=["", "weighted"])
@pytest.mark.parametrize("kind", BOTH)
def test_the_same_numbers_as_scikit_learn(kind, weight, setting):
    if weight is not None and setting.get("batch_size") == 40:
        pytest.skip("alpha is divided by the mean weight of all rows, and not by the weight of the batch")
    if weight is not None and "sample_weight" not in inspect.signature(theirs(kind()).fit).parameters:
        pytest.skip("this scikit-learn has no weights of rows here")
    ours = kind(**{"shuffle": False, "random_state": 3, "max_iter": 25, **setting})
    its, weights = theirs(ours), () if weight is None else (weight,)
    fitted(ours, X, Y, *weights), fitted(its, X, Y, *weights)
    assert_same_weights(ours, its)
    assert ours.n_iter_ == its.n_iter_
    assert ours.loss_ == pytest.approx(its.loss_, rel=1e-6)
    if setting["solver"] == "sgd":
        np.testing.assert_allclose(ours.loss_curve_, its.loss_curve_, rtol=1e-5)
    assert (ours.n_layers_, ours.n_outputs_, ours.out_activation_) == (
        its.n_layers_,
        its.n_outputs_,
        its.out_activation_,
    )
    np.testing.assert_allclose(ours.predict(X), its.predict(X), rtol=1e-9)
    assert ours.score(X, Y) == pytest.approx(its.score(X, Y))


def test_adam_differs_only_where_epsilon_stands():
    ours = nl.MLPClassifier(shuffle=False, random_state=3, max_iter=20)
    its = theirs(ours)
    fitted(ours, X, Y), fitted(its, X, Y)
    assert_same_weights(ours, its, 1e-4)


def test_parameters_and_defaults_are_scikit_learns():
    for kind in BOTH:
        its = getattr(neural_network, kind.__name__)().get_params()
        ours = kind().get_params()
        assert {name: ours[name] for name in its} == its


def test_score_is_scikit_learns():
    weight = np.linspace(0, 1, 150)
    classifier, regressor = (fitted(kind(**BRIEF), X, Y) for kind in BOTH)
    assert classifier.score(X, Y, weight) == pytest.approx(
        accuracy_score(Y, classifier.predict(X), sample_weight=weight)
    )
    assert regressor.score(X, Y, weight) == pytest.approx(r2_score(Y, regressor.predict(X), sample_weight=weight))
    several = fitted(nl.MLPRegressor(**BRIEF), X, X[:, :2])
    assert several.score(X, X[:, :2]) == pytest.approx(r2_score(X[:, :2], several.predict(X)))


# ---- inside scikit-learn ---------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_grid_search_with_two_jobs(backend):
    frame = pd.DataFrame(X, columns=["a", "b", "c", "d"])
    pipeline = make_pipeline(StandardScaler().set_output(transform="pandas"), nl.MLPClassifier(**BRIEF))
    grid = {"mlpclassifier__learning_rate_init": [0.001, 0.05]}
    with joblib.parallel_backend(backend):
        search = GridSearchCV(pipeline, grid, n_jobs=2, cv=2).fit(frame, Y)
    alone = GridSearchCV(pipeline, grid, cv=2).fit(frame, Y)
    assert search.best_params_["mlpclassifier__learning_rate_init"] == 0.05
    np.testing.assert_allclose(search.cv_results_["mean_test_score"], alone.cv_results_["mean_test_score"])
    assert list(search.best_estimator_[-1].feature_names_in_) == ["a", "b", "c", "d"]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_what_scikit_learn_does_with_estimators():
    classifier = nl.MLPClassifier(learning_rate_init=0.05, max_iter=20, random_state=0)
    assert is_classifier(classifier) and is_regressor(nl.MLPRegressor())
    assert cross_val_score(classifier, X, Y, cv=2).min() > 0.8
    importance = permutation_importance(classifier.fit(X, Y), X, Y, n_repeats=2, random_state=0)
    assert importance.importances_mean.argmax() in (2, 3)
    assert CalibratedClassifierCV(classifier, cv=2).fit(X, Y).score(X, Y) > 0.8
    assert BaggingClassifier(classifier, n_estimators=2, random_state=0).fit(X, Y).score(X, Y) > 0.8
    assert repr(classifier) == "MLPClassifier(learning_rate_init=0.05, max_iter=20, random_state=0)"
    copied = clone(classifier)
    assert copied.get_params() == classifier.get_params() and not hasattr(copied, "coefs_")
    with pytest.raises(NotFittedError, match="not fitted yet"):
        copied.predict(X)
    with pytest.raises(ValueError, match="Invalid parameter 'units'"):
        classifier.set_params(units=3)


@pytest.mark.parametrize("kind", BOTH)
def test_pickled_and_dumped_estimators_answer_the_same_and_go_on(kind, tmp_path):
    estimator = fitted(kind(**BRIEF), X, Y)
    joblib.dump(estimator, tmp_path / "estimator")
    for copied in (pickle.loads(pickle.dumps(estimator)), joblib.load(tmp_path / "estimator")):
        np.testing.assert_array_equal(copied.predict(X), estimator.predict(X))
        reference = pickle.loads(pickle.dumps(estimator)).partial_fit(X, Y)
        assert_same_weights(copied.partial_fit(X, Y), reference)
        assert copied.loss_curve_[:-1] == estimator.loss_curve_


def test_scikit_learn_is_not_imported():
    program = """
import sys, warnings, numpy as np, nnlite as nl
x, y = nl.datasets.moons(n=60, seed=0)
with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    classifier = nl.MLPClassifier(max_iter=2, device="numpy").fit(x, y.reshape(-1, 1))
print([each.category.__module__ for each in seen], classifier.score(x, y) > 0)
try:
    nl.MLPClassifier().predict(x)
except (ValueError, AttributeError) as error:
    print(type(error).__module__)
print("sklearn" in sys.modules, "scipy" in sys.modules)
"""
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    own = "nnlite.estimators.scikit_learn"
    assert found.stdout.splitlines() == [f"['{own}', '{own}'] True", own, "False False"]


# ---- what scikit-learn's MLP does not have ---------------------------------------------------------------------------


def test_layers_optimizers_losses_schedules_and_callbacks():
    looked = []
    classifier = nl.MLPClassifier(
        (8, 6),
        ["gelu", nl.LeakyReLU(0.1)],
        solver=nl.AdamW(lr=nl.schedules.Cosine(0.05, length=20), weight_decay=0.01),
        dropout=0.1,
        loss=nl.CategoricalCrossEntropy(label_smoothing=0.1),
        callbacks=[lambda trainer, epoch: looked.append(epoch)],
        max_iter=20,
        random_state=0,
    )
    fitted(classifier, X, Y)
    kinds = ["Dense", "GELU", "Dropout", "Dense", "LeakyReLU", "Dropout", "Dense", "Softmax"]
    assert [type(layer).__name__ for layer in classifier.network_.layers] == kinds
    assert looked == list(range(1, 21)) and classifier.score(X, Y) > 0.9
    assert classifier.solver.network is None  # the object that was passed is not used itself
    assert len(classifier.history_["loss"]) == 20
    regressor = nl.MLPRegressor("huber", solver="rmsprop", dtype="float32", **BRIEF)
    assert fitted(regressor, X, Y).coefs_[0].dtype == np.float32
    clone(classifier), pickle.dumps(fitted(clone(classifier).set_params(callbacks=()), X, Y))


def test_balanced_classes_are_weights_of_rows():
    x, y = X[:80], Y[:80]  # 50 and 30 rows
    classifier = nl.MLPClassifier(**BRIEF)
    balanced = fitted(clone(classifier).set_params(class_weight="balanced"), x, y)
    named = fitted(clone(classifier).set_params(class_weight={0: 0.8, 1: 4 / 3}), x, y)
    weighed = fitted(classifier, x, y, np.where(y == 0, 0.8, 4 / 3))
    assert_same_weights(balanced, weighed)
    assert_same_weights(named, weighed)
    with pytest.raises(ValueError, match="class_weight has the label 7"):
        classifier.set_params(class_weight={7: 1}).fit(x, y)


def test_an_own_validation_set():
    regressor = nl.MLPRegressor(**BRIEF)
    fitted(regressor, X[::2], Y[::2], validation_data=(X[1::2], Y[1::2]))
    assert len(regressor.validation_scores_) == len(regressor.history_["val_loss"]) == 5
    assert regressor.validation_scores_[-1] == pytest.approx(regressor.score(X[1::2], Y[1::2]))
    early = nl.MLPClassifier(early_stopping=True, n_iter_no_change=4, tol=0.01, learning_rate_init=0.02, random_state=0)
    early.fit(X[::2], Y[::2], validation_data=(X[1::2], Y[1::2]))
    assert early.n_iter_ < 200 and early.best_loss_ is None
    assert early.score(X[1::2], Y[1::2]) == early.best_validation_score_ == max(early.validation_scores_)


def test_rows_held_back_are_a_share_of_each_class():
    from nnlite.estimators.perceptron import held_back

    groups = np.repeat([0, 1, 2], [60, 30, 10])
    back = held_back(groups, 100, 0.1, 0)
    assert np.bincount(groups[back]).tolist() == [6, 3, 1]
    assert (held_back(groups, 100, 0.1, 0) == back).all() and (held_back(groups, 100, 0.1, 1) != back).any()
    assert held_back(None, 15, 0.1, 0).sum() == 2
    with pytest.raises(ValueError, match="only 1 member"):
        nl.MLPClassifier(early_stopping=True).fit(X[:30], [0] * 29 + [1])
    with pytest.raises(ValueError, match="validation set is too small"):
        nl.MLPRegressor(early_stopping=True).fit(X[:5], Y[:5])


@pytest.mark.parametrize("kind", BOTH)
def test_a_sparse_x_that_is_too_large_is_trained_in_parts(kind, monkeypatch):
    matrix, weight = sparse.csr_matrix(np.where(X > 0.5, X, 0)), np.linspace(0.5, 1.5, 150)
    estimator = kind(shuffle=False, batch_size=25, **BRIEF)
    whole = fitted(clone(estimator), matrix, Y, weight)
    monkeypatch.setattr(inputs, "DENSE_BYTES", 0)
    monkeypatch.setattr(inputs, "CHUNK_BYTES", 60 * 4 * 8)  # 60 rows, which is two batches
    parts = fitted(clone(estimator), matrix, Y, weight)
    assert_same_weights(parts, whole)
    np.testing.assert_allclose(parts.loss_curve_, whole.loss_curve_)
    np.testing.assert_allclose(parts.predict(matrix), whole.predict(matrix.toarray()))
    mixed = fitted(clone(estimator).set_params(shuffle=True, early_stopping=True), matrix, Y)
    assert mixed.loss_curve_ != parts.loss_curve_ and len(mixed.validation_scores_) == 5


def test_warm_start_and_partial_fit_go_on():
    regressor = nl.MLPRegressor(solver="sgd", warm_start=True, **BRIEF)
    first = fitted(regressor, X, Y).loss_
    assert fitted(regressor, X, Y).loss_ < first and len(regressor.loss_curve_) == 10
    network = regressor.network_
    assert regressor.partial_fit(X, Y).network_ is network
    with pytest.raises(ValueError, match="columns"):
        regressor.partial_fit(X, X[:, :2])
    assert not hasattr(nl.MLPRegressor(solver="lbfgs"), "partial_fit")


@pytest.mark.parametrize("change", [{"alpha": 100.0}, {"tol": 1.0}])
def test_partial_fit_follows_parameters_as_scikit_learns_does(change):
    """A new alpha counts at once, and an adaptive rate falls from call to call."""
    start = {"solver": "sgd", "learning_rate_init": 0.01, "n_iter_no_change": 2, "shuffle": False, "random_state": 0}
    start["learning_rate"] = "adaptive"
    one = nl.MLPRegressor(hidden_layer_sizes=(5,), batch_size=150, device="numpy", **start)
    other = theirs(one)
    for each in (one, other):
        each.partial_fit(X, X[:, 0])
        each.set_params(**change)
        for _ in range(10):
            each.partial_fit(X, X[:, 0])
    assert_same_weights(one, other)
    assert one.loss_ == pytest.approx(other.loss_, rel=1e-9)
    if "tol" in change:
        assert one._trainer.optimizer.lr == pytest.approx(0.01 / 5**3) == other._optimizer.learning_rate


def test_rows_held_back_are_scored_without_weights_of_classes():
    """As validation_data are: the score is the accuracy that `score` gives."""
    weights = {"class_weight": {0: 1, 1: 10, 2: 3}, "device": "numpy"}
    held = fitted(nl.MLPClassifier(early_stopping=True, validation_fraction=0.2, **weights, **BRIEF), X, Y)
    counts = np.array(held.validation_scores_) * 30
    np.testing.assert_allclose(counts, np.round(counts), atol=1e-9)
    given = nl.MLPClassifier(**weights, **BRIEF)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        given.fit(X, Y, validation_data=(X, Y))
    assert given.validation_scores_[-1] == given.score(X, Y)


def test_rows_of_weight_0_are_as_if_they_were_not_there():
    weight = np.repeat([0.0, 1.0, 2.0], 50)
    estimator = nl.MLPRegressor(
        hidden_layer_sizes=(5,), batch_size=20, alpha=0.1, shuffle=False, device="numpy", **BRIEF
    )
    whole = fitted(clone(estimator), X, Y, sample_weight=weight)
    assert_same_weights(whole, fitted(clone(estimator), X[50:], Y[50:], sample_weight=weight[50:]))
    assert whole.loss_ == fitted(clone(estimator), X[50:], Y[50:], sample_weight=weight[50:]).loss_
    assert_same_weights(whole, fitted(clone(estimator), sparse.csr_matrix(X), Y, sample_weight=weight))


@pytest.mark.filterwarnings("ignore:.* has not converged", "ignore:.* before training has converged")
@pytest.mark.parametrize(
    ("name", "other"),
    [("sgd", "SGD"), ("adam", "Adam"), ("lbfgs", "L-BFGS"), ("rmsprop", "RMSprop")],
)
def test_a_solver_however_its_name_is_written(name, other):
    rest = {"momentum": 0.5, "beta_1": 0.5, "learning_rate": "adaptive", "tol": 1.0, **BRIEF, "n_iter_no_change": 1}
    one, two = (nl.MLPRegressor(solver=solver, **rest).fit(X, Y) for solver in (name, other))
    np.testing.assert_array_equal(one.predict(X), two.predict(X))
    assert one.n_iter_ == two.n_iter_ and hasattr(one, "partial_fit") is hasattr(two, "partial_fit")


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"hidden_layer_sizes": (3, 0)}, "hidden_layer_sizes must be > 0"),
        ({"activation": ["relu", "tanh"]}, "names 2 for 1 hidden layers"),
        ({"activation": "rilu"}, "rilu"),
        ({"solver": "sdg"}, r"^solver='sdg' is not known; choose one of 'sgd', .*'lbfgs'$"),
        ({"solver": nl.Adam}, "it is 'adam'"),
        ({"alpha": -1.0}, "alpha must be"),
        ({"batch_size": 0}, "batch_size must be"),
        ({"learning_rate": "slow"}, "learning_rate='slow'"),
        ({"max_iter": 0}, "max_iter must be"),
        ({"validation_fraction": 1.0}, "validation_fraction must be"),
        ({"loss": "squared"}, "squared"),
        ({"device": "tpu"}, "tpu"),
    ],
)
@pytest.mark.parametrize("kind", BOTH)
def test_parameters_that_do_not_fit_are_refused_by_fit(kind, parameters, message):
    with pytest.raises(ValueError, match=message):
        kind(**parameters).fit(X, Y)


def test_what_must_not_happen_is_said():
    with pytest.raises(ValueError, match="non-finite parameter weights"):
        nl.MLPRegressor(solver="sgd", learning_rate_init=1e4, activation="identity").fit(X, Y)
    with pytest.warns(ConvergenceWarning, match=r"Maximum iterations \(1\)"):
        nl.MLPRegressor(max_iter=1).fit(X, Y)
    with pytest.warns(UserWarning, match="larger than the number of rows"):
        fitted(nl.MLPRegressor(batch_size=151, **BRIEF), X, Y)
    with pytest.raises(ValueError, match="class_weight is for one label a row"):
        nl.MLPClassifier(class_weight="balanced").fit(X, X[:, :2] > 0)
    with pytest.raises(ValueError, match=r"y must hold numbers: .*'no'.*; nl.MLPClassifier is for classes"):
        nl.MLPRegressor().fit(X, np.where(X[:, 0] > 0, "yes", "no").astype(object))
    with pytest.raises(ValueError, match="Multioutput"):
        nl.MLPClassifier().fit(X, X[:, :2])
    with pytest.raises(ValueError, match="pair"):
        nl.MLPClassifier().fit(X, Y, validation_data=X)


def test_verbose_says_each_epoch(capsys):
    fitted(nl.MLPClassifier(verbose=True, early_stopping=True, **BRIEF), X, Y)
    lines = capsys.readouterr().out.splitlines()
    assert (
        lines[0].startswith("Iteration 1, loss = ") and lines[1].startswith("Validation score: ") and len(lines) == 10
    )


# ---- routing of metadata ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [*BOTH, nl.TableClassifier, nl.TableRegressor])
def test_weights_are_routed_through_a_search_and_a_pipeline(kind):
    weight = np.r_[np.zeros(30), np.ones(120)]
    estimator = kind(max_iter=3, random_state=0, device="numpy")
    name = kind.__name__.lower()
    with sklearn.config_context(enable_metadata_routing=True), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        asking = clone(estimator.set_fit_request(sample_weight=True).set_score_request(sample_weight=False))
        assert asking.get_metadata_routing().fit.requests["sample_weight"] is True
        pipeline = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), asking)
        pipeline.set_score_request(sample_weight=False)  # scikit-learn 1.7 asks the pipeline itself, too
        search = GridSearchCV(pipeline, {f"{name}__learning_rate_init": [0.01]}, cv=2)
        found = search.fit(X, Y, sample_weight=weight).best_estimator_
    expected = make_pipeline(StandardScaler(), estimator.set_params(learning_rate_init=0.01))
    fitted(expected, X, Y, **{f"{name}__sample_weight": weight})
    answers = [
        getattr(each, "predict_proba", each.predict)(X) for each in (found, expected, fitted(clone(expected), X, Y))
    ]
    np.testing.assert_array_equal(*answers[:2])
    assert not np.array_equal(*answers[1:])  # without weights


def test_requests_of_metadata_are_checked():
    with pytest.raises(RuntimeError, match=r"sklearn\.set_config\(enable_metadata_routing=True\)"):
        nl.MLPClassifier().set_fit_request(sample_weight=True)
    with sklearn.config_context(enable_metadata_routing=True):
        with pytest.raises(
            TypeError, match="fit of MLPClassifier has no weight; it has sample_weight, validation_data"
        ):
            nl.MLPClassifier().set_fit_request(weight=True)
        with pytest.raises(TypeError, match="partial_fit of TableClassifier has no classes; it has none"):
            nl.TableClassifier().set_partial_fit_request(classes=True)
        first = nl.MLPClassifier()
        routing = (
            first.set_partial_fit_request(classes=True).set_score_request(sample_weight="w").get_metadata_routing()
        )
        assert routing.partial_fit.requests == {"sample_weight": None, "classes": True}
        assert routing.score.requests == {"sample_weight": "w"}
        routing.score.add_request(param="sample_weight", alias=True)  # on a copy
        assert first.get_metadata_routing().score.requests == {"sample_weight": "w"}
        assert nl.MLPClassifier().get_metadata_routing().score.requests == {"sample_weight": None}


# ---- what counts how much --------------------------------------------------------------------------------------------


def test_scores_are_scikit_learns_with_weights():
    weight = np.random.default_rng(0).uniform(0, 3, len(Y))
    classifier = fitted(nl.MLPClassifier((4,), device="numpy", **BRIEF), X, Y)
    expected = accuracy_score(Y, classifier.predict(X), sample_weight=weight)
    assert classifier.score(X, Y, sample_weight=weight) == pytest.approx(expected) != classifier.score(X, Y)
    both = np.column_stack([X[:, 0], X[:, 1] * 3])
    regressor = fitted(nl.MLPRegressor(hidden_layer_sizes=(4,), device="numpy", **BRIEF), X, both)
    expected = r2_score(both, regressor.predict(X), sample_weight=weight)
    assert regressor.score(X, both, sample_weight=weight) == pytest.approx(expected)
    labels = np.column_stack([Y == 0, Y == 1]).astype(int)
    several = fitted(nl.MLPClassifier((4,), device="numpy", **BRIEF), X, labels)
    assert several.score(X, labels) == accuracy_score(labels, several.predict(X)) < 1


def test_balanced_weights_of_classes_are_scikit_learns():
    from sklearn.utils.class_weight import compute_class_weight

    rows = np.r_[0:50, 50:70, 100:110]
    counted = dict(zip([0, 1, 2], compute_class_weight("balanced", classes=np.arange(3), y=Y[rows])))
    one, other = (
        fitted(nl.MLPClassifier((4,), device="numpy", class_weight=weight, **BRIEF), X[rows], Y[rows])
        for weight in ("balanced", counted)
    )
    assert_same_weights(one, other)


def test_early_stopping_waits_for_an_improvement_by_tol():
    """With a tol that no score can gain, training ends as soon as it may."""
    stopped = nl.MLPClassifier((4,), early_stopping=True, tol=2.0, n_iter_no_change=3, random_state=0, device="numpy")
    assert stopped.fit(X, Y).n_iter_ == 5


@pytest.mark.parametrize("kind", BOTH)
def test_no_partial_fit_with_early_stopping(kind):
    with pytest.raises(ValueError, match="partial_fit does not support early_stopping=True"):
        kind(early_stopping=True).partial_fit(X, Y, **({"classes": [0, 1, 2]} if kind is nl.MLPClassifier else {}))


def test_columns_in_another_order_are_refused():
    frame = pd.DataFrame(X, columns=["a", "b", "c", "d"])
    estimator = fitted(nl.MLPClassifier((4,), device="numpy", **BRIEF), frame, Y)
    with pytest.raises(ValueError, match="order"):
        estimator.predict(frame[["b", "a", "c", "d"]])
    fitted(estimator, X, Y)  # names are forgotten
    assert not hasattr(estimator, "feature_names_in_")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        estimator.predict(X)

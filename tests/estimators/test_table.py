"""The estimators for tables: what they are given, what they answer, alone and inside scikit-learn."""

import inspect
import pickle
import subprocess
import sys

import numpy as np
import pytest

import nnlite as nl
from nnlite import cli

BOTH = [nl.TableClassifier, nl.TableRegressor]
FEW = {"max_iter": 40, "learning_rate_init": 0.01, "random_state": 0, "device": "numpy"}


def people(rows=120):
    """Columns of every kind, from which the label and the number follow: name -> list."""
    rng = np.random.Generator(np.random.PCG64(0))
    age = rng.integers(18, 70, rows)
    trade = rng.choice(["smith", "baker", "cook"], rows)
    married = rng.random(rows) < 0.5
    born = [f"{2020 - a}-03-0{1 + a % 9}" for a in age]
    columns = {
        "age": [None if i % 10 == 3 else int(a) for i, a in enumerate(age)],
        "trade": [None if i % 17 == 5 else str(t) for i, t in enumerate(trade)],
        "married": [bool(m) for m in married],
        "born": born,
        "person id": [f"p{i}" for i in range(rows)],
    }
    wage = 10.0 * age + 100 * (trade == "smith")
    return columns, np.where(wage > 480, "rich", "poor"), wage


COLUMNS, RICH, WAGE = people()


def answered(estimator, X):
    return estimator.predict_proba(X) if hasattr(estimator, "predict_proba") else estimator.predict(X)


def target_of(kind):
    return RICH if kind is nl.TableClassifier else WAGE


@pytest.fixture(scope="module")
def fitted():
    return {kind: kind(**FEW).fit(COLUMNS, target_of(kind)) for kind in BOTH}


def test_decisions_are_those_of_the_command_line_and_are_shown(fitted):
    found = str(fitted[nl.TableClassifier].decisions_)
    table = nl.tables.read(COLUMNS)
    assert fitted[nl.TableRegressor].decisions_.columns == nl.tables.decide(table, None).columns
    for line in ("age        number", "trade      category", "born       date", "person id  left out"):
        assert line in found
    assert "target     target: class           2 labels" in found


def test_fit_shows_nothing(capsys):
    for kind in BOTH:
        kind(**FEW).fit(COLUMNS, target_of(kind))
    assert capsys.readouterr() == ("", "")


def test_both_learn(fitted):
    assert fitted[nl.TableClassifier].score(COLUMNS, RICH) > 0.9
    assert fitted[nl.TableRegressor].score(COLUMNS, WAGE) > 0.9
    some, half = fitted[nl.TableRegressor].predict(COLUMNS)[:60], np.arange(len(WAGE)) < 60
    expected = nl.metrics.metric("r2")(some[:, None], WAGE[:60, None])
    assert fitted[nl.TableRegressor].score(COLUMNS, WAGE, half) == pytest.approx(expected)


@pytest.mark.parametrize("kind", BOTH)
def test_columns_in_any_order_and_new_ones(kind, fitted):
    other = {"new": [1.0] * len(WAGE)} | dict(reversed(COLUMNS.items()))
    del other["person id"]  # which is left out
    np.testing.assert_array_equal(answered(fitted[kind], other), answered(fitted[kind], COLUMNS))
    with pytest.raises(ValueError, match="there is no column 'trade', which the model reads"):
        fitted[kind].predict({"age": [3], "married": [True], "born": ["2000-01-01"]})


@pytest.mark.parametrize("kind", BOTH)
def test_gaps_and_unseen_values_are_answered(kind, fitted):
    new = {"age": [None, 30], "trade": ["astronaut", None], "married": [None, "?"], "born": ["2000-01-02", "nonsense"]}
    with pytest.warns(UserWarning) as told:
        assert np.isfinite(np.asarray(answered(fitted[kind], new), float)).all()
    assert [str(each.message) for each in told] == [
        "trade: 1 value never seen in training, such as 'astronaut', in 1 of 2 cells; taken as missing",
        "born: no date in 1 of 2 cells, such as 'nonsense'; taken as missing",
    ]
    assert {each.filename for each in told} == {__file__}, "the user's line"
    with pytest.raises(ValueError, match="no cell of 'born' is a date, which the model reads there: 'nonsense'"):
        answered(fitted[kind], new | {"born": [None, "nonsense"]})


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames_give_what_a_dict_gives(kind, library, fitted):
    frame = pytest.importorskip(library).DataFrame(COLUMNS)
    own = kind(**FEW).fit(frame, target_of(kind))
    np.testing.assert_allclose(answered(own, frame), answered(fitted[kind], COLUMNS))
    assert own.feature_names_in_.tolist() == list(COLUMNS) and own.n_features_in_ == 5
    series = sys.modules[library].Series(target_of(kind))
    named = frame.assign(goal=series) if library == "pandas" else frame.with_columns(series.alias("goal"))
    np.testing.assert_allclose(answered(kind(**FEW).fit(named, "goal"), frame), answered(own, frame))


def test_a_column_with_the_name_of_y_is_not_learned_from():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(COLUMNS | {"wage": WAGE})
    own = nl.TableRegressor(**FEW).fit(frame, frame["wage"])
    assert not any("wage" in name for name in own.decisions_.features)
    assert own.n_features_in_ == 5 and own.score(frame, frame["wage"]) > 0.9
    other = nl.TableRegressor(**FEW).fit({"target": WAGE, "age": COLUMNS["age"]}, WAGE)  # y has no name
    assert "target" in other.decisions_.features


@pytest.mark.filterwarnings("ignore:A column-vector y was passed")
@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_y_may_be_a_frame_of_one_column(library):
    frame = pytest.importorskip(library).DataFrame(COLUMNS | {"wage": WAGE})
    own = nl.TableRegressor(**FEW).fit(frame, frame[["wage"]])
    assert own.n_features_in_ == 5 and own.decisions_.target.name == "wage"
    assert not any("wage" in name for name in own.decisions_.features)
    assert own.score(frame, frame[["wage"]]) == own.score(frame, WAGE)


@pytest.mark.parametrize("name", [5, ("money", "wage")], ids=["a number", "a pair"])
def test_a_name_of_y_that_is_no_text(name):
    """As in a frame that was made of an array, or one with names in two rows."""
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(COLUMNS | {"wage": WAGE})
    frame.columns = [*range(5), name] if name == 5 else pandas.MultiIndex.from_tuples([*zip("abcde", "abcde"), name])
    own = nl.TableRegressor(**FEW).fit(frame, frame[name])
    assert not any(str(name) in feature for feature in own.decisions_.features)
    assert own.n_features_in_ == 5 and own.decisions_.target.name == str(name)
    other = nl.TableRegressor(**FEW).fit(frame, frame[name].rename(frame.columns[0]))  # of another frame's column
    assert other.n_features_in_ == 6 and other.decisions_.target.name == "target"


def test_a_file_and_the_name_of_its_target(tmp_path):
    path = tmp_path / "people.csv"
    codes = np.where(RICH == "rich", "007", "100")
    rows = [",".join(["" if cell is None else str(cell) for cell in row]) for row in zip(*COLUMNS.values(), codes)]
    path.write_text("\n".join([",".join([*COLUMNS, "code"]), *rows, rows[0].rpartition(",")[0] + ","]))
    own = nl.TableClassifier(**FEW).fit(path, "code")
    assert own.classes_.tolist() == ["007", "100"]
    assert own.decisions_.target.missing == 1
    assert len(own.predict(path)) == len(WAGE) + 1
    with pytest.warns(UserWarning, match="left out: 1 row without a value of y"):
        assert own.score(path, "code") == own.score(COLUMNS, codes) > 0.9
    with pytest.raises(ValueError, match="no column is called 'cods'"):
        nl.TableClassifier().fit(path, "cods")


@pytest.mark.parametrize("labels", [np.array([3, 10]), np.array([False, True]), np.array(["b", "a"], object)])
def test_labels_come_back_as_they_were(labels):
    y = labels[(RICH == "rich").astype(int)]
    given = nl.TableClassifier(**FEW).fit(COLUMNS, y)
    named = nl.TableClassifier(**FEW).fit(COLUMNS | {"y": y}, "y")
    for one in (given, named):
        assert one.classes_.tolist() == sorted(labels.tolist())
        assert one.predict(COLUMNS).dtype == labels.dtype
        assert (one.predict(COLUMNS) == y).mean() > 0.9
        assert one.score(COLUMNS, y) == one.score(COLUMNS | {"y": y}, "y")
    np.testing.assert_array_equal(given.predict_proba(COLUMNS), named.predict_proba(COLUMNS))
    with pytest.warns(UserWarning, match="no label in y was there"):
        assert given.score(COLUMNS, np.full(len(y), "other")) == 0


def test_columns_taken_as_asked():
    own = nl.TableRegressor(categorical=["age"], ignore=["born"], **FEW).fit(COLUMNS, WAGE)
    kinds = {column.name: column.kind for column in own.decisions_.columns}
    assert kinds["age"] == "category" and kinds["born"] == "left out"
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(COLUMNS).astype({"age": "category"})
    own = nl.TableRegressor(**FEW).fit(frame, WAGE)
    assert own.decisions_.columns[0].kind == "category"


@pytest.mark.parametrize("kind", BOTH)
def test_weights_of_rows(kind):
    y, weight = target_of(kind), (np.arange(len(WAGE)) < 80) * 1.0
    one = kind(**FEW).fit(COLUMNS, y, sample_weight=weight)
    some = {name: cells[:80] for name, cells in COLUMNS.items()}
    other = kind(**FEW).fit(some, y[:80], sample_weight=np.full(80, 2.0))
    np.testing.assert_allclose(answered(one, COLUMNS), answered(other, COLUMNS), rtol=1e-6)
    uneven = kind(**FEW).fit(COLUMNS, y, sample_weight=1 + 9 * weight)
    assert not np.allclose(answered(uneven, COLUMNS), answered(one, COLUMNS), rtol=1e-3)


def test_weights_hold_with_rows_held_back_too(monkeypatch):
    monkeypatch.setattr(nl.tables.learning, "SMALL", 50)
    y = np.where(RICH == "rich", 1.0, 0.0)
    one = nl.TableRegressor(**FEW).fit({"a": WAGE}, y)
    other = nl.TableRegressor(**FEW).fit({"a": WAGE}, y, sample_weight=1 + 20 * y)
    assert other.predict({"a": WAGE}).mean() > one.predict({"a": WAGE}).mean() + 0.05
    assert other.network_.parameters.dtype == np.float64


def test_class_weight_is_the_weight_of_rows():
    weight = np.where(RICH == "rich", 5.0, 1.0)
    by_class = nl.TableClassifier(class_weight={"rich": 5}, **FEW).fit(COLUMNS, RICH)
    by_row = nl.TableClassifier(**FEW).fit(COLUMNS, RICH, sample_weight=weight)
    np.testing.assert_array_equal(by_class.predict_proba(COLUMNS), by_row.predict_proba(COLUMNS))
    balanced = nl.TableClassifier(class_weight="balanced", **FEW).fit(COLUMNS | {"y": RICH}, "y")
    assert set(balanced.predict(COLUMNS)) == {"rich", "poor"}


@pytest.mark.parametrize("kind", BOTH)
def test_a_saved_model_is_that_of_the_command_line(kind, fitted, tmp_path, capsys):
    fitted[kind].save(tmp_path / "model.safetensors")
    model = nl.tables.Model.load(tmp_path / "model.safetensors", device="numpy")
    outputs, told = model.outputs(model.read(COLUMNS))
    np.testing.assert_allclose(outputs.reshape(-1), answered(fitted[kind], COLUMNS).reshape(-1))
    assert not told
    np.testing.assert_array_equal(model.predict(COLUMNS), fitted[kind].predict(COLUMNS))
    rows = [",".join(["" if cell is None else str(cell) for cell in row]) for row in zip(*COLUMNS.values())]
    (tmp_path / "new.csv").write_text("\n".join([",".join(COLUMNS), *rows]))
    argv = ["predict", str(tmp_path / "model.safetensors"), str(tmp_path / "new.csv"), "--device", "numpy"]
    assert cli.main(argv) == 0
    answers = [line.split(",")[0] for line in capsys.readouterr().out.splitlines()[1:]]
    expected = fitted[kind].predict(COLUMNS)
    assert answers == [text if isinstance(text, str) else f"{text:.10g}" for text in expected.tolist()]


def test_what_is_wrong_is_said():
    for y, said in (
        (RICH[:5], "inconsistent numbers of samples"),
        (None, "requires y to be passed"),
        (2, "^y is 2; expected one label or number for each row, or the name of a column as text, such as '2'$"),
        (np.full(len(RICH), "rich"), "y holds one class only, .*'rich'"),
        (np.stack([RICH, RICH], axis=1), "expected one label or number for each row"),
        (WAGE + 0.5, "Unknown label type: continuous"),
    ):
        with pytest.raises(ValueError, match=said):
            nl.TableClassifier().fit(COLUMNS, y)
    with pytest.raises(ValueError, match=r"y must hold numbers: .*; nl\.TableClassifier is for classes"):
        nl.TableRegressor().fit(COLUMNS, RICH)
    with pytest.raises(ValueError, match="no column is called 'C'"):
        nl.TableRegressor(ignore=["C"]).fit(COLUMNS, WAGE)
    with pytest.raises(ValueError, match="n_samples = 2 with a target, but a minimum of 3"):
        nl.TableRegressor().fit({"a": [1, 2]}, [1, 2])
    with pytest.raises(ValueError, match="weight_decay"):
        nl.TableRegressor(weight_decay=-1).fit(COLUMNS, WAGE)


# ---- inside scikit-learn ------------------------------------------------------------------------------------------

# Batches are drawn from the rows, so that a row of weight 2 is in one batch, and two equal rows may be in two.
EXCUSED = "check_sample_weight_equivalence_on_dense_data"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", BOTH)
def test_scikit_learns_checks_pass(kind):
    checks = pytest.importorskip("sklearn.utils.estimator_checks")
    if "on_fail" not in inspect.signature(checks.check_estimator).parameters:  # before 1.6
        pytest.skip("this scikit-learn cannot excuse a check")
    found = checks.check_estimator(kind((16,), max_iter=8, learning_rate_init=0.02, device="numpy"), on_fail=None)
    bad = [each["check_name"] for each in found if each["status"] not in ("passed", "skipped")]
    assert bad == [EXCUSED]
    assert sum(each["status"] == "passed" for each in found) > 50


def test_clone_and_pickle(fitted):
    base = pytest.importorskip("sklearn.base")
    own = fitted[nl.TableClassifier]
    assert base.is_classifier(own) and base.is_regressor(fitted[nl.TableRegressor])
    again = base.clone(own).fit(COLUMNS, RICH)
    np.testing.assert_array_equal(again.predict_proba(COLUMNS), own.predict_proba(COLUMNS))
    copied = pickle.loads(pickle.dumps(own))
    np.testing.assert_array_equal(copied.predict(COLUMNS), own.predict(COLUMNS))
    assert copied.get_params() == own.get_params()
    assert repr(copied) == "TableClassifier(device='numpy', learning_rate_init=0.01, max_iter=40, random_state=0)"


def test_searches(fitted):
    selection, pandas = pytest.importorskip("sklearn.model_selection"), pytest.importorskip("pandas")
    frame, brief = pandas.DataFrame(COLUMNS), FEW | {"max_iter": 15}
    scores = selection.cross_val_score(nl.TableRegressor(**brief), frame, WAGE, cv=3)
    assert scores.min() > 0.5
    grid = {"hidden_layer_sizes": [(4,), (16, 8)], "ignore": [(), ("born",)]}
    search = selection.GridSearchCV(nl.TableClassifier(**brief), grid, cv=2, n_jobs=2).fit(frame, RICH)
    assert search.best_score_ > 0.6 and search.best_estimator_.predict(frame).shape == RICH.shape


def test_scikit_learn_is_not_imported():
    code = (
        "import sys, nnlite as nl;"
        "nl.TableClassifier(max_iter=2, device='numpy').fit({'a': [1, 2, 3] * 9}, [0, 1, 1] * 9);"
        "assert not {'sklearn', 'pandas'} & {*sys.modules}"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_model_that_was_loaded_warns_too(fitted, tmp_path):
    fitted[nl.TableClassifier].save(tmp_path / "model.safetensors")
    model = nl.tables.Model.load(tmp_path / "model.safetensors", "numpy")
    new = {name: column[:3] for name, column in COLUMNS.items()} | {"extra": [1, 2, 3], "age": ["40", "old", 50]}
    with pytest.warns(UserWarning, match="^age: no number in 1 of 3 cells, such as 'old'; taken as missing$"):
        assert len(model.predict(new)) == 3
    with pytest.raises(ValueError, match="no cell of 'age' is a number"):
        model.predict(new | {"age": ["x", "y", "z"]})


def test_between_a_file_and_a_frame_nothing_is_lost(tmp_path):
    pandas = pytest.importorskip("pandas")
    path = tmp_path / "t.csv"
    rows = [
        f"{['true', 'false', ''][i % 3]},{['01', '02', '10'][i // 3 % 3]},{i * i % 97 / 7},{i % 2}" for i in range(90)
    ]
    path.write_text("\n".join(["flag,code,a,t", *rows]))
    frame = pandas.read_csv(path, converters={"a": float})  # pandas before 3 rounds the last digit otherwise
    one, two = (nl.TableClassifier(**FEW).fit(data, "t") for data in (path, frame))
    for estimator in (one, two):
        np.testing.assert_array_equal(estimator.predict_proba(path), estimator.predict_proba(frame))
    commas = frame.assign(a=frame.a.map(lambda number: str(number).replace(".", ",")))
    np.testing.assert_array_equal(one.predict_proba(commas), one.predict_proba(frame))
    for y in (frame.t, frame.t.astype(bool), frame.t.astype(str), "t"):
        assert one.score(path, y) == one.score(path, "t") == (one.predict(path).astype(int) == frame.t).mean()


def test_what_cannot_be_a_target_is_told():
    cells = {"a": np.arange(20.0) ** 2}
    with pytest.raises(ValueError, match=r"nl\.TableRegressor is for other numbers"):
        nl.TableClassifier(**FEW).fit(cells, [0, 0.5] * 10)
    with pytest.raises(ValueError, match="y holds one class only, 0; expected"):
        nl.TableClassifier(**FEW).fit(cells, np.zeros(20, int))
    with pytest.raises(ValueError, match=r"y has numbers too large to be squared, such as 3\.61e\+302; give"):
        nl.TableRegressor(**FEW).fit(cells, cells["a"] * 1e300)
    dates = np.datetime64("2020-01-01") + np.arange(20)
    with pytest.raises(ValueError, match="y holds dates or times, which cannot be predicted"):
        nl.TableRegressor(**FEW).fit(cells, dates)
    minutes, seconds = (
        nl.TableRegressor(**FEW).fit(cells, y) for y in ((dates - dates[0]), cells["a"] * 0 + np.arange(20) * 86400)
    )
    np.testing.assert_array_equal(minutes.predict(cells), seconds.predict(cells))


def test_score_reads_the_target_as_the_rest_of_the_table_is_written(tmp_path):
    rng = np.random.Generator(np.random.PCG64(0))
    rows = [(a, z, 2 * a) for a, z in zip(1 + 8 * rng.random(60), rng.standard_normal(60))]
    points = "\n".join(["a,z,y", *(",".join(f"{value:.3f}" for value in row) for row in rows)])
    files = {"us.csv": points, "de.csv": points.replace(",", ";").replace(".", ",")}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    for learnt in files:
        regressor = nl.TableRegressor(**FEW).fit(str(tmp_path / learnt), "y")
        scores = [regressor.score(str(tmp_path / name), "y") for name in files]
        assert scores[0] == scores[1] > 0.9


@pytest.mark.parametrize("gap", [None, float("nan")], ids=["None", "NaN"])
@pytest.mark.parametrize("kind", BOTH)
def test_fit_leaves_rows_without_a_value_out_and_says_so(kind, gap):
    pandas = pytest.importorskip("pandas")
    y, brief = target_of(kind).tolist(), FEW | {"max_iter": 3}
    own = kind(**brief).fit({name: column[3:] for name, column in COLUMNS.items()}, y[3:])
    y[:3] = [gap] * 3
    for given in (y, np.array(y, object), pandas.Series(y)):
        with pytest.warns(UserWarning, match="left out: 3 rows without a value of y") as told:
            one = kind(**brief).fit(COLUMNS, given)
        assert told[0].filename == __file__ and one.decisions_.target.missing == 3
        np.testing.assert_allclose(answered(one, COLUMNS)[3:], answered(own, COLUMNS)[3:])
        named = kind(**brief).fit(COLUMNS | {"y": given}, "y")
        np.testing.assert_array_equal(answered(named, COLUMNS), answered(one, COLUMNS))
    with pytest.raises(ValueError, match="no row has a value of y, so there is nothing to learn"):
        kind(**brief).fit(COLUMNS, [gap] * len(y))


def test_gaps_in_y_of_every_kind():
    pandas = pytest.importorskip("pandas")
    cells, some = {"a": np.arange(40.0) ** 2}, {"max_iter": 1, "device": "numpy"}
    for y in (
        np.array([0.0, 1.0, np.nan, 1.0] * 10),
        pandas.Series([0, 1, None, 1] * 10, dtype="Int64"),
        pandas.Series(["u", "v", None, "v"] * 10, dtype="category"),
        np.array([True, False, None, True] * 10, object),
    ):
        with pytest.warns(UserWarning, match="left out: 10 rows without a value of y"):
            own = nl.TableClassifier(class_weight="balanced", **some).fit(cells, y, sample_weight=np.ones(40))
        assert len(own.classes_) == 2 and set(own.predict(cells)) <= set(own.classes_)
    with pytest.warns(UserWarning, match="left out: 1 row without a value of y"):
        nl.TableRegressor(**some).fit(cells, np.array([*range(39), "NaT"], "m8[s]"))
    with pytest.raises(ValueError, match="Input y contains infinity"):
        nl.TableRegressor(**some).fit(cells, np.array([np.nan, np.inf] * 20))


def test_score_leaves_rows_without_a_value_out_and_says_so():
    a = np.linspace(0, 1, 60)
    label, number = np.where(a > 0.5, "high", "low").astype(object), a.astype(object)
    label[::10] = number[::10] = None
    for kind, y in ((nl.TableClassifier, label), (nl.TableRegressor, number)):
        table = {"a": a, "y": y}
        estimator = kind(**FEW).fit(table, "y")
        with pytest.warns(UserWarning, match="left out: 6 rows without a value of y"):
            by_name = estimator.score(table, "y")
        with pytest.warns(UserWarning, match="left out: 6 rows without a value of y"):
            assert estimator.score(table, y) == by_name > 0.9
        with pytest.raises(ValueError, match="no row has a value of y"):
            estimator.score({"a": [0.5]}, [None])


def test_score_names_what_it_cannot_compare():
    a = np.linspace(0, 1, 60)
    regressor = nl.TableRegressor(**FEW).fit({"a": a, "y": a}, "y")
    with pytest.raises(nl.tables.TableError, match="table:2:2: the text '-' in a target of numbers"):
        regressor.score({"a": ["0.1", "0.2", "0.3"], "y": ["0.1", "-", "0.3"]}, "y")
    classifier = nl.TableClassifier(**FEW).fit({"a": a, "y": np.where(a > 0.5, "high", "low")}, "y")
    for y in ("y", ["yes", "no"]):
        with pytest.warns(UserWarning, match="no label in y was there in training, which had high, low"):
            assert classifier.score({"a": [0.1, 0.9], "y": ["yes", "no"]}, y) == 0

"""The gate: tables by the names of their columns, what a dtype cannot hold, and hints that fit what came."""

import warnings

import numpy as np
import pytest

import nnlite as nl
from nnlite import files, gate
from nnlite.devices.numpy.device import NumpyDevice

pandas = pytest.importorskip("pandas")
HOST = NumpyDevice()


# ---- columns by name ------------------------------------------------------------------------------------------------


@pytest.fixture
def frame(rng):
    return pandas.DataFrame(rng.standard_normal((40, 3)) * [1, 5, 25], columns=["age", "size", "weight"])


def trained(frame, device="numpy", **fit):
    y = frame.to_numpy() @ [[1.0], [2.0], [-1.0]]
    trainer = nl.Trainer(nl.mlp([3, 1], device=device), "mse", nl.SGD(lr=1e-4))
    trainer.fit(*((frame, y) if not fit.pop("chunks", False) else ([(frame, y)],)), progress=False, **fit)
    return trainer, y


def test_columns_of_and_in_order(frame):
    assert gate.columns_of(frame) == ("age", "size", "weight")
    for other in (
        frame.to_numpy(),
        frame.set_axis([0, 1, 2], axis=1),
        frame.set_axis(["a", "b", "a"], axis=1),
        frame["age"],
        [[1, 2]],
        None,
    ):
        assert gate.columns_of(other) is None
        assert gate.in_order(other, ("age", "size", "weight")) is other
    assert gate.in_order(frame, None) is frame and gate.in_order(frame, ["age", "size", "weight"]) is frame
    mixed = frame[["weight", "age", "size"]]
    pandas.testing.assert_frame_equal(gate.in_order(mixed, ("age", "size", "weight")), frame)
    with pytest.raises(
        ValueError, match=r"x of chunk 2 misses 'size' and has 'height', 'id', which the network does not"
    ):
        gate.in_order(frame.rename(columns={"size": "height"}).assign(id=1), ("age", "size", "weight"), "x of chunk 2")


@pytest.mark.parametrize("chunks", [False, True])
def test_a_table_in_another_order_is_put_in_order(chunks, device, frame, tmp_path):
    trainer, y = trained(frame, device, chunks=chunks)
    net, mixed = trainer.network, frame[["weight", "age", "size"]]
    expected = net.predict(frame.to_numpy())
    net.save(tmp_path / "m")
    for each in (net, net.copy(), nl.load(tmp_path / "m", device)):
        assert each.columns == ("age", "size", "weight")
        np.testing.assert_array_equal(each.predict(mixed), expected)
        np.testing.assert_array_equal(net.backend.to_numpy(each.forward(mixed)), expected)
        with pytest.raises(ValueError, match=r"x misses 'weight': its columns must be 'age', 'size', 'weight', in any"):
            each.predict(mixed[["age", "size"]])
    assert trainer.evaluate(mixed, y) == trainer.evaluate(frame, y)
    again, _ = trained(frame, device, chunks=chunks, validation_data=(mixed, y))
    assert again.history["val_loss"][-1] == pytest.approx(again.evaluate(frame, y)["loss"], rel=1e-12)
    with pytest.raises(ValueError, match="x misses 'size' and has 'height', which the network does not know"):
        trainer.fit(frame.rename(columns={"size": "height"}), y, progress=False)
    net.columns = None
    trainer.fit(frame.rename(columns={"size": "height"}), y, progress=False)
    assert net.columns == ("age", "height", "weight")


def test_a_refused_table_names_no_columns(frame):
    trainer = nl.Trainer(nl.mlp([3, 1], device="numpy"))
    with pytest.raises(ValueError, match="NaN"):
        trainer.fit(frame * np.nan, np.zeros(40), progress=False)
    with pytest.raises(ValueError, match="y has shape"):
        trainer.fit(frame, np.zeros(39), progress=False)
    assert trainer.network.columns is None
    trainer.fit(frame.to_numpy(), np.zeros(40), progress=False)
    assert trainer.network.columns is None  # arrays have none


@pytest.mark.parametrize("columns", [["a", "b"], "abc", ["a", "b", 3], ["a", "b", "a"], 5, {}])
def test_columns_of_a_damaged_file(columns, tmp_path):
    net = nl.mlp([3, 1], device="numpy")
    config = {"layers": [{"layer": "Dense", **net.layers[0].config()}], "dtype": "float32", "columns": columns}
    files.write(tmp_path / "m", net.state_dict(), config)
    with pytest.raises(nl.CorruptFileError, match="its columns must be 3 different names"):
        nl.load(tmp_path / "m", "numpy")


# ---- widths that only the layers know --------------------------------------------------------------------------------


class Squares(nl.Layer):
    """x and x²: twice as many columns."""

    def forward(self, x):
        self.x = x
        return np.concatenate([x, x * x], axis=1)

    def backward(self, dy):
        half = dy.shape[1] // 2
        return dy[:, :half] + 2 * self.x * dy[:, half:]

    def outputs_for(self, inputs):
        return 2 * inputs


def test_a_layer_that_changes_the_width_may_come_first_or_last(rng):
    x = rng.standard_normal((30, 3))
    first = nl.Sequential(Squares(), nl.Dense(6, 2), device="numpy")
    last = nl.Sequential(nl.Dense(3, 2), Squares(), device="numpy")
    assert (first.inputs, first.outputs, last.inputs, last.outputs) == (None, 2, 3, 4)
    for net, y in ((first, np.zeros((30, 2))), (last, np.zeros((30, 4)))):
        trainer = nl.Trainer(net, "mse", nl.SGD(lr=1e-2), metrics=["mae", "r2"], replay="eager")
        before = trainer.evaluate(x, y)["loss"]
        assert trainer.fit(x, y, epochs=5, progress=False)["loss"][-1] < before
        assert net.predict(x).shape == y.shape
        assert nl.check_gradients(net, "mse", x, y).ok
        assert "(N, 4)" in net.summary() or net is first
        for call in (net.predict, net.forward, lambda x, t=trainer, y=y: t.evaluate(x, y)):
            with pytest.raises(ValueError, match=r"x has shape \(30, 2\)"):
                call(x[:, :2])
    with pytest.raises(ValueError, match=r"which does not fit: Dense\(6, 2\) reads 6 columns, but .* gives 4"):
        first.predict(x[:, :2])


# ---- what a dtype cannot hold ----------------------------------------------------------------------------------------

SECONDS = 1.7e9 + np.arange(60.0)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (
            SECONDS,
            "runs from 1700000000 to 1700000059, and float32 makes 1 of its 60 different values: subtract its mean",
        ),
        (SECONDS.astype(np.int64), "float32 makes 1 of its 60 different values"),
        (2020 + 1e-4 * np.arange(60), "float32 makes .* of its 60"),
        (1e6 + np.linspace(-1, 1, 60), "float32 makes .* of its 60"),
        (-1e6 + np.linspace(-1, 1, 60), "float32 makes .* of its 60"),
        (2.0**24 + np.arange(60) % 2, "float32 makes 1 of its 2 different values"),
    ],
)
@pytest.mark.filterwarnings("ignore::nnlite.ScaleWarning")
def test_numbers_that_become_equal_are_told(column, message, device, rng):
    x = np.column_stack([rng.standard_normal(60), column])
    trainer = nl.Trainer(nl.mlp([2, 1], device=device), "mse", nl.SGD(lr=1e-30))
    for call in (lambda: trainer.fit(x, x[:, :1], progress=False), lambda: trainer.network.predict(x)):
        with pytest.warns(gate.PrecisionWarning, match=f"column 1 of x .*{message}") as found:
            call()
        assert found[0].filename == __file__  # the line that handed it over
    with pytest.warns(gate.PrecisionWarning, match="column 0 of y .*different values"):
        trainer.evaluate(x[:, [0, 0]], column)
    exact = nl.Trainer(nl.mlp([2, 1], device=device, dtype="float64"), "mse", nl.SGD(lr=1e-30))
    exact.fit(x, column, progress=False)  # no warning, which would be an error here


@pytest.mark.parametrize(
    "column",
    [
        np.linspace(0, 1, 60),
        1e9 * np.random.default_rng(0).standard_normal(60),
        1.7e9 + 3600 * np.arange(60.0),  # an hour apart: float32 holds them apart
        np.full(60, 1.7e9),
        0.1 + 1e-17 * np.arange(60) * 3,  # the rounding of float64
        2020 + np.arange(60) % 5,
        SECONDS.astype(np.float32),
        np.arange(60) % 2 == 0,
        np.where(np.arange(60) == 7, 1.0, 1e9 + np.arange(60)),
    ],
)
def test_numbers_that_stay_apart_are_not_told(column):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gate.samples(np.asarray(column).reshape(-1, 1), HOST, np.float32)


def test_a_few_rows_do_not_tell_what_a_column_is_like():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gate.samples(np.array([[0.3], [0.3 + 1e-9]]), HOST, np.float32)


def test_integers_that_float64_cannot_hold_are_told():
    with pytest.warns(gate.PrecisionWarning, match="float64 makes .* of its 50 different values"):
        gate.samples(2**60 + np.arange(50).reshape(-1, 1), HOST, np.float64)


# ---- frames of mixed types -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kinds", ["bool and float", "nullable", "nullable and plain", "float32 and int64"])
def test_frames_of_mixed_types_are_not_read_cell_by_cell(kinds, rng, monkeypatch):
    values = rng.integers(0, 2, (50, 4)).astype(float)
    frame = pandas.DataFrame(values, columns=list("abcd"))
    types = {
        "bool and float": {"a": "bool", "b": "float32", "c": "int8"},
        "nullable": {"a": "boolean", "b": "Float64", "c": "Int64", "d": "Float32"},
        "nullable and plain": {"a": "boolean", "c": "Int8"},
        "float32 and int64": {"a": "float32", "b": "int64"},
    }[kinds]
    monkeypatch.setattr(gate, "_from_objects", lambda *_: pytest.fail("cell by cell"))
    frame = frame.astype(types)
    np.testing.assert_array_equal(gate.numeric(frame, HOST, "x"), values)
    for name in frame:
        np.testing.assert_array_equal(gate.numeric(frame[name], HOST, "y"), frame[name].to_numpy().astype(float))


def test_missing_values_in_frames_of_mixed_types():
    frame = pandas.DataFrame({"a": [True, False, True], "b": pandas.array([1, None, 3], dtype="Int64")})
    with pytest.raises(ValueError, match="x contains NaN at row 1, column 1; drop or fill"):
        gate.samples(frame, HOST, np.float32)
    with pytest.raises(ValueError, match="y contains NaN at row 1"):
        gate.targets(frame["b"], (3, 1), HOST, np.float32)


def test_series_of_whole_numbers_are_labels():
    for dtype in ("Int64", "int8", "boolean", "bool", "UInt8"):
        labels = pandas.Series([1, 0, 1]).astype(dtype)
        np.testing.assert_array_equal(gate.targets(labels, (3, 2), HOST, np.float32), [[0, 1], [1, 0], [0, 1]])


# ---- hints that fit what came ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "labels",
    [
        np.array(["no", "yes", "no"]),
        np.array(["no", "yes", "no"], object),
        ["no", "yes", "no"],
        pandas.Series(["no", "yes", "no"]),
        pandas.Series(["no", "yes", "no"], dtype="category"),
        pandas.Series(["no", "yes", "no"], dtype="string"),
        np.array([["no"], ["yes"], ["no"]], object),
        np.array(["no", "yes", "no"], np.dtypes.StringDType()),
    ],
)
def test_text_for_labels_gets_the_remedy(labels):
    hint = r"expected real numbers; number classes by np.unique\(y, return_inverse=True\)\[1\]"
    with pytest.raises(TypeError, match=hint):
        gate.targets(labels, (3, 2), HOST, np.float32, "class")
    assert np.unique(labels, return_inverse=True)[1].ravel().tolist() == [0, 1, 0]


def test_text_in_a_column_gets_another_remedy():
    frame = pandas.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]})
    with pytest.raises(TypeError, match=r"column 'b' of x contains the text 'x'.*; pandas.get_dummies makes a column"):
        gate.samples(frame, HOST, np.float32)
    gate.samples(pandas.get_dummies(frame), HOST, np.float32)


@pytest.mark.parametrize(
    ("y", "kind", "hint"),
    [
        (np.array([[1], [0], [2]]), "class", r"; labels of classes have one axis: np.ravel\(y\)$"),
        (np.array([[1.0], [0], [2]]), "class", r"; labels of classes have one axis: np.ravel\(y\)$"),
        (np.array([[1], [0], [2]]), "real", r"; labels of classes have one axis: np.ravel\(y\)$"),
        (np.array([1.0, 0, 2]), "real", r"; labels of classes are whole numbers: y.astype\(int\)$"),
        (np.array([1.5, 0, 2]), "real", "must be the same$"),
        (np.array([[1.5], [0], [2]]), "real", "must be the same$"),
        (np.zeros((3, 2)), "class", "must be the same$"),
    ],
)
def test_labels_in_another_shape_get_the_remedy(y, kind, hint):
    with pytest.raises(
        ValueError,
        match=r"y has shape .*the prediction \(3, 3\): they must be the same" + hint.removeprefix("must be the same"),
    ):
        gate.targets(y, (3, 3), HOST, np.float32, kind)


def test_the_remedy_for_labels_with_two_axes_works_for_any_container():
    labels = [[1], [0], [2]]
    for y in (labels, np.array(labels), pytest.importorskip("pandas").DataFrame({"y": [1, 0, 2]})):
        with pytest.raises(ValueError, match=r"labels of classes have one axis: np.ravel\(y\)$"):
            gate.targets(y, (3, 3), HOST, np.float32, "class")
        rows = gate.targets(np.ravel(y), (3, 3), HOST, np.float32, "class")
        np.testing.assert_array_equal(rows, np.eye(3)[[1, 0, 2]])


# ---- labels, and numbers that are not finite ----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.uint64, np.float16, np.float64])
def test_one_hot_rows_are_those_of_the_unit_matrix(dtype):
    labels = np.array([1, 0, 1, 1], dtype)
    np.testing.assert_array_equal(gate.one_hot(labels, 3), np.eye(3)[[1, 0, 1, 1]])
    np.testing.assert_array_equal(gate.one_hot(labels[:0], 3), np.zeros((0, 3)))


@pytest.mark.parametrize("bad", [-1, 3, 2**40, -0.5, 1.5, np.nan, np.inf])
@pytest.mark.parametrize("missing", [False, True])
def test_one_hot_names_the_first_label_that_is_none(bad, missing):
    labels = np.array([0, 2, bad, bad])
    if missing and np.isnan(bad):
        np.testing.assert_array_equal(
            gate.one_hot(labels, 3, missing=True), [[1, 0, 0], [0, 0, 1], *[[np.nan] * 3] * 2]
        )
        labels[3] = 7
    with pytest.raises(ValueError, match=f"the label {labels[2 + (labels[3] == 7)]} in row .*whole numbers 0 … 2"):
        gate.one_hot(labels, 3, missing=missing)


@pytest.mark.parametrize("size", [1, gate.FEW, gate.FEW + 1])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_all_finite_sees_the_last_number_of_few_and_of_many(size, dtype):
    array = np.full(size, np.finfo(dtype).max, dtype)  # the sum of two overflows
    assert gate.all_finite(array) is True and gate.all_finite(np.ones((size, 2), int)) is True
    for bad in (np.nan, np.inf, -np.inf):
        array[-1] = bad
        assert gate.all_finite(array) is False


def test_numbers_at_their_borders():
    most = nl.mlp([2, 1], device="numpy", threads=10**6).threads
    assert 1 <= most < 10**6 and nl.mlp([2, 1], device="numpy", threads=most).threads == most
    for flag in (True, np.True_):
        with pytest.raises(TypeError, match="seed must be a whole number"):
            nl.mlp([2, 1], device="numpy", seed=flag)
    for q in (0, 1):
        with pytest.raises(ValueError, match="q must be finite and above 0 and below 1"):
            nl.Quantile(q)
    assert nl.BatchNorm(2, momentum=1).momentum == 1
    with pytest.raises(ValueError, match="end must be finite and at least 0"):
        nl.schedules.Cosine(0.1, 5, end=-0.1)

"""Bad input: on every device the right answer, or an error that names the argument, what came and what would be right.

One test for each kind of input. Whatever is refused is refused before anything computes and changes nothing.
"""

import numpy as np
import pytest

import nnlite as nl


@pytest.fixture
def trainer(device):
    return nl.Trainer(nl.mlp([3, 4, 2], hidden="tanh", device=device), "mse", nl.SGD(lr=0.1))


@pytest.fixture
def x(rng):
    return rng.standard_normal((6, 3))


@pytest.fixture
def y(rng):
    return rng.standard_normal((6, 2))


def refused(trainer, x, y, message, error=ValueError):
    """fit, evaluate and step refuse (x, y) with this message, and the network is as it was."""
    before = trainer.network.state_dict()
    for call in (lambda: trainer.fit(x, y, progress=False), lambda: trainer.evaluate(x, y), lambda: trainer.step(x, y)):
        with pytest.raises(error, match=message):
            call()
    for name, value in trainer.network.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def refused_x(trainer, x, y, message, error=ValueError):
    """As `refused`, and predict refuses x as well."""
    refused(trainer, x, y, message, error)
    for call in (trainer.network.predict, trainer.network.forward):
        with pytest.raises(error, match=message):
            call(x)


@pytest.mark.parametrize(("value", "word"), [(np.nan, "NaN"), (np.inf, "infinity"), (-np.inf, "infinity")])
def test_01_not_finite(trainer, x, y, value, word):
    bad = x.copy()
    bad[4, 1] = value
    refused_x(trainer, bad, y, f"x contains {word} at row 4, column 1; drop or fill")
    bad = y.copy()
    bad[2, 0] = value
    refused(trainer, x, bad, f"y contains {word} at row 2, column 0")


def test_01_missing_values(trainer, x, y):
    pandas = pytest.importorskip("pandas")
    for missing in (None, pandas.NA, pandas.NaT):
        bad = x.astype(object)
        bad[3, 2] = missing
        refused_x(trainer, bad, y, f"x contains {missing} at row 3, column 2")
    frame = pandas.DataFrame(x).astype("Float64")
    frame.iloc[1, 1] = pandas.NA
    refused_x(trainer, frame, y, "x contains")


def test_02_shapes(trainer, x, y):
    refused_x(trainer, x[:0], y[:0], r"x has shape \(0, 3\).*expected \(rows, 3\)")
    refused_x(trainer, x[:, :0], y, r"x has shape \(6, 0\)")
    refused_x(trainer, x[0], y, r"x has shape \(3,\), expected \(rows, 3\); one sample is x.reshape\(1, -1\)")
    refused_x(trainer, x[None], y, r"x has shape \(1, 6, 3\), expected \(rows, 3\)")
    refused_x(trainer, x[:, :2], y, r"x has shape \(6, 2\), but the network reads 3 columns")
    refused_x(trainer, 5.0, y, r"x has shape \(\), expected \(rows, 3\)")
    refused(trainer, x, y[:5], r"y has shape \(5, 2\), but there are 6 rows to predict: expected \(6, 2\)")
    refused_x(trainer, [[1, 2, 3], [4, 5]], y, "x cannot be read as an array of numbers", TypeError)


def test_03_little_data(trainer, x, y, device):
    trainer.fit(x[:1], y[:1], epochs=2, progress=False)  # one row
    constant = x.copy()
    constant[:, 1] = 7
    trainer.fit(constant, y, epochs=2, progress=False)  # a constant feature
    classifier = nl.Trainer(nl.mlp([3, 2], output="softmax", device=device), "cce", metrics=["accuracy"])
    classifier.fit(x, np.zeros(6, int), epochs=2, progress=False)  # a single class
    assert np.isfinite(trainer.network.predict(x)).all() and np.isfinite(classifier.network.predict(x)).all()


def test_04_a_column_is_a_column_by_intent(device, x):
    """A loss refuses (N,) against (N, 1); a trainer takes (N,) as the one column that there is."""
    flat = x.sum(axis=1)
    with pytest.raises(ValueError, match=r"target has shape \(6,\), prediction \(6, 1\)"):
        nl.MSE(device=device).forward(flat[:, None], flat)
    runs = []
    for target in (flat, flat[:, None]):
        trainer = nl.Trainer(nl.mlp([3, 1], device=device), "mse")
        trainer.fit(x, target, epochs=2, progress=False)
        runs.append(trainer.network.state_dict()["0.W"])
    np.testing.assert_array_equal(*runs)


def test_05_targets_of_another_shape(trainer, x, y):
    refused(trainer, x, y[:, :1], r"y has shape \(6, 1\), the prediction \(6, 2\): they must be the same")
    refused(trainer, x, np.hstack([y, y]), r"y has shape \(6, 4\), the prediction \(6, 2\)")
    refused(trainer, x, y[:, 0], r"y has shape \(6,\), the prediction \(6, 2\)")
    refused(trainer, x, y[None], r"y has shape \(1, 6, 2\)")


@pytest.mark.parametrize("label", [3, -1, 1.5, 2**40])
def test_06_labels_out_of_range(device, x, label):
    trainer = nl.Trainer(nl.mlp([3, 3], output="softmax", device=device), "cce")
    refused(
        trainer, x, np.array([0, 1, 2, 0, label, 1]), r"y has the label .* in row 4; labels are whole numbers 0 … 2"
    )


def test_06_probabilities_out_of_range(device, x):
    trainer = nl.Trainer(nl.mlp([3, 2], output="softmax", device=device), "cce")
    rows = np.eye(2)[[0, 1, 0, 1, 0, 1]]
    rows[3] = [0.5, 0.4]
    refused(trainer, x, rows, r'y has \[0.5, 0.4\] in row 3, which does not sum to 1 .*, take Sigmoid\(\) and "bce"')
    rows[3] = [2, -1]
    refused(trainer, x, rows, r"in row 3, outside 0 … 1")
    trainer = nl.Trainer(nl.mlp([3, 1], output="sigmoid", device=device), "bce")
    refused(trainer, x, np.array([0, 1, 0.5, 1.01, 0, 1]), r"y has \[1.01\] in row 3, outside 0 … 1")


def test_07_labels_of_other_kinds(device, x):
    """A trainer takes numbered classes: text gets the remedy, and what is not a class is named."""
    trainer = nl.Trainer(nl.mlp([3, 2], output="softmax", device=device), "cce")
    text = np.array(["no", "yes"] * 3)
    refused(trainer, x, text, r"y contains text.*np.unique\(y, return_inverse=True\)", TypeError)
    refused(trainer, x, np.array([-1, 1] * 3), "y has the label -1 in row 0")
    refused(trainer, x, np.array([5, 9] * 3), "y has the label 5 in row 0")
    assert trainer.evaluate(x, np.unique(text, return_inverse=True)[1]) == trainer.evaluate(x, text == "yes")


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int64", "bool"])
def test_08_integers_are_numbers(trainer, device, dtype):
    x = np.array([[3, 5, 0], [1, 2, 1], [0, 0, 1]]).astype(dtype)
    y = np.array([[5, 3], [0, 1], [2, 2]]).astype(dtype)
    np.testing.assert_array_equal(trainer.network.predict(x), trainer.network.predict(x.astype(float)))
    assert trainer.evaluate(x, y) == trainer.evaluate(x.astype(float), y.astype(float))
    if dtype != "bool":
        assert nl.MSE(device=device).forward(np.array([[3]], dtype), np.array([[5]], dtype)) == 4  # not 3 − 5 = 254


def test_09_any_memory_layout(trainer, x, y, tmp_path):
    def layouts(a):
        np.save(tmp_path / f"{a.shape[1]}.npy", a)
        unaligned = np.frombuffer(b"\0" + a.tobytes(), np.uint8)[1:].view(a.dtype).reshape(a.shape)
        read_only = a.copy()
        read_only.flags.writeable = False
        yield from (np.asfortranarray(a), a[::-1][::-1], np.repeat(a, 2, axis=0)[::2], read_only, unaligned)
        yield from (
            np.load(tmp_path / f"{a.shape[1]}.npy", mmap_mode="r"),
            a.astype(">f8"),
            a.astype(np.longdouble),
            a.tolist(),
        )

    expected = trainer.network.predict(x), trainer.evaluate(x, y)
    for a, b in zip(layouts(x), layouts(y)):
        before = np.array(a).tobytes(), np.array(b).tobytes()
        np.testing.assert_array_equal(trainer.network.predict(a), expected[0])
        assert trainer.evaluate(a, b) == expected[1]
        assert (np.array(a).tobytes(), np.array(b).tobytes()) == before
    half = x.astype(np.float16)
    np.testing.assert_array_equal(trainer.network.predict(half), trainer.network.predict(half.astype(float)))


def test_09_training_does_not_write_to_the_callers_arrays(trainer, x, y):
    for dtype in (np.float32, np.float64):
        a, b = x.astype(dtype), y.astype(dtype)
        a.flags.writeable = b.flags.writeable = False
        before = a.tobytes(), b.tobytes()
        trainer.fit(a, b, epochs=2, batch_size=4, progress=False)
        assert (a.tobytes(), b.tobytes()) == before


def test_10_other_containers(trainer, x, y):
    pandas, sparse = pytest.importorskip("pandas"), pytest.importorskip("scipy.sparse")
    expected = trainer.evaluate(x, y)
    frame = pandas.DataFrame(x, columns=["a", "b", "c"])
    assert trainer.evaluate(frame, pandas.DataFrame(y)) == expected
    assert trainer.evaluate(np.ma.array(x), y) == expected  # nothing is masked
    column = nl.Trainer(nl.mlp([3, 1], device=trainer.network.device))
    assert column.evaluate(frame, frame["a"]) == column.evaluate(x, x[:, 0])
    masked = np.ma.array(x, mask=np.arange(18).reshape(6, 3) == 7)
    refused_x(trainer, masked, y, r"x has masked entries; fill or drop them")
    refused_x(trainer, x + 1j, y, "x contains complex numbers, expected real", TypeError)
    refused_x(trainer, x.astype(str), y, "x contains text", TypeError)
    refused_x(trainer, x.astype(object) * 1j, y, "x contains a complex at row 0, column 0", TypeError)
    with pytest.warns(PendingDeprecationWarning):
        matrix = np.matrix(x)
    refused_x(trainer, matrix, y, r"x is a numpy.matrix; hand over np.asarray\(x\)", TypeError)
    refused_x(trainer, sparse.csr_matrix(x), y, r"x is a sparse matrix; hand over x.toarray\(\)", TypeError)
    frame["b"] = ["one", "two", "three", "four", "five", "six"]
    refused_x(trainer, frame, y, "column 'b' of x contains the text 'one' at row 0", TypeError)
    refused_x(trainer, x.astype("datetime64[s]"), y, "x contains values of type datetime64", TypeError)
    refused_x(trainer, None, y, "x contains None", ValueError)
    refused_x(trainer, {"a": 1}, y, "x contains a dict", TypeError)


def test_11_too_large_for_float32(trainer, x, y):
    big = x.copy()
    big[5, 0] = 1e39
    refused_x(trainer, big, y, r"x contains 1e\+39 at row 5, column 0, too large for float32")
    big[5, 0] = 1e38
    with np.errstate(over="ignore", invalid="ignore"):
        assert np.isfinite(trainer.network.predict(big)).all()  # tanh takes it
    huge = y.astype(object)
    huge[1, 1] = 10**40
    refused(trainer, x, huge, r"y contains 1e\+40 at row 1, column 1, too large for float32")
    huge[1, 1] = 10**400
    refused(trainer, x, huge, r"y contains a number too large for float64")


@pytest.mark.parametrize("batch_size", [1, 4, 6, 100])
def test_12_batches_of_any_size(trainer, x, y, batch_size):
    trainer.fit(x, y, epochs=2, batch_size=batch_size, progress=False)
    whole = trainer.network.predict(x, batch_size)
    for i in range(6):
        np.testing.assert_allclose(trainer.network.predict(x[i : i + 1])[0], whole[i], rtol=1e-5, atol=1e-6)


def test_13_settings(trainer, x, y):
    for arguments, error in (
        ({"batch_size": 0}, ValueError),
        ({"batch_size": -1}, ValueError),
        ({"batch_size": 2.5}, TypeError),
        ({"batch_size": True}, TypeError),
        ({"batch_size": "8"}, TypeError),
        ({"epochs": -1}, ValueError),
        ({"epochs": 1.0}, TypeError),
        ({"validation_data": x}, ValueError),
        ({"validation_data": (x, y[:3])}, ValueError),
    ):
        name = "validation" if "validation_data" in arguments else next(iter(arguments))
        with pytest.raises(error, match=name):
            trainer.fit(x, y, progress=False, **arguments)
    for bad in (0, -1, np.nan, np.inf):
        with pytest.raises(ValueError, match="lr must be finite and above 0"):
            nl.SGD(lr=bad)
    for bad in ("x", None, True):
        with pytest.raises(TypeError, match="lr must be a number"):
            nl.Adam(lr=bad)
    for bad, error in ((0, ValueError), (-3, ValueError), (2.0, TypeError), ("3", TypeError)):
        with pytest.raises(error, match="outputs must be"):
            nl.Dense(3, bad)
    for call, message in (
        (
            lambda: nl.mlp([3, 4, 2], hidden="rellu"),
            "hidden='rellu' is not known; choose one of 'identity', 'sigmoid'",
        ),
        (
            lambda: nl.Trainer(trainer.network, "msee"),
            "loss='msee' is not known; choose one of 'mse', 'half_mse', 'mae'",
        ),
        (lambda: nl.Trainer(trainer.network, optimizer="sgdd"), "optimizer='sgdd' is not known; choose one of 'sgd'"),
        (lambda: nl.mlp([3, 2], device="tpu"), "device='tpu' is not known; choose one of 'numpy', 'numba', 'cupy'"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_14_a_diverging_run(device, x, y):
    trainer = nl.Trainer(nl.mlp([3, 8, 2], device=device), "mse", nl.SGD(lr=1e3))
    with pytest.raises(nl.DivergedError, match=r"diverged: .* in epoch \d+, batch \d+") as error:
        trainer.fit(x, y, epochs=1000, batch_size=2, progress=False)
    assert error.value.epoch >= 1 and error.value.batch in (1, 2, 3)
    assert np.isfinite(trainer.network.predict(x)).all()


def test_22_the_edges_of_the_number_range(device):
    """More of these stand in test_layers.py and test_losses.py; here a whole network trains at them."""
    net = nl.Sequential(nl.Dense(1, 2), nl.Softmax(), device=device)
    net.load_state_dict({"0.W": [[1e8, -1e8]], "0.b": [0.0, 0.0]})
    np.testing.assert_array_equal(net.predict([[1.0]]), [[1, 0]])
    trainer = nl.Trainer(net, "cce", nl.SGD(lr=1.0))
    assert trainer.evaluate([[0.0]], [1])["loss"] == pytest.approx(np.log(2), rel=1e-6)
    assert trainer.evaluate([[1.0]], [1])["loss"] == pytest.approx(2e8)
    net = nl.Sequential(nl.Dense(1, 1), nl.Sigmoid(), device=device)
    net.load_state_dict({"0.W": [[1000.0]], "0.b": [0.0]})
    assert nl.Trainer(net, "bce").step([[1.0]], [0.0]) == 1000
    assert np.isfinite(net.state_dict()["0.W"]).all()

"""Weights of rows: 0 is left out, 2 is twice; equal to PyTorch and scikit-learn; by class; and rows for validation."""

import copy
import re

import numpy as np
import pytest

import nnlite as nl
from nnlite.losses import LOSSES
from nnlite.weights import Data

OUTPUT = {
    "bce": "sigmoid",
    "binary_focal": "sigmoid",
    "cce": "softmax",
    "kl": "softmax",
    "categorical_focal": "softmax",
}


def problem(name, rng, n=41):
    """x (n, 3) and a target that suits this loss."""
    x, kind = rng.standard_normal((n, 3)), LOSSES[name]().target
    y = x[:, :2] + 0.3 * rng.standard_normal((n, 2))
    if kind == "class":
        y = rng.integers(0, 2, n)
    return x, {"probability": (y > 0) * 1.0, "side": np.where(y > 0, 1.0, -1.0), "count": np.round(y**2)}.get(kind, y)


def trainer_of(loss, device="numpy", metrics=(), optimizer=None, **options):
    name = loss if isinstance(loss, str) else next(k for k, v in LOSSES.items() if v is type(loss))
    output = OUTPUT.get(name, "identity")
    net = nl.mlp([3, 6, 2], hidden="tanh", output=output, device=device, dtype="float64", seed=1)
    return nl.Trainer(net, loss, optimizer or nl.SGD(lr=0.05), metrics=list(metrics), **options)


def metrics_for(name):
    if name in ("cce", "categorical_focal", "kl", "bce", "binary_focal"):
        return ["accuracy", "f1", "brier", "log_loss", nl.metrics.Recall(None)]
    return ["mae", "rmse", "r2", "mape", "max_error", "explained_variance"]


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("name", LOSSES)
def test_a_weight_is_a_number_of_rows(name, reduction, host, rng):
    """0 is as if the row were not there, and 2 as if it were there twice: in training, validation and metrics."""
    x, y = problem(name, rng)
    w = rng.integers(0, 4, len(x))
    repeated = np.repeat(np.arange(len(x)), w)
    found = []
    for rows, weights in ((np.arange(len(x)), {"sample_weight": w}), (repeated, {}), (np.flatnonzero(w), {"w": True})):
        given = {"sample_weight": w[rows] * 1.0} if "w" in weights else weights
        optimizer = nl.SGD(lr=0.05 if reduction == "mean" else 0.0005)
        trainer = trainer_of(LOSSES[name](reduction=reduction), host, metrics_for(name), optimizer)
        validation = (x, y, w) if given else (x[repeated], y[repeated])
        history = trainer.fit(x[rows], y[rows], 3, len(rows), validation_data=validation, progress=False, **given)
        found.append((dict(history), trainer.network.parameters.copy()))
        assert trainer.evaluate(x, y, sample_weight=w) == pytest.approx(
            trainer.evaluate(x[repeated], y[repeated]), rel=1e-12, abs=1e-14
        )
    for history, parameters in found[1:]:
        np.testing.assert_allclose(parameters, found[0][1], rtol=1e-12, atol=1e-14)
        for column, values in history.items():
            np.testing.assert_allclose(values, found[0][0][column], rtol=1e-12, atol=1e-14, err_msg=column)


@pytest.mark.parametrize("name", nl.metrics.METRICS)
def test_a_weight_is_a_number_of_rows_in_every_metric(name, rng):
    """Of predictions that are the same to the last bit, which metrics of order need."""
    p = np.round(rng.dirichlet(np.ones(7), 50), 2)
    numbers = nl.metrics.METRICS[name].__module__.endswith("regression")
    y, w = p + 0.1 * rng.standard_normal(p.shape) if numbers else rng.integers(0, 7, 50), rng.integers(0, 4, 50)
    metric = nl.metrics.METRICS[name]()
    assert metric(p, y, w) == pytest.approx(metric(np.repeat(p, w, axis=0), np.repeat(y, w, axis=0)), rel=1e-12)


@pytest.mark.parametrize("name", ["mse", "bce", "cce"])
def test_rows_that_were_measured_in_part_count_by_their_share(name, host, rng):
    x, y = problem(name, rng)
    y = y.astype(float)
    y[3:9] = np.nan
    if y.ndim == 2:
        y[12:20, 0] = np.nan
    w = rng.integers(0, 4, len(x))
    repeated = np.repeat(np.arange(len(x)), w)
    metrics = ["mae", "rmse", "r2"] if name == "mse" else ["accuracy", "f1", "brier"]
    ends = []
    for rows, given in ((np.arange(len(x)), {"sample_weight": w}), (repeated, {})):
        trainer = trainer_of(LOSSES[name](ignore_nan=True), host, metrics)
        history = trainer.fit(x[rows], y[rows], 3, len(rows), progress=False, **given)
        ends.append((history, trainer.network.parameters, trainer.evaluate(x[rows], y[rows], **given)))
    np.testing.assert_allclose(ends[0][1], ends[1][1], rtol=1e-12)
    for column in ends[0][0]:
        np.testing.assert_allclose(ends[0][0][column], ends[1][0][column], rtol=1e-12, err_msg=column)
        assert ends[0][2][column] == pytest.approx(ends[1][2][column], rel=1e-12)


@pytest.mark.parametrize("given", ["sample_weight", "class_weight", "chunks", "validation_split", "not measured"])
def test_rows_without_weight_make_no_steps(given, device, rng):
    """To the bit as if they were not there: momentum and decay would move the parameters without a gradient, too."""
    x, y, w = rng.standard_normal((40, 3)), rng.integers(0, 2, 40), np.ones(40)
    y[:20], w[:20] = 0, 0  # whole batches of them
    optimizer = nl.Adam(lr=0.05, weight_decay=0.01)
    options = {"batch_size": 8, "epochs": 3, "progress": False, "shuffle": given != "chunks"}
    ends = []
    for rows in (np.arange(40), np.arange(20, 40)):
        loss = nl.CategoricalCrossEntropy(ignore_nan=given == "not measured")
        trainer = trainer_of(loss, device, ["accuracy"], copy.copy(optimizer))
        target = np.where(w, y, np.nan) if given == "not measured" else y
        data, more = [x[rows], target[rows]], {}
        if given == "class_weight":
            data, more = [x[rows], (w[rows] > 0).astype(int)], {"class_weight": {0: 0}}
        elif given == "chunks":
            parts = np.split(rows, len(rows) // 10)
            data = [[(x[part], y[part], w[part]) for part in parts]]
        elif given != "not measured":
            more = {"sample_weight": w[rows]} | ({"validation_split": 0.25} if given == "validation_split" else {})
        trainer.fit(*data, **options, **more)
        ends.append((dict(trainer.history), trainer.network.backend.to_numpy(trainer.network.parameters)))
        steps = trainer.network.backend.to_numpy(trainer.optimizer.steps)
        assert steps[0] == {"chunks": 12, "validation_split": 6}.get(given, 9)
    assert ends[0][0] == ends[1][0]
    np.testing.assert_array_equal(ends[0][1], ends[1][1])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_row_of_weight_0_may_have_an_infinite_loss(dtype, device):
    """Such as a target of 9.96921e36, which fills gaps in netCDF files."""
    x, y, w = np.ones((5, 2)), np.zeros(5), np.array([1, 1, 1, 1, 0.0])
    y[4] = 9.96921e36 if dtype == "float32" else 1e200
    trainer = nl.Trainer(nl.mlp([2, 3, 1], device=device, dtype=dtype, seed=0), "mse", metrics=["rmse"])
    expected = trainer.evaluate(x[:4], y[:4])
    assert trainer.evaluate(x, y, sample_weight=w) == pytest.approx(expected, rel=1e-6)
    history = trainer.fit(x, y, validation_data=(x, y, w), sample_weight=w, progress=False)
    assert history["loss"][0] == pytest.approx(expected["loss"], rel=1e-6) and np.isfinite(history["val_loss"]).all()


def test_weighted_training_is_the_same_on_every_device(device, rng):
    """In batches, the last one short, in a new order every epoch, with sums and with predictions written down."""
    x, y = problem("bce", rng)
    w = rng.uniform(0, 2, len(x))
    found = []
    for place in ("numpy", device):
        trainer = trainer_of("bce", place, ["f1", "roc_auc"])
        histories = [trainer.fit(x, y, 2, 12, progress=False, sample_weight=given) for given in (w, None)]
        found.append([*histories, trainer.evaluate(x, y, sample_weight=w), trainer.evaluate(x, y)])
    for one, other in zip(*found):
        for column in one:
            np.testing.assert_allclose(one[column], other[column], rtol=1e-10, err_msg=column)


@pytest.mark.parametrize("name", ["mse", "bce", "cce"])
def test_a_trajectory_equals_pytorchs(name, host, rng):
    torch = pytest.importorskip("torch")
    x, y = problem(name, rng, 50)
    w = rng.uniform(0, 3, 50)
    trainer = trainer_of(name, host, optimizer=nl.Adam(lr=0.02))
    state = {k: torch.tensor(v, requires_grad=True) for k, v in trainer.network.state_dict().items()}
    history = trainer.fit(x, y, 4, 16, shuffle=False, progress=False, sample_weight=w)
    tx, ty, tw = (torch.tensor(a) for a in (x, y, w))
    optimizer, losses = torch.optim.Adam(state.values(), lr=0.02), []
    for _ in range(4):
        total = 0.0
        for start in range(0, 50, 16):
            rows = slice(start, start + 16)
            z = torch.tanh(tx[rows] @ state["0.W"] + state["0.b"]) @ state["2.W"] + state["2.b"]
            if name == "cce":
                each = torch.nn.functional.cross_entropy(z, ty[rows], reduction="none")
            elif name == "bce":
                each = torch.nn.functional.binary_cross_entropy_with_logits(z, ty[rows], reduction="none").mean(dim=1)
            else:
                each = ((z - ty[rows]) ** 2).mean(dim=1)
            loss = (tw[rows] * each).sum() / tw[rows].sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += (tw[rows] * each).sum().item()
        losses.append(total / w.sum())
    np.testing.assert_allclose(history["loss"], losses, rtol=1e-10)
    for key, value in trainer.network.state_dict().items():
        np.testing.assert_allclose(value, state[key].detach().numpy(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", LOSSES)
def test_the_gradient_is_the_derivative_of_the_weighted_loss(name, reduction, rng):
    x, y = problem(name, rng, 7)
    trainer = trainer_of(LOSSES[name](reduction=reduction))
    data = Data(*trainer.checked(x, y)).weighed(rng.uniform(0, 2, 7), np.float64)
    row_weights = data.in_order(np.arange(7)[None], 7, reduction == "mean")
    step = trainer.new_step(weighted=True)
    step = step.on(trainer.network.ops, step.arrays())
    factor = {"mean": 1 / data.count, "sum": step.loss.per_sample(2), "none": 1.0}[reduction]

    def value():
        outputs = step.network.propagate(data.x, step.depth)
        return factor * float(step.loss.measure(outputs, data.target, row_weights).sum())

    step.slope(data.x, data.target, row_weights=row_weights)
    w, gradient = trainer.network.parameters, trainer.network.gradients.copy()
    direction = rng.standard_normal(len(w))
    start = w.copy()
    ends = []
    for sign in (1, -1):
        w[...] = start + sign * 1e-6 * direction
        ends.append(value())
    assert (ends[0] - ends[1]) / 2e-6 == pytest.approx(gradient @ direction, rel=1e-6, abs=1e-8)


def test_without_weights_nothing_is_paid(rng):
    x, y = problem("cce", rng)
    trainer = trainer_of("cce", metrics=["accuracy"])
    trainer.fit(x, y, progress=False)
    calls = [call.name for call in trainer.tape.calls]
    assert not {"weigh", "read_rows", "write_rows"} & set(calls)
    trainer.fit(x, y, progress=False, sample_weight=np.ones(len(x)))
    more = [call.name for call in trainer.tape.calls]
    assert (
        sorted(more) == sorted({*calls} - {"add_hits"} | {"weigh", "read_rows", "write_rows"} | set()) or len(more) > 0
    )
    assert more.count("weigh") == more.count("read_rows") == more.count("write_rows") == 1


def test_a_batch_without_weight_moves_nothing(host, rng):
    x, y = problem("mse", rng, 40)
    w = np.r_[np.ones(20), np.zeros(20)]
    ends = []
    for rows, given in ((20, {}), (40, {"sample_weight": w})):
        trainer = trainer_of("mse", host)
        trainer.fit(x[:rows], y[:rows], 2, 10, shuffle=False, progress=False, **given)
        ends.append(trainer.network.parameters.copy())
    np.testing.assert_allclose(*ends, rtol=1e-12)


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (lambda n: -np.ones(n), r"sample_weight has -1 in row 0: a weight is at least 0, and 0 leaves the row out"),
        (lambda n: np.full(n, np.nan), "sample_weight contains NaN at row 0; drop or fill"),
        (lambda n: np.full(n, np.inf), "sample_weight contains infinity"),
        (lambda n: np.zeros(n), "all weights are 0, so that no row counts"),
        (lambda n: np.ones(n - 1), r"sample_weight has shape \(40,\), expected \(41,\): one number for each row"),
        (lambda n: np.ones((n, 1)), r"sample_weight has shape \(41, 1\), expected \(41,\)"),
    ],
)
def test_weights_that_make_no_sense(weight, message, rng):
    x, y = problem("mse", rng)
    trainer, w = trainer_of("mse"), weight(len(x))
    for call in (
        lambda: trainer.fit(x, y, progress=False, sample_weight=w),
        lambda: trainer.evaluate(x, y, sample_weight=w),
        lambda: nl.metrics.R2()(y, y, w),
    )[: 3 if "all" not in message else 2]:
        with pytest.raises(ValueError, match=message):
            call()
    with pytest.raises(ValueError, match=message.replace("sample_weight", "validation sample_weight")):
        trainer.fit(x, y, validation_data=(x, y, w), progress=False)
    assert "loss" not in trainer.history  # nothing was trained


def test_weights_that_are_no_numbers_or_too_small(rng):
    x, y = problem("mse", rng)
    trainer = trainer_of("mse")
    trainer.network.to(dtype="float32")
    with pytest.raises(ValueError, match="sample_weight is 0 in float32 for every row: multiply all weights"):
        trainer.fit(x, y, progress=False, sample_weight=np.full(len(x), 1e-300))
    with pytest.raises(TypeError, match=r"sample_weight contains text, expected real numbers$"):
        trainer.fit(x, y, progress=False, sample_weight=["a"] * len(x))


def test_metrics_without_weights_are_refused(rng):
    class Bias(nl.Metric):
        name = "bias"

        def add(self, ops, prediction, target, sums):
            ops.add_absolute_errors(prediction, target, sums)

    def worst(y, prediction):
        return np.abs(y - prediction).max()

    def mean(y, prediction, sample_weight=None):
        return np.average(np.abs(y - prediction).mean(axis=1), weights=sample_weight)

    x, y = problem("mse", rng)
    w = rng.uniform(0, 1, len(x))
    for metric, remedy in ((Bias(), r"write its `measure\("), (worst, "give the function an argument sample_weight")):
        trainer = trainer_of("mse", metrics=[metric])
        trainer.fit(x, y, progress=False)
        for call in (trainer.fit, trainer.evaluate):
            with pytest.raises(ValueError, match=f"does not take weights of rows: {remedy}"):
                call(x, y, sample_weight=w)
    trainer = trainer_of("mse", metrics=[mean, "mae"])
    found = trainer.evaluate(x, y, sample_weight=w)
    assert found["mean"] == pytest.approx(found["mae"], rel=1e-12)


# ---- by class -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True])
def test_balanced_is_scikit_learns(weighted, rng):
    compute = pytest.importorskip("sklearn.utils.class_weight").compute_class_weight
    x = rng.standard_normal((60, 3))
    y = (rng.uniform(size=60) < 0.2).astype(int)
    w = rng.integers(0, 3, 60) if weighted else np.ones(60)
    found = compute("balanced", classes=np.array([0, 1]), y=np.repeat(y, w.astype(int)))
    ends = []
    for given in (
        {"class_weight": "balanced"} | ({"sample_weight": w} if weighted else {}),
        {"class_weight": dict(enumerate(found))} | ({"sample_weight": w} if weighted else {}),
        {"sample_weight": w * found[y]},
    ):
        trainer = trainer_of("cce")
        history = trainer.fit(x, y, 3, 16, progress=False, validation_data=(x, y), **given)
        assert history["val_loss"][-1] == pytest.approx(trainer.evaluate(x, y)["loss"])  # validation counts rows alike
        ends.append(trainer.network.parameters.copy())
    np.testing.assert_allclose(ends[1], ends[0], rtol=1e-12)
    np.testing.assert_allclose(ends[2], ends[0], rtol=1e-12)


@pytest.mark.parametrize("labels", [(0, 1), (-1, 1)])
def test_weights_by_label_for_one_output(labels, rng):
    x = rng.standard_normal((30, 3))
    y = np.where(rng.uniform(size=30) < 0.3, labels[1], labels[0]).astype(float)
    ends = []
    for given in ({"class_weight": {labels[1]: 4.0}}, {"sample_weight": np.where(y == labels[1], 4.0, 1.0)}):
        net = nl.mlp([3, 1], output="tanh", device="numpy", dtype="float64", seed=0)
        nl.Trainer(net, "mse", nl.SGD(lr=0.1)).fit(x, y, 2, 8, progress=False, **given)
        ends.append(net.parameters.copy())
    np.testing.assert_array_equal(*ends)


@pytest.mark.parametrize(
    ("class_weight", "error", "message"),
    [
        ({2: 1.0}, ValueError, r"class_weight has the label 2, but the labels are \[0, 1\]"),
        ({0: -1.0}, ValueError, "class_weight of 0 must be finite and at least 0"),
        ("even", ValueError, "class_weight='even' is not known; choose one of 'balanced'"),
        ([1.0, 2.0], TypeError, 'class_weight must be "balanced" or a dictionary'),
        ({0: 0.0, 1: 0.0}, ValueError, "all weights are 0"),
    ],
)
def test_weights_by_class_that_make_no_sense(class_weight, error, message, rng):
    x, y = problem("cce", rng)
    with pytest.raises(error, match=message):
        trainer_of("cce").fit(x, y, progress=False, class_weight=class_weight)
    x, y = problem("mse", rng)
    with pytest.raises(
        ValueError, match="class_weight is for classes, which y does not have: weigh its rows by sample"
    ):
        trainer_of("mse").fit(x, y, progress=False, class_weight="balanced")


def test_weights_by_class_multiply_those_of_rows(rng):
    """Balanced ones are total / (classes · total of the class), with totals of weights and not of rows."""
    x, y = rng.standard_normal((40, 3)), np.repeat([0, 1, 1, 1], 10)  # of three classes, two are there
    w = rng.uniform(0.5, 2, 40)
    totals = np.bincount(y, w)
    for class_weight, factors in (({1: 3.0}, np.array([1, 3])), ("balanced", w.sum() / (2 * totals))):
        ends = []
        for given in ({"sample_weight": w, "class_weight": class_weight}, {"sample_weight": w * factors[y]}):
            net = nl.mlp([3, 5, 3], output="softmax", device="numpy", dtype="float64", seed=0)
            trainer = nl.Trainer(net, "cce", metrics=["accuracy"])
            trainer.fit(x, y, epochs=2, batch_size=16, progress=False, **given)
            ends.append((net.parameters, trainer.history["accuracy"]))
        np.testing.assert_allclose(ends[0][0], ends[1][0], rtol=1e-12)
        np.testing.assert_allclose(ends[0][1], ends[1][1], rtol=1e-12)


@pytest.mark.parametrize(("low", "wrong", "labels"), [(0, -1, "[0, 1]"), (-1, 0, "[-1, 1]")])
def test_weights_by_class_name_the_labels_that_are_there(low, wrong, labels, rng):
    x, y = rng.standard_normal((20, 3)), np.where(np.arange(20) % 2, 1, low)
    net = nl.mlp([3, 4, 1], output="identity" if low else "sigmoid", device="numpy")
    trainer = nl.Trainer(net, "hinge" if low else "bce")
    with pytest.raises(ValueError, match=f"the label {wrong}, but the labels are {re.escape(labels)}"):
        trainer.fit(x, y, class_weight={wrong: 2.0}, progress=False)
    trainer.fit([(x, y), (x, np.ones(20))], class_weight={low: 2.0}, progress=False)  # one of them has ones alone


# ---- in chunks ------------------------------------------------------------------------------------------------------


def test_chunks_with_weights_are_the_whole(host, rng):
    x, y = problem("cce", rng, 60)
    w = rng.integers(1, 4, 60) * 1.0  # a row of weight 0 would move the others to other batches
    w[20:40] = 0  # of a whole chunk
    found = []
    for data, given in (
        (([(x[:20], y[:20], w[:20]), (x[20:40], y[20:40], w[20:40]), (x[40:], y[40:], w[40:])],), {}),
        ((x, y), {"sample_weight": w}),
    ):
        trainer = trainer_of("cce", host, metrics_for("cce"), nl.SGD(lr=0.1))
        history = trainer.fit(*data, epochs=3, batch_size=20, shuffle=False, progress=False, **given)
        found.append((history, trainer.network.parameters.copy()))
    np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-12)
    for column, values in found[0][0].items():
        np.testing.assert_allclose(values, found[1][0][column], rtol=1e-12, err_msg=column)
    trainer = trainer_of("cce", host)
    one = trainer.fit([(x, y)], progress=False, class_weight={1: 3.0})["loss"]
    assert one == pytest.approx(trainer_of("cce").fit(x, y, progress=False, class_weight={1: 3.0})["loss"])


def test_rows_of_a_file_keep_their_weights(tmp_path, monkeypatch, rng):
    from nnlite import chunks

    x, y = problem("mse", rng, 500)
    w = np.square(x[:, 0])  # so that a weight tells its row
    file = np.memmap(tmp_path / "x", np.float64, "w+", shape=x.shape)
    file[...] = x
    monkeypatch.setattr(chunks, "available_memory", lambda: 1)
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 150 * 3 * 8)
    parts = chunks.Chunks.of(file, y, 8, 1, None, w)
    for part_x, part_y, part_w in parts.epoch(np.random.default_rng(0)):
        np.testing.assert_array_equal(part_w, np.square(part_x[:, 0]))
        assert len(part_y) == len(part_x)
    losses = []
    for rows in (x, file):
        trainer = trainer_of("mse", optimizer=nl.SGD(lr=1e-14))
        losses.append(trainer.fit(rows, y, 1, 500, progress=False, sample_weight=w)["loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-10)


def test_chunks_that_do_not_go_together(rng):
    x, y = problem("cce", rng)
    w = np.ones(len(x))
    trainer = trainer_of("cce")
    for data, given, message in (
        ([(x, y, w), (x, y)], {}, "chunk 1 must have sample_weight or not, as the chunks before it"),
        ([(x, y)], {"sample_weight": w}, r"sample_weight is a part of each chunk: \(x, y, sample_weight\)"),
        ([(x, y)], {"class_weight": "balanced"}, 'class_weight="balanced" needs all labels at once'),
        ([(x, y)], {"validation_split": 0.5}, "validation_split needs all rows at once"),
        ([(x, y, 0 * w)], {}, "sample_weight is 0 for every row"),
        ([(x, y, -w)], {}, "sample_weight of chunk 0 has -1 in row 0"),
    ):
        with pytest.raises(ValueError, match=message):
            trainer.fit(data, progress=False, **given)


# ---- rows for validation --------------------------------------------------------------------------------------------


def test_rows_for_validation_are_the_same_share_of_every_class_in_every_fit(rng):
    y = np.sort(rng.integers(0, 2, 200))  # sorted: the last rows are of one class
    x = np.arange(200.0)[:, None] + np.zeros((200, 3))
    trainer = trainer_of("cce", metrics=["accuracy"])
    data = Data(*trainer.checked(x, y), rng.uniform(0, 1, 200))
    train, held = data.divided(0.2, 0)
    assert len(train) == 160 and len(held) == 40
    assert sorted([*train.x[:, 0], *held.x[:, 0]]) == list(range(200))
    assert held.target.mean(axis=0) == pytest.approx(data.target.mean(axis=0), abs=1 / 40)
    np.testing.assert_array_equal(held.x[:, 0], data.divided(0.2, 0)[1].x[:, 0])
    assert (held.x[:, 0] != data.divided(0.2, 1)[1].x[:, 0]).any()
    for part in (train, held):
        np.testing.assert_array_equal(part.weight, data.weight[part.x[:, 0].astype(int)])
        assert (np.diff(part.x[:, 0]) > 0).all()  # in the order of the data
    numbers = Data(x, rng.standard_normal((200, 1))).divided(0.25, 0)
    assert [len(part) for part in numbers] == [150, 50]
    x = rng.standard_normal((200, 3))
    rows = Data(*trainer.checked(x, y)).divided(0.2, 1)  # the network's seed is 1
    found = [
        trainer_of("cce", metrics=["accuracy"]).fit(*data, 3, 16, progress=False, **given)
        for data, given in (
            ((x, y), {"validation_split": 0.2}),
            ((rows[0].x, rows[0].target), {"validation_data": (rows[1].x, rows[1].target)}),
        )
    ]
    assert found[0] == found[1] and "val_accuracy" in found[0]


def test_a_share_for_validation_that_makes_no_sense(rng):
    x, y = problem("mse", rng)
    trainer = trainer_of("mse")
    for given, message in (
        ({"validation_split": 0.2, "validation_data": (x, y)}, "are two ways to say the same: leave one out"),
        ({"validation_split": 1.0}, "validation_split must be finite and above 0 and below 1"),
        ({"validation_split": -0.1}, "validation_split must be"),
        ({"validation_split": 0.001}, "validation_split=0.001 of 41 rows leaves none"),
    ):
        with pytest.raises(ValueError, match=message):
            trainer.fit(x, y, progress=False, **given)


def test_a_partly_measured_row_has_the_class_that_was_measured():
    x, y = np.eye(3), np.array([[1, 0], [0, 1], [np.nan, 1.0]])

    def loss(**weights):
        net = nl.Sequential(nl.Dense(3, 2), nl.Sigmoid(), device="numpy", dtype="float64", seed=0)
        trainer = nl.Trainer(net, nl.BinaryCrossEntropy(ignore_nan=True))
        return trainer.fit(x, y, batch_size=3, progress=False, **weights)["loss"]

    assert loss(class_weight={1: 5.0}) == pytest.approx(loss(sample_weight=[1, 5, 5]))
    assert loss(class_weight={0: 5.0}) == pytest.approx(loss(sample_weight=[5, 1, 1]))

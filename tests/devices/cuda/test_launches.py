"""Launches on a whole grid: sums that many blocks divide, rows that are gathered, and the nodes of a step's graph."""

import re
import threading

import numpy as np
import pytest
from test_cuda import ORDERS

import nnlite as nl
from nnlite import gate, progress, steps
from nnlite.devices.common.recording import Call, Symbol
from nnlite.devices.common.reference import KERNELS
from nnlite.devices.cuda import cublas
from nnlite.devices.cuda.device import CupyDevice
from nnlite.devices.cuda.machine import BLOCK, IN_TURN, Machine, Own, source

WIDTHS = (1, 5, 40)  # columns of dy: of a part of a warp's lanes, or of two groups


def on_gpu(*arrays):
    import cupy

    return [cupy.asarray(array) for array in arrays]


def counters(device):
    return device.machine.own.counters.get().tolist()


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("columns", WIDTHS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sums_over_rows_that_several_blocks_divide(dtype, columns, order, rig):
    rig.order = ORDERS[order]
    device, rng = nl.get_device("cupy"), np.random.default_rng(columns)
    rows = 5 * 1024 // columns  # so that there is something for several blocks
    dy, y = rng.standard_normal((2, rows, columns)).astype(dtype) + np.asarray([[[3.0]], [[-1.0]]], dtype)
    here, there = on_gpu(dy, y)
    assert device.machine._for_sums(rows, columns) > -(-columns // 32)
    (db,) = on_gpu(np.zeros(columns, dtype))
    device.ops.linear_backward_bias(here, db)
    found = [db, *device.ops.batch_moments(here, 1e-5), *device.ops.batch_norm_means(here, there, 1 / rows)]
    exact, of_y = dy.astype(float), y.astype(float)
    expected = [exact.sum(axis=0), exact.mean(axis=0), exact.var(axis=0), 1 / np.sqrt(exact.var(axis=0) + 1e-5)]
    expected += [exact.mean(axis=0), (exact * of_y).mean(axis=0)]
    for got, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(got.get(), wanted, rtol=5e-7 if dtype == "float32" else 1e-13)
    assert not any(counters(device))  # ready for the next launch
    again = device.ops.batch_moments(here, 1e-5)
    assert all(np.array_equal(one.get(), other.get()) for one, other in zip(again, found[1:]))  # the same bits


def test_a_launch_makes_one_sum_over_the_rows():
    """Two would use the same counters and the same room at the same time."""
    bodies = {}
    for each in re.split(r"\n(?=template <class T> DEVICE void )", source()):
        bodies[re.search(r"void (\w+)\(", each)[1]] = each
    sums = {name: body.count("column_sums<T>(") for name, body in bodies.items()}
    assert max(sums.values()) == 1
    of_parts = {name: re.findall(r"(\w+)<T>\(line, team\)", body) for name, body in bodies.items()}
    assert {name: tuple(parts) for name, parts in of_parts.items() if sum(sums[p] for p in parts) > 1} == IN_TURN


def test_many_rows_do_not_blur_a_sum(rig):
    rows = 40_000
    dy, db = on_gpu(np.full((rows, 1), 0.1, np.float32), np.zeros(1, np.float32))
    nl.get_device("cupy").ops.linear_backward_bias(dy, db)
    assert abs(float(db[0]) / (rows * float(np.float32(0.1))) - 1) < 1e-7


@pytest.mark.parametrize("order", ORDERS)
def test_a_graph_sums_the_rows_of_a_bias_in_every_order_of_threads(order, rig):
    """The backward of ReLU and the sum for the bias's gradient are one launch, and its blocks divide the rows."""
    rig.order = ORDERS[order]
    x, y = np.random.default_rng(0).standard_normal((300, 5)).astype(np.float32), np.arange(300) % 3
    found = []
    for device, replay in (("numpy", "auto"), ("cupy", "graph"), ("cupy", "graph")):
        net = nl.mlp([5, 40, 3], output="softmax", device=device)
        nl.Trainer(net, "cce", nl.SGD(lr=0.3), replay=replay).fit(x, y, 3, 128, progress=False)
        found.append(net.state_dict())
    assert "launch_relu_backward_bias_float" in rig.launches
    for name, value in found[0].items():
        np.testing.assert_allclose(found[1][name], value, rtol=1e-5, atol=1e-6)
        assert np.array_equal(found[1][name], found[2][name])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("columns", [1, 2, 3, 4, 7, 8, 40])
def test_rows_are_gathered_at_any_address(columns, dtype, rig):
    """Sixteen bytes at a time where all rows begin at a multiple of that, or else number by number."""
    device, rng = nl.get_device("cupy"), np.random.default_rng(0)
    data = rng.standard_normal((60 * columns + 1,)).astype(dtype)
    order, position = on_gpu(rng.permutation(60), np.array([7], np.int64))
    for first in (0, 1):
        x = on_gpu(data)[0][first : first + 60 * columns].reshape(60, columns)
        found = device.ops.take_rows(x, order, position, 33)
        np.testing.assert_array_equal(found.get(), x.get()[order.get()[7:40]])


def test_the_grid_that_gathers_rows_is_of_the_size_of_the_batch(rig):
    rig.become(processors=100)

    def blocks(data_rows):
        def symbol(*shape, dtype=np.float32):
            return Symbol("", shape, dtype, "results", 0)

        order, position = symbol(data_rows, dtype=np.int64), symbol(1, dtype=np.int64)
        gather = (symbol(data_rows, 784), order, position, 20), (symbol(20, 784),)
        read = (symbol(data_rows, 784), position, 20), (symbol(20, 784),)
        given = {"take_rows": gather, "read_rows": read}
        calls = (Call(name, KERNELS[name], *each) for name, each in given.items())
        return list(map(nl.get_device("cupy").machine._blocks, calls))

    assert blocks(20) == blocks(10**6) == [-(-20 * 784 // 4 // BLOCK), -(-20 * 784 // BLOCK)]


NODES = {  # who makes the products of a step by gradient descent -> its nodes but for the first and the last
    "cuBLAS": "gemm bias_relu gemm add_bias softmax_cross_entropy gemm relu_backward_bias factors gemm "
    "linear_backward_bias_sgd factors gemm",
    "the faster": "linear relu linear softmax_cross_entropy gemm relu_backward_bias factors gemm "
    "linear_backward_bias_sgd factors gemm",
    "nnlite": "linear relu linear softmax_cross_entropy linear_backward relu_backward_bias linear_backward_weights_sgd "
    "linear_backward_bias_sgd linear_backward_weights_sgd",
}


@pytest.mark.parametrize("who", NODES)
def test_the_nodes_of_a_step(who, rig, request):
    """x and target are taken by one node, and the end of a step adds the losses and moves the position."""
    rig.blas_fails = who == "nnlite"
    if who == "cuBLAS":
        request.getfixturevalue("only_cublas")
    x = np.random.default_rng(0).standard_normal((16, 6)).astype(np.float32)
    net = nl.mlp([6, 8, 3], output="softmax", device=CupyDevice())
    nl.Trainer(net, "cce", replay="graph").fit(x, np.arange(16) % 3, batch_size=8, progress=False)
    launches = [name.removeprefix("launch_").removesuffix("_float") for name in rig.launches]
    step = ["take_both", *NODES[who].split(), "end_step"]
    assert launches[: len(step)] == step


@pytest.mark.parametrize(("rows", "columns", "by"), [(8, 32, "linear"), (8, 33, "gemm"), (9, 32, "gemm")])
def test_who_makes_a_narrow_product(rows, columns, by, rig, monkeypatch):
    monkeypatch.setattr("nnlite.devices.cuda.machine.NEAR", 8 * 6)
    machine, x, W = nl.get_device("cupy").machine, *on_gpu(np.ones((rows, 6)), np.ones((6, columns)))
    y, b = on_gpu(np.zeros((rows, columns)), np.ones(columns))
    machine.run(Call("linear", KERNELS["linear"], (x, W, b), (y,)))
    assert rig.launches[0].removeprefix("launch_").removesuffix("_double") == by
    assert (y.get() == 7).all()


def test_the_nodes_of_a_step_that_needs_the_gradients(rig, only_cublas):
    x = np.random.default_rng(0).standard_normal((16, 6)).astype(np.float32)
    net = nl.mlp([6, 8, 3], output="softmax", device="cupy")
    nl.Trainer(net, "cce", nl.Adam(), replay="graph").fit(x, np.arange(16) % 3, batch_size=8, progress=False)
    launches = [name.removeprefix("launch_").removesuffix("_float") for name in rig.launches]
    forward = ["take_both", "gemm", "bias_relu", "gemm", "add_bias", "softmax_cross_entropy"]
    backward = ["gemm", "linear_backward_bias", "gemm", "relu_backward_bias", "gemm"]
    step = [*forward, *backward, "count_step", "adam_step", "end_step"]
    assert launches[: len(step)] == step


@pytest.mark.parametrize(
    ("dtype", "precision"), [("float32", "float32"), ("float64", "float32"), ("float32", "tf32"), ("float64", "tf32")]
)
@pytest.mark.parametrize("by_cublas", [False, True])
@pytest.mark.parametrize("rate", [0.2, nl.schedules.Exponential(0.3, 0.8, by="step")])
def test_gradient_descent_within_products(rate, by_cublas, dtype, precision, rig, monkeypatch):
    """Also with another learning rate in every step, and where a factor is transposed first, for TF32."""
    rig.blas_fails = not by_cublas
    monkeypatch.setattr("nnlite.devices.cuda.machine.WORTH_TRANSPOSING", 9)
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((50, 34)), rng.integers(0, 3, 50)
    found = []
    for device, replay in (("numpy", "auto"), (CupyDevice(precision), "graph")):
        net = nl.mlp([34, 11, 9, 3], output="softmax", device=device, dtype=dtype)
        history = nl.Trainer(net, "cce", nl.SGD(lr=rate), replay=replay).fit(x, y, 3, 16, progress=False)
        found.append({"loss": history["loss"], **net.state_dict()})
    assert ("gemm" in rig.launches) == by_cublas
    assert ("launch_transpose_float" in rig.launches) == (by_cublas and (dtype, precision) == ("float32", "tf32"))
    for name, value in found[0].items():
        rtol = 1e-11 if dtype == "float64" else 1e-4
        np.testing.assert_allclose(found[1][name], value, rtol=rtol, atol=rtol / 10)


# Rows, inner numbers and columns of products that are narrow, and of some that are not. Some rows are read in fours.
PRODUCTS = [
    *((1, 1, 1), (70, 16, 3), (9, 4, 7), (6, 300, 1), (9, 1024, 10), (8, 70, 31), (130, 33, 32), (5, 1000, 2)),
    *((5, 3, 300), (3, 17, 33), (66, 70, 65)),
]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("sizes", PRODUCTS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_products_by_many_blocks(dtype, sizes, order, rig):
    """Narrow products and others, which no cuBLAS makes, with and without what is added to them."""
    rig.order, rig.blas_fails = ORDERS[order], True
    rows, inner, columns = sizes
    rng = np.random.default_rng(0)
    device = CupyDevice()
    assert device.machine.cublas is None

    def random(*shape):
        return rng.standard_normal(shape).astype(dtype)

    calls = {  # a weight's gradient is a sum over the rows of the batch, so these are the inner numbers
        "linear": (random(rows, inner), random(inner, columns), random(columns)),
        "matmul": (random(rows, inner), random(inner, columns)),
        "linear_backward": (random(rows, inner), random(columns, inner)),
        "linear_backward_weights": (random(inner, columns), random(inner, rows), random(rows, columns)),
        "linear_backward_weights_sgd": (random(inner, columns), random(inner, rows), random(rows, columns), random(1)),
    }
    assert {name for name, kernel in KERNELS.items() if kernel.product} == {*calls}
    for name, operands in calls.items():
        there, here = on_gpu(*operands), [each.copy() for each in operands]
        made, expected = getattr(device.ops, name)(*there), KERNELS[name].formula(*here)
        if changed := KERNELS[name].signature.in_place:
            place = list(KERNELS[name].signature.operands).index(*changed)
            made, expected = there[place], here[place]
        rtol = 1e-4 if dtype == "float32" else 1e-12
        np.testing.assert_allclose(made.get(), expected, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_end_of_a_step_counts_and_adds_what_the_calls_would(dtype, rig):
    """With metrics, a loss that counts what was measured, and a last batch that is shorter."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((50, 6)), rng.standard_normal((50, 2))
    y[3] = np.nan
    found = []
    for device, replay in (("numpy", "auto"), ("cupy", "graph")):
        net = nl.mlp([6, 8, 2], device=device, dtype=dtype)
        trainer = nl.Trainer(net, nl.MSE(ignore_nan=True), metrics=["mae", "r2"], replay=replay)
        history = trainer.fit(x, y, epochs=4, batch_size=16, progress=False)
        found.append({name: history[name] for name in history} | trainer.evaluate(x, y))
    for name, values in found[0].items():
        np.testing.assert_allclose(found[1][name], values, rtol=1e-5 if dtype == "float32" else 1e-11)


# ---- what a fit does beside its steps --------------------------------------------------------------------------------


def test_no_array_is_reduced_to_one_number_by_one_block(rig):
    """Data and parameters are checked in stretches, since without CUB CuPy gives each result of a sum one block."""
    rng = np.random.default_rng(0)
    (x,) = on_gpu(rng.standard_normal((300, 70)).astype(np.float32))
    net = nl.mlp([70, 80, 3], output="softmax", device="cupy")
    nl.Trainer(net, "cce", replay="graph").fit(x, np.arange(300) % 3, 2, 300, progress=False)
    assert 70 * 80 > gate.STRETCH == max(rig.reduced)


@pytest.mark.parametrize("place", [0, 299 * 70 + 69])
@pytest.mark.parametrize(("value", "name"), [(np.nan, "NaN"), (np.inf, "infinity"), (-np.inf, "infinity")])
def test_numbers_that_are_not_finite_are_found_on_the_gpu(value, name, place, rig):
    (x,) = on_gpu(np.ones((300, 70), np.float32))
    x.reshape(-1)[place] = value
    trainer = nl.Trainer(nl.mlp([70, 3], device="cupy"))
    with pytest.raises(ValueError, match=f"x contains {name} at row {place // 70}, column {place % 70};"):
        trainer.fit(x, x[:, :3], progress=False)
    x[...] = 1e38  # whose sum is too large for float32, as no number is
    assert gate.all_finite(x) and not gate.all_finite(x * 10)


@pytest.mark.parametrize("there", [True, False])
def test_a_later_fit_uses_the_graphs_of_the_one_before(there, rig):
    """The data of a fit are given back at its end, so that those of the next one come to the same place."""
    x, y = np.random.default_rng(0).standard_normal((300, 6)).astype(np.float32), np.arange(300) % 3
    histories = []
    for device, replay in (("numpy", "auto"), ("cupy", "graph")):
        trainer = nl.Trainer(nl.mlp([6, 8, 3], output="softmax", device=device), "cce", replay=replay)
        given = on_gpu(x)[0] if device == "cupy" and there else x
        for number in range(4):
            # the first fit is of fewer epochs than the others
            trainer.fit(given, y[::-1] if number else y, epochs=2 + number, batch_size=100, progress=False)
            if number == 1:  # the second comes to the places of the first if nobody else has taken them
                launches = len(rig.launches)
        histories.append(trainer.history["loss"])
    assert len(rig.launches) == launches > 0
    np.testing.assert_allclose(*histories, rtol=1e-5)


def test_no_handle_is_ended_while_a_graph_is_captured(rig, monkeypatch):
    """That waits for the GPU, so a handle that nobody uses is ended when the next one is made."""
    trainer = nl.Trainer(nl.mlp([6, 8, 3], output="softmax", device="cupy"), "cce", replay="graph")
    machine = nl.get_device("cupy").machine
    unused, end_step = [Own(machine)], Machine.end_step
    handle = unused[0].cublas.handle.value

    def watched(*operands):
        end_step(*operands)
        if rig.capturing:
            unused.clear()

    monkeypatch.setattr(Machine, "end_step", watched)
    trainer.fit(np.ones((8, 6)), np.arange(8) % 3, batch_size=8, progress=False)
    assert not unused and handle in [each.value for _, each in cublas.UNUSED]
    Own(machine)
    assert handle not in [each.value for _, each in cublas.UNUSED] and rig.refused == []


def test_a_handle_waits_for_a_capture_in_another_thread(rig, monkeypatch):
    machine, end_step = nl.get_device("cupy").machine, Machine.end_step
    trainer = nl.Trainer(nl.mlp([6, 8, 3], output="softmax", device="cupy"), "cce", replay="graph")
    threads = []

    def watched(*operands):
        end_step(*operands)
        if rig.capturing and not threads:
            threads.append(threading.Thread(target=Own, args=(machine,)))
            threads[0].start()
            threads[0].join(0.1)
            assert threads[0].is_alive()

    monkeypatch.setattr(Machine, "end_step", watched)
    trainer.fit(np.ones((8, 6)), np.arange(8) % 3, batch_size=8, progress=False)
    threads[0].join()
    assert rig.refused == []


def test_a_fit_that_goes_on_at_its_last_batch_tries_a_step_within_its_data(rig, monkeypatch, tmp_path):
    """Before graphs are captured, a full step and a short one are made and undone: from the first row of the data."""
    x, y = np.random.default_rng(0).standard_normal((10, 6)).astype(np.float32), np.arange(10) % 3

    def trainer():
        optimizer = nl.SGD(lr=nl.schedules.Exponential(0.1, 0.9, by="step"))
        net = nl.mlp([6, 8, 3], output="softmax", device="cupy")
        return nl.Trainer(net, "cce", optimizer, metrics=["roc_auc"], replay="graph")

    def advance(bar, rows):
        if rows == 8:  # before the last batch of the only epoch
            raise KeyboardInterrupt

    stopped, path = trainer(), tmp_path / "stopped"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(steps, "LONGEST_RUN", 0.0)  # so that each run is one step
        patch.setattr(progress.Bar, "advance", advance)
        stopped.fit(x, y, 1, 4, progress=False)
    stopped.save(path)
    run, read = Machine.run, []

    def watched(machine, call):
        if call.name == "take_rate" and not rig.capturing:
            rates, clock, _ = call.operands
            read.append(range(len(rates))[int(clock[0] - clock[1])])
        run(machine, call)

    take_both = Machine.take_both

    def watched_take(machine, of_x, of_target):
        if not rig.capturing:
            _, order, position, rows = of_x.operands
            read.append(range(len(order))[int(position[0]) : int(position[0]) + rows])
            assert len(read[-1]) == rows
        take_both(machine, of_x, of_target)

    monkeypatch.setattr(Machine, "run", watched)
    monkeypatch.setattr(Machine, "take_both", watched_take)
    whole, resumed = trainer(), trainer()
    resumed.resume(path)
    for each in (whole, resumed):
        each.fit(x, y, 1, 4, progress=False)
    assert read == [range(4), 0, range(4, 6), 1] * 2
    assert resumed.history == whole.history  # also the metric, which needs the answers from before the stop
    for name, value in whole.network.state_dict().items():
        np.testing.assert_array_equal(resumed.network.state_dict()[name], value)

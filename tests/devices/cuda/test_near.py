"""What a persistent replay has near: rows a step ahead, a block's own parts, a product with what follows it."""

import itertools
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_cuda import IN_PARTS, NETS, ORDERS, assert_alike, compile_for, train

import nnlite as nl
from nnlite.devices.common.lines import even
from nnlite.devices.common.planning import fuse
from nnlite.devices.cuda import pairs
from nnlite.devices.cuda.device import CupyDevice
from nnlite.devices.cuda.limits import CudaLimits
from nnlite.devices.numpy.device import NumpyDevice


def several(**limits):
    """A device whose blocks divide every step."""
    return CupyDevice(limits=CudaLimits(one_block=0, **{"barrier": 0, **limits}))


def full_step(device):
    """The lines of the one full step that a device has made the text of, and what lies near in it."""
    (text,) = device.machine.texts.values()
    return text.steps[0], text.near


# ---- a product and the activation after it --------------------------------------------------------------------------

ACTIVATIONS = {  # layer -> what follows a product
    nl.Sigmoid: ("sigmoid", "sigmoid_backward"),
    nl.Tanh: ("tanh", "tanh_backward"),
    nl.TanhOffset: ("tanh_offset", "tanh_offset_backward"),
    nl.ReLU: ("relu", "relu_backward"),
    nl.Softplus: ("softplus", "softplus_backward"),
    nl.Softsign: ("softsign", "softsign_backward"),
    nl.HardSigmoid: ("hard_sigmoid", "hard_sigmoid_backward"),
    nl.Exponential: ("exponential", "exponential_backward"),
    nl.GELU: ("gelu_backward",),  # whose backward needs x, too
    nl.SiLU: ("silu_backward",),
    nl.Mish: ("mish_backward",),
    nl.LeakyReLU: (),  # which has a number
}


def trained(device, layer, dtype="float64"):
    rng = np.random.default_rng(0)
    x, y = 0.1 * rng.standard_normal((23, 9)), rng.integers(0, 3, 23)
    layers = nl.Dense(9, 12), layer(), nl.Dense(12, 10, bias=False), layer(), nl.Dense(10, 3), nl.Softmax()
    net = nl.Sequential(*layers, device=device, dtype=dtype, seed=0)
    replay = "auto" if device == "numpy" else "persistent"
    history = nl.Trainer(net, "cce", nl.SGD(lr=0.01), replay=replay).fit(x, y, 3, 8, progress=False)
    return net.state_dict(), {"loss": history["loss"]}


@pytest.mark.parametrize("blocks", ["one block", "three blocks"])
@pytest.mark.parametrize("layer", ACTIVATIONS)
def test_what_follows_a_product_is_made_with_it(layer, blocks, rig):
    device = CupyDevice() if blocks == "one block" else several()
    assert_alike(trained(device, layer), trained("numpy", layer), 1e-12)
    lines, _ = full_step(device)
    found = {line.split("THEN(")[1].split(",")[0] for line in lines if "THEN(" in line}
    assert found == set(ACTIVATIONS[layer])
    assert not [line for line in lines if any(f"CALL({name}," in line for name in found)]


def calls_of(*layers):
    """The calls of a training step."""
    found = []

    class Device(NumpyDevice):
        def replay(self, full, *rest, **options):
            found.extend(fuse(full.calls))
            return super().replay(full, *rest, **options)

    net = nl.Sequential(*layers, nl.Dense(6, 3), nl.Softmax(), device=Device())
    nl.Trainer(net, "cce", nl.SGD()).fit(np.ones((8, 6)), np.arange(8) % 3, 1, 8, progress=False)
    return found


def pairs_of(*layers):
    return [(call.name, call.then) for call in pairs.in_pairs(calls_of(*layers)) if isinstance(call, pairs.Pair)]


def test_a_pair_is_made_only_where_nobody_else_reads_the_product():
    assert pairs_of(nl.Dense(6, 6), nl.Tanh()) == [("linear", "tanh"), ("linear_backward", "tanh_backward")]
    back = [("linear_backward", "tanh_backward")]  # after the product of the last layer
    assert pairs_of(nl.Residual(nl.Dense(6, 6)), nl.Tanh()) == back  # a sum stands between product and activation
    assert pairs_of(nl.Dense(6, 6), nl.Residual(nl.Tanh())) == []  # a sum reads the product, too, before and after
    assert pairs_of(nl.Dense(6, 6), nl.GELU()) == [("linear_backward", "gelu_backward")]


def test_pairs_make_what_both_calls_make():
    """Each pair has the operands of both calls and the result of the second, and stands where the first stood."""
    calls = calls_of(nl.Dense(6, 6), nl.ReLU())
    found = pairs.in_pairs(calls)
    assert len(found) == len(calls) - 2
    for pair in (call for call in found if isinstance(call, pairs.Pair)):
        first = next(call for call in calls if call.name == pair.name and call.operands[0] is pair.operands[0])
        second = next(call for call in calls if call.operands[0] is first.results[0])
        assert pair.operands == (*first.operands, *second.operands[1:]) and pair.results == second.results
        assert found.index(pair) == calls.index(first) - [*map(id, calls)].index(id(first)) + found.index(pair)
        assert pair.sizes == first.sizes


# ---- rows a step ahead ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [24, 23, 8])  # whole batches, a short one, a batch alone
@pytest.mark.parametrize("columns", [8, 7])  # read by sixteen bytes, or number by number
@pytest.mark.parametrize("offset", [0, 1])  # an array of the user's may begin anywhere
@pytest.mark.parametrize("blocks", ["one block", "three blocks"])
def test_rows_are_taken_a_step_ahead(rows, columns, offset, blocks, rig):
    import cupy

    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((rows, columns)).astype("f4"), rng.integers(0, 3, rows)
    found = []
    for device in ("numpy", CupyDevice() if blocks == "one block" else several()):
        given = x
        if device != "numpy":
            room = cupy.zeros(x.size + offset, "f4")
            given = room[offset:].reshape(x.shape)
            given[...] = cupy.asarray(x)
        net = nl.mlp([columns, 6, 3], output="softmax", device=device, seed=0)
        trainer = nl.Trainer(net, "cce", nl.SGD(lr=0.1), replay="auto" if device == "numpy" else "persistent")
        histories = [trainer.fit(given, y, epochs, 8, progress=False)["loss"] for epochs in (1, 4)]
        found.append((net.state_dict(), {"loss": histories[1]}))
    assert_alike(found[1], found[0], 3e-6)
    lines, _ = full_step(device)
    assert {found for line in lines for found in re.findall(r"TAKE\((\d)", line)} == {"0", "1"}  # x and the target


def test_many_rows_are_taken_when_they_are_needed(rig):
    device = several(threads=64)
    setting = {"sizes": (300, 6, 3), "loss": "cce", "batch": 20}
    assert_alike(train(device, **setting, replay="persistent"), train("numpy", **setting), 3e-6)
    lines, _ = full_step(device)
    taking = [line for line in lines if "(take" in line.replace(", take", "(take")]
    assert [line for line in taking if "CALL(" in line] and [line for line in taking if "TAKE(" in line]


# ---- what blocks keep -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("setting", ["a short last part", "no bias"])
def test_blocks_keep_their_rows_of_the_first_weights(setting, rig):
    """A step of plain gradient descent has a barrier less. Compiled as it is written, not from the rig's tables."""
    rig.as_written = True
    device, setting = several(), IN_PARTS[setting]
    assert_alike(train(device, **setting, replay="persistent"), train("numpy", **setting), 3e-6)
    lines, near = full_step(device)
    assert near.held and near.late and near.published
    assert lines.count("BARRIER") == 2 and lines[-1] == "SYNC"


class Positive(nl.Layer):
    """y = x V: weights that are made of weights, whose rows are not those of the batch."""

    def __init__(self, columns):
        super().__init__()
        self.state = {"W": np.random.default_rng(0).standard_normal((columns, columns))}

    def forward(self, x):
        self.V = self.ops.softplus(self.W)
        self.V2 = self.ops.add(self.V, self.ops.tanh(self.V))
        return self.ops.matmul(x, self.V2)

    def backward(self, dy):
        return self.ops.linear_backward(dy, self.V2)


@pytest.mark.parametrize("order", ORDERS)
def test_weights_that_are_made_of_weights_are_whole_before_they_are_read(order, rig):
    rig.order = ORDERS[order]
    setting = {"sizes": (9, 20, 5), "loss": "cce", "layers": lambda columns: [Positive(columns)], "dtype": "float64"}
    setting |= {"optimizer": lambda: nl.SGD(lr=0.01)}
    assert_alike(train(several(), **setting, replay="persistent"), train("numpy", **setting), 1e-11)


@pytest.mark.parametrize("order", ["forward", "even blocks slow"])
@pytest.mark.parametrize("optimizer", [None, "adam"])
def test_more_blocks_than_rows(optimizer, order, rig):
    """Some have columns of x and no rows of the batch, one has neither."""
    rig.become(processors=8)
    rig.order = ORDERS[order]
    setting = {"sizes": (25, 30, 5), "loss": "cce", "batch": 3, "dtype": "float64", "optimizer": optimizer}
    device = several(blocks=8)
    found = train(device, **setting, replay="persistent")
    assert found[2].startswith("persistent kernel: 8 blocks") and "columns of x" in found[2]
    assert_alike(found, train("numpy", **setting), 1e-11)


@pytest.mark.parametrize("change", ["Adam", "weight decay", "no room"])
def test_blocks_keep_no_weights_that_others_need(change, rig, monkeypatch):
    if change == "no room":
        monkeypatch.setattr("nnlite.devices.cuda.near.NEAR", 2000)
    optimizers = {"Adam": nl.Adam, "weight decay": lambda: nl.SGD(lr=0.3, weight_decay=0.1)}
    device, setting = several(), {"sizes": (150, 30, 5), "loss": "cce", "optimizer": optimizers.get(change)}
    found = train(device, **setting, replay="persistent")
    assert "columns of x" in found[2]
    assert_alike(found, train("numpy", **setting), 1e-4)
    lines, near = full_step(device)
    assert not near.held and not near.late and lines[-1] == "BARRIER"


@pytest.mark.filterwarnings("ignore::nnlite.ScaleWarning")
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("batch", [16, 10])  # the last one is short, or not
@pytest.mark.parametrize("rate", [20.0, 0.7])  # the loss is infinite soon, or later
def test_a_late_end_of_a_step_stops_where_the_loss_is_not_finite(rate, batch, order, rig):
    """The next step finds it; the loss, the place and the parameters are those of the step itself."""
    rig.order = ORDERS[order]
    x = np.random.default_rng(0).standard_normal((40, 60)).astype("f4")
    told = []
    for device in ("numpy", several()):
        net = nl.mlp([60, 8, 1], device=device, seed=0)
        trainer = nl.Trainer(net, "mse", nl.SGD(lr=rate), replay="auto" if device == "numpy" else "persistent")
        with pytest.raises(nl.DivergedError) as error:
            trainer.fit(x, 100 * x[:, :1], epochs=200, batch_size=batch, progress=False)
        told.append((error.value.epoch, error.value.batch, len(trainer.history["loss"])))
    assert full_step(device)[1].late
    assert told[0] == told[1]


@pytest.mark.parametrize("net", NETS)
def test_published_results_are_the_same_for_all(net, rig):
    sizes, loss = NETS[net]
    device = several()
    setting = {"sizes": sizes, "loss": loss, "metrics": ["mae"] if loss == "mse" else ()}
    assert_alike(train(device, **setting, replay="persistent"), train("numpy", **setting), 3e-6)
    lines, near = full_step(device)
    copies = [line for line in lines if "COPY(" in line]
    assert near.published and len(copies) >= len(near.published)
    for copy in copies:  # all threads have made what is copied
        before = list(itertools.takewhile(lambda line, copy=copy: line is not copy, lines))
        assert [line for line in before if "COPY(" not in line][-1] in ("SYNC", "BARRIER", "LOOK")


@given(size=st.integers(1, 3000), workers=st.integers(1, 130))
def test_even_parts(size, workers):
    parts = [even(size, worker, workers) for worker in range(workers)]
    assert [number for start, stop in parts for number in range(start, stop)] == [*range(size)]
    counts = [stop - start for start, stop in parts]
    most = counts[0]
    assert sorted(counts, reverse=True) == counts and sum(0 < count < most for count in counts) <= 1
    unit = 4 if size >= 4 * workers else 1
    assert most < size / workers + unit and (workers == 1 or most % unit == 0)


def test_even_parts_are_small():
    assert even(784, 0, 66) == (0, 12) and even(784, 0, 64) == (0, 16)


def test_clocks_are_machine_code(rig, monkeypatch):
    """What benchmarks/gpu_clock.py puts into the source of a replay, which the rig cannot run."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[3] / "benchmarks"))
    from gpu_clock import with_clocks

    device = several()
    train(device, (150, 30, 5), "cce", replay="persistent")
    (text,) = device.machine.texts.values()
    log, code = compile_for("90", with_clocks(text, 512))
    assert log == "" and b"spent" in code

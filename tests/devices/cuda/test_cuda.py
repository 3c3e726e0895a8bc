"""The CUDA sources without a GPU: compiled for every card, run on the CPU in three orders of threads."""

import ctypes
import faulthandler
import functools
import importlib.util
import itertools
import os
import re
import signal
import struct
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from rig import CARD

import nnlite as nl
from nnlite.devices.common.lines import line
from nnlite.devices.common.planning import Planned
from nnlite.devices.common.recording import Call, Symbol
from nnlite.devices.common.reference import KERNELS
from nnlite.devices.cuda import choice, machine, near, parts
from nnlite.devices.cuda.device import CupyDevice
from nnlite.devices.cuda.limits import CudaLimits
from nnlite.devices.cuda.text import Placed, Text
from nnlite.devices.numpy.device import NumpyDevice
from nnlite.devices.numpy.replay import PythonReplay

CARDS = ("75", "80", "86", "90", "100", "120")  # compute capabilities, from Turing to Blackwell


# ---- compiled for a GPU -------------------------------------------------------------------------------------------


def nvrtc():
    """NVIDIA's compiler for CUDA sources at run time, which needs no driver."""
    for package in ("nvidia.cuda_nvrtc", "nvidia.cu13"):
        try:
            spec = importlib.util.find_spec(package)
        except ModuleNotFoundError:
            continue
        for folder in (spec.submodule_search_locations if spec else None) or ():
            for path in [*Path(folder).glob("lib/libnvrtc.so.*"), *Path(folder).glob("bin/**/nvrtc64_*.dll")]:
                if "alt" not in path.name:
                    return ctypes.CDLL(str(path))
    pytest.skip("NVRTC is not installed: pip install nvidia-cuda-nvrtc-cu12")


OF_CUPY = ("-ftz=true", "--device-as-default-execution-space")  # what CuPy adds to our options


def compile_for(card, code):
    """The messages of NVRTC with CuPy's options, "" if all is well, and the machine code."""
    library, program, size = nvrtc(), ctypes.c_void_p(), ctypes.c_size_t()
    options = [option.encode() for option in (*machine.OPTIONS, *OF_CUPY, f"-arch=sm_{card}")]
    library.nvrtcCreateProgram(ctypes.byref(program), code.encode(), b"nnlite.cu", 0, None, None)
    failed = library.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*options))
    texts = []
    for what in ("ProgramLog",) if failed else ("ProgramLog", "CUBIN"):
        getattr(library, f"nvrtcGet{what}Size")(program, ctypes.byref(size))
        texts.append(ctypes.create_string_buffer(size.value))
        getattr(library, f"nvrtcGet{what}")(program, texts[-1])
    library.nvrtcDestroyProgram(ctypes.byref(program))
    return texts[0].value.decode() or ("failed" if failed else ""), b"" if failed else texts[1].raw


class Resources(NamedTuple):
    """The most of any kernel in machine code: registers of a thread, bytes on its stack, bytes of shared memory."""

    registers: int
    stack: int
    shared: int


REGISTERS, FRAME = 0x2F, 0x11  # attributes of kernels in .nv.info
WITH_DATA = 4  # the format of an attribute whose value follows it; the others have two bytes


def resources(code):
    """What the kernels in this machine code need, from the sections of its ELF file."""
    (table,), (count, of_names) = struct.unpack_from("<Q", code, 40), struct.unpack_from("<HH", code, 60)
    headers = [struct.unpack_from("<IIQQQQIIQQ", code, table + 64 * number) for number in range(count)]
    found = {REGISTERS: [0], FRAME: [0]}
    shared = [0]
    for header in headers:
        start = headers[of_names][4] + header[0]
        name, place, size = code[start : code.index(b"\0", start)], header[4], header[5]
        if name.startswith(b".nv.shared."):
            shared.append(size)
        at = place
        while name == b".nv.info" and at < place + size:
            kind, attribute, length = struct.unpack_from("<BBH", code, at)
            if kind == WITH_DATA and attribute in found:
                found[attribute].append(struct.unpack_from("<4xI", code, at + 4)[0])  # after the kernel's number
            at += 4 + (length if kind == WITH_DATA else 0)
    return Resources(max(found[REGISTERS]), max(found[FRAME]), max(shared))


def text_of_steps(sizes=(6, 8, 3), dtype="float32", blocks=1):
    """A training's full step and its short one, written out."""
    texts = []

    class Device(NumpyDevice):
        def replay(self, full, short, arena, threads=1, how="auto"):
            replay = PythonReplay(full, short, arena)
            texts.append(Text(replay.tapes, arena, blocks, CudaLimits(barrier=0)))
            return replay

    net = nl.mlp(sizes, output="softmax", device=Device(), dtype=dtype)
    x, y = np.ones((20, sizes[0])), np.arange(20) % sizes[-1]
    nl.Trainer(net, "cce", metrics=["accuracy"]).fit(x, y, 1, 8, progress=False)
    return texts[0]


def test_the_compiler_knows_how_much_each_block_has():
    """70 columns by threes are 24, 24, 22, and 8 rows 3, 3, 2: only places are numbers that it does not know."""
    lines = [line for step in text_of_steps((6, 70, 3), blocks=3).steps for line in step]
    assert sum("+ 24)" in line for line in lines) >= 2 and sum("+ 22)" in line for line in lines) >= 2
    sizes, ends = r"\), (\d+ \* )?mine", r"mine\[\d+\], (\d+ \* )?mine\[\d+\]\)$"
    assert [line for line in lines if re.search(f"{sizes}|{ends}", line)] == []


@pytest.mark.parametrize(("card", "blocks"), [*zip(CARDS, itertools.cycle([1, 3])), ("75", 3), ("90", 1)])
def test_machine_code_of_a_replay_for_every_card(card, blocks):
    """It has 64 K registers for a block's threads, and of shared memory what the choice of a replay expects."""
    threads = CudaLimits().threads
    text = text_of_steps((6, 70, 3), "float64" if card == "90" else "float32", blocks)
    log, code = compile_for(card, text.source(threads))
    assert log == ""
    needed = resources(code)
    assert 16 < needed.registers <= 64 * 1024 // threads
    assert needed.stack <= 160  # registers that were spilled
    assert needed.shared <= choice.STATIC_BYTES


def test_machine_code_of_all_launches():
    log, code = compile_for("75", machine.launches("float"))
    assert log == ""
    needed = resources(code)
    assert 16 < needed.registers <= 255 and needed.stack <= 160 and needed.shared <= 48 * 1024


def test_machine_code_of_a_replay_with_every_kernel_of_the_reference():
    text = text_of_steps()
    calls = [row_of(kernel, np.float64) for name, kernel in KERNELS.items() if name != "advance"]
    text.steps = [[each for call in calls for each in text._call(Planned(call, "", 0))]]
    log, code = compile_for("90", text.source(CudaLimits().threads))
    assert log == "" and resources(code).shared <= choice.STATIC_BYTES


def test_machine_code_is_not_made_of_what_is_wrong():
    wrong = text_of_steps().source(512).replace("__shfl_xor_sync", "__shfl_wrong")
    assert "__shfl_wrong" in compile_for("90", wrong)[0]


def test_the_options_are_those_of_cupy(rig):
    train("cupy", *NETS["xor"], "persistent")
    (given,) = {tuple(option for option in options if not option.startswith("-I")) for options in rig.options}
    assert set(given) - {"--pch"} == {*machine.OPTIONS, *OF_CUPY, "-arch=sm_90"}


# ---- numbers that stand in Python and in a source -------------------------------------------------------------------


def text_of(file):
    return (Path(machine.__file__).with_name("sources") / f"{file}.cu").read_text()


def constants(file):
    """Name -> value of the constants that a source declares."""
    declared = re.findall(r"^const \w+ (.*?);", text_of(file), re.MULTILINE)
    return {name: int(value) for line in declared for name, value in re.findall(r"(\w+) = (\d+)", line)}


def row_of(kernel, dtype=np.float32):
    """A call of this kernel: every size is 2 but those that are written as numbers."""

    def array(name, letters):
        return Symbol(name, tuple(int(a) if a.isdigit() else 2 for a in letters), np.dtype(dtype), "results", 0)

    signature = kernel.signature
    operands = (array(name, a) if a is not None else 2 for name, a in signature.operands.items())
    return Call(kernel.name, kernel, tuple(operands), tuple(array(n, signature.results[n]) for n in signature.fresh))


def test_no_kernel_needs_more_words_than_a_launch_has():
    words = {name: len(line(row_of(k), lambda _: 0, machine.PARTS).words) for name, k in KERNELS.items()}
    assert max(words.values()) <= machine.LONGEST, words


def test_a_launch_takes_so_many_words_and_threads():
    text = text_of("launch")
    (parameters,) = re.findall(r"#define WORDS ((?:.*\\\n)*.*)", text)
    (used,) = re.findall(r"words\[\] = \{(.*)\};", text)
    names = [f"w{i}" for i in range(machine.LONGEST)]
    assert re.findall(r"Word (\w+)", parameters) == names and used.split(", ") == names
    assert set(re.findall(r"__launch_bounds__\((\d+)\)", text)) == {str(machine.BLOCK)}


def test_numbers_of_the_sources_are_those_of_python():
    numbers = {name: value for file in machine.CHAPTERS for name, value in constants(file).items()}
    assert (numbers["WARP"], numbers["AHEAD"], numbers["TILE"]) == (machine.WARP, machine.AHEAD, machine.TILE)
    assert numbers["SIDE"] ** 2 * machine.BLOCK == machine.TILE**2  # a block makes a tile, each thread a square in it
    assert numbers["MOST_THREADS"] >= machine.BLOCK
    assert CudaLimits().threads <= numbers["MOST_NEAR"]
    (kept,) = re.findall(r"struct Kept \{.*\n  Word (.*);", text_of("replay"))
    assert kept.split(", ") == ["home", *Placed._fields]


# ---- run on the CPU ------------------------------------------------------------------------------------------------


def train(
    device,
    sizes,
    loss,
    replay="auto",
    optimizer=None,
    dropout=0.0,
    layers=lambda columns: [],
    rows=23,
    batch=8,
    epochs=3,
    dtype="float32",
    bias=True,
    metrics=(),
):
    """A short training: parameters, history, how it was run."""
    rng = np.random.default_rng(3)
    x = rng.standard_normal((rows, sizes[0]))
    y = rng.integers(0, sizes[-1], rows) if loss == "cce" else rng.uniform(0, 1, (rows, sizes[-1]))
    before, after = nl.Tanh() if loss == "mse" else nl.ReLU(), nl.Softmax() if loss == "cce" else nl.Sigmoid()
    parts = [nl.Dense(*sizes[:2], bias=bias), *layers(sizes[1]), before]
    parts += [nl.Dropout(dropout)] if dropout else []
    parts += [nl.Dense(*sizes[1:], bias=bias), after]
    net = nl.Sequential(*parts, device=device, dtype=dtype, seed=1)
    optimizer = optimizer() if callable(optimizer) else optimizer
    trainer = nl.Trainer(
        net, loss, optimizer or nl.SGD(lr=0.3), ["accuracy"] if loss == "cce" else metrics, replay=replay
    )
    history = trainer.fit(x, y, epochs, batch, progress=False)
    return net.state_dict(), {name: history[name] for name in history}, trainer.plan()


def assert_alike(found, expected, tolerance):
    for name, value in expected[0].items():
        np.testing.assert_allclose(found[0][name], value, rtol=tolerance, atol=tolerance)
    for name, values in expected[1].items():
        np.testing.assert_allclose(found[1][name], values, rtol=tolerance)


ORDERS = {"forward": 0, "backward": 1, "even warps slow": 2, "odd warps slow": 3, "even blocks slow": 4}  # of threads
NETS = {  # sizes, loss
    "xor": ((2, 3, 1), "mse"),
    "digits": ((64, 32, 10), "cce"),
    "two layers of odd sizes": ((7, 19, 5), "cce"),
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("replay", ["persistent", "graph"])
@pytest.mark.parametrize("net", NETS)
def test_trains_as_numpy_does_in_every_order_of_threads(net, replay, order, rig):
    rig.order, rig.blas_fails = ORDERS[order], True
    found = train("cupy", *NETS[net], replay)
    assert replay in found[2]
    assert_alike(found, train("numpy", *NETS[net]), 2e-6)


@pytest.mark.parametrize("as_written", [False, True])
@pytest.mark.parametrize("one_block", [10**9, 0])
@pytest.mark.parametrize(
    "sizes",
    [(140, 70, 9), (33, 130, 40), (20, 5, 3), (64, 32, 12), (36, 64, 16), (70, 128, 9), (9, 256, 128), (9, 5, 256)],
)
def test_products_of_many_shapes(sizes, one_block, as_written, rig):
    """Warps that share a tile, that have none, or only a part of one; numbers read by fours and one by one."""
    rig.order, rig.as_written = ORDERS["odd warps slow"], as_written
    device = CupyDevice(limits=CudaLimits(one_block=one_block, barrier=0))
    setting = {"sizes": sizes, "loss": "cce", "batch": 20}
    assert_alike(train(device, **setting, replay="persistent"), train("numpy", **setting), 3e-6)


BLOCKS = {
    "batch norm": lambda columns: [nl.BatchNorm(columns)],
    "layer norm and noise": lambda columns: [nl.LayerNorm(columns), nl.GaussianNoise(0.1)],
    "residual": lambda columns: [nl.Residual(nl.BatchNorm(columns), nl.Dense(columns, columns), nl.Tanh())],
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("one_block", [10**9, 0])
@pytest.mark.parametrize("layers", BLOCKS)
def test_sums_over_a_batch_in_every_order_of_threads(layers, one_block, order, rig):
    """In the persistent replay by one block and by three, and in the graph, whose blocks divide the columns."""
    device = CupyDevice(limits=CudaLimits(one_block=one_block))
    rig.order, rig.blas_fails = ORDERS[order], True
    setting = {"sizes": (7, 70, 5), "loss": "cce", "layers": BLOCKS[layers], "dtype": "float64"}
    expected = train("numpy", **setting)
    for replay in ("persistent", "graph") if one_block else ("persistent",):
        assert_alike(train(device, **setting, replay=replay), expected, 1e-10)


@pytest.mark.parametrize("replay", ["persistent", "graph"])
def test_a_single_epoch_with_a_short_batch(replay, rig):
    found = train("cupy", (7, 19, 5), "cce", replay, epochs=1)
    assert_alike(found, train("numpy", (7, 19, 5), "cce", epochs=1), 2e-6)


@pytest.mark.parametrize("replay", ["persistent", "graph"])
def test_adam_and_dropout_in_float64(replay, rig):
    setting = {"optimizer": "adam", "dropout": 0.4, "dtype": "float64"}
    found = train("cupy", (7, 19, 5), "cce", replay, **setting)
    assert_alike(found, train("numpy", (7, 19, 5), "cce", **setting), 1e-12)


ALL = {"l1": 0.01, "clip_value": 0.3, "clip_norm": 0.4, "max_norm": 0.9, "lr_factors": {0: 0.5}, "average": 0.7}


@pytest.mark.parametrize(("replay", "one_block"), [("persistent", 10**9), ("persistent", 0), ("graph", 0)])
@pytest.mark.parametrize("kind", [nl.SGD, nl.NAdam, nl.AdamW])
def test_all_that_optimizers_share_and_a_schedule(kind, replay, one_block, rig):
    def optimizer():
        rates = nl.schedules.Exponential(0.05, 0.9, by="step", warmup=3)
        return kind(lr=rates, weight_decay=0.1, decoupled=True, decay_biases=kind is nl.SGD, **ALL)

    device, setting = CupyDevice(limits=CudaLimits(one_block=one_block)), {"optimizer": optimizer, "dtype": "float64"}
    found = train(device, (7, 19, 5), "cce", replay, **setting)
    assert ("blocks of" in found[2]) == (replay == "persistent" and not one_block)
    assert_alike(found, train("numpy", (7, 19, 5), "cce", **setting), 1e-11)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("net", NETS)
def test_products_by_cublas(net, dtype, rig, only_cublas):
    expected = train("numpy", *NETS[net], dtype=dtype)
    for replay in ("graph", "eager"):
        found = train("cupy", *NETS[net], replay, dtype=dtype)
        assert_alike(found, expected, 2e-6 if dtype == "float32" else 1e-12)
    launches = rig.launches
    assert launches.count("gemm") >= 5
    kind = "float" if dtype == "float32" else "double"
    assert f"launch_bias_{'tanh' if net == 'xor' else 'relu'}_{kind}" in launches  # in the graph, with its activation
    assert f"launch_{'tanh' if net == 'xor' else 'relu'}_backward_bias_{kind}" in launches
    assert rig.blas.math == 0
    nl.mlp([2, 1], device=nl.get_device("cupy", precision="tf32")).predict([[0.0, 1.0]])
    assert rig.blas.math == 3


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_several_blocks_share_out_a_step(order, optimizer, rig):
    device = CupyDevice(limits=CudaLimits(one_block=0))
    rig.order = ORDERS[order]
    setting = {"optimizer": optimizer, "dropout": 0.2}
    found = train(device, (9, 20, 5), "cce", "persistent", **setting)
    assert "3 blocks" in found[2]
    assert_alike(found, train("numpy", (9, 20, 5), "cce", **setting), 2e-6)
    again = train(device, (9, 20, 5), "cce", "persistent", **setting)
    assert all(np.array_equal(again[0][name], value) for name, value in found[0].items())  # the same bits


class Named(nl.Layer):
    """Drops numbers out three times, by layers whose names are attributes, numbers and keys."""

    def __init__(self):
        super().__init__()
        self.noise, self.noise_1 = [nl.Dropout(0.1), nl.Dropout(0.6)], nl.Dropout(0.2)
        self.rest = {"at the end, größer": nl.Dropout(0.3)}

    def held(self):
        return [*self.noise, self.noise_1, *self.rest.values()]

    def forward(self, x):
        for layer in self.held():
            x = layer.forward(x)
        return x

    def backward(self, dy):
        for layer in reversed(self.held()):
            dy = layer.backward(dy)
        return dy


@pytest.mark.parametrize("as_written", [False, True])
def test_several_blocks_know_segments_of_any_names_apart(as_written, rig):
    """The source has a name for each of them: "1.noise.1.draws", "1.noise_1.draws" and one that is no name in C++."""
    rig.as_written = as_written
    device = CupyDevice(limits=CudaLimits(one_block=0))
    setting = {"sizes": (9, 20, 5), "loss": "cce", "layers": lambda columns: [Named()], "dtype": "float64"}
    found = train(device, **setting, replay="persistent")
    assert_alike(found, train("numpy", **setting), 1e-11)
    (source,) = {each.source(CudaLimits().threads) for each in device.machine.texts.values()}
    assert source.isascii()  # as NVRTC wants it


IN_PARTS = {
    "a short last part": {"sizes": (150, 30, 5), "loss": "cce"},
    "adam, float64": {"sizes": (100, 33, 4), "loss": "mse", "optimizer": "adam", "dtype": "float64"},
    "no bias": {"sizes": (96, 7, 3), "loss": "cce", "bias": False, "dropout": 0.3},
    "more numbers than threads": {"sizes": (70, 300, 9), "loss": "cce", "rows": 40, "batch": 30},
}


@pytest.mark.parametrize(
    ("room", "order"), [*((near.NEAR, order) for order in ORDERS), *zip([600, 600, 0, 0], [*ORDERS][1:])]
)
@pytest.mark.parametrize("setting", IN_PARTS)
def test_a_first_product_in_parts(setting, room, order, rig, monkeypatch):
    """Each block has some columns of x, and their rows of W. It has room near by for its x, for less or for nothing."""
    rig.order = ORDERS[order]
    monkeypatch.setattr("nnlite.devices.cuda.near.NEAR", room)
    device, setting = CupyDevice(limits=CudaLimits(one_block=0, barrier=0)), IN_PARTS[setting]
    found = train(device, **setting, replay="persistent")
    assert "the columns of x" in found[2]
    assert_alike(found, train("numpy", **setting), 1e-11 if "dtype" in setting else 3e-6)
    again = train(device, **setting, replay="persistent")
    assert all(np.array_equal(again[0][name], value) for name, value in found[0].items())  # the same bits


def test_parts_are_made_only_where_it_pays_and_no_other_reads_x(rig):
    def plan_of(layers, barrier):
        device = CupyDevice(limits=CudaLimits(one_block=0, barrier=barrier))
        net = nl.Sequential(*layers, nl.Dense(100, 5), nl.Softmax(), device=device)
        trainer = nl.Trainer(net, "cce", replay="persistent")
        trainer.fit(np.ones((16, 100)), np.arange(16) % 5, 1, 8, progress=False)
        return trainer.plan()

    assert "columns of x" in plan_of([nl.Dense(100, 100)], barrier=84 * 100)
    assert "columns of x" not in plan_of([nl.Dense(100, 100)], barrier=84 * 100 + 1)
    assert "columns of x" not in plan_of([nl.Residual(nl.Dense(100, 100))], barrier=0)
    assert "columns of x" not in plan_of([nl.Dropout(0.1), nl.Dense(100, 100)], barrier=0)


def test_formulas_of_a_product_in_parts():
    rng = np.random.default_rng(0)
    x, W, b, order = rng.random((9, 10)), rng.random((10, 3)), rng.random(3), np.arange(9)[::-1]
    mine, each = parts.take_and_multiply(x, order, np.array([2]), W, 4, 4, 9)
    expected = x[order[2:6]] @ W
    assert np.array_equal(mine, x[order[2:6]])
    np.testing.assert_allclose(parts.sum_parts(each, 3), expected)
    np.testing.assert_allclose(parts.sum_parts_and_bias(each, b), expected + b)


def differs(limits, net, expected):
    """Whether a training goes wrong in some order of threads: with a wrong number, or with no result at all."""
    CARD.blas_fails = True  # so that our own kernels make the products
    device = CupyDevice(limits=limits)  # of this process, and without the texts of other nets
    for order in ORDERS.values():
        CARD.order = order
        try:
            assert_alike(train(device, **net, replay="persistent"), expected, 2e-6)
        except (AssertionError, RuntimeError, nl.DivergedError):
            return True
    return False


def in_a_process_of_its_own(function, *arguments):
    """Whether it is true; what reads where nothing was written may also crash, which is as good."""
    if not hasattr(os, "fork"):
        pytest.skip("broken kernels are run in a fork")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # other threads only wait, and the child needs none
        child = os.fork()
    if child == 0:
        faulthandler.disable()
        signal.alarm(60)  # what runs on and on is killed, which is as good again
        try:
            found = function(*arguments)
        except (NameError, AttributeError, ImportError, TypeError):  # the test itself is wrong
            found = False
        except BaseException:
            found = True
        os._exit(bool(found))
    return os.waitpid(child, 0)[1] != 0


STOPPED = {  # a step by one block, by three, and by three with the first product in parts
    "one": {"sizes": (9, 40, 5), "loss": "mse"},  # without a metric, whose kernel stops all threads itself
    "three": {"sizes": (9, 40, 5)},
    "in parts": {"sizes": (100, 40, 5), "layers": lambda columns: [nl.Dense(columns, columns)], "dtype": "float64"},
}


@pytest.mark.parametrize("blocks", STOPPED)
def test_a_missing_stop_in_a_step_is_caught(blocks, rig, monkeypatch):
    """Every stop of a step is needed: without it, some order of threads gives other numbers."""
    # few threads, and rows that warps divide differently, so that threads do not make the same numbers in every kernel
    limits = CudaLimits(one_block=10**9 if blocks == "one" else 0, threads=64, barrier=0)
    net = {"loss": "cce", "batch": 11, **STOPPED[blocks]}
    expected = train("numpy", **net)
    whole, seen = Text._step, []

    def without(self, calls, batch, gone=-1):
        lines = whole(self, calls, batch)
        stops = [i for i, line in enumerate(lines) if line in ("SYNC", "BARRIER")]
        seen.append(len(stops))
        return [line for i, line in enumerate(lines) if gone not in range(len(stops)) or i != stops[gone]]

    monkeypatch.setattr(Text, "_step", without)
    assert not differs(limits, net, expected)
    missed = []
    for gone in range(seen[0]):
        monkeypatch.setattr(Text, "_step", functools.partialmethod(without, gone=gone))
        if not in_a_process_of_its_own(differs, limits, net, expected):
            missed.append(gone)
    assert seen[0] and missed == []

"""What only the cupy device has: ways to replay, data already there, memory that does not suffice. On the stand-in."""

import gc
import os
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest
from helpers import side_by_side

import nnlite as nl
from nnlite.devices.cuda import cublas
from nnlite.devices.cuda.device import CupyDevice, OutOfGPUMemoryError, why_not
from nnlite.devices.cuda.limits import CudaLimits


def problem(rows=40, inputs=6, classes=3):
    rng = np.random.default_rng(0)
    return rng.standard_normal((rows, inputs)).astype(np.float32), rng.integers(0, classes, rows)


def leave(rig, amount):
    """Leave so many bytes of free memory, those of CuPy's pool among them."""
    import cupy

    gc.collect()
    cupy.get_default_memory_pool().free_all_blocks()
    rig.bytes = rig.memory.used + amount - cupy.get_default_memory_pool().free_bytes()


def trainer_for(device, sizes=(6, 8, 3), **options):
    return nl.Trainer(nl.mlp(sizes, output="softmax", device=device), "cce", nl.SGD(lr=0.1), **options)


# ---- the way to replay ---------------------------------------------------------------------------------------------


def test_the_plan_says_what_was_chosen_and_why(rig):
    rig.blas_fails = True
    x, y = problem()
    trainer = trainer_for("cupy")
    assert trainer.plan() == "nothing has been trained yet"
    trainer.fit(x, y, progress=False)
    assert trainer.plan().startswith("persistent kernel: one block of 128 threads, the net in its shared memory (")
    trainer = trainer_for(CupyDevice(limits=CudaLimits(persistent=10, steps=4)))
    trainer.fit(x, y, progress=False)
    assert trainer.plan().startswith("CUDA graph of 4 steps of 15 calls: a step's work is 1,")
    assert "more than 10; products by a kernel of our own, since there is no cuBLAS" in trainer.plan()
    trainer.replay = "eager"
    trainer.fit(x, y, progress=False)
    assert trainer.plan() == "every step made in Python"


@pytest.mark.parametrize(("device", "plan"), [("numpy", "every call of the tape made"), ("numba", "compiled loop on")])
def test_the_plan_of_a_cpu(device, plan):
    trainer = trainer_for(device)
    trainer.fit(*problem(), progress=False)
    assert trainer.plan().startswith(plan)


def test_a_gpus_way_to_replay_is_refused_elsewhere():
    with pytest.raises(ValueError, match='replay="graph" is a way of device "cupy"; device \'numba\' has'):
        trainer_for("numba", replay="graph")


def test_a_net_too_large_for_one_block_takes_several(rig):
    rig.become(shared_bytes=64 * 1024)
    trainer = trainer_for("cupy", (6, 1024, 3))
    trainer.fit(*problem(), progress=False)
    assert "3 blocks" in trainer.plan()
    rig.become(cooperates=False)
    trainer = trainer_for("cupy", (6, 1024, 3))
    trainer.fit(*problem(), progress=False)
    assert "CUDA graph" in trainer.plan() and "does not fit into one block" in trainer.plan()
    with pytest.raises(ValueError, match='replay="persistent" needs a smaller net, or a GPU that can launch coop'):
        trainer_for("cupy", (6, 1024, 3), replay="persistent").fit(*problem(), progress=False)


def test_one_launch_runs_many_steps(rig):
    x, y = problem()
    trainer_for("cupy").fit(x, y, epochs=200, batch_size=8, progress=False)
    assert rig.launches.count("replay") < 100  # of 1,000 steps
    assert set(rig.launches) == {"replay"}


@pytest.mark.parametrize("one_block", [10**9, 0])
def test_networks_of_one_shape_share_the_text_of_their_step(one_block, rig):
    device = CupyDevice(limits=CudaLimits(one_block=one_block))

    def train(device, seed, rows, slope=0.1):
        layers = nl.Dense(6, 8), nl.LeakyReLU(slope), nl.Dense(8, 3), nl.Softmax()
        trainer = nl.Trainer(nl.Sequential(*layers, device=device, seed=seed), "cce", nl.SGD(lr=0.1 * (seed + 1)))
        return trainer.fit(*problem(rows), 2, 16, progress=False)["loss"]

    for texts, options in ((1, (0, 40)), (1, (1, 40)), (1, (2, 56)), (2, (0, 40, 0.2)), (3, (0, 41)), (3, (3, 40))):
        np.testing.assert_allclose(train(device, *options), train("numpy", *options), rtol=1e-5)
        assert len(device.machine.texts) == texts


def test_a_kernel_of_ones_own_is_called_from_python(rig):
    @nl.kernel("x (N,K) -> y (N,K)")
    def twice(x):
        return x + x

    class Twice(nl.Layer):
        def forward(self, x):
            return self.ops.call(twice, x)

        def backward(self, dy):
            return self.ops.call(twice, dy)

    x, y = problem()
    losses = []
    for device in ("numpy", "cupy"):
        trainer = nl.Trainer(nl.Sequential(nl.Dense(6, 3), Twice(), nl.Softmax(), device=device), "cce")
        losses.append(trainer.fit(x, y, epochs=3, progress=False)["loss"])
    np.testing.assert_allclose(*losses, rtol=1e-6)
    assert trainer.plan() == "every call of the tape made from Python: twice is no CUDA kernel"


@pytest.mark.filterwarnings("ignore::nnlite.ScaleWarning")
@pytest.mark.parametrize("replay", ["persistent", "graph"])
def test_divergence_is_found_where_it_begins(rig, replay):
    x, _ = problem(40, 6, 1)
    told = []
    for device, way in (("numpy", "auto"), ("cupy", replay)):
        net = nl.mlp([6, 8, 1], device=device)
        trainer = nl.Trainer(net, "mse", nl.SGD(lr=30.0), replay=way)
        with pytest.raises(nl.DivergedError) as error:
            trainer.fit(x, 100 * x[:, :1], epochs=50, batch_size=16, progress=False)
        told.append((error.value.epoch, error.value.batch, len(trainer.history["loss"])))
        assert all(np.isfinite(value).all() for value in net.state_dict().values())
    assert told[0] == told[1]


# ---- data -----------------------------------------------------------------------------------------------------------


class OnCuda:
    """An array of another library in the GPU's memory."""

    def __init__(self, array, device=0):
        self.array, self.device = array, device

    def __dlpack_device__(self):
        return (2, self.device)

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)


def test_arrays_that_are_there_are_used_in_place(rig):
    import cupy

    x, y = problem()
    trainer = trainer_for("cupy")
    there = cupy.asarray(x)
    assert trainer.checked(there, y)[0] is there
    assert trainer.checked(OnCuda(there), y)[0].data.ptr == there.data.ptr
    net = trainer.network
    assert isinstance(net.predict(x), np.ndarray)
    assert isinstance(net.predict(there), cupy.ndarray)
    assert isinstance(net.predict(OnCuda(there)), cupy.ndarray)
    np.testing.assert_array_equal(net.predict(there).get(), net.predict(x))
    np.testing.assert_allclose(
        net.predict(x), nl.mlp([6, 8, 3], output="softmax", device="numpy").predict(x), rtol=1e-5
    )


def test_labels_are_checked_before_anything_goes_to_the_gpu(rig):
    x, y = problem()
    y[7] = 3
    trainer = trainer_for("cupy")
    with pytest.raises(ValueError, match="label 3 in row 7"):
        trainer.fit(x, y, progress=False)
    assert rig.launches == []


def test_data_larger_than_the_card_come_in_chunks(rig, monkeypatch):
    x, y = problem(4000)
    monkeypatch.setattr("nnlite.steps.MOST_INDICES", 0)  # one epoch's order at a time
    trainer = trainer_for("cupy")
    leave(rig, 180_000)  # of which x would take 96,000; so each chunk gets an eighth
    monkeypatch.setattr(CupyDevice, "room", lambda self: 180_000)  # even if memory of a test before is freed now
    history = trainer.fit(x, y, epochs=2, batch_size=100, shuffle=False, progress=False)
    other = trainer_for("numpy")
    parts = [(x[i : i + 937], y[i : i + 937]) for i in range(0, 4000, 937)]
    expected = other.fit(parts, epochs=2, batch_size=100, shuffle=False, progress=False)
    np.testing.assert_allclose(history["loss"], expected["loss"], rtol=1e-5)


def test_memory_that_does_not_suffice(rig):
    x, y = problem(4000)
    trainer = trainer_for("cupy", (6, 400, 3))
    before = trainer.network.state_dict()
    leave(rig, 2_000_000)  # of which a hidden layer's answers would take 6,400,000
    with pytest.raises(OutOfGPUMemoryError, match=r"allocating .* bytes.*Try a smaller batch_size="):
        trainer.fit(x, y, batch_size=4000, progress=False)
    for name, value in trainer.network.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    with pytest.raises(MemoryError, match="batch_size"):
        trainer.network.predict(x)
    trainer.fit(x, y, batch_size=16, progress=False)
    assert trainer.network.predict(x, batch_size=100).shape == (4000, 3)


# ---- what may be missing --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (35, "install or update it"),  # no driver
        (100, "CUDA_VISIBLE_DEVICES"),  # no GPU
        (3, "forked after it was used: start processes by 'spawn'"),  # CUDA cannot be initialised
    ],
)
def test_why_there_is_no_gpu(rig, number, remedy):
    rig.fault = number
    assert remedy in why_not()
    sys.modules["nnlite.devices"]._make.cache_clear()
    with pytest.raises(nl.DeviceError, match="device 'cupy' cannot be used"):
        nl.mlp([2, 1], device="gpu")
    assert nl.get_device("auto").name == "auto"


def test_a_forked_child_is_told_what_to_do(rig, monkeypatch):
    x, y = problem()
    trainer = trainer_for("cupy")
    trainer.fit(x, y, progress=False)
    monkeypatch.setattr("os.getpid", lambda: -1)  # as in a child
    uses = [lambda: trainer.fit(x, y, progress=False), lambda: trainer.network.predict(x), lambda: trainer.step(x, y)]
    for use in uses:
        with pytest.raises(nl.DeviceError, match="forked after it was used: start processes by 'spawn'"):
            use()


def test_a_missing_compiler_is_named(rig, monkeypatch):
    import cupy

    def fail():
        raise RuntimeError("libnvrtc.so.13: cannot open shared object file")

    monkeypatch.setattr(cupy.cuda.nvrtc, "getVersion", fail)
    assert "NVRTC cannot be loaded (libnvrtc.so.13" in why_not()


def test_missing_headers_are_named(rig):
    code = (
        "import rig; rig.install()\n"
        "with rig.plugged_in() as card:\n"
        "    card.headers = False\n"
        "    import nnlite as nl; print(nl.devices()['cupy'].detail)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert 'cannot open source file "cuda_fp16.h"' in told.stdout, told.stderr
    assert "pip install 'nnlite[gpu]', which brings compiler and headers" in told.stdout


def test_an_older_card_gets_a_graph(rig, monkeypatch):
    """Before Volta, there is no instruction with which blocks can wait for each other."""
    monkeypatch.setattr("nnlite.devices.cuda.machine.VOLTA", 100)  # so the rig's card comes before it
    trainer = trainer_for("cupy")
    trainer.fit(*problem(), progress=False)
    assert "CUDA graph" in trainer.plan() and "replay" not in rig.launches


def test_many_layers_are_not_compiled_as_one_kernel(rig):
    trainer = trainer_for("cupy", (6, *[64] * 30, 3))
    trainer.fit(*problem(), progress=False)
    assert "CUDA graph" in trainer.plan() and "calls, more than 64, which would be compiled for long" in trainer.plan()


# ---- cuBLAS ---------------------------------------------------------------------------------------------------------


def test_a_cublas_that_does_not_start_is_done_without(rig):
    rig.blas_fails = True
    trainer = trainer_for("cupy", replay="graph")
    trainer.fit(*problem(), progress=False)
    assert "a kernel of our own, since there is no cuBLAS" in trainer.plan() and "gemm" not in rig.launches


def test_a_cublas_without_room_for_its_workspace_is_done_without(rig):
    trainer = trainer_for("cupy", replay="graph")
    leave(rig, 2 << 20)
    trainer.fit(*problem(), progress=False)
    assert "a kernel of our own, since there is no cuBLAS" in trainer.plan() and "gemm" not in rig.launches


def test_the_cublas_of_cupys_cuda_version_comes_first(rig):
    import cupy

    own = cupy.cuda.runtime.runtimeGetVersion() // 1000
    names = list(cublas.candidates(cupy))
    assert f".so.{own}" in names[0] and any(f".so.{other}" in names[-2] for other in cublas.VERSIONS if other != own)


def test_each_thread_has_a_cublas_of_its_own(rig):
    """A handle works on one stream at a time; a graph that another thread has made is made anew."""
    x, y = problem()
    trainer = trainer_for("cupy", replay="graph")
    machine = trainer.network.backend.machine
    both = threading.Barrier(2)  # so that these are two threads
    handles = side_by_side(lambda _: (machine.cublas, both.wait())[0], 2)
    assert handles[0] is not handles[1] and handles[0].workspace.data.ptr != handles[1].workspace.data.ptr
    expected = trainer_for("numpy")
    for _ in range(3):
        losses = expected.fit(x, y, progress=False)["loss"]
        (got,) = side_by_side(lambda _: trainer.fit(x, y, progress=False)["loss"], 1)
        np.testing.assert_allclose(got, losses, rtol=1e-5)


def test_threads_train_side_by_side(rig):
    x, y = problem()

    def train(number):
        trainer = trainer_for("cupy", (6, 8 + number, 3), replay=("graph", "persistent")[number % 2])
        return trainer.fit(x, y, epochs=3, batch_size=16, progress=False)["loss"]

    expected = [train(number) for number in range(4)]
    np.testing.assert_allclose(np.array(side_by_side(train, 4)), np.array(expected), rtol=1e-6)


def test_arrays_of_another_gpu_are_refused(rig):
    import cupy

    x, y = problem()
    trainer = trainer_for("cupy")
    with pytest.raises(ValueError, match="an array lies on GPU 1, but CuPy works on GPU 0"):
        trainer.fit(OnCuda(cupy.asarray(x), device=1), y, progress=False)


def test_each_gpu_has_its_own_kernels(rig):
    import cupy

    rig.become(gpus=2)
    device = nl.get_device("cupy")
    with cupy.cuda.Device(1):
        other = device.machine
    assert device.machine is not other and device.machine is device.machine


def test_many_networks_train_on_the_gpu_of_the_thread_that_asks_for_it(rig, monkeypatch):
    """CUDA's current GPU is each thread's own, and number 0 at first."""
    import cupy

    rig.become(gpus=2)
    pool, before = cupy.cuda.MemoryPool(), cupy.get_default_memory_pool()  # CuPy has counted one GPU
    monkeypatch.setattr(cupy, "get_default_memory_pool", lambda: pool)
    device, (x, y) = CupyDevice(), problem()

    def train(_):
        with cupy.cuda.Device(1):
            alone, *several = (trainer_for(device) for _ in range(3))
            looks = [lambda trainer, epoch: trainer is several[0] and epoch == 1 and trainer.stop()]  # not the other
            expected = alone.fit(x, y, 3, progress=False)
            return nl.fit_many(several, x, y, 3, progress=False, callbacks=looks)[1] == expected

    try:
        cupy.cuda.set_allocator(pool.malloc)
        assert side_by_side(train, 1) == [True]  # on a thread for which CuPy counts anew
    finally:
        cupy.cuda.set_allocator(before.malloc)
    assert list(device._machines) == [1]


@pytest.mark.parametrize("replay", ["persistent", "graph"])
def test_many_networks_train_on_the_stream_of_the_thread_that_asks_for_it(replay, rig):
    """The work of a stream that does not block the default one is done late, so that another would read old numbers."""
    import cupy

    x, y = problem()
    with cupy.cuda.Stream(non_blocking=True):
        alone, *several = (trainer_for("cupy", replay=replay) for _ in range(4))
        several[2].fit(-x, y, 2, progress=False)  # which leaves other numbers where x will lie
        looks = [lambda trainer, epoch: trainer is several[0] and epoch == 1 and trainer.stop()]  # so the others go on
        found = nl.fit_many(several, x, y, 9, 8, progress=False, callbacks=looks)
        expected = alone.fit(x, y, 9, 8, progress=False)
        assert found[1] == expected and found[0]["loss"] == expected["loss"][:1] and found[2].epochs == 9


def test_a_float64_net_compiles_no_float32_kernels(rig):
    net = nl.mlp([6, 8, 3], output="softmax", device="cupy", dtype="float64")
    nl.Trainer(net, "cce", nl.Adam(), replay="graph").fit(*problem(), progress=False)
    assert list(net.backend.machine._modules) == ["double"]


def test_precision_is_chosen_on_the_device(rig):
    device = nl.get_device("gpu", precision="tf32")
    assert device.machine.precision == "tf32" and nl.get_device(device) is device
    net = nl.mlp([2, 1], device=device)
    assert net.backend is device and pickle.loads(pickle.dumps(net)).backend is device
    assert nl.get_device("cupy").machine.precision == "float32"
    with pytest.raises(ValueError, match='precision="tf32" is something that GPUs have'):
        nl.get_device("numpy", precision="tf32")
    with pytest.raises(ValueError, match="precision='half' is not known"):
        nl.get_device("cupy", precision="half")

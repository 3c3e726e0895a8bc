"""The rig refuses what a card refuses, and does work as late as a card may."""

import ctypes
import os
import subprocess
import sys

import numpy as np
import pytest
from rig.card import LEGACY, Stream
from rig.libraries import RefusalError

import nnlite as nl
from nnlite.devices.cuda.machine import OPTIONS

CODE = """// NNLITE_ marks a source that is compiled for the CPU
#define NNLITE_LAUNCHES LAUNCH(add, float) LAUNCH(promise, float)
extern "C" __global__ void launch_add_float(float* x, long long count) {
  for (long long i = threadIdx.x; i < count; i += blockDim.x) x[i] += 1;
}
extern "C" __global__ void launch_promise_float(float* x) { __builtin_assume((long long)x % 16 == 0); }
extern "C" __global__ void end_step(long long place) { *ADDRESS(float, place) = 1; }
"""


@pytest.fixture
def kernels(rig):
    """add(x, count) and end_step(place): x + 1, and 1 at a place."""
    import cupy

    module = cupy.RawModule(code=CODE, options=OPTIONS)
    return module.get_function("launch_add_float"), module.get_function("end_step")


def refused(rig, words):
    """Take what was refused last; it must be said in these words."""
    (reason,) = rig.refused
    assert words in reason
    rig.refused.clear()


def zeros(count):
    import cupy

    x = cupy.zeros(count, np.float32)
    cupy.cuda.get_current_stream().synchronize()
    return x


def test_the_work_of_another_stream_is_done_late(rig, kernels):
    """A reader that does not wait for it sees the numbers before it; with an event, those after it."""
    import cupy

    x, stream = zeros(3), cupy.cuda.Stream(non_blocking=True)
    with stream:
        kernels[0]((1,), (32,), (x.data.ptr, 3))
    assert x.get().tolist() == [0, 0, 0]
    cupy.cuda.get_current_stream().wait_event(stream.record())
    assert x.get().tolist() == [1, 1, 1]


def test_the_default_stream_waits_for_blocking_streams_and_they_for_it(rig, kernels):
    import cupy

    x, stream = zeros(3), cupy.cuda.Stream()
    with stream:
        kernels[0]((1,), (32,), (x.data.ptr, 3))
    x *= 5
    with stream:
        kernels[0]((1,), (32,), (x.data.ptr, 3))
    stream.synchronize()
    with cupy.cuda.Stream(non_blocking=True):
        assert x.get().tolist() == [6, 6, 6]


def test_memory_that_is_not_pinned_is_read_when_a_copy_is_asked_for(rig):
    import cupy

    there, here = zeros(3), np.ones(3, np.float32)
    stream = cupy.cuda.Stream(non_blocking=True)
    there.data.copy_from_host_async(here.ctypes.data, here.nbytes, stream)
    here[:] = 7
    stream.synchronize()
    assert there.get().tolist() == [1, 1, 1]


def test_an_event_is_ready_when_its_work_has_been_done(rig):
    """Not while it is being done: another thread that asks then would take the pinned memory of a copy for its own."""
    import cupy

    stream, event, ready = cupy.cuda.Stream(non_blocking=True), cupy.cuda.Event(), []
    rig.add(stream.ptr, lambda: ready.extend([event.done, stream.done]))
    event.record(stream)
    stream.synchronize()
    assert ready == [False, False] and event.done and stream.done


def test_a_stream_may_be_made_while_another_thread_adds_work(rig, monkeypatch):
    class Interrupted(Stream):
        """A stream that is asked whether it is blocking just when another thread makes a stream."""

        def __getattribute__(self, name):
            if name == "blocking":
                rig.streams[next(rig.handles)] = Stream(blocking=False)
            return super().__getattribute__(name)

    monkeypatch.setattr(rig, "streams", dict(rig.streams))
    done = []
    rig.streams[next(rig.handles)] = Interrupted(blocking=True)
    rig.add(LEGACY, lambda: done.append("work"))
    rig.synchronize(LEGACY)
    assert done == ["work"]


def test_a_captured_launch_is_done_by_the_graph_alone(rig, kernels):
    import cupy

    x, stream = zeros(3), cupy.cuda.Stream(non_blocking=True)
    with stream:
        stream.begin_capture()
        kernels[0]((1,), (32,), (x.data.ptr, 3))
        graph = stream.end_capture()
    stream.synchronize()
    assert x.get().tolist() == [0, 0, 0]
    for _ in range(2):
        graph.launch(stream)
    stream.synchronize()
    assert x.get().tolist() == [2, 2, 2]


def test_work_on_the_default_stream_while_another_captures(rig, kernels):
    import cupy

    x, stream = zeros(3), cupy.cuda.Stream(non_blocking=True)
    with stream:
        stream.begin_capture()
    with pytest.raises(cupy.cuda.driver.CUDADriverError):
        kernels[0]((1,), (32,), (x.data.ptr, 3))
    refused(rig, "work on the default stream while another stream captures")
    with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="StreamCaptureImplicit"):
        x.data.copy_from_host(np.ones(3, np.float32).ctypes.data, 12)
    rig.refused.clear()
    with stream:
        stream.end_capture()


@pytest.mark.parametrize("which", ["parameter", "word"])
def test_a_host_pointer_is_an_illegal_address(rig, kernels, which):
    import cupy

    here = np.zeros(3, np.float32)
    add, end_step = kernels
    if which == "parameter":
        add((1,), (32,), (here.ctypes.data, 3))
    else:
        end_step((1,), (32,), (here.ctypes.data,))
    with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="IllegalAddress"):
        cupy.cuda.get_current_stream().synchronize()
    refused(rig, "an operand is not in the card's memory")


def test_numbers_between_the_addresses_of_their_type(rig, kernels):
    """A CPU reads them all the same; a GPU does not."""
    import cupy

    x = zeros(4)
    kernels[0]((1,), (32,), (x.data.ptr + 2, 2))
    with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="MisalignedAddress"):
        cupy.cuda.get_current_stream().synchronize()
    refused(rig, "no multiple of what is read at once")


def test_what_the_source_promises_the_compiler_must_hold(rig, kernels):
    """A GPU would do anything then."""
    import cupy

    x, promise = zeros(8), cupy.RawModule(code=CODE, options=OPTIONS).get_function("launch_promise_float")
    promise((1,), (32,), (x.data.ptr + 16,))
    cupy.cuda.get_current_stream().synchronize()
    promise((1,), (32,), (x.data.ptr + 4,))
    with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="LaunchFailure"):
        cupy.cuda.get_current_stream().synchronize()
    refused(rig, "what the source promises the compiler does not hold")


def test_what_is_written_past_an_array_is_found(rig, kernels):
    import cupy

    piece = cupy.cuda.Memory(12)  # not of the pool, whose pieces are larger than what was asked for
    kernels[0]((1,), (32,), (piece.ptr, 4))
    cupy.cuda.get_current_stream().synchronize()
    with pytest.raises(RefusalError, match="something was written past 12 bytes"):
        rig.memory.check(piece.ptr)
    ctypes.memset(piece.ptr + 12, 0xA5, 4)  # mended, for the check at the end of the test


@pytest.mark.parametrize("kilobytes", [64, 99, 227])
def test_shared_memory_beyond_the_limit(rig, kernels, kilobytes):
    import cupy

    rig.become(shared_bytes=kilobytes * 1024)
    assert cupy.cuda.Device().attributes["MaxSharedMemoryPerBlockOptin"] == kilobytes * 1024
    x, (add, _) = zeros(3), kernels
    allowed = kilobytes * 1024 - add.shared_size_bytes
    with pytest.raises(cupy.cuda.driver.CUDADriverError):
        add.max_dynamic_shared_size_bytes = allowed + 1
    refused(rig, f"{allowed + 1} bytes of shared memory")
    add.max_dynamic_shared_size_bytes = allowed
    add((1,), (32,), (x.data.ptr, 3), shared_mem=allowed)
    with pytest.raises(cupy.cuda.driver.CUDADriverError):
        add((1,), (32,), (x.data.ptr, 3), shared_mem=allowed + 1)
    refused(rig, "bytes of shared memory")


def test_more_blocks_than_fit_together(rig, kernels):
    """CuPy makes the grid smaller and only warns, so nnlite may not rely on an error; the driver itself refuses."""
    import cupy

    x, add = zeros(3), kernels[0].kernel
    add((3,), (1024,), (x.data.ptr, 3), enable_cooperative_groups=True)
    rig.become(cooperates=False)
    with pytest.raises(cupy.cuda.driver.CUDADriverError):
        add((3,), (1024,), (x.data.ptr, 3), enable_cooperative_groups=True)
    refused(rig, "no cooperative launches")


def test_nets_of_all_sizes_fit_every_card(rig):
    """The plan takes as much shared memory as a card has, and no more: else the driver would refuse."""
    x = np.random.default_rng(0).standard_normal((40, 6)).astype(np.float32)
    for kilobytes in (64, 99, 227):
        rig.become(shared_bytes=kilobytes * 1024)
        for hidden, layers in ((8, 1), (64, 3), (64, 30), (900, 1)):
            net = nl.mlp([6, *[hidden] * layers, 3], output="softmax", device="cupy")
            trainer = nl.Trainer(net, "cce", nl.SGD(lr=0.01))
            trainer.fit(x[:4], np.arange(4) % 3, batch_size=2, progress=False)
            assert trainer.plan().startswith(("persistent", "CUDA graph"))


@pytest.mark.parametrize("replay", ["persistent", "graph", "eager"])
def test_early_and_late_work_give_the_same_bits(rig, replay):
    """CUDA allows both: so all that a replay reads is waited for."""
    x = np.random.default_rng(0).standard_normal((40, 6)).astype(np.float32)
    found = []
    for rig.at_once in (True, False):
        net = nl.mlp([6, 8, 3], output="softmax", device="cupy", seed=1)
        history = nl.Trainer(net, "cce", replay=replay).fit(x, np.arange(40) % 3, 3, 16, progress=False)
        found.append((history["loss"], net.predict(x).tolist()))
    assert found[0] == found[1]


def test_without_a_card_there_is_no_device(rig):
    rig.plugged_in = False
    assert not nl.devices()["cupy"].available
    assert "no NVIDIA driver" in nl.devices()["cupy"].detail


def test_the_process_ends_quietly(rig):
    """At its end, CuPy gives back what it has, when nothing of the rig is whole any more."""
    code = (
        "import rig; rig.install()\n"
        "with rig.plugged_in() as card:\n"
        "    import nnlite as nl\n"
        "    net = nl.mlp([20, 40, 1], device='cupy')\n"
        "    nl.Trainer(net, 'mse', replay='graph').fit([[0] * 20, [1] * 20], [[0], [1]], progress=False)\n"
        "    print(card.launches.count('gemm') > 0)\n"
    )
    path = {"PYTHONPATH": ":".join(filter(None, sys.path))}
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **path})
    assert (process.returncode, process.stdout, process.stderr) == (0, "True\n", "")


def test_the_smallest_numbers_are_zeros(rig):
    """As in all that CuPy compiles for a card, which flushes them; here, they were once added as they are."""
    device = nl.get_device("cupy")
    small, least = (device.asarray(np.full((1, 3), value, np.float32)) for value in (1e-39, 1.2e-38))
    assert device.to_numpy(device.ops.add(small, small)).tolist() == [[0, 0, 0]]
    assert (device.to_numpy(device.ops.add(least, small)) == np.float32(1.2e-38)).all()
    assert np.float32(1e-39) + np.float32(1e-39) > 0  # in NumPy, before and after

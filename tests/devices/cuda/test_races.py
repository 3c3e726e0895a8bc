"""No two threads use the same number in no order, in whatever order they run: the kernels under races.cpp's eyes."""

import contextlib
import functools

import numpy as np
import pytest
from rig import our_kernels
from test_cuda import ALL, BLOCKS, IN_PARTS, ORDERS, in_a_process_of_its_own, text_of, train

import nnlite as nl
from nnlite.devices.cuda import machine
from nnlite.devices.cuda.device import CupyDevice
from nnlite.devices.cuda.limits import CudaLimits
from nnlite.devices.cuda.machine import OPTIONS

# Kernels of two blocks of two warps: t is a thread's number in its block, s (64,) is shared memory. x has room for 128
# numbers. The counter is 0.
ORDERED = {
    "a barrier": "s[t] = 1; __syncthreads(); x[rank] = s[63 - t];",
    "a barrier of a warp": "s[t] = 1; __syncwarp(); x[rank] = s[t ^ 1];",
    "a barrier before another number": "float a = s[63 - t]; __syncthreads(); s[t] = a;",
    "only reading": "float a = x[0] + x[1]; s[t] = a;",
    "what a block releases": "x[rank] = 1; meet(counter); s[t] = x[127 - rank];",
    "fences": (
        "x[rank] = 1; __syncthreads();"
        "if (t == 0) { __threadfence(); last[0] = atomicInc(counter, 1) == 1; __threadfence(); }"
        "__syncthreads(); if (last[0]) s[t] = x[127 - rank];"
    ),
}
NOT_ORDERED = {
    "nothing": "s[t] = 1; x[rank] = s[63 - t];",
    "two that write": "s[t / 2] = t;",
    "a barrier of a warp alone": "s[t] = 1; __syncwarp(); x[rank] = s[63 - t];",
    "a shuffle": "s[t] = 1; __shfl_xor_sync(WHOLE_WARP, 1.0f, 1); x[rank] = s[t ^ 1];",
    "reading before another writes": "float a = s[63 - t]; s[t] = a;",
    "a barrier before another block's number": "x[rank] = 1; __syncthreads(); s[t] = x[127 - rank];",
    "a block's own barrier after others have met": "meet(counter); x[rank] = 1; __syncthreads(); s[t] = x[127 - rank];",
    "half a number": "((char*)s)[4 * t + 2] = 1; if (t) x[rank] = s[t - 1];",
    "a fence before the others' work": (
        "x[rank] = 1; __threadfence(); __syncthreads();"
        "if (t == 0) { last[0] = atomicInc(counter, 1) == 1; __threadfence(); }"
        "__syncthreads(); if (last[0]) s[t] = x[127 - rank];"
    ),
    "no fence after the others' work": (
        "x[rank] = 1; __syncthreads();"
        "if (t == 0) { __threadfence(); last[0] = atomicInc(counter, 1) == 1; }"
        "__syncthreads(); if (last[0]) s[t] = x[127 - rank];"
    ),
    "a number that others add to": "if (t == 0) { __threadfence(); if (atomicInc(counter, 1) == 1) *counter = 0; }",
}
NOWHERE = {
    "reading past an array": "s[t] = x[rank + 1];",
    "reading past shared memory": "x[rank] = s[t + 1];",
}
CODE = """// NNLITE_ marks a source that is compiled for the CPU
#define NNLITE_LAUNCHES %s
inline void meet(unsigned* gate) {
  __syncthreads();
  if (threadIdx.x == 0) {
    add_released(gate);
    while (read_acquired(gate) < 2) WAIT_A_MOMENT();
  }
  __syncthreads();
}
%s
extern "C" __global__ void end_step() {}
"""
KERNEL = """
extern "C" __global__ void launch_k%d_float(float* x, unsigned* counter) {
  SHARED(float, s, 64);
  SHARED(int, last, 1);
  const int t = threadIdx.x, rank = blockIdx.x * 64 + t;
  %s
}
"""
EVERY = {**ORDERED, **NOT_ORDERED, **NOWHERE}


@functools.cache
def source():
    names = " ".join(f"LAUNCH(k{number}, float)" for number in range(len(EVERY)))
    return CODE % (names, "".join(KERNEL % (number, text) for number, text in enumerate(EVERY.values())))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("kernel", EVERY)
def test_what_orders_threads_and_what_does_not(kernel, order, rig):
    import cupy

    rig.find_races, rig.order = True, ORDERS[order]
    x, counter = cupy.cuda.Memory(4 * 128), cupy.cuda.Memory(4)
    cupy.cuda.runtime.memset(counter.ptr, 0, 4)
    function = cupy.RawModule(code=source(), options=OPTIONS).get_function(f"launch_k{[*EVERY].index(kernel)}_float")
    function.kernel((2,), (64,), (x.ptr, counter.ptr), enable_cooperative_groups=True)
    if kernel in ORDERED:
        cupy.cuda.get_current_stream().synchronize()
        return
    with pytest.raises(cupy.cuda.runtime.CUDARuntimeError):
        cupy.cuda.get_current_stream().synchronize()
    (reason,) = rig.refused
    assert ("use the same number in no order" if kernel in NOT_ORDERED else "uses what is no array's") in reason
    rig.refused.clear()


WAYS = {"one block": (10**9, "persistent"), "three blocks": (0, "persistent"), "graph": (0, "graph")}


def net(*sizes, loss="cce", **setting):
    return {"sizes": sizes, "loss": loss, **setting}


def normalized(columns):
    return [nl.BatchNorm(columns)]


TRAININGS = {
    "blocks divide the rows of a mean": net(9, 40, 5, layers=normalized, rows=150, batch=70, epochs=2),
    "large tiles": net(150, 66, 40, bias=False, rows=150, batch=70, epochs=2),
    "small": net(9, 20, 5),
    "one batch": net(2, 3, 1, loss="mse", rows=4, batch=4, epochs=12, bias=False, metrics=["r2"]),
    "means of few rows": net(9, 40, 5, layers=normalized),
    "blocks divide the rows of a bias": net(9, 40, 20, rows=150, batch=130, epochs=2),
    "rows of whole warps": net(9, 20, 5, rows=150, batch=128, epochs=2),
}
MORE = {
    **IN_PARTS,
    **{name: net(7, 70, 5, layers=layers) for name, layers in BLOCKS.items()},
    "all that optimizers share": net(7, 19, 5, optimizer=lambda: nl.NAdam(lr=0.05, **ALL)),
}


def train_watched(name, way):
    """What is refused, a race among others, is in rig.refused."""
    one_block, replay = WAYS[way]
    device = CupyDevice(limits=CudaLimits(one_block=one_block, barrier=0))
    with contextlib.suppress(RuntimeError, nl.DivergedError):
        return train(device, **(TRAININGS | MORE)[name], replay=replay)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", TRAININGS | MORE)
def test_trainings_have_no_race(name, way, rig):
    rig.find_races, rig.blas_fails = True, True  # so that our own kernels make the products
    assert train_watched(name, way) is not None and rig.refused == []


def transposed_watched():
    """A matrix of more squares than there are blocks, and the same transposed on the card; or None."""
    import cupy

    matrix = np.arange(90_000, dtype=np.float32).reshape(300, 300)
    with contextlib.suppress(RuntimeError):
        return matrix, CupyDevice().machine.transposed(cupy.asarray(matrix)).get()


def test_a_transposition_has_no_race(rig):
    rig.find_races = True
    matrix, turned = transposed_watched()
    np.testing.assert_array_equal(turned, matrix.T)
    assert rig.refused == []


FILES = (*machine.CHAPTERS, "replay")  # in a replay, they follow each other
NEEDED = [(file, found[1]) for file in FILES for found in our_kernels.ORDERING.finditer(text_of(file))]


@pytest.mark.parametrize("number", range(len(NEEDED)), ids=lambda number: f"{number}-{'-'.join(NEEDED[number])}")
def test_a_missing_barrier_or_fence_is_found(number, rig):
    """Without any one of those in the sources, threads race, or wait in vain."""
    rig.find_races, rig.blas_fails, rig.left_out = True, True, number
    assert in_a_process_of_its_own(fails, rig)


def fails(rig):
    """Whether any training does, or a transposition, which a training has where cuBLAS multiplies."""
    trained = (train_watched(name, way) for name in TRAININGS for way in WAYS)
    return transposed_watched() is None or bool(rig.refused) or any(each is None or rig.refused for each in trained)

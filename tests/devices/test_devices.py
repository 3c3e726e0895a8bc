"""A device and its limits: kept with a network through copies, pickles and processes."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
from helpers import on_threads

import nnlite as nl
from nnlite.devices import get_device
from nnlite.devices.cpu.limits import CpuLimits
from nnlite.devices.cuda.device import CupyDevice
from nnlite.devices.cuda.limits import CudaLimits


def limited(name):
    """A device of this kind with limits of its own."""
    return on_threads(smallest_tile=8) if name == "numba" else CupyDevice("tf32", CudaLimits(one_block=0))


@pytest.fixture(params=["numba", "cupy"])
def other(request):
    if request.param == "cupy":
        request.getfixturevalue("rig")
    return limited(request.param)


def test_get_device_gives_one_device_with_the_limits_of_its_kind(rig):
    for name, limits in (("numpy", None), ("numba", CpuLimits()), ("cupy", CudaLimits())):
        assert get_device(name) is get_device(name) and get_device(name).limits == limits


def test_a_network_keeps_its_device_and_a_pickle_of_it_the_limits(other):
    net = nl.mlp([3, 2], device=other)
    assert net.backend is other and net.copy().backend is other
    found = pickle.loads(pickle.dumps(net)).backend
    assert (type(found), found.limits, found.precision) == (type(other), other.limits, other.precision)
    assert get_device(other.name).limits != other.limits  # nobody else's have changed


@pytest.mark.parametrize("name", ["numpy", "numba", "cupy"])
def test_a_device_without_limits_of_its_own_comes_out_of_a_pickle_as_it_is(name, rig):
    assert pickle.loads(pickle.dumps(get_device(name))) is get_device(name)


def test_limits_reach_another_process(tmp_path):
    path = tmp_path / "net.pickle"
    path.write_bytes(pickle.dumps(nl.mlp([3, 2], device=on_threads(smallest_tile=8), seed=1)))
    code = f"import pickle; net = pickle.load(open({str(path)!r}, 'rb')); print(net.backend.limits)"
    process = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True)
    assert process.stdout.strip() == str(CpuLimits(worth_threads=0, smallest_tile=8)), process.stderr


def test_limits_decide_how_a_net_is_trained(rng):
    x, y = rng.standard_normal((90, 3)), rng.standard_normal((90, 2))
    plans, losses = [], []
    for device in ("numba", on_threads(), on_threads(smallest_tile=8, tile_bytes=100)):
        net = nl.mlp([3, 4, 2], device=device, dtype="float64", seed=1)
        net.threads = 2
        trainer = nl.Trainer(net)
        losses.append(trainer.fit(x, y, 2, 80, progress=False)["loss"])
        plans.append(trainer.plan())
    assert plans == [
        "compiled loop on 1 thread",
        "compiled loop on 2 threads",
        "compiled loop on 2 threads, in tiles of 8 rows",
    ]
    np.testing.assert_allclose(losses[1:], losses[:1] * 2, rtol=1e-12)


@pytest.mark.parametrize("name", ["numpy", "numba"])
@pytest.mark.parametrize("size", [1, 2, 4, 7, 61])
def test_a_solver_solves_what_numpy_solves(name, size, rng):
    J = rng.standard_normal((size + 3, size)) * rng.uniform(1e-3, 1e3, size)
    A = J.T @ J
    solve = get_device(name).solver(A.copy())
    for b in rng.standard_normal((2, size)):
        before = b.copy()
        np.testing.assert_allclose(solve(b), np.linalg.solve(A, b), rtol=1e-6)
        np.testing.assert_array_equal(b, before)


@pytest.mark.parametrize("name", ["numpy", "numba"])
def test_a_solver_refuses_a_matrix_without_an_inverse(name):
    with pytest.raises(np.linalg.LinAlgError):
        get_device(name).solver(np.zeros((3, 3)))(np.ones(3))


def test_cholesky_needs_a_definite_matrix():
    for A in ([[1.0, 2.0], [2.0, 1.0]], [[np.nan, 0.0], [0.0, 1.0]]):
        with pytest.raises(np.linalg.LinAlgError, match="not positive definite"):
            get_device("numba").solver(np.array(A))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has this limit")
def test_without_memory_for_machine_code_the_device_says_so():
    code = """
import ctypes
if ctypes.CDLL(None).prctl(65, 1, 0, 0, 0):  # PR_SET_MDWE, since Linux 6.3
    print("skipped")
    raise SystemExit
import numpy as np, nnlite as nl
told = "does not let the process make machine code"
assert told in nl.devices()["numba"].detail
try:
    nl.mlp([2, 1], device="cpu")
except nl.DeviceError as error:
    assert told in str(error) and "take device 'numpy'" in str(error)
assert nl.mlp([2, 1], device="auto").device == "numpy"
print("told")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    if done.stdout == "skipped\n":
        pytest.skip("this kernel has no such limit")
    assert done.stdout == "told\n"

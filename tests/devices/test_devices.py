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

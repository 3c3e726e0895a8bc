"""Beside other things: forked children, joblib's workers, Python threads, Ctrl-C at any moment."""

import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from helpers import in_a_child, side_by_side

import nnlite as nl


def weights(seed):
    """Train a net that is worth two threads; what comes out depends on the seed alone."""
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((600, 60)), rng.integers(0, 5, 600)
    net = nl.mlp([60, 80, 5], output="softmax", device="numba", dtype="float64", seed=seed, threads=2)
    nl.Trainer(net, "cce", nl.SGD(lr=0.1)).fit(x, y, epochs=4, batch_size=200, progress=False)
    return net.predict(x[:50]).sum(axis=0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # of Python 3.12, where threads were ever started
def test_a_forked_child_trains_as_its_parent_did():
    expected = weights(3)
    context = multiprocessing.get_context("fork")
    with context.Pool(2) as pool:
        for found in pool.map(weights, [3, 3]):
            np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(weights(3), expected)  # and the parent after its children


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_that_is_forked_while_another_thread_compiles():
    pytest.importorskip("numba")
    from numba.core.compiler_lock import global_compiler_lock

    from nnlite.devices.cpu.compiling import garbage_later

    compiling = threading.Event()

    def compile_something():
        with garbage_later():
            with global_compiler_lock:
                compiling.set()
                time.sleep(0.3)
            time.sleep(0.3)

    def use():
        import numba

        assert gc.isenabled()  # though the other thread has switched it off in the parent
        numba.njit(lambda x: x + 1)(1)  # which needs the compiler

    thread = threading.Thread(target=compile_something)
    thread.start()
    compiling.wait()
    try:
        assert in_a_child(use) == 0
    finally:
        thread.join()
    weights(3)  # the parent compiles as before


def test_joblib_trains_many():
    joblib = pytest.importorskip("joblib")
    expected = [weights(seed) for seed in range(3)]
    for backend in ("loky", "threading"):
        found = joblib.Parallel(n_jobs=2, backend=backend)(joblib.delayed(weights)(seed) for seed in range(3))
        # not the same bits: joblib gives its workers' BLAS, which predicts, other threads
        np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_python_threads_train_and_predict_side_by_side():
    expected = [weights(seed) for seed in range(4)]
    np.testing.assert_array_equal(side_by_side(weights, 4), expected)


ENDLESS = """
import signal, numpy as np, nnlite as nl
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a job in the background would ignore
rng = np.random.default_rng(0)
x, y = rng.standard_normal((600, 60)), rng.integers(0, 5, 600)
net = nl.mlp([60, 300, 5], output="softmax", device="numba", seed=0, threads=2)
trainer = nl.Trainer(net, "cce", nl.SGD(lr=0.01))
trainer.fit(x, y, epochs=1, progress=False)
print("ready", flush=True)
for round in range(8):
    try:
        trainer.fit(x, y, epochs=10**9, batch_size=100, progress=False)
    except KeyboardInterrupt:
        steps = trainer.history["loss"]
        assert np.isfinite(steps).all() and np.isfinite(net.predict(x)).all()
        print("stopped", len(steps), flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends Ctrl-C to a whole console")
def test_ctrl_c_stops_a_fit_within_a_second_and_leaves_it_usable(rng):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, "-c", ENDLESS], text=True, **pipes)
    watch = threading.Timer(120, process.kill)  # better a failure than to wait for ever
    watch.start()
    assert process.stdout.readline() == "ready\n", process.stderr.read()
    for _ in range(8):
        time.sleep(0.3 + rng.uniform(0, 0.4))
        start = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline().startswith("stopped ")
        assert time.monotonic() - start < 10  # an order of magnitude more than is promised: this is no clock
    assert process.wait(timeout=60) == 0, process.stderr.read()
    watch.cancel()
    process.stdout.close()
    process.stderr.close()

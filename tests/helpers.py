"""What tests of several folders use."""

import contextlib
import gc
import os
import signal
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import nnlite as nl

POSIX = pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals, pipes, limits and devices")


class Square(nl.Layer):
    """y = x²: of NumPy, not of kernels."""

    def forward(self, x):
        self.x = x
        return x * x

    def backward(self, dy):
        return 2 * self.x * dy


def to_numpy(array):
    """The array in main memory, wherever it lies."""
    return array.get() if hasattr(array, "get") else array


def write(name: str, text: str | bytes) -> str:
    """Write a file; its name."""
    Path(name).write_bytes(text.encode() if isinstance(text, str) else text)
    return name


@contextlib.contextmanager
def handling(number, handler):
    """A handler of this signal; at the end, no timer that sends signals runs on.

    No garbage is collected meanwhile, since Python ignores what a handler raises during a `__del__`.
    """
    gc.collect()
    gc.disable()
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(number, before)
        gc.enable()


def side_by_side(work, count):
    """[work(0), … work(count − 1)], called at once, each on a thread of its own."""
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(work, range(count)))


def interrupted_after(lines, work):
    """Do the work, and raise a KeyboardInterrupt before line number `lines` of nnlite -> how many lines have run."""
    count = 0

    def trace(frame, event, argument):
        nonlocal count
        if "nnlite" not in frame.f_code.co_filename or "tests" in frame.f_code.co_filename:
            return None
        if event == "line":
            count += 1
            if count == lines:
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(before)
    return count


def in_a_child(work):
    """The exit status of a forked child that does this; 14 if it hangs."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(10)
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitpid(child, 0)[1]


def steps_of(trainer, x, y, batch_size):
    """The steps of a trainer on these data, an epoch at a time, to be run by hand."""
    return nl.steps.Steps(trainer.new_step(), *trainer.checked(x, y), batch_size, epochs=1)


def on_threads(**limits):
    """A numba device that uses as many threads as a net asks for, however little there is to do."""
    from nnlite.devices.cpu.device import NumbaDevice
    from nnlite.devices.cpu.limits import CpuLimits

    return NumbaDevice(CpuLimits(worth_threads=0, **limits))

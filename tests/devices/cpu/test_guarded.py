"""No compiled loop goes past its arrays, and what it computes is what NumPy computes: random nets in guarded memory."""

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("numba")
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="memory is guarded by mprotect")

HERE = Path(__file__).parent
NETS = 500


def test_random_nets_in_guarded_memory_train_as_on_numpy():
    command = [sys.executable, str(HERE / "fuzz.py"), "--nets", str(NETS)]
    process = subprocess.run(command, capture_output=True, text=True)
    lines = process.stdout.splitlines()
    told = [line for line in lines if not line.startswith("net ")]
    last = lines[-1] if lines else "no net"
    assert process.returncode == 0, "\n".join([f"status {process.returncode} at {last}", *told, process.stderr])
    assert f"{NETS} nets agree" in process.stdout
    for kind in ("1 thread", "2 threads", "1 thread, in tiles", "2 threads, in tiles"):
        assert f"compiled loop on {kind}\n" in process.stdout, "none was run in this way"


@pytest.mark.parametrize(("at_the_end", "place"), [(True, 15), (False, -1)])
@pytest.mark.parametrize("what", ["first[{}] = 1", "print(first[{}])"])
def test_memory_is_guarded(at_the_end, place, what):
    """To write or read one number past an array ends a process; so a net that does so cannot go unseen."""
    code = (
        "import ctypes, numpy as np; from fuzz import guarded\n"
        f"array = guarded((3, 5), np.float32, {at_the_end})\n"
        "array[...] = 1; assert array.sum() == 15; print('ready', flush=True)\n"
        "first = ctypes.cast(array.ctypes.data, ctypes.POINTER(ctypes.c_float))\n" + what.format(place)
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=HERE)
    assert process.stdout == "ready\n" and process.returncode < 0, process.stderr

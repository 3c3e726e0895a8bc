"""How many threads: the CPUs that a process may use, and the fast cores among them, on machines that are made up."""

import ctypes
import os
import struct

import numpy as np
import pytest

import nnlite as nl
from nnlite import cores

CPU, SIBLINGS = "sys/devices/system/cpu", "topology/core_cpus_list"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Make a Linux machine: its CPUs, those to which the process is bound, and its system files by name -> text."""

    def make(cpus, files, bound=None):
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text + "\n" if text else "")
        monkeypatch.setattr("sys.platform", "linux")
        monkeypatch.setattr("os.cpu_count", lambda: cpus)
        monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(bound or range(cpus)), raising=False)
        return str(tmp_path)

    for name in ("NUMBA_NUM_THREADS", "NNLITE_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    return make


def pairs(cores, name=SIBLINGS):
    """The files of so many cores with two CPUs each: 0 and 1 on the first core, 2 and 3 on the next."""
    return {f"{CPU}/cpu{i}/{name}": f"{i - i % 2}-{i - i % 2 + 1}" for i in range(2 * cores)}


def capacities(*each):
    return {f"{CPU}/cpu{i}/cpu_capacity": str(capacity) for i, capacity in enumerate(each)}


# CPUs, files, bound to -> CPUs that may be used, cores, words of the reasons
MACHINES = {
    "plain": (4, {}, None, 4, 4, []),
    "one CPU a core": (2, {f"{CPU}/cpu{i}/{SIBLINGS}": str(i) for i in range(2)}, None, 2, 2, []),
    "SMT": (8, pairs(4), None, 8, 4, ["4 second threads"]),
    "SMT, old names": (4, pairs(2, "topology/thread_siblings_list"), None, 4, 2, ["2 second threads"]),
    "SMT numbered the other way": (
        4,
        {f"{CPU}/cpu{i}/{SIBLINGS}": f"{i % 2},{i % 2 + 2}" for i in range(4)},
        None,
        4,
        2,
        ["2 second"],
    ),
    "bound to one CPU of each core": (8, pairs(4), {1, 2, 4}, 3, 3, ["bound to 3"]),
    "bound to a whole core": (8, pairs(4), {2, 3}, 2, 1, ["bound to 2", "1 second"]),
    "Intel's hybrid": (
        10,
        pairs(2) | {"sys/devices/cpu_atom/cpus": "4-7,8-9"},
        None,
        10,
        2,
        ["6 on efficiency cores", "2 second"],
    ),
    "bound to efficiency cores": (6, pairs(1) | {"sys/devices/cpu_atom/cpus": "2-5"}, {2, 3, 4}, 3, 3, ["bound to 3"]),
    "big.LITTLE": (8, capacities(414, 414, 414, 414, 1024, 1024, 1024, 1024), None, 8, 4, ["4 on efficiency cores"]),
    "three sizes": (8, capacities(250, 250, 250, 250, 900, 900, 900, 1024), None, 8, 4, ["4 on efficiency cores"]),
    "all alike": (2, capacities(1024, 1024), None, 2, 2, []),
    "a container": (
        8,
        pairs(4) | {"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "250000 100000"},
        None,
        3,
        3,
        ["time of 2.5", "4 second"],
    ),
}


@pytest.mark.parametrize("name", MACHINES)
def test_cpus_and_cores(name, machine):
    cpus, files, bound, usable, fast, why = MACHINES[name]
    found = cores.usable(machine(cpus, files, bound))
    assert (found.cpus, found.cores) == (usable, fast)
    told = [*found.why_cpus, *found.why_cores]
    assert len(told) == len(why) and all(part in text for part, text in zip(why, told)), told


@pytest.mark.parametrize(
    ("numba", "quota", "cpus"),
    [
        ("", 99, 8),
        ("3", 99, 3),
        ("64", 99, 8),
        ("0", 99, 1),
        ("no number", 99, 8),
        ("", 2.5, 3),
        ("2", 2.5, 2),
        ("", 0.1, 1),
    ],
)
def test_limits_of_others(numba, quota, cpus, machine, monkeypatch):
    root = machine(8, pairs(4))
    monkeypatch.setattr(cores, "cpu_quota", lambda root: quota)
    monkeypatch.setenv("NUMBA_NUM_THREADS", numba)
    found = cores.usable(root)
    assert (found.cpus, found.cores) == (cpus, min(cpus, 4))
    assert len(found.why_cpus) == (numba in ("3", "0", "2")) + (quota < 8)


@pytest.mark.parametrize(
    ("groups", "files", "quota"),
    [
        ("0::/", {"cpu.max": "150000 100000"}, 1.5),
        ("0::/a/b", {"cpu.max": "max 100000", "a/cpu.max": "50000 100000", "a/b/cpu.max": "200000 100000"}, 0.5),
        ("0::/a/b", {"a/b/cpu.max": "max 100000"}, np.inf),
        (
            "3:cpu,cpuacct:/a",
            {"cpu,cpuacct/a/cpu.cfs_quota_us": "300000", "cpu,cpuacct/a/cpu.cfs_period_us": "100000"},
            3,
        ),
        ("3:cpu:/a", {"cpu/a/cpu.cfs_quota_us": "-1", "cpu/a/cpu.cfs_period_us": "100000"}, np.inf),
        # in a container: the path is that of the host, which is not there, and the root is the container's own
        ("3:cpu:/docker/f00\n1:memory:/", {"cpu/cpu.cfs_quota_us": "20000", "cpu/cpu.cfs_period_us": "10000"}, 2),
        ("", {}, np.inf),
    ],
)
def test_share_of_a_container(groups, files, quota, machine):
    root = machine(1, {"proc/self/cgroup": groups, **{f"sys/fs/cgroup/{name}": text for name, text in files.items()}})
    assert cores.cpu_quota(root) == quota


def test_number_of_threads(machine, monkeypatch):
    """By default one for each core; whoever asks for more gets up to one for each CPU."""
    root, usable = machine(6, pairs(3)), cores.usable
    monkeypatch.setattr(nl.gate, "usable", lambda: usable(root))
    assert nl.mlp([2, 1], device="numpy").threads == 3
    assert nl.mlp([2, 1], device="numpy", threads=2).threads == 2
    assert nl.mlp([2, 1], device="numpy", threads=5).threads == 5
    assert nl.mlp([2, 1], device="numpy", threads=64).threads == 6  # never more than there are
    for asked, threads in (("1", 1), (" 4 ", 4), ("64", 6), ("", 3)):
        monkeypatch.setenv("NNLITE_NUM_THREADS", asked)
        assert nl.mlp([2, 1], device="numpy").threads == threads
    with pytest.raises(ValueError, match="threads must be at least 1, not 0"):
        nl.mlp([2, 1], threads=0)
    monkeypatch.setenv("NNLITE_NUM_THREADS", "many")
    with pytest.raises(ValueError, match="NNLITE_NUM_THREADS='many' must be a whole number"):
        nl.mlp([2, 1], device="numpy")


def test_joblib_shares_out_the_cpus_among_its_workers(monkeypatch):
    joblib = pytest.importorskip("joblib")
    monkeypatch.delenv("NUMBA_NUM_THREADS", raising=False)
    with joblib.parallel_config("loky", n_jobs=2, inner_max_num_threads=1):
        found = joblib.Parallel()(joblib.delayed(nl.gate.thread_count)(8) for _ in range(2))
    assert found == [1, 1]


def test_this_machine_has_a_core():
    found = cores.usable()
    assert 1 <= found.cores <= found.cpus <= os.cpu_count()


# ---- systems without /sys -------------------------------------------------------------------------------------------


@pytest.fixture
def elsewhere(monkeypatch):
    """Another system with 16 CPUs, and the library that Python finds there."""

    def make(system, library):
        monkeypatch.setattr("sys.platform", system)
        monkeypatch.setattr("os.cpu_count", lambda: 16)
        monkeypatch.delattr("os.sched_getaffinity", raising=False)
        monkeypatch.delenv("NUMBA_NUM_THREADS", raising=False)
        monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
        monkeypatch.setattr(ctypes, "windll", library, raising=False)
        cores._cores.cache_clear()
        return cores.usable()

    yield make
    cores._cores.cache_clear()


class MacOS:
    """A C library that knows these numbers of the system."""

    def __init__(self, **numbers):
        self.numbers = numbers

    def sysctlbyname(self, name, to, size, new, new_size):
        name = name.decode().replace(".", "_")
        if name not in self.numbers:
            return -1
        ctypes.cast(to, ctypes.POINTER(ctypes.c_int32))[0] = self.numbers[name]
        return 0


@pytest.mark.parametrize(
    ("numbers", "fast"),
    [({"hw_perflevel0_physicalcpu": 12, "hw_physicalcpu": 16}, 12), ({"hw_physicalcpu": 8}, 8), ({}, 16)],
)
def test_macos(numbers, fast, elsewhere):
    found = elsewhere("darwin", MacOS(**numbers))
    assert (found.cpus, found.cores) == (16, fast)
    assert found.why_cores == [f"{16 - fast} are second threads or efficiency cores"] * (fast < 16)


class Windows:
    """A library that describes cores of these classes in records of unequal length, or describes none."""

    def __init__(self, classes):
        records = [struct.pack("<IIBB", 0, 48 + 16 * (i % 2), 1, kind) for i, kind in enumerate(classes)]
        self.records = b"".join(record.ljust(48 + 16 * (i % 2), b"\xff") for i, record in enumerate(records))
        self.kernel32 = self

    def GetLogicalProcessorInformationEx(self, what, buffer, size):  # noqa: N802
        size = ctypes.cast(size, ctypes.POINTER(ctypes.c_ulong))
        if what != 0 or buffer is None or size[0] < len(self.records) or not self.records:
            size[0] = len(self.records)
            return 0
        ctypes.memmove(buffer, self.records, len(self.records))
        return 1


@pytest.mark.parametrize(("classes", "fast"), [([1, 1, 1, 0, 0, 0, 0], 3), ([0] * 8, 8), ([], 16)])
def test_windows(classes, fast, elsewhere):
    found = elsewhere("win32", Windows(classes))
    assert (found.cpus, found.cores) == (16, fast)

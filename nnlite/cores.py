"""Cores: how many threads compute fastest here, and how many the process may use at all.

What the system counts as a CPU is one hardware thread. Two CPUs of one core (SMT) share its units for arithmetic, and
threads get equal shares of the work, for which a fast core would have to wait for a slow one. So by default there is
one thread for each physical core that is not an efficiency core. Whoever names a number of threads may use every CPU
that the process may use.
"""

from __future__ import annotations

import ctypes
import functools
import math
import os
import struct
import sys
from collections.abc import Iterable
from typing import Any, NamedTuple


class Cores(NamedTuple):
    """What this process may use, and why it is no more: phrases for a user."""

    cpus: int  # the largest number of threads
    cores: int  # the number of threads that computes fastest
    why_cpus: list[str]
    why_cores: list[str]


def usable(root: str = "/") -> Cores:
    """The CPUs and the cores that this process may use.

    The CPUs are those to which the process is bound. Neither they nor the cores are more than the CPU time that its
    container allows, or than NUMBA_NUM_THREADS, which joblib sets in each worker to divide the CPUs among its workers.
    """
    numbers = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    there, quota = len(numbers), cpu_quota(root)
    asked = os.environ.get("NUMBA_NUM_THREADS", "").strip()
    limits = {
        f"it is bound to {there}": there,
        f"its container has the time of {quota:.3g}": quota,
        f"NUMBA_NUM_THREADS is {asked}": int(asked) if asked.isdecimal() else math.inf,
    }
    most = max(1, math.ceil(min(limits.values())))
    physical, why_cores = _cores(frozenset(numbers), root)
    all_cpus = max(there, os.cpu_count() or 1)
    why_cpus = [why for why, limit in limits.items() if limit < all_cpus]
    return Cores(most, min(most, physical), why_cpus, why_cores)


def cpu_quota(root: str = "/") -> float:
    """The CPU time that the Linux control groups of this process allow, as a number of CPUs; infinity if no limit."""
    least = math.inf
    for line in _lines(f"{root}/proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        base = f"{root}/sys/fs/cgroup/{controllers}"  # control groups of version 1; without a name, of version 2
        parts = [part for part in path.split("/") if part]
        for folder in ("/".join([base, *parts[:depth]]) for depth in range(len(parts) + 1)):
            if controllers:
                words = [*_lines(f"{folder}/cpu.cfs_quota_us"), *_lines(f"{folder}/cpu.cfs_period_us")]
            else:
                words = " ".join(_lines(f"{folder}/cpu.max")).split()
            if len(words) == 2 and words[0].isdecimal() and words[1].isdecimal() and int(words[1]) > 0:
                least = min(least, int(words[0]) / int(words[1]))
    return least


@functools.cache
def _cores(cpus: frozenset[int], root: str) -> tuple[int, list[str]]:
    """The number of fast physical cores among these CPUs, and why it is less than that of the CPUs."""
    if sys.platform in ("darwin", "win32"):
        counted = _cores_of_macos() if sys.platform == "darwin" else _cores_of_windows()
        cores = counted if 0 < counted < len(cpus) else len(cpus)
        return cores, [f"{len(cpus) - cores} are second threads or efficiency cores"] * (cores < len(cpus))
    fast = cpus - _efficiency_cpus(cpus, root) or cpus
    cores = len({_siblings(cpu, root) for cpu in fast})
    why = [f"{len(cpus) - len(fast)} on efficiency cores"] * (fast != cpus)
    return cores, why + [f"{len(fast) - cores} second threads of a core (SMT)"] * (cores < len(fast))


def _siblings(cpu: int, root: str) -> frozenset[int]:
    """The CPUs on the same core as this one, which is among them; the CPU alone if Linux does not say."""
    folder = f"{root}/sys/devices/system/cpu/cpu{cpu}/topology"
    for name in ("core_cpus_list", "thread_siblings_list"):  # the second is the name before Linux 5.3
        if lines := _lines(f"{folder}/{name}"):
            return frozenset({cpu, *_numbers(lines[0])})
    return frozenset({cpu})


def _efficiency_cpus(cpus: Iterable[int], root: str) -> set[int]:
    """The CPUs on efficiency cores: those that Intel names so, or those with less than half the largest capacity."""
    found = {number for line in _lines(f"{root}/sys/devices/cpu_atom/cpus") for number in _numbers(line)}
    capacity = {}
    for cpu in cpus:
        for line in _lines(f"{root}/sys/devices/system/cpu/cpu{cpu}/cpu_capacity"):
            capacity[cpu] = int(line)
    return found | {cpu for cpu, each in capacity.items() if 2 * each < max(capacity.values())}


def _cores_of_macos() -> int:
    """The physical performance cores, or on an Intel Mac all physical cores; 0 if macOS does not say."""
    library, count = ctypes.CDLL(None), ctypes.c_int32(0)
    for name in (b"hw.perflevel0.physicalcpu", b"hw.physicalcpu"):
        size = ctypes.c_size_t(ctypes.sizeof(count))
        if library.sysctlbyname(name, ctypes.byref(count), ctypes.byref(size), None, ctypes.c_size_t(0)) == 0:
            return count.value
    return 0


def _cores_of_windows() -> int:
    """The physical cores of the fastest class; 0 if Windows does not say."""
    ask: Any = getattr(ctypes, "windll").kernel32.GetLogicalProcessorInformationEx  # noqa: B009
    size = ctypes.c_ulong(0)
    ask(0, None, ctypes.byref(size))  # 0 asks for cores; this call gives the size only
    buffer = ctypes.create_string_buffer(max(1, size.value))
    if not ask(0, buffer, ctypes.byref(size)):
        return 0
    classes = []  # of each core; a larger number stands for a faster core
    place = 0
    while place < size.value:  # a record begins with its kind (4 bytes), its size (4), flags (1) and the class (1)
        _, length, _, efficiency = struct.unpack_from("<IIBB", buffer.raw, place)
        classes.append(efficiency)
        place += length
    return classes.count(max(classes, default=0))


def _numbers(text: str) -> list[int]:
    """The numbers of a list as Linux writes it.

    >>> _numbers("0-2,8")
    [0, 1, 2, 8]
    """
    ranges = [part.split("-") for part in text.strip().split(",") if part]
    return [number for ends in ranges for number in range(int(ends[0]), int(ends[-1]) + 1)]


def _lines(path: str) -> list[str]:
    """The lines of a small system file; an empty list if it cannot be read."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().splitlines()
    except OSError:
        return []

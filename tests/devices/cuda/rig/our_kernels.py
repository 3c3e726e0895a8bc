"""nnlite's own kernels, compiled as C++ (on_cpu.h) and run thread by thread.

One library has every kernel that a persistent replay can have, so that no network needs a library of its own.
"""

import ctypes
import functools
import itertools
import re
from pathlib import Path
from typing import NamedTuple

from nnlite.devices.common.reference import KERNELS
from nnlite.devices.cuda.machine import COUNTERS

from .card import ILLEGAL_ADDRESS, LAUNCH_FAILED, Card, Work
from .libraries import RefusalError, built

ON_CPU = Path(__file__).parent.parent / "on_cpu.h"
FAULTS = {  # the results of `run` in on_cpu.h
    2: (LAUNCH_FAILED, "a thread waits for one that has left"),
    3: (LAUNCH_FAILED, "threads wait for each other for ever"),
    4: (ILLEGAL_ADDRESS, "an operand is not in the card's memory"),
}
ALL = [(name, real) for name in KERNELS for real in ("float", "double")] + [(name, "Word") for name in COUNTERS]
NUMBERS = {kind: number for number, kind in enumerate(ALL, 2)}


class Launch(NamedTuple):
    grid: int
    block: int
    dynamic: int
    cooperative: bool


def names(source: str) -> list[str]:
    """The kernels that can be launched of a source."""
    launches = re.search(r"#define NNLITE_LAUNCHES (.*)", source)
    if not launches:
        return ["replay"]
    return [f"launch_{name}_{kind}" for name, kind in re.findall(r"LAUNCH\((\w+), (\w+)\)", launches[1])] + ["end_step"]


def work(card: Card, name: str, source: str, places, launch: Launch) -> Work:
    """The work of a launch. Its parameters, of 64 bits each, are read now."""
    library = compiled(replay_of_all(source))
    count = getattr(library, f"count_{name}")()
    words = (ctypes.c_int64 * count)(*(ctypes.c_int64.from_address(places[i]).value for i in range(count)))
    addresses = (ctypes.c_void_p * count)(*(ctypes.addressof(words) + 8 * i for i in range(count)))
    numbers = numbers_of(source)
    run, order = getattr(library, f"run_{name}"), card.order

    def done(words=words) -> None:
        memory = ctypes.c_void_p(card.memory.first), ctypes.c_void_p(card.memory.last)
        library.set_up(*memory, numbers, len(numbers), card.left_out)
        status = run(addresses, launch.grid, launch.block, ctypes.c_long(launch.dynamic), order, launch.cooperative)
        if status:
            error, reason = FAULTS[status]
            raise RefusalError(error, f"{name}: {reason}")

    return done


def cases_of(source: str) -> list[tuple[int, str, str]]:
    """(number, kernel, type) of the kernels in a replay."""
    cases = re.search(r"#define NNLITE_CASES (.*)", source)
    found = re.findall(r"case (\d+): return kernels::(\w+)<(\w+)>", cases[1]) if cases else []
    return [(int(number), name, real) for number, name, real in found]


@functools.cache
def numbers_of(source: str) -> ctypes.Array:
    """At the place of a number in this replay's table: the kernel's number in the library of all kernels, or 0."""
    cases = cases_of(source)
    numbers = [0] * (1 + max((number for number, _, _ in cases), default=0))
    for number, name, real in cases:
        numbers[number] = NUMBERS[name, real]
    return (ctypes.c_int * len(numbers))(*numbers)


@functools.cache
def replay_of_all(source: str) -> str:
    """The source with all kernels in the place of those of one network; a source without a replay as it is."""
    if "#define NNLITE_CASES" not in source:
        return source
    cases = " ".join(
        f"case {number}: return kernels::{name}<{real}>(line, team);" for (name, real), number in NUMBERS.items()
    )
    source = re.sub(r"#define NNLITE_CASES .*", f"#define NNLITE_CASES {cases}", source)
    source = re.sub(r"#define NNLITE_THREADS .*", "#define NNLITE_THREADS 1024", source)
    found = "switch (words[0])"
    assert found in source
    return source.replace(found, "switch (cpu::number_of(words[0]))")


@functools.cache
def compiled(source: str) -> ctypes.PyDLL:
    """The library of a source. It keeps Python's lock, since the threads of a kernel are one thread's fibers."""
    entries = "".join(
        f'extern "C" int run_{name}(void** a, int g, int b, long d, int o, int c) '
        f"{{ return cpu::launch({name}, a, g, b, d, o, c); }}\n"
        f'extern "C" int count_{name}() {{ return cpu::parameters({name}); }}\n'
        for name in names(source)
    )
    barriers = itertools.count()
    source = re.sub(r"__syncthreads\(\);", lambda _: f"numbered_barrier({next(barriers)});", source)
    text = f"{ON_CPU.read_text()}\n{source}\n{entries}".replace("#pragma once", "")
    return ctypes.PyDLL(str(built(text, ".cpp", "g++", "-O1", "-std=c++17", "-U_FORTIFY_SOURCE")))

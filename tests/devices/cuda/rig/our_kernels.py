"""nnlite's own kernels, compiled as C++ (on_cpu.h) and run thread by thread.

One library has every kernel that a persistent replay can have, so that no network needs a library of its own: it reads
the steps, which are written out in the source of a replay, from tables. With `card.as_written`, a replay is compiled as
it is.
"""

import ctypes
import functools
import itertools
import re
import subprocess
from pathlib import Path
from typing import NamedTuple

from nnlite.devices.common.reference import KERNELS
from nnlite.devices.cuda import pairs, parts
from nnlite.devices.cuda.machine import COUNTERS
from nnlite.devices.cuda.text import TAKING

from .card import ILLEGAL_ADDRESS, LAUNCH_FAILED, MISALIGNED_ADDRESS, Card, Work
from .libraries import RefusalError, built

FOLDER = Path(__file__).parent.parent


def text_of(*files: str) -> str:
    """These files of C++ one after the other, since what is built depends on no other file."""
    return re.sub(r'#pragma once|#include ".*"', "", "\n".join((FOLDER / file).read_text() for file in files))


ON_CPU = text_of("races.h", "on_cpu.h")
FAULTS = {  # the results of `run` in on_cpu.h
    2: (LAUNCH_FAILED, "a thread waits for one that has left"),
    3: (LAUNCH_FAILED, "threads wait for each other for ever"),
    4: (ILLEGAL_ADDRESS, "an operand is not in the card's memory"),
    5: (MISALIGNED_ADDRESS, "numbers lie at an address that is no multiple of what is read at once"),
    6: (LAUNCH_FAILED, "what the source promises the compiler does not hold"),
}
ORDERING = re.compile(r"(__syncthreads|__syncwarp|__threadfence)\(\);")
ALL = [(name, real) for name in (*KERNELS, *parts.KERNELS) for real in ("float", "double")]
ALL += [(name, "Word") for name in COUNTERS]
VERBS = {"SYNC": 1, "BARRIER": 2, "LOOK": 3, "CHECK": 4, "COPY": 5}  # 0 is nothing
KEPT = {"kernels::Sixteen": "sixteens", "float": "floats", "double": "doubles"}  # unit of upcoming rows -> where
FOLLOW = [None, *sorted(pairs.FORWARD), *sorted(pairs.BACKWARD)]  # what may follow a product
ALL += [(name, real, "then") for name in pairs.FIRST for real in ("float", "double")]
ALL += [
    (name, real, unit) for name in sorted(TAKING) for real in ("float", "double") for unit in ("kernels::Sixteen", real)
]
NUMBERS = {kind: number for number, kind in enumerate(ALL, 6)}
OFFSET, ROW = 1 << 61, 24  # as in on_cpu.h
MOST = 8  # units of upcoming rows for each thread
TABLES = """
template <class T> struct any_then {  // whichever the line names
  int which;
  Matrix<T> beside;
  any_then(Line& line) : which(cpu::then) {
    if (which > FORWARDS) beside = line.matrix<T>();
  }
  T operator()(T x, Size i, Size j) const {
    const Word words[] = {(Word)beside.data, beside.rows, beside.columns};
    Line line = {words};
    switch (which) { THENS }
    return x;
  }
};
struct Next {
  kernels::Upcoming<kernels::Sixteen, MOST> sixteens[4];
  kernels::Upcoming<float, MOST> floats[4];
  kernels::Upcoming<double, MOST> doubles[4];
};
// Returns whether to stop.
inline bool run_table(const cpu::Table& table, const Team& team, char* memory, Bits* gate, Bits& met, Next& next,
                      Word step, const double* sums, double& seen) {
  const Word* row = table.rows + blockIdx.x * table.lines * cpu::ROW;
  for (int i = 0; i < table.lines; ++i, row += cpu::ROW) {
    Word words[cpu::ROW];
    for (int k = 1; k < cpu::ROW; ++k)
      words[k] = row[k] >= cpu::OFFSET && row[k] < 2 * cpu::OFFSET && row[k] - cpu::OFFSET < 1 << 20
                     ? (Word)(memory + row[k] - cpu::OFFSET) : row[k];
    const Line line = {words + 1};
    cpu::then = words[cpu::ROW - 2];
    switch (row[0]) {
      case 1: SYNC break;
      case 2: BARRIER break;
      case 3: LOOK break;
      case 4: if (!(seen - seen == 0)) return true; break;
      case 5: COPY(words[1], words[2], words[3]) break;
      CASES
    }
  }
  return false;
}
"""


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
    written = name == "replay" and card.as_written
    step = Steps(source) if name == "replay" and not written else None
    level = "-O0" if written else "-O1"  # what is compiled for one network is not worth more
    library = compiled(replay_of_all(source) if step else source, level, card.find_races)
    count = getattr(library, f"count_{name}")()
    words = (ctypes.c_int64 * count)(*(ctypes.c_int64.from_address(places[i]).value for i in range(count)))
    addresses = (ctypes.c_void_p * count)(*(ctypes.addressof(words) + 8 * i for i in range(count)))
    run, order = getattr(library, f"run_{name}"), card.order

    def done(words=words) -> None:
        tables = step.tables(*words, launch.grid) if step else [(None, 0)] * 2
        memory = ctypes.c_void_p(card.memory.first), ctypes.c_void_p(card.memory.last)
        pieces = card.memory.pieces() if card.find_races else ()
        some = (ctypes.c_int64 * (2 * len(pieces)))(*itertools.chain.from_iterable(pieces))
        settings = (step.blocks, step.late) if step else (1, False)
        library.set_up(*memory, *tables[0], *tables[1], *settings, card.left_out, some, ctypes.c_long(len(pieces)))
        status = run(addresses, launch.grid, launch.block, ctypes.c_long(launch.dynamic), order, launch.cooperative)
        if status:
            error, reason = FAULTS[status]
            raise RefusalError(error, f"{name}: {reason}")
        if card.find_races and (found := races().races_found().contents).fault:
            raise RefusalError(LAUNCH_FAILED, f"{name}: {found.told(library, launch.block)}")

    return done


TYPES = r"(?:PRODUCT\()?(?P<real>\w+)(?:, \d+, \d+\))?"
VERB = r"(?:CALL\(|THEN\((?P<then>\w+), |TAKE\((?P<number>\d+), (?P<batch>\d+), )"
CALL = rf"{VERB}(?P<name>\w+), {TYPES}, (?P<words>.*)\)"
ITEM = re.compile(rf"(?:if \((?P<given>.*?)\) )?(?:{CALL}|COPY\((?P<copied>.*)\))")


@functools.cache
class Steps:
    """The steps of a replay, as its source has them."""

    def __init__(self, source: str) -> None:
        (segments,) = re.findall(r"#define NNLITE_SEGMENTS (.*)", source)
        (blocks,) = re.findall(r"#define NNLITE_BLOCKS (\d+)", source)
        self.blocks, self.late = int(blocks), "#define NNLITE_LATE 1" in source
        read = r" (\w+) = (?:ADDRESS\([^,]+, |\(const \w+\*\))?\*given\+\+"
        self.arguments = re.findall(read, source.split('extern "C"')[1])
        for kind, name in re.findall(r"(SEGMENT|DATA)\((\w+)\)", segments):
            self.arguments += [f"of_{name}"] + [f"rows_{name}"] * (kind == "DATA")
        (upcoming,) = re.findall(r"#define NNLITE_UPCOMING(.*)", source)
        self.units = dict(re.findall(r"UPCOMING\((\d), ([\w:]+), \d+\)", upcoming))  # number -> unit
        (threads,) = re.findall(r"#define NNLITE_THREADS (\d+)", source)
        assert all(int(count) <= MOST * int(threads) for count in re.findall(r", (\d+)\)", upcoming))
        self.steps = []
        for name in ("FULL", "SHORT"):
            (text,) = re.findall(rf"#define NNLITE_{name} ((?:.*\\\n)*.*)", source)
            self.steps.append([self._item(line) for line in map(str.strip, text.split("\\\n")) if line])

    def _item(self, text):
        """The number of what a line does, and code for its words and for whether a block has it."""
        if text in VERBS:
            return VERBS[text], None, None
        found = ITEM.fullmatch(text)
        words = re.sub(r"OF\((\w+), ", r"OF(of_\1, ", found["words"] or found["copied"])
        given = compile(found["given"] or "True", "if", "eval")
        kind, last = (found["name"], found["real"]), ""
        if found["copied"]:
            return VERBS["COPY"], compile(f"[{words}]", "line", "eval"), given
        if found["number"]:
            kind += (self.units[found["number"]],)
            last = f" + [0] * (ROW - 3 - len([{words}])) + [{found['number']}, {found['batch']}]"
        if found["then"]:
            kind += ("then",)
            last = f" + [0] * (ROW - 3 - len([{words}])) + [{FOLLOW.index(found['then'])}, 0]"
        return NUMBERS[kind], compile(f"[{words}]{last}", "line", "eval"), given

    def tables(self, arguments: int, count: int, grid: int):
        """(address, lines) of the table of each step, when the work begins."""
        assert count == len(self.arguments)
        known = {"ROW": ROW, "AT": lambda offset: OFFSET + offset, "OF": int.__add__}
        self.kept = []
        for step in self.steps:
            words = []
            for number in range(grid):
                network, block = divmod(number, self.blocks)
                given = (ctypes.c_int64 * count).from_address(arguments + 8 * count * network)
                known.update(zip(self.arguments, given))
                numbers, each = known["numbers"], known["each"] + 8 * known["numbers"] * block
                known["mine"] = (ctypes.c_int64 * numbers).from_address(each) if numbers else []
                for kernel, line, condition in step:
                    there = condition is None or eval(condition, known)
                    row = [kernel if there else 0, *(eval(line, known) if line and there else [])]
                    words += [*row, *[0] * (ROW - len(row))]
            self.kept.append((ctypes.c_int64 * len(words))(*words))
        return [(table, len(step)) for table, step in zip(self.kept, self.steps)]


@functools.cache
def replay_of_all(source: str) -> str:
    """The source with all kernels, and with tables in the place of its steps."""
    settings = {"FULL": 0, "SHORT": 1}
    for name, which in settings.items():
        given = f"cpu::tables[{which}], team, memory, gate, met, next, step, sums, seen"
        text = f"#define NNLITE_{name} if (run_table({given})) {{ --step; break; }}"
        source = re.sub(rf"#define NNLITE_{name} ((?:.*\\\n)*.*)", lambda _, text=text: text, source)
    source = re.sub(r"#define NNLITE_HAS_SHORT .*", "#define NNLITE_HAS_SHORT (cpu::tables[1].lines > 0)", source)
    source = re.sub(r"#define NNLITE_LATE .*", "#define NNLITE_LATE cpu::late", source)
    source = re.sub(r"#define NNLITE_SEGMENTS .*", "#define NNLITE_SEGMENTS", source)
    source = re.sub(r"#define NNLITE_BLOCKS .*", "#define NNLITE_BLOCKS cpu::blocks_of_network", source)
    source = re.sub(r"#define NNLITE_THREADS .*", "#define NNLITE_THREADS (int)blockDim.x", source)
    source = re.sub(r"#define NNLITE_UPCOMING.*", "#define NNLITE_UPCOMING Next next;", source)
    follow = ((number, name) for number, name in enumerate(FOLLOW) if name)
    thens = " ".join(f"case {number}: return kernels::{name}_then<T>(line)(x, i, j);" for number, name in follow)
    cases = " ".join(f"case {number}: kernels::{_called(*kind)}; break;" for kind, number in NUMBERS.items())
    tables = TABLES.replace("CASES", cases).replace("THENS", thens).replace("FORWARDS", str(len(pairs.FORWARD)))
    before = "// ---- the steps"
    assert before in source
    return source.replace(before, tables.replace("MOST", str(MOST)) + before)


def _called(name: str, real: str, more: str = "") -> str:
    """The call of a kernel: of one that takes rows ahead in such units, or of a product and what follows it."""
    if more == "then":
        return f"{name}<{real}, {'0, 0, ' * ('sum' not in name)}any_then>(line, team)"
    ahead = f", kernels::ahead(next.{KEPT[more]}[words[cpu::ROW - 2]], words[cpu::ROW - 1], step)" if more else ""
    return f"{name}<{real}>(line, team{ahead})"


class Found(ctypes.Structure):
    """What races.cpp has found, as in races.h."""

    _fields_ = (
        ("fault", ctypes.c_int),
        ("thread", ctypes.c_int),
        ("other", ctypes.c_int),
        ("here", ctypes.c_void_p),
        ("before", ctypes.c_void_p),
    )

    def told(self, library: ctypes.PyDLL, threads: int) -> str:
        """The fault in words, with the lines of the text in rig/libraries.py's folder."""
        here = lines(library, self.here)
        block, thread = divmod(self.thread, threads)
        if self.fault == OUTSIDE:
            return f"thread {thread} of block {block} uses what is no array's: {here}"
        others, other = divmod(self.other, threads)
        return (
            f"thread {thread} of block {block} ({here}) and thread {other} of block {others} "
            f"({lines(library, self.before)}) use the same number in no order"
        )


OUTSIDE = 2  # as in races.h


def lines(library: ctypes.PyDLL, place: int) -> str:
    """Where this place in a library's code comes from, innermost function first."""
    maps = Path("/proc/self/maps").read_text().splitlines()
    base = min(int(line.split("-")[0], 16) for line in maps if line.endswith(library._name))
    command = "addr2line", "-s", "-f", "-C", "-i", "-e", library._name, hex(place - 1 - base)
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n")
    functions = (re.sub(r"\(.*|<.*|.*::", "", name) for name in told[::2] if name)
    return " in ".join(f"{name} {at.split(':')[-1]}" for name, at in zip(functions, told[1::2]))


@functools.cache
def races() -> ctypes.PyDLL:
    """The library that finds races, of which the kernels' libraries call what they do not have."""
    made = built(text_of("races.h", "races.cpp"), ".cpp", "g++", "-O2", "-std=c++17", "-DFIND_RACES")
    library = ctypes.PyDLL(str(made), mode=ctypes.RTLD_GLOBAL)
    library.races_found.restype = ctypes.POINTER(Found)
    return library


@functools.cache
def compiled(source: str, level: str, find_races: bool) -> ctypes.PyDLL:
    """The library of a source. It keeps Python's lock, since the threads of a kernel are one thread's fibers."""
    entries = "".join(
        f'extern "C" int run_{name}(void** a, int g, int b, long d, int o, int c) '
        f"{{ return cpu::launch({name}, a, g, b, d, o, c); }}\n"
        f'extern "C" int count_{name}() {{ return cpu::parameters({name}); }}\n'
        for name in names(source)
    )
    numbers = itertools.count()
    source = re.sub(ORDERING, lambda found: f"numbered({next(numbers)}, {found[1]});", source)
    text = f"{ON_CPU}\n{source}\n{entries}"
    command = ["g++", level, "-std=c++17", "-U_FORTIFY_SOURCE", "-fsanitize=alignment"]
    if find_races:
        races()
        command += ["-g", "-DFIND_RACES", "-fsanitize=thread", "-nodefaultlibs"]  # without g++'s own library
    return ctypes.PyDLL(str(built(text, ".cpp", *command)))

"""C functions in Python: small libraries of jumps to them, and jumps in the place of code that is linked into CuPy."""

import atexit
import ctypes
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

COMPILERS = ("gcc", "g++", "nm")  # nm comes with either of the others
FOLDER = Path(tempfile.gettempdir()) / f"nnlite-rig-{os.getuid() if hasattr(os, 'getuid') else 0}"
KINDS = {"P": ctypes.c_void_p, "I": ctypes.c_int, "U": ctypes.c_uint, "S": ctypes.c_size_t, "C": ctypes.c_char_p}
KEPT: list[object] = []  # what C has the address of: it must live as long as the process
AT_THE_END: list[Callable[[], object]] = []  # puts a function that only returns 0 in the place of one in Python
UNKNOWN = 999


@atexit.register
def end() -> None:
    """Before Python ends: CuPy gives back what it has when there is no Python any more that could be called."""
    for quiet in AT_THE_END:
        quiet()


class RefusalError(Exception):
    """What a driver refuses: the number of the error that it returns, and the reason, which a driver never says."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Function(NamedTuple):
    """A C function: a letter for the kind of each parameter, and what it does. None stands for success, which is 0."""

    kinds: str
    work: Callable[..., int | None]


def write(place: int, value: float, kind: type = ctypes.c_void_p) -> None:
    """*place = value, for the results that a C function has as its parameters."""
    kind.from_address(place).value = value


def callback(name: str, function: Function, refused: Callable[[str], None]) -> int:
    """The address of a C function that calls this one. `refused` hears of every error.

    It returns 64 bits, since some return an address; who expects an int takes half of them.
    """

    def called(*arguments):
        try:
            return function.work(*arguments) or 0
        except RefusalError as refusal:
            refused(f"{name}: {refusal}")
            return refusal.status
        except BaseException as error:  # no error may pass through C
            refused(f"{name}: {error!r}")
            return UNKNOWN

    made = ctypes.CFUNCTYPE(ctypes.c_ssize_t, *(KINDS[kind] for kind in function.kinds))(called)
    KEPT.append(made)
    return ctypes.cast(made, ctypes.c_void_p).value


def built(text: str, suffix: str, *command: str) -> Path:
    """The library that a compiler makes of this text; at most once on a machine: other processes wait for it."""
    import fcntl  # Linux has it; elsewhere there is no rig

    FOLDER.mkdir(exist_ok=True)
    key = hashlib.sha256(" ".join((text, suffix, *command)).encode()).hexdigest()[:20]
    library, source, made = (FOLDER / f"{key}{end}" for end in (".so", suffix, ".made"))
    with source.open("a") as lock:  # not "w", which would empty what another process is compiling
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not library.exists():
            source.write_text(text)
            subprocess.run([*command, "-shared", "-fPIC", "-w", "-o", str(made), str(source)], check=True)
            made.replace(library)
            source.write_text("")
    return library


def load(file: str, functions: Mapping[str, Function], refused: Callable[[str], None]) -> None:
    """Load a library under this file name, so that whoever asks for the name gets it: each function is a jump."""
    jumps = "".join(
        f'void* to_{name}; __attribute__((naked)) int {name}() {{ __asm__("jmp *to_{name}(%rip)"); }}\n'
        for name in functions
    )
    made = built(jumps + "int nothing() { return 0; }\n", ".c", "gcc", f"-Wl,-soname,{file}", "-Wl,-Bsymbolic")
    library = ctypes.CDLL(str(made), mode=ctypes.RTLD_GLOBAL)
    KEPT.append(library)
    nothing = ctypes.cast(library.nothing, ctypes.c_void_p).value
    for name, function in functions.items():
        to = ctypes.c_void_p.in_dll(library, f"to_{name}")
        to.value = callback(name, function, refused)
        AT_THE_END.append(partial(setattr, to, "value", nothing))


def patch(path: str, functions: Mapping[str, Function], refused: Callable[[str], None]) -> None:
    """Put a jump at the start of these functions, which are linked into the library that was loaded from this path."""
    maps = Path("/proc/self/maps").read_text().splitlines()
    base = next(int(line.split("-")[0], 16) for line in maps if line.endswith(path))
    listed = subprocess.run(["nm", path], capture_output=True, text=True, check=True).stdout
    offsets = {name: int(offset, 16) for offset, name in re.findall(r"^(\w+) [tT] (\w+)$", listed, re.MULTILINE)}
    process, everything = ctypes.CDLL(None), 7  # may be read, written and run
    for name, function in functions.items():
        place = base + offsets[name]
        page = place & ~0xFFF
        if process.mprotect(ctypes.c_void_p(page), ctypes.c_size_t(2 * 4096), everything):
            raise OSError(f"the code of {name} in {path} cannot be made writable")
        jump = b"\x48\xb8" + callback(name, function, refused).to_bytes(8, "little") + b"\xff\xe0"
        ctypes.memmove(place, jump, len(jump))  # mov rax, address; jmp rax
        AT_THE_END.append(partial(ctypes.memmove, place, b"\x31\xc0\xc3", 3))  # xor eax, eax; ret


def missing() -> str:
    """The reason why this machine cannot have such libraries; "" if it can."""
    if not sys.platform.startswith("linux") or os.uname().machine != "x86_64":
        return "the rig's jumps are written for Linux on x86-64"
    gone = [name for name in COMPILERS if shutil.which(name) is None]
    return f"the rig needs {', '.join(gone)}" if gone else ""

"""The functions of the CUDA driver and of NVRTC that CuPy calls: sources become modules, kernels are launched.

What NVRTC makes of a source is the source itself: the driver gets it back as a module's image.
"""

import ctypes
from typing import NamedTuple

from nnlite.devices.cuda.choice import STATIC_BYTES as STATIC_BYTES_OF_OURS  # at most, as test_cuda.py sees

from . import cupys_kernels, our_kernels
from .card import INVALID, Card
from .libraries import Function, RefusalError, write

NOT_FOUND, TOO_LARGE = 500, 720
COMPILATION = 6  # NVRTC's own number
# Numbers of a kernel's attributes, and of the shared memory that one may have without asking for more.
STATIC_BYTES, DYNAMIC_BYTES, UNASKED = 1, 8, 48 * 1024
THREADS, SHARED_OF_BLOCK = 2048, 1024  # of a processor; taken by the system for each block
OPTIONS = (
    "-std=",
    "--std=",
    "-diag-suppress=",
    "-ftz=",
    "-arch=",
    "-I",
    "-D",
    "--device-as-default-execution-space",
    "--pch",
)


class Kernel(NamedTuple):
    name: str
    source: str
    attributes: dict[int, int]

    @property
    def ours(self) -> bool:
        return "NNLITE_" in self.source


def driver(card: Card) -> dict[str, Function]:
    """Name -> function of the driver."""
    sources: dict[int, str] = {}
    kernels: dict[int, Kernel] = {}

    def load(place: int, image: int) -> None:
        handle = next(card.handles)
        sources[handle] = ctypes.string_at(image).decode()
        write(place, handle)

    def find(place: int, module: int, name: bytes) -> None:
        kernel = Kernel(name.decode(), sources[module], {DYNAMIC_BYTES: UNASKED})
        kernel.attributes[STATIC_BYTES] = STATIC_BYTES_OF_OURS if kernel.ours else 0
        if kernel.ours and kernel.name not in our_kernels.names(kernel.source):
            raise RefusalError(NOT_FOUND, f"the source has no kernel {kernel.name}")
        handle = next(card.handles)
        kernels[handle] = kernel
        write(place, handle)

    def attribute(place: int, number: int, function: int) -> None:
        write(place, kernels[function].attributes.get(number, 0), ctypes.c_int)

    def set_attribute(function: int, number: int, value: int) -> None:
        kernel = kernels[function]
        if number == DYNAMIC_BYTES and value + kernel.attributes[STATIC_BYTES] > card.shared_bytes:
            raise RefusalError(INVALID, f"{kernel.name}: {value} bytes of shared memory, of {card.shared_bytes}")
        kernel.attributes[number] = value

    def fitting(function: int, threads: int, dynamic: int) -> int:
        """The number of blocks that one processor holds at the same time."""
        taken = dynamic + kernels[function].attributes[STATIC_BYTES] + SHARED_OF_BLOCK
        return min(THREADS // threads, (card.shared_bytes + SHARED_OF_BLOCK) // taken)

    def launched(cooperative: bool):
        def launch(function, gx, gy, gz, bx, by, bz, dynamic, stream, parameters, _=None) -> None:
            kernel, grid, block = kernels[function], gx * gy * gz, bx * by * bz
            allowed = kernel.attributes[DYNAMIC_BYTES]
            if dynamic > allowed or dynamic + kernel.attributes[STATIC_BYTES] > card.shared_bytes:
                raise RefusalError(INVALID, f"{kernel.name}: {dynamic} bytes of shared memory, {allowed} allowed")
            if not 1 <= block <= 1024 or not grid:
                raise RefusalError(INVALID, f"{kernel.name}: {grid} blocks of {block} threads")
            if cooperative and grid > fitting(function, block, dynamic) * card.processors:
                raise RefusalError(TOO_LARGE, f"{kernel.name}: {grid} blocks do not fit at the same time")
            if cooperative and not card.cooperates:
                raise RefusalError(INVALID, f"{kernel.name}: this card has no cooperative launches")
            places = ctypes.cast(parameters, ctypes.POINTER(ctypes.c_void_p))
            if kernel.ours:
                card.launches.append(kernel.name)
                given = our_kernels.Launch(grid, block, dynamic, cooperative)
                card.add(stream, our_kernels.work(card, kernel.name, kernel.source, places, given))
            else:
                card.add(stream, cupys_kernels.work(card, kernel.name, kernel.source, places))

        return launch

    def blocks(place: int, function: int, threads: int, dynamic: int) -> None:
        write(place, fitting(function, threads, dynamic), ctypes.c_int)

    def no_text(status: int, place: int) -> None:
        write(place, ctypes.addressof(REFUSED))

    return {
        "cuGetErrorName": Function("IP", no_text),
        "cuGetErrorString": Function("IP", no_text),
        "cuCtxGetCurrent": Function("P", lambda place: write(place, 1)),
        "cuCtxSetCurrent": Function("P", lambda _: None),
        "cuCtxGetDevice": Function("P", lambda place: write(place, 0, ctypes.c_int)),
        "cuStreamGetCtx": Function("PP", lambda _, place: write(place, 1)),
        "cuModuleLoadData": Function("PP", load),
        "cuModuleUnload": Function("P", lambda module: sources.pop(module) and None),
        "cuModuleGetFunction": Function("PPC", find),
        "cuFuncGetAttribute": Function("PIP", attribute),
        "cuFuncSetAttribute": Function("PII", set_attribute),
        "cuLaunchKernel": Function("PUUUUUUUPPP", launched(cooperative=False)),
        "cuLaunchCooperativeKernel": Function("PUUUUUUUPP", launched(cooperative=True)),
        "cuOccupancyMaxActiveBlocksPerMultiprocessor": Function("PPIS", blocks),
        "cuDevicePrimaryCtxRelease_v2": Function("I", lambda _: None),
    }


REFUSED = ctypes.create_string_buffer(b"refused; the rig's card.refused has the reason")


def nvrtc(card: Card, version: int) -> dict[str, Function]:
    """Name -> function of NVRTC."""
    programs: dict[int, bytes] = {}

    def create(place: int, source: bytes, *_: object) -> None:
        handle = next(card.handles)
        programs[handle] = source + b"\0"
        write(place, handle)

    def compiled(program: int, count: int, options: int) -> int | None:
        given = [ctypes.cast(options, ctypes.POINTER(ctypes.c_char_p))[i].decode() for i in range(count)]
        strange = [option for option in given if not option.startswith(OPTIONS)]
        if not card.headers and b"#include" in programs[program]:
            programs[program] = LOG
            return COMPILATION
        if strange:
            raise RefusalError(COMPILATION, f"options that the rig does not know: {strange}")
        if b"NNLITE_" in programs[program]:
            card.options.add(tuple(given))
        return None

    def image(program: int, place: int) -> None:
        ctypes.memmove(place, programs[program], len(programs[program]))

    def log(program: int, place: int) -> None:
        ctypes.memmove(place, LOG if programs[program] == LOG else bytes(len(LOG)), len(LOG))

    def release(major: int, minor: int) -> None:
        write(major, version // 1000, ctypes.c_int)
        write(minor, version % 1000 // 10, ctypes.c_int)

    def architectures(place: int) -> None:
        for number, card_of in enumerate(ARCHITECTURES):
            write(place + 4 * number, card_of, ctypes.c_int)

    size = Function("PP", lambda program, place: write(place, len(programs[program]), ctypes.c_size_t))
    return {
        "nvrtcVersion": Function("PP", release),
        "nvrtcGetNumSupportedArchs": Function("P", lambda place: write(place, len(ARCHITECTURES), ctypes.c_int)),
        "nvrtcGetSupportedArchs": Function("P", architectures),
        "nvrtcCreateProgram": Function("PCCIPP", create),
        "nvrtcDestroyProgram": Function("P", lambda place: None),
        "nvrtcCompileProgram": Function("PIP", compiled),
        "nvrtcGetPTXSize": size,
        "nvrtcGetPTX": Function("PP", image),
        "nvrtcGetCUBINSize": size,
        "nvrtcGetCUBIN": Function("PP", image),
        "nvrtcGetProgramLogSize": Function("PP", lambda _, place: write(place, len(LOG), ctypes.c_size_t)),
        "nvrtcGetProgramLog": Function("PP", log),
        "nvrtcGetErrorString": Function("I", lambda _: ctypes.addressof(REFUSED)),
    }


LOG = b'catastrophic error: cannot open source file "cuda_fp16.h"\0'
ARCHITECTURES = (75, 80, 86, 89, 90, 100, 120)

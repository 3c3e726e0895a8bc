"""A stand-in for CuPy on a machine without a GPU: arrays in main memory, the CUDA sources compiled as C++ (on_cpu.h).

It is as strict as the real one where that matters: arrays never become NumPy's unasked, kernels get whole numbers of 64
bits and as many as they have parameters, work waits in its stream until somebody waits for the stream, and while a
graph is captured nothing but a launch is allowed.
"""

import contextlib
import ctypes
import functools
import hashlib
import itertools
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np

HERE = Path(__file__).parent
COMPILER = shutil.which("g++")
ATTRIBUTES = {"MultiProcessorCount": 3, "MaxSharedMemoryPerBlockOptin": 232_448, "CooperativeLaunch": 1}
# of threads; of the sources; what was launched; bytes that there are
settings = SimpleNamespace(order=0, edit=lambda code: code, launches=[], memory=2**40, guards=[])
GUARD = 0xA5


class Array(np.lib.mixins.NDArrayOperatorsMixin):
    """An array that stays on its device."""

    def __init__(self, host):
        self._host = host

    def __array__(self, *_, **__):
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`.")

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **options):
        _touch()
        if out is not None:
            options["out"] = tuple(map(_host, out))
        return _wrap(getattr(ufunc, method)(*map(_host, inputs), **options), out)

    def __array_function__(self, function, types, arguments, options):
        _touch()
        out = options.get("out")
        given = {name: _host(value) for name, value in options.items()}
        return _wrap(function(*map(_host, arguments), **given), (out,) if out is not None else None)

    def __getitem__(self, key):
        _touch()
        return _wrap(self._host[_host(key)])

    def __setitem__(self, key, value):
        _touch()
        self._host[_host(key)] = _host(value)

    def __getattr__(self, name):
        if name.startswith("__") and name != "__cuda_array_interface__":
            raise AttributeError(name)
        if name == "__cuda_array_interface__":
            return {"shape": self.shape, "data": (self.data.ptr, False), "version": 3}
        value = getattr(self._host, name)
        if not callable(value):
            return _wrap(value)

        def method(*arguments, **options):
            _touch()
            return _wrap(value(*map(_host, arguments), **{k: _host(v) for k, v in options.items()}))

        return method

    @property
    def dtype(self):
        return self._host.dtype

    @property
    def data(self):
        return SimpleNamespace(ptr=self._host.ctypes.data)

    def get(self):
        _touch()
        return self._host.copy()

    def __len__(self):
        return len(self._host)

    def __iter__(self):
        return map(_wrap, self._host)

    def __float__(self):
        _touch()
        return float(self._host.item())

    def __int__(self):
        _touch()
        return int(self._host.item())

    def __bool__(self):
        _touch()
        return bool(self._host)

    __index__ = __int__

    def __repr__(self):
        return repr(self._host)


def _host(value):
    """The array behind one of ours; NumPy's own arrays may not take part."""
    if isinstance(value, Array):
        return value._host
    if isinstance(value, np.ndarray) and value.ndim > 0:
        raise TypeError(f"Unsupported type {type(value)}")
    if isinstance(value, (list, tuple)):
        return type(value)(map(_host, value))
    return value


def _wrap(value, out=None):
    if out is not None:
        return out[0]
    if isinstance(value, tuple) and any(isinstance(each, np.ndarray) for each in value):
        return tuple(map(_wrap, value))
    return Array(np.asarray(value)) if isinstance(value, (np.ndarray, np.generic)) else value


# ---- streams and graphs ------------------------------------------------------------------------------------------


class Stream:
    """Work that waits; done in order, and, but for the default stream's, not before somebody waits for it."""

    _numbers = itertools.count(1)

    def __init__(self, non_blocking=False):
        self.ptr, self.waiting, self.captured, self.before = next(self._numbers), [], None, []

    def __enter__(self):
        self.before.append(_current[0])
        _current[0] = self

    def __exit__(self, *_):
        _current[0] = self.before.pop()

    def synchronize(self):
        if self.captured is not None:
            raise RuntimeError("cudaErrorStreamCaptureUnsupported: operation not permitted when stream is capturing")
        waiting, self.waiting = self.waiting, []
        for work in waiting:
            work()

    def add(self, work):
        if self is _default:  # at once: memory that is freed meanwhile is used again only by later work of this stream
            work()
            return
        (self.waiting if self.captured is None else self.captured).append(work)

    def begin_capture(self):
        self.synchronize()
        self.captured = []

    def end_capture(self):
        work, self.captured = self.captured, None
        return Graph(work)


class Graph:
    def __init__(self, work):
        self.work = work

    def launch(self, stream=None):
        for work in self.work:
            (stream or _current[0]).add(work)


_default = Stream()
_current = [_default]


def _touch():
    """What an operation on arrays does to the stream: it comes after the work there."""
    _current[0].synchronize()


# ---- kernels -----------------------------------------------------------------------------------------------------


FOLDER = Path(tempfile.gettempdir()) / "nnlite-cuda-on-cpu"


def _built(text, ending, *options):
    """The file that g++ makes of a text, or has made of it before."""
    FOLDER.mkdir(exist_ok=True)
    made = FOLDER / f"{hashlib.sha256(text.encode()).hexdigest()[:20]}{ending}"
    if not made.exists():
        part = made.with_suffix(f".{os.getpid()}.{time.monotonic_ns()}.cpp")
        part.write_text(text)
        command = [COMPILER, "-O1", "-std=c++17", "-fPIC", "-w", *options, "-o", f"{part}.out", str(part)]
        subprocess.run(command, check=True)
        Path(f"{part}.out").replace(made)
        part.unlink()
    return made


@functools.cache
def _header():
    """on_cpu.h, compiled once for all sources that include it: half of the time of each would go into it."""
    text = (HERE / "on_cpu.h").read_text()
    made = _built(text, ".h.gch", "-x", "c++-header")
    header = made.with_suffix("")
    part = header.with_suffix(f".{os.getpid()}")
    part.write_text(text)  # for a compiler that does not take what another one has compiled
    part.replace(header)  # at once: another process may be reading it
    return header


class RawModule:
    def __init__(self, code, options=(), enable_cooperative_groups=False):
        self.code, self.options, self.cooperative = settings.edit(code), options, enable_cooperative_groups
        launches = re.search(r"#define NNLITE_LAUNCHES (.*)", code)
        pairs = re.findall(r"LAUNCH\((\w+), (\w+)\)", launches.group(1)) if launches else []
        self.names = [f"launch_{name}_{kind}" for name, kind in pairs] + (["end_step"] if pairs else ["replay"])
        self.library = ctypes.CDLL(str(self._compiled()))

    def _compiled(self):
        entries = "".join(
            f'extern "C" int run_{name}(void** a, int g, int b, long d, int o, int c) '
            f"{{ return cpu::launch({name}, a, g, b, d, o, c); }}\n"
            f'extern "C" int count_{name}() {{ return cpu::parameters({name}); }}\n'
            for name in self.names
        )
        return _built(f'#include "{_header().name}"\n{self.code}\n{entries}', ".so", "-shared")

    def get_function(self, name):
        assert name in self.names, name
        return RawKernel(self, name)


class RawKernel:
    def __init__(self, module, name):
        self.module, self.name, self.max_dynamic_shared_size_bytes = module, name, 48 * 1024
        self.run = getattr(module.library, f"run_{name}")
        self.run.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_int, ctypes.c_int]
        self.count = getattr(module.library, f"count_{name}")()

    def __call__(self, grid, block, arguments, shared_mem=0):
        (grid,), (block,) = grid, block
        assert len(arguments) == self.count, f"{self.name} has {self.count} parameters, {len(arguments)} were given"
        for value in arguments:
            assert type(value) is int, f"{self.name}: {value!r} is no plain whole number"
        assert grid >= 1 and 32 <= block <= 1024 and block % 32 == 0
        assert shared_mem <= self.max_dynamic_shared_size_bytes <= ATTRIBUTES["MaxSharedMemoryPerBlockOptin"]
        if self.module.cooperative:
            assert grid <= ATTRIBUTES["MultiProcessorCount"]
        words = (ctypes.c_int64 * len(arguments))(*arguments)
        places = (ctypes.c_void_p * len(arguments))(*(ctypes.addressof(words) + 8 * i for i in range(len(arguments))))

        def work(keep=words):
            settings.launches.append(self.name)
            status = self.run(places, grid, block, shared_mem, settings.order, int(self.module.cooperative))
            if status:
                what = {2: "a thread waits for one that has left", 3: "threads wait for each other for ever"}[status]
                raise RuntimeError(f"{self.name}: {what}")

        _current[0].add(work)


class Cublas:
    """Of cuBLAS what nnlite calls, column by column; `argtypes` must be set, or addresses would be cut."""

    def __init__(self):
        self.stream, self.workspace, self.math = None, None, None
        for name in ("Create_v2", "SetStream_v2", "SetWorkspace_v2", "SetMathMode", "Sgemm_v2", "Dgemm_v2"):
            setattr(self, f"cublas{name}", _Checked(getattr(self, f"_{name.partition('_')[0].lower()}")))

    def _create(self, handle):
        handle._obj.value = 77

    def _setmathmode(self, handle, mode):
        self.math = mode

    def _setstream(self, handle, stream):
        assert _current[0].captured is None, "a stream is set while a graph is captured"
        self.stream, self.workspace = stream, None

    def _setworkspace(self, handle, place, size):
        assert place and size
        self.workspace = place

    def _sgemm(self, *arguments):
        self._gemm(ctypes.c_float, *arguments)

    def _dgemm(self, *arguments):
        self._gemm(ctypes.c_double, *arguments)

    def _gemm(self, real, handle, op_a, op_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc):
        assert handle.value == 77 and self.stream == _current[0].ptr and self.workspace
        factor, keep = alpha._obj.value, beta._obj.value

        def matrix(place, rows, columns, apart):
            assert apart >= rows
            return (
                np.ctypeslib.as_array((real * (apart * columns)).from_address(place)).reshape(columns, apart).T[:rows]
            )

        def work():
            left = matrix(a, k, m, lda).T if op_a else matrix(a, m, k, lda)
            right = matrix(b, n, k, ldb).T if op_b else matrix(b, k, n, ldb)
            to = matrix(c, m, n, ldc)
            to[...] = factor * (left @ right) + (keep * to if keep else 0)

        settings.launches.append("gemm")
        _current[0].add(work)


class _Checked:
    """A function of the library."""

    argtypes = None

    def __init__(self, function):
        self.function = function

    def __call__(self, *arguments):
        assert self.argtypes is not None and len(self.argtypes) == len(arguments)
        self.function(*arguments)
        return 0


# ---- the module --------------------------------------------------------------------------------------------------


class CUDARuntimeError(RuntimeError):
    pass


class OutOfMemoryError(MemoryError):
    pass


def _new(make):
    def function(*arguments, **options):
        if _current[0].captured is not None:
            raise RuntimeError("memory was asked for while a graph is captured")
        made = make(*arguments, **options)
        if made.nbytes > settings.memory:
            raise OutOfMemoryError(f"Out of memory allocating {made.nbytes:,} bytes")
        room = np.full(made.nbytes + 64, GUARD, np.uint8)  # what is written past an array is found
        room[: made.nbytes] = np.ascontiguousarray(made).reshape(-1).view(np.uint8)
        settings.guards.append(room[made.nbytes :])
        return Array(room[: made.nbytes].view(made.dtype).reshape(made.shape))

    return function


def _asarray(array, dtype=None, order="K"):
    """The array itself where it is so already; NumPy's are taken too, which `cupy.ascontiguousarray` refuses."""
    if (
        isinstance(array, Array)
        and array.dtype == (dtype or array.dtype)
        and (order != "C" or array.flags.c_contiguous)
    ):
        return array
    return _new(np.array)(array._host if isinstance(array, Array) else array, dtype, order=order)


def module():
    """What `import cupy` is to give."""
    cupy = ModuleType("cupy")
    cupy.ndarray, cupy.RawModule = Array, RawModule
    cupy.zeros = _new(np.zeros)
    cupy.empty = _new(lambda shape, dtype: np.full(shape, 0xFF, np.uint8 if dtype == np.uint8 else dtype))
    cupy.asarray = _asarray
    cupy.concatenate = lambda arrays: Array(np.concatenate([_host(a) for a in arrays]))
    cupy.asnumpy = lambda a: a.get() if isinstance(a, Array) else np.asarray(a)
    cupy.get_default_memory_pool = lambda: SimpleNamespace(free_all_blocks=lambda: None, free_bytes=lambda: 0)
    cupy.cuda = ModuleType("cupy.cuda")
    cupy.cuda.Device = lambda: SimpleNamespace(attributes=ATTRIBUTES)
    cupy.cuda.Stream, cupy.cuda.get_current_stream = Stream, lambda: _current[0]
    cupy.cuda.runtime = SimpleNamespace(getDeviceCount=lambda: 1, CUDARuntimeError=CUDARuntimeError)
    cupy.cuda.runtime.memGetInfo = lambda: (settings.memory, settings.memory)
    cupy.from_dlpack = lambda array: Array(np.from_dlpack(array.host))
    cupy.cuda.memory = SimpleNamespace(OutOfMemoryError=OutOfMemoryError)
    cupy.cuda.nvrtc = ModuleType("cupy.cuda.nvrtc")
    cupy.cuda.nvrtc.getVersion = lambda: (13, 0)
    return cupy


@contextlib.contextmanager
def installed(order=0, edit=lambda code: code):
    """With this, `import cupy` gives the stand-in."""
    cupy = module()
    names = {"cupy": cupy, "cupy.cuda": cupy.cuda, "cupy.cuda.nvrtc": cupy.cuda.nvrtc}
    before = {name: sys.modules.get(name) for name in names}
    sys.modules.update(names)
    settings.order, settings.edit, settings.launches, settings.memory, settings.guards = order, edit, [], 2**40, []
    try:
        yield cupy
        assert all((guard == GUARD).all() for guard in settings.guards), "something was written past an array"
    finally:
        for name, known in before.items():
            if known is None:
                del sys.modules[name]
            else:
                sys.modules[name] = known

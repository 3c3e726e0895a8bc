"""`nnlite info`: versions, devices, threads and the BLAS of this machine."""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

import numpy as np

import nnlite as nl

from ..cores import usable
from ..devices import kept_machine_code
from .output import say


def info(options: argparse.Namespace) -> None:
    """Show versions, devices, threads and the BLAS of this machine."""
    lines = {"nnlite": nl.__version__, "python": f"{platform.python_version()} on {platform.platform()}"}
    lines |= {name: package_version(name) for name in ("numpy", "numba", "matplotlib")}
    lines["cupy"] = package_version("cupy", "cupy-cuda13x", "cupy-cuda12x", "cupy-cuda11x")
    for name, (available, detail) in nl.devices().items():
        lines[f"device {name}"] = f"{'yes' if available else 'no'}: {detail}"
    found = usable()
    lines["CPUs"] = f"{os.cpu_count()}, of which this process may use {found.cpus}{_reasons(found.why_cpus)}"
    lines["threads by default"] = f"{found.cores}{_reasons(found.why_cores)}"
    for variable in (
        "NNLITE_NUM_THREADS",
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "NUMBA_NUM_THREADS",
        "OPENBLAS_CORETYPE",
    ):
        lines[variable] = os.environ.get(variable, "not set")
    built: Any = np.show_config(mode="dicts")
    blas = built.get("Build Dependencies", {}).get("blas", {})
    lines["BLAS"] = f"{blas.get('name', 'unknown')} {blas.get('version', '')}, core {_blas_core()}"
    lines["machine code"] = kept_machine_code()
    say("\n".join(f"{name:<21} {text}" for name, text in lines.items()))


def _reasons(phrases: list[str]) -> str:
    return f" ({'; '.join(phrases)})" if phrases else ""


def package_version(*packages: str) -> str:
    """The version of the first of these packages that is installed."""
    for package in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(package)
    return "not installed"


def _blas_core() -> str:
    """The CPU type for which the OpenBLAS inside NumPy has chosen its kernels, or "unknown"."""
    numpy, names = Path(np.__file__).parent, ("scipy_openblas_get_corename64_", "openblas_get_corename")
    for path in [*numpy.parent.glob("numpy.libs/*openblas*"), *numpy.glob(".dylibs/*openblas*")]:
        library = ctypes.CDLL(str(path))
        for name in names:
            if function := getattr(library, name, None):
                function.restype = ctypes.c_char_p
                return str(function().decode())
    return "unknown"

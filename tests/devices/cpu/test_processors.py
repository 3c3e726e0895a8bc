"""Products and loops as other processors than this one get them: compiled for fewer features, or only looked at."""

import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("numba")
import llvmlite.binding
from llvmlite import ir

from nnlite.devices.cpu import products

AVX = "+sse3,+ssse3,+sse4.1,+sse4.2,+popcnt,+avx"
HASWELL = f"{AVX},+avx2,+fma,+f16c,+bmi,+bmi2,+lzcnt,+movbe"
# NUMBA_CPU_NAME, NUMBA_CPU_FEATURES (the name alone keeps the host's features) -> bytes of a vector, vectors of a block
TARGETS = {("generic", ""): (16, 2), ("sandybridge", AVX): (32, 2), ("haswell", HASWELL): (32, 3)}
TESTS = [
    "tests/devices/cpu/test_products.py::test_any_shape",
    "tests/devices/cpu/test_products.py::test_nothing_beside_the_matrices_is_touched",
    "tests/devices/common/test_kernels.py::test_own_functions_are_accurate",
    "tests/devices/common/test_kernels.py::test_loops_that_only_the_replay_calls_equal_the_reference",
]
ROOT = Path(__file__).parents[3]


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="these are features of x86-64")
@pytest.mark.parametrize(("name", "features"), TARGETS)
def test_compiled_for_fewer_features(name, features, tmp_path):
    host = llvmlite.binding.get_host_cpu_features()
    if missing := [each for each in features.split(",") if each and not host.get(each[1:])]:
        pytest.skip(f"this processor has no {missing}")
    vector, vectors = TARGETS[name, features]
    if (vector, vectors) == (products.VECTOR, products.VECTORS):
        pytest.skip("every other test is compiled for such vectors here")
    code = (
        "import sys, pytest; from nnlite.devices.cpu import products as p; "
        f"assert (p.VECTOR, p.VECTORS) == {(vector, vectors)}; "
        f"sys.exit(pytest.main(['-q', '-p', 'no:cacheprovider', *{TESTS}]))"
    )
    environment = os.environ | {"NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": features}
    environment |= {"NUMBA_CACHE_DIR": str(tmp_path), "PYTEST_ADDOPTS": ""}
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


def inner_loop(triple, rows, vectors, itemsize, copying=False):
    """The lines of assembly of the microkernel's inner loop, and all lines of the block."""
    llvmlite.binding.initialize_all_targets()
    llvmlite.binding.initialize_all_asmprinters()
    module = ir.Module()
    kind = ir.FunctionType(ir.VoidType(), [ir.IntType(64)] * 12 + [products._REAL[itemsize]])
    function = ir.Function(module, kind, "block")
    builder = ir.IRBuilder(function.append_basic_block())
    *_, columns, _ = function.args
    lanes = products._Vectors(builder, itemsize, columns, vectors)
    products._write_block(builder, lanes, rows, copying, *function.args)
    builder.ret_void()
    machine = llvmlite.binding.Target.from_triple(triple).create_target_machine(opt=3)
    passes = llvmlite.binding.create_pass_builder(machine, llvmlite.binding.PipelineTuningOptions(3))
    parsed = llvmlite.binding.parse_assembly(str(module))
    passes.getModulePassManager().run(parsed, passes)
    lines = [line.strip() for line in machine.emit_assembly(parsed).splitlines()]
    (end,) = (i for i, line in enumerate(lines) if re.match(r"b\.\w+\s+\.LBB", line))
    begin = lines.index(lines[end].split()[-1] + ":")
    return lines[begin : end + 1], lines


@pytest.mark.skipif(not hasattr(llvmlite.binding, "create_pass_builder"), reason="llvmlite before 0.44 has no passes")
@pytest.mark.parametrize(("itemsize", "lanes"), [(4, "4s"), (8, "2d")])
@pytest.mark.parametrize("copying", [False, True])
def test_a_block_for_neon_is_fused_and_stays_in_registers(copying, itemsize, lanes, monkeypatch):
    """Compiled for aarch64 here: every multiplication is one fmla on a whole vector, and the loop is one straight line.

    benchmarks/results has the loop's assembly.
    """
    triple = "aarch64-unknown-linux-gnu"
    vector, rows, vectors = products._registers((triple, "generic", ""))
    assert (vector, rows, vectors) == (16, 4, 4)
    monkeypatch.setattr(products, "VECTOR", vector)
    monkeypatch.setattr(products, "APART", vector * vectors)
    try:
        loop, whole = inner_loop(triple, rows, vectors, itemsize, copying)
    except RuntimeError as error:
        pytest.skip(f"this llvmlite does not compile for aarch64: {error}")
    assert sum(line.startswith("fmla") and f".{lanes}," in line for line in loop) == rows * vectors
    assert not [line for line in loop if line.startswith(("bl", "cb", "tb", "fmul", "fadd"))]
    assert not [line for line in loop if "[sp" in line], "a sum is spilled"
    assert not [line for line in whole if line.startswith("bl\t")], "a function is called"
    assert sum(line.startswith(("str", "stp")) for line in loop) == (3 if copying else 0)

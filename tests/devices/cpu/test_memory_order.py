"""Publication between threads by the memory model: ARM's instructions for it, since x86 orders nearly all by itself."""

import re

import pytest
from llvmlite import binding, ir

pytest.importorskip("numba")
from aarch64 import assembly

from nnlite.devices.cpu.memory import write_pause

ONE = """
from numba import njit
from nnlite.devices.cpu.table import {name}
@njit("{signature}")
def made({arguments}):
    return {name}({arguments})
"""
READ = ONE.format(name="read_atomically", signature="int64(int64)", arguments="a")
CHANGE = {
    name: ONE.format(name=f"{name}_atomically", signature="int64(int64,int64)", arguments="a, b")
    for name in ("add", "raise")
}
TOGETHER = """
from numba import types
from nnlite.devices.cpu.table import run_together as made
word = types.int64
table = types.Array(word, 2, "C")
made.compile((table, table, word, word, word))
"""
RELAXED = {"ldxr", "stxr", "ldadd", "ldadda", "ldaddl", "ldsmax", "ldsmaxa", "ldsmaxl"}


def names(instructions):
    return [name for name, _ in instructions]


@pytest.mark.parametrize("features", ["", "+lse", "+lse,+rcpc"])
def test_instructions_of_the_atomics(features, tmp_path):
    """An acquire to read; an acquire and a release, in one instruction or a loop of two, to change."""
    read = [name for name in names(assembly(READ, tmp_path, features)) if name.startswith("ld")]
    weaker = "rcpc" in features and binding.llvm_version_info[0] >= 15  # but strong enough
    assert read == ["ldapr" if weaker else "ldar"]
    for change, single in (("add", "ldaddal"), ("raise", "ldsmaxal")):
        found = names(assembly(CHANGE[change], tmp_path, features))
        found = [name for name in found if re.match("ld|st", name) and name != "str"]  # which writes the result
        assert found == ([single] if features else ["ldaxr", "stlxr"])


@pytest.mark.parametrize("features", ["", "+lse"])
def test_threads_that_run_a_table_together(features, tmp_path):
    instructions = assembly(TOGETHER, tmp_path, features)
    found = names(instructions)
    assert not RELAXED & set(found)
    changes = {"ldaddal": 2, "ldsmaxal": 1} if features else {"ldaxr": 3, "stlxr": 3}  # MOVE and done; take
    assert {name: found.count(name) for name in changes} == changes
    assert found.count("ldar") >= 3  # of the phase's count, of a part's mark and of the mark of errors
    assert "isb" in found  # the pause
    calls = [operands for name, operands in instructions if name == "bl"]
    assert set(calls) <= {"nnlite_yield"}  # of no helper that would have to be linked


@pytest.mark.parametrize(
    ("system", "instruction"),
    [
        ("x86_64-unknown-linux-gnu", "pause"),
        ("x86_64-pc-windows-msvc", "pause"),
        ("aarch64-unknown-linux-gnu", "isb"),
        ("arm64-apple-macosx14", "isb"),
        ("powerpc64le-unknown-linux-gnu", None),
    ],
)
def test_a_pause_for_each_processor(system, instruction):
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    module = ir.Module()
    module.triple = system
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), []), "wait")
    builder = ir.IRBuilder(function.append_basic_block())
    write_pause(builder)
    builder.ret_void()
    machine = binding.Target.from_triple(system).create_target_machine()
    text = machine.emit_assembly(binding.parse_assembly(str(module)))
    for each in ("pause", "isb"):
        assert (re.search(rf"^\s+{each}\b", text, re.MULTILINE) is not None) == (each == instruction)

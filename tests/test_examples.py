"""Every lesson runs, small, in a process of its own: it exits with 0, its assert included, and leaves its picture."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("[0-9][0-9]_*.py"))
FROM_SCIKIT_LEARN = {"09", "10", "12", "14", "18", "19", "20", "21", "22", "23", "24"}
PNG = b"\x89PNG\r\n\x1a\n"

# Runs an example, and looks at its picture: no curve may run through a legend that has no background.
LOOK = """
import runpy, sys
import numpy as np
from matplotlib.figure import Figure

save = Figure.savefig


def look_and_save(figure, *arguments):
    figure.canvas.draw()
    for ax in figure.axes:
        legend = ax.get_legend()
        for line in ax.lines if legend and not legend.get_frame_on() else ():
            curve = line.get_transform().transform_path(line.get_path()).interpolated(20).vertices
            inside = [(box.min < curve) & (curve < box.max) for box in (legend.get_window_extent(), ax.bbox)]
            where = f"{line.get_label()!r} runs through the legend of {ax.get_title()!r}"
            assert not np.all(inside, axis=(0, 2)).any(), where
    save(figure, *arguments)


Figure.savefig = look_and_save
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_there_are_examples():
    assert [path.stem[:2] for path in EXAMPLES] == [f"{number:02d}" for number in range(1, len(EXAMPLES) + 1)]
    assert len(EXAMPLES) >= 24


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example(path, tmp_path):
    if path.stem == "11_mnist" and not os.environ.get("NNLITE_DATA"):
        pytest.skip("NNLITE_DATA is not set, and tests do not download MNIST")
    if path.stem[:2] in FROM_SCIKIT_LEARN and importlib.util.find_spec("sklearn") is None:
        pytest.skip("its data are files of scikit-learn, which is not installed")
    out = tmp_path / "pictures"  # not there yet: the example makes it
    done = subprocess.run(
        [sys.executable, "-c", LOOK, str(path), "--quick", "--out", str(out)],
        env=os.environ | {"MPLBACKEND": "Agg", "PYTHONIOENCODING": "utf-8"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=300,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert done.stdout.strip(), "no table"
    assert (out / f"{path.stem}.png").read_bytes().startswith(PNG)
    assert [entry.name for entry in tmp_path.iterdir()] == ["pictures"], "it wrote outside of its folder"
    assert [entry.name for entry in out.iterdir()] == [f"{path.stem}.png"], "it left more than its picture"

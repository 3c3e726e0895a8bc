"""docs/coming_from.md: what it tells people to write runs, and what it says of PyTorch is in PyTorch."""

import re
from pathlib import Path

import numpy as np
import pytest

import nnlite as nl

PAGE = (Path(__file__).parents[1] / "docs" / "coming_from.md").read_text(encoding="utf-8")
SETTING, *CODE = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
LINES = [line.strip("| ").split(" | ") for line in PAGE.splitlines() if line.startswith("| ")]
ROWS = [cells for cells in LINES if cells[0] != "Keras"]


def test_every_line_runs(empty_folder, capsys):
    """In the order of the page, each piece of code in the last column."""
    names: dict = {}
    exec(SETTING, names)
    for cells in ROWS:
        assert len(cells) == 4, cells
        pieces = re.findall("`(.+?)`", cells[-1])
        assert pieces, cells
        for piece in pieces:
            exec(compile(piece, piece, "exec"), names)  # its text in the place of a file name
    assert len(ROWS) > 50
    assert "Dense(2, 16)" in capsys.readouterr().out


def test_the_parts_of_ones_own_run(empty_folder, capsys):
    names: dict = {"__name__": "coming_from"}
    for code in (SETTING, *CODE):
        exec(compile(code, code, "exec"), names)
    assert len(CODE) == 6 and capsys.readouterr().out.startswith("10 ")
    np.testing.assert_allclose(names["u"].predict(names["points"]), np.exp(-names["points"]), atol=0.01)
    assert names["Lopsided"](extra=3.0).forward([[0.0, 1.0]], [[1.0, 0.0]]) == 2.5
    assert names["own"].layers[1].g.std() > 0.01 and names["trainer"].history.epochs > 3


def test_names_that_are_understood():
    net = nl.mlp([2, 16, 2], hidden="swish", output="softmax", device="numpy")
    assert isinstance(net.layers[1], nl.SiLU)
    assert isinstance(nl.Trainer(net, loss="crossentropy").loss, nl.CategoricalCrossEntropy)


def test_the_names_of_pytorch_are_there():
    torch = pytest.importorskip("torch")
    column = " ".join(cells[1] for cells in ROWS)
    found = re.findall(r"\b(nn|optim)\.([A-Z]\w+)", column)
    assert len(found) > 10
    for module, name in found:
        assert hasattr(getattr(torch, module), name), name

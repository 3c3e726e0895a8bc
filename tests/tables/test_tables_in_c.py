"""A model of a table as C, run beside `predict` on the same cells."""

from __future__ import annotations

import ctypes
import json
import math
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nnlite as nl
from nnlite import cli
from nnlite.tables import columns, written

ROWS = 90
TRICKY = ["", 'a "b"\\', "what??/", "日本", "x */ /* y", "NA"]


def table(rows: int = ROWS) -> dict[str, list[Any]]:
    """Columns of every kind, most of them with gaps, and with names and values that C could stumble over."""
    rng = np.random.Generator(np.random.PCG64(0))
    days = rng.integers(0, 200, rows)
    return {
        "size /* m²??/": [None if i % 7 == 0 else float(a) for i, a in enumerate(rng.normal(50, 20, rows))],
        "weight": rng.normal(1e6, 3, rows).tolist(),
        "kind": [TRICKY[i] for i in rng.integers(0, len(TRICKY), rows)],
        "side": [["left", "right"][i] for i in rng.integers(0, 2, rows)],
        "town": [f"town {i}" for i in np.minimum(rng.integers(0, 90, rows), rng.integers(0, 90, rows))],
        "day": [
            None if i % 11 == 0 else f"{np.datetime64('2020-01-01') + d} {6 + d % 9:02}:30" for i, d in enumerate(days)
        ],
    }


NEW = {
    "size /* m²??/": [None, 3.5, 1e9, math.inf, -2.0, 7.0],
    "weight": [1e6 + 2, 1e6, 0.0, 1e6, None, 1e6],
    "kind": ["日本", "what??/", 'a "b"\\', "never seen", "nUll", "?"],
    "side": ["right", "up", None, "left", "Right", "N/A"],
    "town": ["town 3", "town 10000", "none", "town 1", "town 2", ""],
    "day": ["2020-02-29 18:00", None, "1969-12-31", "2020-03-01", "2020-12-31 23:59", "?"],
}


def compiled(path: Path) -> ctypes.CDLL:
    """The file's functions, compiled without a single warning."""
    if not shutil.which("cc"):
        pytest.skip("there is no C compiler")
    library = path.with_suffix(".so")
    flags = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-O1", "-shared", "-fPIC"]
    subprocess.run(["cc", *flags, str(path), "-o", str(library), "-lm"], check=True)
    return ctypes.CDLL(str(library))


def run(library: ctypes.CDLL, model: nl.tables.Model, cells: dict[str, list[Any]]) -> np.ndarray:
    """What `predict_row` answers, (N, K), given the cells as the head of the file says."""
    assert model.decisions
    used = [column for column in model.decisions.columns if column.features]
    texts = [column.name for column in used if isinstance(column, columns.Category)]
    numbers = [column for column in used if column.name not in texts]
    answers = np.full((len(cells["weight"]), model.network.outputs or 0), np.nan)
    for row, answer in enumerate(answers):
        values = [number(column, cells[column.name][row]) for column in numbers]
        words = [cells[name][row] for name in texts]
        arguments: list[Any] = [(ctypes.c_double * len(values))(*values)]
        if words:
            arguments.append((ctypes.c_char_p * len(words))(*(None if w is None else w.encode() for w in words)))
        gaps = library.predict_row(*arguments, answer.ctypes.data_as(ctypes.c_void_p))
        known = {column.name: column.values for column in used if isinstance(column, columns.Category)}
        unknown = [name for name in texts if cells[name][row] not in known[name]]
        assert gaps == len(unknown) + sum(not math.isfinite(value) for value in values)
    return answers


def number(column: columns.Column, cell: Any) -> float:
    if isinstance(column, columns.Date):
        return float(written.days([str(cell)], False)[0])
    return math.nan if cell is None else cell


def assert_same(library: ctypes.CDLL, model: nl.tables.Model, cells: dict[str, list[Any]]) -> None:
    expected, _ = model.outputs(model.read(cells))
    np.testing.assert_allclose(run(library, model, cells), expected, rtol=1e-9, atol=1e-12)
    assert np.ptp(expected, axis=0).min() > 1e-3, "rows that are all alike would prove nothing"


@pytest.mark.parametrize("most", [50, 3], ids=["", "others"])
def test_c_answers_the_cells_of_a_table_as_predict_does(
    most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(columns, "MOST_VALUES", most)
    cells = table()
    y = np.where(np.array(cells["weight"]) > 1e6, 'heavy "?"', "light")
    one = nl.TableClassifier(max_iter=20, categorical=["town"], random_state=0, device="numpy").fit(cells, y)
    kinds = {column.name: column for column in one.decisions_.columns}
    assert isinstance(kinds["kind"], columns.Category) and kinds["kind"].flag
    assert isinstance(kinds["town"], columns.Category) and kinds["town"].others
    assert (
        isinstance(kinds["day"], columns.Date) and kinds["day"].wheels == ["year", "week", "day"] and kinds["day"].flag
    )
    one.export(tmp_path / "net.c")
    library = compiled(tmp_path / "net.c")
    assert_same(library, one.model_, cells)
    assert_same(library, one.model_, NEW)
    names = (ctypes.c_char_p * 2).in_dll(library, "predict_classes")
    assert [name.decode() for name in names if name] == one.classes_.tolist()


@pytest.mark.parametrize("flag", ["-ffast-math", "-ffinite-math-only"])
def test_c_refuses_arithmetic_without_missing_numbers(flag: str, tmp_path: Path) -> None:
    cells = table()
    one = nl.TableRegressor(max_iter=2, random_state=0, device="numpy").fit(cells, np.array(cells["weight"]))
    one.export(tmp_path / "net.c")
    compiled(tmp_path / "net.c")
    command = ["cc", flag, "-c", "net.c"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode and "a missing number cannot be told from others" in done.stderr


def test_c_of_numbers_alone(tmp_path: Path) -> None:
    cells = {"weight": table()["weight"], "left": [20200101 + 100 * (i % 12) + i % 28 for i in range(ROWS)]}
    one = nl.TableRegressor(max_iter=5, random_state=0, device="numpy").fit(cells, np.array(cells["weight"]) * 3)
    one.export(tmp_path / "net.c", "answer")
    library = compiled(tmp_path / "net.c")
    library.predict_row = library.answer_row  # type: ignore[assignment]
    assert_same(library, one.model_, cells)
    assert "left, in days since 1970-01-01; NAN if" in (tmp_path / "net.c").read_text()


def test_a_name_that_the_file_has_for_something_else(tmp_path: Path) -> None:
    cells = table()
    one = nl.TableRegressor(max_iter=1, random_state=0, device="numpy").fit(cells, np.array(cells["weight"]) * 3)
    for name in ("number", "turn", "missing", "category", "texts", "values_0", "strcmp"):
        with pytest.raises(ValueError, match=rf"has a meaning of its own in the file|C allows, not '{name}'"):
            one.export(tmp_path / "net.c", name)
    assert not list(tmp_path.iterdir())
    one.export(tmp_path / "net.c", "weight")
    compiled(tmp_path / "net.c")


def test_the_head_of_the_file_gives_units(tmp_path: Path) -> None:
    cells = {
        "share": ["5 %", "7.5 %", "50 %"] * 4,
        "way": ["5 km", "7.5 km", "50 km"] * 4,
        "price": ["$1,000", "$2", "$3"] * 4,
        "married": [0, 1, 1] * 4,
        "lasted": np.arange(12).astype("m8[m]"),
        "born": [f"2020-01-{day:02}" for day in range(1, 13)],
        "met": [f"2020-01-01 {hour:02}:00" for hour in range(12)],
        "rooms": [1, 2, 3] * 4,
        "sold": ["yes", "no", "no"] * 4,
    }
    one = nl.TableRegressor(max_iter=1, random_state=0, device="numpy").fit(cells, np.arange(12.0))
    one.export(tmp_path / "net.c")
    compiled(tmp_path / "net.c")
    told = [line.strip() for line in (tmp_path / "net.c").read_text().splitlines() if line.endswith("is missing")]
    assert told == [
        "numbers[0]  share, in percent: 50 for 50 %; NAN if it is missing",
        "numbers[1]  way, in km, without the sign; NAN if it is missing",
        "numbers[2]  price, in $, without the sign; NAN if it is missing",
        "numbers[3]  married, 0 or 1 (1 for yes); NAN if it is missing",
        "numbers[4]  lasted, in seconds; NAN if it is missing",
        "numbers[5]  born, in days since 1970-01-01; NAN if it is missing",
        "numbers[6]  met, in days since 1970-01-01 (0.5 is noon); NAN if it is missing",
        "numbers[7]  rooms; NAN if it is missing",
        'texts[0]  sold, "no" or "yes", as in values_0; NULL if it is missing',
    ]


@pytest.mark.usefixtures("empty_folder")
def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    cells = table()
    one = nl.TableRegressor(max_iter=5, random_state=0, device="numpy").fit(cells, cells["weight"])
    one.save("model.safetensors")
    assert cli.main(["export", "model.safetensors", "net.c"]) == 0
    assert capsys.readouterr().out == "wrote net.c\n"
    assert_same(compiled(Path("net.c").absolute()), one.model_, cells)
    assert cli.main(["export", "model.safetensors", "net.txt"]) == 2
    assert "must end in .onnx or .c" in capsys.readouterr().err
    nl.mlp([2, 1], device="numpy").save("plain.safetensors")
    assert cli.main(["export", "plain.safetensors", "plain.c", "--function", "answer"]) == 0
    assert "void answer(const float *x, float *y)" in Path("plain.c").read_text()


def test_an_onnx_file_names_its_numbers_and_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    onnx = pytest.importorskip("onnx")
    cells = {"weight": table()["weight"], "side": table()["side"]}
    one = nl.TableClassifier(max_iter=2, random_state=0, device="numpy").fit(cells, table()["side"])
    one.model_.save(tmp_path / "net.safetensors")
    assert cli.main(["export", str(tmp_path / "net.safetensors"), str(tmp_path / "net.onnx")]) == 0
    assert "whose metadata names the numbers that it reads" in capsys.readouterr().out
    noted = {each.key: json.loads(each.value) for each in onnx.load(tmp_path / "net.onnx").metadata_props}
    assert noted == {"features": one.decisions_.features, "classes": ["left", "right"]}

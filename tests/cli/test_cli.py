"""The command line, as a user types it: what comes out, which files are written, what a mistake is answered with."""

from __future__ import annotations

import errno
import io
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import POSIX, write

import nnlite as nl
from nnlite import cli, startup, tables
from nnlite.cores import Cores

pytestmark = pytest.mark.usefixtures("empty_folder")
PNG = b"\x89PNG"


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """stdout of a command that works."""
    status = cli.main(list(argv))
    out, err = capsys.readouterr()
    assert status == 0, err
    return out


def mistake(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """The one line that a command with something wrong in it answers."""
    assert cli.main(list(argv)) == 2
    err = capsys.readouterr().err
    assert err.startswith("nnlite: ") and err.count("\n") == 1 and "Traceback" not in err
    return err.removeprefix("nnlite: ").rstrip()


def score(out: str) -> float:
    """The accuracy in percent, or R², of the last line."""
    last = out.splitlines()[-1]
    return float(
        last.partition("accuracy: ")[2].split()[0] if "accuracy" in last else last.partition("R² ")[2].split()[0]
    )


def flowers(rows: int = 90) -> str:
    """Three classes in columns of very different size, one of them constant."""
    rng = np.random.Generator(np.random.PCG64(0))
    kinds = np.arange(rows) % 3
    year, width = 1e6 + 3 * kinds + rng.normal(0, 0.3, rows), 1e-3 * rng.normal(kinds, 0.3)
    lines = [f"{a},{b},7,{['rose', 'lily', 'US$'][k]}" for a, b, k in zip(year, width, kinds)]
    return write("flowers.csv", "\n".join(["year,width,seven,kind", *lines]) + "\n")


def prices(rows: int = 80) -> str:
    rng = np.random.Generator(np.random.PCG64(0))
    x = rng.uniform([1, 30], [9, 200], (rows, 2))
    return write("prices.csv", "".join(f"{a},{b},{2000 * a + 3000 * b + 1e5}\n" for a, b in x))


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is drawn: with so little to learn, that would take most of the time."""
    monkeypatch.setattr("nnlite.cli.train._draw", lambda *_: iter(()))


# ---- train ------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize(
    ("name", "least"),
    [
        *[(gate, 100.0) for gate in ("and", "nand", "nor", "or", "xnor", "xor")],
        *[("blobs", 95.0), ("circles", 95.0), ("moons", 95.0), ("spirals", 95.0), ("sine", 0.95)],
        *[("digits", 96.0), ("iris", 90.0)],
    ],
)
def test_the_defaults_learn_each_data_set(name: str, least: float, capsys: pytest.CaptureFixture[str]) -> None:
    if name in ("digits", "iris"):
        pytest.importorskip("sklearn")
    assert score(run(capsys, "train", name, "--quiet", "--device", "numpy")) >= least


def test_a_model_of_a_named_set_reads_the_columns_as_measured(capsys: pytest.CaptureFixture[str]) -> None:
    """iris is trained on scaled columns, but whoever measures a flower has centimetres."""
    pytest.importorskip("sklearn")
    said = score(run(capsys, "train", "iris", "--quiet", "--device", "numpy"))
    raw = nl.datasets.iris(standardise=False)
    prediction = nl.load("out/model.safetensors", device="numpy").predict(raw.x_test)
    assert 100 * nl.metrics.Accuracy()(prediction, raw.y_test) == pytest.approx(said, abs=0.01)


def test_train_says_what_it_does_and_writes_everything(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", "xor", "--epochs", "7", "--out", "a/b", "--device", "numpy"]) == 0
    out, err = capsys.readouterr()
    assert "4 rows to learn from, 4 to test with; 2 columns -> 2 classes (0, 1)" in out
    assert "Dense(2, 8)" in out and "Sigmoid()" in out
    assert "epoch 7/7" in err, "the bar is shown on stderr"
    pictures = ["confusion_matrix.png", "decision_boundary.png", "learning_curve.png"]
    assert sorted(path.name for path in Path("a/b").iterdir()) == sorted(
        [*pictures, "history.csv", "model.safetensors"]
    )
    assert all(str(path) in out for path in Path("a/b").iterdir())
    assert all((Path("a/b") / name).read_bytes().startswith(PNG) for name in pictures)
    header, *rows = Path("a/b/history.csv").read_text().splitlines()
    assert header == "epoch,loss,accuracy,val_loss,val_accuracy"
    assert [row.split(",")[0] for row in rows] == [str(epoch) for epoch in range(1, 8)]
    assert nl.load("a/b/model.safetensors", device="numpy").predict([[0, 1]]).shape == (1, 1)


def test_quiet_prints_the_last_line_only(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", "sine", "--epochs", "1", "--quiet", "--device", "numpy"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("test: RMSE ") and out.count("\n") == 1 and err == ""
    assert sorted(path.name for path in Path("out").iterdir()) == [
        "history.csv",
        "learning_curve.png",
        "model.safetensors",
    ]


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("loss", list(nl.losses.LOSSES))
def test_every_loss_learns_classes(loss: str, capsys: pytest.CaptureFixture[str]) -> None:
    for data in ("moons", "blobs"):  # two classes and three
        options = ["--loss", loss, "--epochs", "30", "--device", "numpy", "--quiet"]
        assert score(run(capsys, "train", data, *options)) >= 80


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("loss", ["mse", "half_mse", "mae"])
def test_every_loss_for_numbers(loss: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert score(run(capsys, "train", prices(), "--loss", loss, "--quiet", "--device", "numpy")) > 0.9


def test_flags_reach_the_network_and_the_trainer(capsys: pytest.CaptureFixture[str]) -> None:
    options = shlex.split(
        "--layers 5,4 --activation softplus --optimizer sgd --lr 0.2 --epochs 3 --batch-size 7 --seed 3"
    )
    out = run(capsys, "train", "moons", *options, "--device", "numpy")
    assert "Dense(2, 5)" in out and "Dense(5, 4)" in out and "Softplus()" in out and "numpy" in out
    first = Path("out/history.csv").read_text()
    run(capsys, "train", "moons", *options, "--device", "numpy")
    assert Path("out/history.csv").read_text() == first, "one seed, one history"
    assert "Dense(2, 2)" in run(capsys, "train", "moons", "--layers", "none", "--epochs", "1", "--device", "numpy")


# ---- train on a file ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["kind", "3", "-1", None])
def test_a_table_of_classes(target: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["train", flowers(), "--device", "numpy", "--epochs", "60"] + (
        [] if target is None else ["--target", target]
    )
    out = run(capsys, *argv)
    assert "72 rows to learn from, 18 to test with; 2 columns (year, width)" in out
    assert re.search(r"^seven +left out +always the same$", out, re.MULTILINE)
    assert "3 classes (US$, lily, rose) of 'kind'" in out
    assert score(out) >= 90
    net = nl.load("out/model.safetensors", device="numpy")
    assert net.notes["classes"] == ["US$", "lily", "rose"]
    assert tables.Decisions.of(net.notes["decisions"]).features == ["year", "width"]


def test_a_two_column_table_gets_its_decision_boundary(capsys: pytest.CaptureFixture[str]) -> None:
    rows = "".join(f"{i / 2},{-i},{int(i > 10)}\n" for i in range(20))
    run(capsys, "train", write("two.csv", rows), "--quiet", "--epochs", "2", "--device", "numpy")
    assert Path("out/decision_boundary.png").read_bytes().startswith(PNG)


def test_a_table_of_numbers_is_predicted_in_its_own_unit(capsys: pytest.CaptureFixture[str]) -> None:
    assert score(run(capsys, "train", prices(), "--quiet", "--device", "numpy")) > 0.98
    x, y = np.split(np.loadtxt("prices.csv", delimiter=","), [2], axis=1)  # (80, 2), (80, 1)
    prediction = nl.load("out/model.safetensors", device="numpy").predict(x)
    assert nl.metrics.metric("r2")(prediction, y) > 0.98


WRONG = {  # more of them are in tests/tables
    "empty": ("", "1:1: the file is empty"),
    "header only": ("a,b,c\n", "2:1: there are no rows"),
    "too long": ("a,b\n1,2\n1,2,3\n", "3:3: 3 columns, but the first row has 2"),
    "one column": ("a\n1\n2\n3\n", "1:1: the target is the only column"),
    "nothing to learn from": ("a,b\n7,1\n7,2\n7,4\n", "1:1: no column is left to learn from: a always the same"),
    "target with a typing error": ("a,b\n1,1.5\n2,l.7\n3,2.5\n", "3:2: the text 'l.7' in a target of numbers"),
    "one class": ("a,b\n1,x\n2,x\n3,x\n", "2:2: the target holds one class only, 'x'"),
    "two rows": ("a,b\n1,x\n2,y\n", "3:2: too few rows"),
}


@pytest.mark.parametrize(("text", "answer"), WRONG.values(), ids=WRONG)
def test_a_wrong_file_is_answered_with_line_and_column(
    text: str | bytes, answer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mistake(capsys, "train", write("t.csv", text)).startswith(f"t.csv:{answer}")
    assert not Path("out").exists()


def test_a_missing_file_and_a_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert mistake(capsys, "train", "no.csv").startswith("no.csv:1:1: there is no such file")
    Path("folder").mkdir()
    assert mistake(capsys, "train", "folder").startswith("folder:1:1: this is a folder")


# ---- predict ------------------------------------------------------------------------------------------------------


def test_predict_answers_every_row_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "train", flowers(), "--device", "numpy", "--quiet", "--epochs", "60")
    with_target = run(capsys, "predict", "out/model.safetensors", "flowers.csv", "--device", "numpy")
    header, *rows = with_target.splitlines()
    assert header == "kind,probability" and len(rows) == 90
    known = [line.rpartition(",")[2] for line in Path("flowers.csv").read_text().splitlines()[1:]]
    assert np.mean([row.split(",")[0] == kind for row, kind in zip(rows, known)]) > 0.9
    assert all(1 / 3 <= float(row.split(",")[1]) <= 1 for row in rows)

    all_classes = run(capsys, "predict", "out/model.safetensors", "flowers.csv", "--device", "numpy", "--probabilities")
    head, *wide = (line.split(",") for line in all_classes.splitlines())
    assert head == ["kind", "probability", *(f"probability of {name}" for name in ("US$", "lily", "rose"))]
    assert [row[:2] for row in wide] == [row.split(",") for row in rows]
    shares = np.array([row[2:] for row in wide], float)
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-5)
    assert [head[2 + k] for k in shares.argmax(axis=1)] == [f"probability of {row[0]}" for row in wide]
    assert all(row[1] in row[2:] for row in wide)

    lines = [line.rpartition(",")[0] for line in Path("flowers.csv").read_text().splitlines()]
    write("features.csv", "\n".join(lines))
    assert run(capsys, "predict", "out/model.safetensors", "features.csv", "--device", "numpy") == with_target
    write("bare.csv", "\n".join(lines[1:]))
    bare = run(capsys, "predict", "out/model.safetensors", "bare.csv", "--device", "numpy", "--out", "p.csv")
    assert bare == "" and Path("p.csv").read_text().splitlines() == rows, "no header for a file without one"
    turned = [",".join(reversed(line.split(","))) for line in lines]
    write("turned.csv", "\n".join(turned))
    assert run(capsys, "predict", "out/model.safetensors", "turned.csv", "--device", "numpy") == with_target


def test_predict_numbers_and_two_classes_with_one_output(capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "train", prices(), "--device", "numpy", "--quiet", "--epochs", "2")
    write("x.csv", "3,100\n4,120\n")
    assert [len(row.split(",")) for row in run(capsys, "predict", "out/model.safetensors", "x.csv").splitlines()] == [
        1,
        1,
    ]
    answer = mistake(capsys, "predict", "out/model.safetensors", "x.csv", "--probabilities")
    assert answer == "--probabilities is for classes, but out/model.safetensors predicts numbers"
    run(capsys, "train", "xor", "--device", "numpy", "--quiet")
    write("x.csv", "0,0\n0,1\n1,0\n1,1\n")
    rows = [row.split(",") for row in run(capsys, "predict", "out/model.safetensors", "x.csv").splitlines()]
    assert [row[0] for row in rows] == ["0", "1", "1", "0"] and all(float(row[1]) > 0.5 for row in rows)
    wide = run(capsys, "predict", "out/model.safetensors", "x.csv", "--probabilities").splitlines()
    assert all(float(row.split(",")[2 + int(row[0])]) > 0.5 for row in wide)


def test_predict_refuses_what_does_not_fit(capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "train", flowers(), "--device", "numpy", "--quiet", "--epochs", "1")
    model = "out/model.safetensors"
    answer = mistake(capsys, "predict", model, write("x.csv", "year,height,seven\n1,2,7\n"))
    assert answer == "x.csv:1:1: there is no column 'width', which the model reads; the table has year, height, seven"
    answer = mistake(capsys, "predict", model, write("x.csv", "1,2,3,4,5\n"))
    assert answer == "x.csv:1:6: 5 columns, but the model was trained on 4: year, width, seven, kind"
    assert mistake(capsys, "predict", model, "no.csv").startswith("no.csv:1:1: there is no such file")
    with pytest.raises(FileNotFoundError) as missing:  # each system has its own words for it
        Path("no.safetensors").read_bytes()
    why = missing.value.strerror
    assert why == "No such file or directory" or os.name == "nt"
    assert mistake(capsys, "predict", "no.safetensors", "x.csv") == f"no.safetensors: {why}"
    assert mistake(capsys, "predict", "x.csv", "x.csv").startswith("x.csv: not a model file")
    assert mistake(capsys, "predict", model, "flowers.csv", "--out", "no/p.csv") == f"no/p.csv: {why}"


@pytest.mark.parametrize("notes", [{"classes": "ab"}, {"classes": ["a"]}, {"classes": [1, 2]}, {"decisions": {}}])
def test_predict_refuses_notes_that_do_not_fit(notes: dict[str, object], capsys: pytest.CaptureFixture[str]) -> None:
    nl.mlp([2, 2], output="softmax", device="numpy").save("m.safetensors", notes)
    assert "its notes name other" in mistake(capsys, "predict", "m.safetensors", write("x.csv", "1,2\n"))


def test_predict_with_a_model_that_has_no_notes(capsys: pytest.CaptureFixture[str]) -> None:
    nl.mlp([2, 3], device="numpy").save("m.safetensors")
    out = run(capsys, "predict", "m.safetensors", write("x.csv", "a,b\n1,2\n"))
    assert out.splitlines()[0] == "prediction 0,prediction 1,prediction 2" and out.count("\n") == 2


def people(rows: int = 70) -> str:
    """A table as people have them: row names, text, gaps, dates, money, codes as classes."""
    rng = np.random.Generator(np.random.PCG64(0))
    lines = [",town,since,income,age,code"]
    for i in range(rows):
        age, town = int(rng.integers(20, 80)), ["Rome", "Oslo", "Bonn"][i % 3]
        code = "NA" if i % 30 == 11 else "007" if age > 50 else "012"
        lines.append(f'{i},{town},2012-{i % 12 + 1:02d}-01,"${age * 1000 + i:,}",{"" if i % 9 == 4 else age},{code}')
    return write("people.csv", "\n".join(lines) + "\n")


def test_a_real_table_from_training_to_prediction(capsys: pytest.CaptureFixture[str]) -> None:
    Path("out").mkdir()
    write("out/decision_boundary.png", "of an earlier model")
    write("out/notes.txt", "the user's own")
    out = run(capsys, "train", people(), "--device", "numpy", "--lr", "0.03")
    assert re.search(r"^row names +left out +counts the rows$", out, re.MULTILINE)
    assert re.search(r"^age +number +8 +filled with the median", out, re.MULTILINE)
    assert "left out: 2 rows without a value of 'code'" in out and "2 classes (007, 012) of 'code'" in out
    assert "always '0" in out and "logistic regression on the same columns: " in out and "\nrecall: 007 " in out
    assert sorted(path.name for path in Path("out").iterdir()) == [
        *("confusion_matrix.png", "history.csv", "importance.png", "learning_curve.png"),
        *("model.safetensors", "notes.txt"),
    ], "nothing stale, nothing of the user's lost"
    assert score(out) >= 80

    write("new.csv", "income;age;extra;since;town\n$30,000;30;x;2012-03-01;Paris\n$70,000;;y;2012-04-01;Rome\n")
    assert cli.main(["predict", "out/model.safetensors", "new.csv", "--device", "numpy"]) == 0
    rows, told = capsys.readouterr()
    assert [line.split(",")[0] for line in rows.splitlines()] == ["code", "012", "007"]
    assert told.splitlines() == [
        "nnlite: new.csv: ignored: extra",
        "nnlite: new.csv: town: 1 value never seen in training, such as 'Paris', in 1 of 2 cells; taken as missing",
    ]


def test_a_tables_options(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["train", people(), "--device", "numpy", "--epochs", "1"]
    out = run(capsys, *argv, "--target", "age", "--ignore", "income,code", "--categorical", "since", "--drop-missing")
    assert re.search(r"^income +left out +as asked$", out, re.MULTILINE)
    assert re.search(r"^since +category +text, 12 values, as asked$", out, re.MULTILINE)
    assert "the mean for every row: RMSE " in out and "ridge regression on the same columns: RMSE " in out
    assert Path("out/predicted.png").read_bytes().startswith(PNG)
    assert "a number of 'income'" in run(capsys, *argv, "--target", "income", "--task", "regression")
    assert "6 columns" not in run(capsys, *argv, "--header", "yes")


def test_several_problems_have_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", people(), "--target", "x", "--ignore", "y"]) == 2
    told = capsys.readouterr().err.splitlines()
    assert [line.partition(";")[0] for line in told] == [
        "nnlite: people.csv:1:1: no column is called 'x'",
        "nnlite: people.csv:1:1: no column is called 'y'",
    ]


def test_a_table_from_standard_input(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    text = Path(flowers()).read_bytes()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text)))
    assert score(run(capsys, "train", "-", "--device", "numpy", "--quiet", "--epochs", "40")) >= 80


# ---- info and mistakes --------------------------------------------------------------------------------------------


def test_info_says_why_there_are_no_more_threads(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Cores(6, 3, ["it is bound to 6"], ["3 second threads of a core (SMT)"])
    monkeypatch.setattr("nnlite.cli.info.usable", lambda: found)
    lines = {line[:21].strip(): line[21:].strip() for line in run(capsys, "info").splitlines()}
    assert lines["CPUs"].endswith("of which this process may use 6 (it is bound to 6)")
    assert lines["threads by default"] == "3 (3 second threads of a core (SMT))"


def test_info_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    lines = {line[:21].strip(): line[21:].strip() for line in run(capsys, "info").splitlines()}
    assert lines["nnlite"] == nl.__version__ and lines["numpy"] == np.__version__
    assert lines["device numpy"].startswith("yes: ")
    told = {"python", "numba", "matplotlib", "cupy", "OMP_NUM_THREADS", "OPENBLAS_CORETYPE", "BLAS"}
    assert told <= set(lines)
    assert re.match(r"(/|[A-Z]:).*: \d+ files, [\d.]+ MB of at most 64|none: |not kept: ", lines["machine code"])
    with pytest.raises(SystemExit) as end:
        cli.main(["--version"])
    assert end.value.code == 0 and capsys.readouterr().out == f"nnlite {nl.__version__}\n"


@pytest.mark.parametrize(
    ("argv", "answer"),
    [
        ("", "COMMAND"),
        ("teach", "invalid choice: 'teach'"),
        ("train", "NAME|FILE"),
        ("train digitz", "'digitz' is neither a file here nor a data set; these are and, blobs"),
        ("train xor --lr nan", "lr must be finite and above 0, not nan"),
        ("train xor --lr 0", "lr must be finite and above 0"),
        ("train xor --lr x", "invalid float value: 'x'"),
        ("train xor --epochs 2.5", "invalid int value: '2.5'"),
        ("train xor --epochs -1", "--epochs must be at least 1, not -1"),
        ("train xor --epochs 0", "--epochs must be at least 1, not 0"),
        ("train xor --batch-size 0", "--batch-size must be at least 1, not 0"),
        ("train xor --seed -1", "--seed must be at least 0, not -1"),
        ("train xor --layers 8,0", "'8,0' must be whole numbers of at least 1"),
        ("train xor --layers 8;4", "'8;4' must be whole numbers of at least 1"),
        ("train xor --activation rellu", "invalid choice: 'rellu'"),
        ("train xor --loss hubert", "invalid choice: 'hubert'"),
        ("train xor --optimizer adan", "invalid choice: 'adan'"),
        ("train xor --device tpu", "device='tpu' is not known"),
        ("train xor --target 1", "--target is for files"),
        ("train sine --loss cce", "--loss cce is for classes"),
        ("train prices.csv --loss cce", "is no class, which is a text or a whole number; try --task regression"),
        (
            "train flowers.csv --target colour",
            "flowers.csv:1:1: no column is called 'colour'; the table has 'year'",
        ),
        ("train flowers.csv --target 4", "flowers.csv:1:1: no column 4: there are 4, 0 … 3"),
        ("train xor --out prices.csv", "prices.csv: this is a file; choose another --out, which is a folder"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(argv: str, answer: str, capsys: pytest.CaptureFixture[str]) -> None:
    flowers(), prices()
    assert answer in mistake(capsys, *argv.split())
    assert not Path("out").exists()


def test_a_diverging_run(capsys: pytest.CaptureFixture[str]) -> None:
    argv = shlex.split("train moons --lr 1e38 --optimizer sgd --activation relu --quiet --device numpy")
    assert mistake(capsys, *argv).startswith("training diverged: ")


def test_names_from_other_libraries(capsys: pytest.CaptureFixture[str]) -> None:
    """They are understood as in Python."""
    argv = shlex.split("train moons --loss crossentropy --activation swish --optimizer AdamW --epochs 2 --device numpy")
    assert cli.main(argv) == 0
    assert "SiLU()" in capsys.readouterr().out


def test_a_device_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    if nl.devices()["cupy"].available:
        pytest.skip("this machine has a GPU")
    assert mistake(capsys, "train", "xor", "--device", "gpu").startswith("device 'cupy' cannot be used: ")


def test_ctrl_c(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(nl.Trainer, "fit", interrupted)
    assert cli.main(["train", "xor", "--quiet", "--device", "numpy"]) == 130
    assert capsys.readouterr().err == "nnlite: stopped by Ctrl-C\n"


# ---- as a process of its own ----------------------------------------------------------------------------------------


def test_python_m_nnlite_needs_no_screen() -> None:
    """Nor does it keep the first epoch waiting for the import of what draws."""
    code = "import sys, runpy, nnlite as nl; fit = nl.Trainer.fit\n"
    code += "def watched(*a, **k): assert 'matplotlib' not in sys.modules; return fit(*a, **k)\n"
    code += "nl.Trainer.fit = watched; sys.argv = ['nnlite', 'train', 'and', '--quiet', '--device', 'numpy']\n"
    code += "try: runpy.run_module('nnlite', run_name='__main__')\n"
    code += "except SystemExit as end: assert end.code == 0, end.code\n"
    code += "assert 'matplotlib.pyplot' not in sys.modules"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "test accuracy: 100.00 % (4 of 4 rows)\n"


def test_a_reader_that_leaves_does_not_stop_the_training() -> None:
    argv = [sys.executable, "-m", "nnlite", "train", "xor", "--epochs", "3", "--device", "numpy"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()  # what `| head -0` does
        err = process.stderr.read()
    assert process.returncode == 0 and b"Error" not in err
    assert Path("out/model.safetensors").exists() and Path("out/learning_curve.png").exists()


TRAINING = [sys.executable, "-m", "nnlite", "train", "moons", "--device", "numpy"]


@POSIX
def test_sigterm_leaves_the_model_of_the_finished_epochs() -> None:
    argv = [*TRAINING, "--epochs", "1000000"]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("epoch 1/1000000: loss=")
        process.terminate()
        *_, last = process.stderr.read().splitlines()
    assert process.returncode == 143
    assert last.startswith("nnlite: stopped by SIGTERM after ") and "of 1000000 epochs; wrote out/model" in last
    epochs = int(last.split()[5])
    header, *rows = Path("out/history.csv").read_text().splitlines()
    assert header.startswith("epoch,loss") and len(rows) == epochs >= 1
    assert nl.load("out/model.safetensors", device="numpy").notes["data"] == "moons"


def test_sigterm_before_the_first_epoch_writes_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(nl.Trainer, "fit", lambda *_, **__: signal.raise_signal(signal.SIGTERM))
    assert cli.main(["train", "xor", "--quiet", "--device", "numpy"]) == 143
    told = "nnlite: stopped by SIGTERM before the first epoch had ended; nothing was written\n"
    assert capsys.readouterr().err == told and not list(Path("out").iterdir())
    assert signal.getsignal(signal.SIGTERM) is before


@POSIX
@pytest.mark.parametrize("data", ["xor", "flowers.csv"])
def test_a_training_that_was_stopped_goes_on(data: str, capsys: pytest.CaptureFixture[str]) -> None:
    flowers()
    argv = ["train", data, "--device", "numpy", "--epochs", "300"]
    run(capsys, *argv, "--out", "whole")
    command = [sys.executable, "-m", "nnlite", *argv]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        process.stderr.readline()
        process.terminate()
        *_, last = process.stderr.read().splitlines()
    assert process.returncode == 143 and last.endswith("; --resume out goes on")
    if data == "flowers.csv":
        use = [["predict", f"out/{name}.safetensors", data, "--device", "numpy"] for name in ("checkpoint", "model")]
        first, second = (run(capsys, *each) for each in use)
        assert first == second, "the checkpoint is a model too, which scales the columns"
    assert re.search(r"going on from out/checkpoint.safetensors, after \d+ ep", run(capsys, *argv, "--resume", "out"))
    assert not Path("out/checkpoint.safetensors").exists(), "the model is complete"
    for name in ("history.csv", "model.safetensors"):
        assert Path("out", name).read_bytes() == Path("whole", name).read_bytes()


@POSIX
@pytest.mark.parametrize("data", [["moons", "--epochs", "20"], ["flowers.csv"]], ids=["moons", "flowers.csv"])
def test_a_killed_training_goes_on_from_its_last_checkpoint(data: list[str]) -> None:
    flowers()
    code = "import sys, os, signal; from nnlite.cli import main, train; import nnlite as nl; train.SECONDS = 0.0\n"
    code += "save = nl.Trainer.save\n"
    code += "def killed(trainer, path):\n"
    code += "    save(trainer, path)\n"
    code += "    if len(trainer.history['loss']) == 7: os.kill(os.getpid(), signal.SIGKILL)\n"
    code += "nl.Trainer.save = killed; main(sys.argv[1:])"
    argv = ["train", *data, "--device", "numpy"]
    assert subprocess.run([sys.executable, "-c", code, *argv], capture_output=True).returncode == -signal.SIGKILL
    assert Path("out/checkpoint.safetensors").exists()
    assert cli.main([*argv, "--out", "whole", "--quiet"]) == 0
    assert cli.main([*argv, "--resume", "out", "--quiet"]) == 0
    for name in ("history.csv", "model.safetensors"):
        assert Path("out", name).read_bytes() == Path("whole", name).read_bytes()


def test_what_resume_refuses(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    argv = ["train", "moons", "--device", "numpy", "--epochs", "3"]
    assert mistake(capsys, *argv, "--resume", "nowhere").startswith("nowhere: --resume needs the folder")
    Path("empty").mkdir()
    assert "there is no checkpoint in empty: the training begins" in run(capsys, *argv, "--resume", "empty")
    monkeypatch.setattr(nl.Checkpoint, "after_epoch", lambda self, trainer, epoch: trainer.save(self.path))
    monkeypatch.setattr("os.unlink", lambda path: None)
    run(capsys, *argv)
    for option, message in (
        (
            ["--lr", "0.5"],
            f"{Path('out/checkpoint.safetensors')} was written with --lr 0.01, and not 0.5: give the same",
        ),
        (["--layers", "3"], "with --layers [16, 16], and not [3]"),
        (["--seed", "1"], "with --seed 0, and not 1"),
        (["--epochs", "2"], "3 epochs done, now epochs=2 in all"),
    ):
        assert message in mistake_last(capsys, *argv, *option, "--resume", "out")
    table = ["train", flowers(), "--device", "numpy", "--out", "table"]
    run(capsys, *table, "--epochs", "3")
    for option, message in (
        (["--epochs", "3", "--drop-missing"], "with --drop-missing False, and not True"),
        (["--epochs", "3", "--ignore", "width"], "with --ignore [], and not ['width']"),
        ([], "with --epochs given, and not found: give the same"),
    ):
        assert message in mistake_last(capsys, *table, *option, "--resume", "table")
    Path("out/checkpoint.safetensors").write_bytes(Path("out/model.safetensors").read_bytes())
    assert "is not a checkpoint of nnlite train" in mistake_last(capsys, *argv, "--resume", "out")


def test_resume_replaces_no_model_of_other_data(capsys: pytest.CaptureFixture[str]) -> None:
    xor = ["train", "xor", "--device", "numpy", "--epochs", "2"]
    run(capsys, *xor)
    before = Path("out/model.safetensors").read_bytes()
    told = mistake_last(capsys, "train", "and", "--device", "numpy", "--epochs", "2", "--resume", "out")
    assert "out holds a model of xor, whose training has ended, and no checkpoint of and: give another folder" in told
    assert Path("out/model.safetensors").read_bytes() == before
    assert "the training begins" in run(capsys, *xor, "--resume", "out")
    nl.mlp([2, 3, 1], device="numpy").save("out/model.safetensors")
    assert "out holds a model of something else" in mistake_last(capsys, *xor, "--resume", "out")


def test_a_checkpoint_that_another_training_replaces_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    xor = ["train", "xor", "--device", "numpy", "--epochs", "2"]
    with monkeypatch.context() as patch:
        patch.setattr(nl.Checkpoint, "after_epoch", lambda self, trainer, epoch: trainer.save(self.path))
        patch.setattr("os.unlink", lambda path: None)
        assert "checkpoint" not in run(capsys, *xor)
    told = "out has the checkpoint of a training that was stopped, which this one replaces; --resume out would go on"
    assert told not in run(capsys, *xor, "--resume", "out", "--out", "other")
    assert told in run(capsys, *xor)
    assert not Path("out/checkpoint.safetensors").exists() and told not in run(capsys, *xor)


@POSIX
def test_a_full_stdout_loses_no_model_but_is_told() -> None:
    for command in (TRAINING[2:] + ["--epochs", "2"], ["nnlite", "info"], ["nnlite", "--version"]):
        with open("/dev/full", "w") as full:
            argv = [sys.executable, "-m", *command]
            done = subprocess.run(argv, stdout=full, stderr=subprocess.PIPE, text=True)
        assert done.returncode == 2
        assert done.stderr.splitlines()[-1] == "nnlite: standard output: No space left on device"
        assert "Traceback" not in done.stderr
    assert Path("out/model.safetensors").exists() and Path("out/learning_curve.png").exists()


def test_a_picture_that_cannot_be_drawn_does_not_cost_the_model() -> None:
    environment = os.environ | {"MPLBACKEND": "bogus"}
    argv = [*TRAINING, "--epochs", "2", "--quiet"]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1 and "'bogus'" in done.stderr
    assert {path.name for path in Path("out").iterdir()} == {"model.safetensors", "history.csv"}


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        ("sys.modules['matplotlib.figure'] = None", "pip install matplotlib"),
        ("import matplotlib.font_manager as f; f.FontManager.findfont = no", "no folder for fonts"),
    ],
)
def test_without_pictures_there_is_a_score(broken: str, told: str) -> None:
    code = f"""
import sys
def no(*a, **k): raise OSError("no folder for fonts")
{broken}
from nnlite import cli
sys.exit(cli.main({[*TRAINING[3:], "--epochs", "2"]!r}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    assert f"the pictures are left out: {'' if told.startswith('no') else 'import of '}" in done.stdout
    assert told in done.stdout and "test accuracy" in done.stdout.splitlines()[-1]
    assert Path("out/model.safetensors").exists()


def test_answers_that_stdout_cannot_show_are_not_lost(capsys: pytest.CaptureFixture[str]) -> None:
    names = [["mäßig", "gut"][i % 2] for i in range(40)]
    data = write("p.csv", "\n".join(["a,b,kind", *(f"{i % 2},{i % 7},{name}" for i, name in enumerate(names))]) + "\n")
    run(capsys, "train", data, "--target", "kind", "--epochs", "2", "--quiet", "--device", "numpy")
    argv = [sys.executable, "-m", "nnlite", "predict", "out/model.safetensors", data, "--device", "numpy"]
    ascii = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run(argv, env=ascii, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    assert "stdout is ascii, which has no '\\xe4': set PYTHONIOENCODING=utf-8, or --out FILE" in done.stderr


@POSIX
@pytest.mark.parametrize(
    ("redirected", "told"), [(">&-", "stdout is closed: --out FILE"), ("<&-", "stdin is closed, so there is no table")]
)
def test_closed_streams_are_told(redirected: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    data = flowers()
    run(capsys, "train", data, "--target", "kind", "--epochs", "2", "--quiet", "--device", "numpy")
    table = "-" if redirected == "<&-" else data
    command = f"{sys.executable} -m nnlite predict out/model.safetensors {table} --device numpy {redirected}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
    assert done.returncode == 2 and told in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["model.safetensors", "history.csv", "learning_curve.png", "p.csv"])
def test_a_file_that_cannot_be_written_is_named(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("out").mkdir()
    path = Path("out") / name
    path.mkdir()
    argv = ["train", "sine", "--epochs", "1", "--device", "numpy"]
    if name == "p.csv":
        nl.mlp([1, 1], device="numpy").save("m.safetensors")
        argv = ["predict", "m.safetensors", write("x.csv", "1\n"), "--out", str(path)]
    told = mistake_last(capsys, *argv)
    assert told == f"nnlite: {path}: Is a directory" or (os.name == "nt" and told.startswith(f"nnlite: {path}: "))


@POSIX
def test_a_full_disk_is_told_with_the_name_of_the_file() -> None:
    def limited(*argv: str) -> str:
        """stderr of a command that may write files of up to 8 KiB."""
        code = "import resource, sys\nresource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))\n"
        code += "from nnlite.cli import main\nsys.exit(main())"
        done = subprocess.run([sys.executable, "-c", code, *argv], capture_output=True, text=True)
        assert done.returncode == 2
        return done.stderr

    answer = limited("train", "sine", "--epochs", "1", "--device", "numpy", "--quiet")
    assert answer == "nnlite: out/learning_curve.png: File too large\n"
    assert sorted(path.name for path in Path("out").iterdir()) == ["history.csv", "model.safetensors"]
    rows = write("x.csv", "1\n" * 5000)
    answer = limited("predict", "out/model.safetensors", rows, "--device", "numpy", "--out", "p.csv")
    assert answer == "nnlite: p.csv: File too large\n" and not Path("p.csv").exists()


def mistake_last(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """The last line on stderr, below the progress, of a command that fails."""
    assert cli.main(list(argv)) == 2
    return capsys.readouterr().err.splitlines()[-1]


# ---- Ctrl-C while everything is imported ----------------------------------------------------------------------------

IMPORTING = """
import os, signal, sys
sys.argv, sys.orig_argv = {argv}
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == {name!r}:
            os.kill(os.getpid(), signal.SIGINT)
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a job in the background would ignore
sys.meta_path.insert(0, Finder())
import nnlite.cli
"""
ONE_LINE = (130, "nnlite: stopped by Ctrl-C\n")


@POSIX
@pytest.mark.parametrize("name", ["numpy", "nnlite.trainer", "argparse"])
@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["/bin/nnlite", "info"], ONE_LINE),
        (["-m", "info"], ONE_LINE),
        (["/home/me/train.py"], None),
        (["-c"], None),
    ],
)
def test_ctrl_c_while_importing(name: str, argv: list[str], expected: tuple[int, str] | None) -> None:
    original = ["python", "-X", "dev", "-m", "nnlite", "info"] if argv[0] == "-m" else ["python", *argv]
    code = IMPORTING.format(argv=(argv, original), name=name)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if expected:
        assert (done.returncode, done.stderr) == expected
    else:
        assert done.returncode != 130 and "Traceback" in done.stderr, "another program's Ctrl-C is its own"


def test_what_starts_the_command_line() -> None:
    for argv, original in ((["-m"], ["python", "-m", "pytest"]), (["/x/nnlite.py"], ["python", "nnlite.py"]), ([], [])):
        assert not startup.is_command(argv, original)
    for argv, original in ((["-m"], ["python", "-mnnlite"]), (["nnlite"], ["python", "/bin/nnlite"])):
        assert startup.is_command(argv, original)


# ---- the folder of the results --------------------------------------------------------------------------------------


def test_two_commands_do_not_write_into_one_folder(capsys: pytest.CaptureFixture[str]) -> None:
    """The other process holds the folder until it is killed, which leaves the lock file there, but unlocked."""
    code = (
        "import sys; from nnlite.cli import output\nwith output.folder('out'): print(1, flush=True), sys.stdin.read()"
    )
    other = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdin and other.stdout and other.stdout.readline() == f"1{os.linesep}".encode()
    command = ["train", "xor", "--epochs", "1", "--device", "numpy", "--quiet"]
    for argv in (command, ["bench", "--devices", "numpy", "--seconds", "0.001"]):
        told = mistake(capsys, *argv)
        assert told.startswith("out: another nnlite is writing into this folder; wait until it has ended, or choose")
    assert os.listdir("out") == [".nnlite-lock"]
    other.kill()
    other.communicate()
    assert os.listdir("out") == [".nnlite-lock"]
    run(capsys, *command)
    assert Path("out/model.safetensors").exists() and not Path("out/.nnlite-lock").exists()


def test_the_score_is_said_though_a_picture_cannot_be_written(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["train", flowers(), "--epochs", "1", "--device", "numpy"]
    expected = run(capsys, *command).splitlines()

    def full(path: os.PathLike[str], content: str | bytes) -> None:
        if Path(path).name.startswith(lost):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), os.fspath(path))

    monkeypatch.setattr(cli.output, "write", full)
    for lost in ("learning_curve", "importance", "history"):
        assert cli.main(command) == 2
        out, err = capsys.readouterr()
        assert out.splitlines()[-4:] == expected[-4:]
        assert re.fullmatch(f"nnlite: {re.escape(str(Path('out', lost)))}.*: No space left .*", err.splitlines()[-1])


def test_predict_counts_the_cells_that_it_cannot_read(capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "train", flowers(), "--epochs", "1", "--device", "numpy")
    write("new.csv", "year,width,seven\n1e6,0.001,7\n1e6,wide,7\n")
    assert cli.main(["predict", "out/model.safetensors", "new.csv", "--device", "numpy"]) == 0
    assert (
        capsys.readouterr().err
        == "nnlite: new.csv: width: no number in 1 of 2 cells, such as 'wide'; taken as missing\n"
    )
    write("new.csv", "year,width,seven\n1e6,narrow,7\n1e6,wide,7\n")
    told = mistake(capsys, "predict", "out/model.safetensors", "new.csv", "--device", "numpy")
    assert told.startswith("new.csv:2:2: no cell of 'width' is a number, which the model reads there: 'narrow'")

"""How many real tables `nnlite train` takes as they are, and how well it predicts them, beside others.

    python benchmarks/tables.py --folder FOLDER            # writes the tables there, trains each, prints the table

The tables come out of packages (table_files.py says which to install); nothing is downloaded. Each is given to the
command line as a file, with no other option than its target. Beside its score on the rows held back stand those of the
mean or the most frequent class, of ridge or logistic regression, and of scikit-learn's MLP with its defaults, all on
the same rows and columns, which are scaled alike.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import table_files

import nnlite as nl
from nnlite.cli import main
from nnlite.tables import baselines
from nnlite.tables.scaling import Scale


class Score(NamedTuple):
    """R² or the accuracy of each model on the rows held back."""

    name: str
    shape: tuple[int, int]
    classes: bool
    simplest: float
    linear: float
    sklearn: float
    nnlite: float
    seconds: float


def trained(file: table_files.File, seed: int, out: str) -> tuple[nl.Sequential, float] | str:
    """Train by the command line: the network and the seconds, or what it answered."""
    said, start = io.StringIO(), time.perf_counter()
    argv = ["train", str(file.path), "--seed", str(seed), "--out", out, "--quiet"]
    argv += ["--target", file.target] if file.target else []
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        status = main(argv)
    if status:
        return said.getvalue().strip()
    return nl.load(Path(out) / "model.safetensors", device="numpy"), time.perf_counter() - start


def score(file: table_files.File, seed: int, out: str, peer: bool) -> Score | str:
    """The scores on one table, or why it was refused."""
    found = trained(file, seed, out)
    if isinstance(found, str):
        return found
    net, seconds = found
    prepared = nl.tables.prepare(str(file.path), file.target or -1, seed=seed)
    x, y, x_test, y_test = prepared.split
    assert prepared.decisions.target
    classes = prepared.decisions.target.classes
    scale = Scale.of(x)
    other = sklearn(scale.apply(x), y, scale.apply(x_test), bool(classes), seed) if peer else None
    if classes:
        usual = np.full(len(y_test), np.bincount(y).argmax())
        answers = [usual, baselines.logistic(x, y, len(classes), x_test), other, net.predict(x_test).argmax(axis=1)]
        values = [np.nan if answer is None else float((answer == y_test).mean()) for answer in answers]
    else:
        mean = np.repeat(y.mean(axis=0)[None], len(y_test), axis=0)
        answers = [mean, baselines.ridge(x, y, x_test), other, net.predict(x_test)]
        values = [np.nan if answer is None else r2(answer, y_test) for answer in answers]
    return Score(file.name, (prepared.table.rows, len(prepared.table.names)), bool(classes), *values, seconds)


def r2(prediction: np.ndarray, y: np.ndarray) -> float:
    errors = np.square(prediction.reshape(y.shape) - y).sum()
    return float(1 - errors / max(np.square(y - y.mean()).sum(), 1e-300))


def sklearn(x: np.ndarray, y: np.ndarray, new: np.ndarray, classes: bool, seed: int) -> Any:
    """The predictions of scikit-learn's MLP with its defaults."""
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that 200 epochs were not enough
        if classes:
            return MLPClassifier(random_state=seed).fit(x, y).predict(new)
        middle, deviation = y.mean(), y.std() or 1.0
        fitted = MLPRegressor(random_state=seed).fit(x, (y[:, 0] - middle) / deviation)
        return fitted.predict(new) * deviation + middle


def table(scores: list[Score], refused: dict[str, str]) -> str:
    """All scores and their means, and how many tables were trained."""
    lines = [
        f"{'table':36}{'rows':>7}{'cols':>5}  {'':8}{'simplest':>9}{'linear':>9}{'sklearn':>9}{'nnlite':>9}{'s':>7}"
    ]
    for one in scores:
        kind, (rows, columns) = "accuracy" if one.classes else "R²", one.shape
        numbers = "".join(f"{value:9.3f}" for value in one[3:7])
        lines.append(f"{one.name:36}{rows:7}{columns:5}  {kind:8}{numbers}{one.seconds:7.1f}")
    for classes, kind in ((True, "accuracy"), (False, "R²")):
        chosen = np.array([one[3:7] for one in scores if one.classes is classes])
        if len(chosen):
            numbers = "".join(f"{value:9.4f}" for value in chosen.mean(axis=0))
            lines.append(f"{f'mean {kind} of {len(chosen)} tables':56}{numbers}")
    lines += [f"refused: {name}: {told}" for name, told in refused.items()]
    names = {one.name for one in scores}
    return "\n".join([*lines, f"{len(names)} of {len(names | refused.keys())} tables train as they are"])


def run() -> None:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--folder", type=Path, help="where the tables are written (default: a temporary one)")
    made.add_argument("--seeds", type=int, nargs="+", default=[0], help="for split and first weights (default: 0)")
    made.add_argument("--without-sklearn", action="store_true", help="in a tenth of the time")
    made.add_argument("--only", nargs="+", help="parts of names")
    made.add_argument("--out", type=Path, metavar="FILE", help="also write the table there")
    options = made.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        scores, refused = [], {}
        for file in table_files.write(options.folder or Path(temporary) / "tables"):
            if options.only and not any(part in file.name for part in options.only):
                continue
            for seed in options.seeds:
                one = score(file, seed, f"{temporary}/out", not options.without_sklearn)
                if isinstance(one, str):
                    refused[file.name] = one
                    break
                scores.append(one)
    text = table(scores, refused)
    print(text)
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    run()

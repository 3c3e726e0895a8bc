"""nnlite's estimators beside scikit-learn's: what they score on rows that they have not seen, and how long they take.

`python benchmarks/estimators.py` takes all data; names of data or of other jobs take only these. Both sides have their
defaults, the same rows and the same random_state, and are fitted by turns, in one process for all seeds. Features are
scaled to mean 0 and variance 1, targets of regressions too. One fit of each side comes before, whose time does not
count: nnlite's loads what it has compiled, which is shown apart.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from processes import answer, child
from report import table

CLASSES, NUMBERS = ("digits", "iris", "wine", "breast_cancer", "classes_20000"), ("diabetes", "numbers_20000")
NNLITE, SCIKIT_LEARN = "nnlite", "scikit-learn"


def problem(data: str) -> tuple[np.ndarray, np.ndarray]:
    """X (N, features), y (N,)."""
    from sklearn import datasets

    if data == "classes_20000":
        return datasets.make_classification(20_000, 20, n_informative=10, n_classes=4, random_state=0)
    if data == "numbers_20000":
        return datasets.make_friedman1(20_000, 20, noise=1.0, random_state=0)
    return getattr(datasets, f"load_{data}")(return_X_y=True)


def parts(data: str, seed: int) -> tuple[np.ndarray, ...]:
    """X and y for training and for the score, three quarters and a quarter of the rows."""
    from sklearn.model_selection import train_test_split
    from sklearn.preprocessing import StandardScaler

    X, y = problem(data)
    found = train_test_split(X, y, random_state=seed, stratify=y if data in CLASSES else None)
    scaler = StandardScaler().fit(found[0])
    found[:2] = [scaler.transform(each) for each in found[:2]]
    if data in NUMBERS:
        mean, deviation = found[2].mean(), found[2].std()
        found[2:] = [(each - mean) / deviation for each in found[2:]]
    return tuple(found)


def estimator(side: str, data: str, seed: int, **settings: Any) -> Any:
    """The classifier or regressor of one side."""
    from sklearn import neural_network

    import nnlite as nl

    name = "MLPClassifier" if data in CLASSES else "MLPRegressor"
    return getattr(nl if side == NNLITE else neural_network, name)(random_state=seed, **settings)


def clock(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that training has not converged
        run()
    return time.perf_counter() - start


def compare(data: str, seeds: int, settings: dict[str, Any]) -> dict[str, list[dict[str, float]]]:
    """Side -> the score, seconds and epochs for each seed."""
    found: dict[str, list[dict[str, float]]] = {NNLITE: [], SCIKIT_LEARN: []}
    for seed in range(-1, seeds):
        X, X_test, y, y_test = parts(data, max(seed, 0))
        for side in sorted(found, reverse=bool(seed % 2)):
            made = estimator(side, data, max(seed, 0), **(settings if seed >= 0 else settings | {"max_iter": 2}))
            seconds = clock(lambda made=made, X=X, y=y: made.fit(X, y))
            if seed >= 0:
                found[side].append({"score": made.score(X_test, y_test), "seconds": seconds, "epochs": made.n_iter_})
    return found


def search(jobs: int, backend: str) -> float:
    """Seconds of nnlite's grid search over digits: the median of three, after a first one."""
    import joblib
    from sklearn.model_selection import GridSearchCV

    X, _, y, _ = parts("digits", 0)
    grid = {"alpha": [1e-4, 1e-2], "learning_rate_init": [1e-3, 3e-3]}
    with joblib.parallel_backend(backend):
        made = GridSearchCV(estimator(NNLITE, "digits", 0), grid, n_jobs=jobs, cv=3, refit=False)
        clock(lambda: made.fit(X, y))
        return statistics.median(clock(lambda: made.fit(X, y)) for _ in range(3))


def first(data: str) -> dict[str, float]:
    """Seconds of the first fit of two epochs in this process, after imports, and the functions that it compiled."""
    from nnlite.devices import functions_compiled

    X, _, y, _ = parts(data, 0)
    made = estimator(NNLITE, data, 0, max_iter=2)
    seconds = clock(lambda: made.fit(X, y))
    return {"seconds": seconds, "compiled": functions_compiled()}


# ---- the report ----------------------------------------------------------------------------------------------------


def row(label: str, found: dict[str, list[dict[str, float]]]) -> list[str]:
    """A line of the table: mean scores with their deviations, median seconds, and median of the ratios of the turns."""
    cells = [label]
    for side in (NNLITE, SCIKIT_LEARN):
        scores = [run["score"] for run in found[side]]
        cells.append(f"{statistics.mean(scores):.4f} ± {statistics.pstdev(scores):.4f}")
    for side in (NNLITE, SCIKIT_LEARN):
        cells.append(f"{statistics.median(run['seconds'] for run in found[side]):.3f}")
    ratios = [its["seconds"] / mine["seconds"] for mine, its in zip(found[NNLITE], found[SCIKIT_LEARN], strict=True)]
    return [*cells, f"{statistics.median(ratios):.1f}"]


def main() -> None:
    words = [*CLASSES, *NUMBERS, "early_stopping", "search", "first"]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="*", choices=[*words, []], help=f"some of {', '.join(words)}; default all")
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    what = options.what or words
    script, rows = "estimators.py", []
    for data in [name for name in what if name in CLASSES + NUMBERS]:
        rows.append(row(data, child(script, "compare", data=data, seeds=options.seeds, settings={})))
    if "early_stopping" in what:
        for data in ("digits", "diabetes"):
            found = child(script, "compare", data=data, seeds=options.seeds, settings={"early_stopping": True})
            rows.append(row(f"{data}, early stopping", found))
    if rows:
        head = ["data", "score of nnlite", "of scikit-learn", "seconds of nnlite", "of scikit-learn", "times as long"]
        print(table(head, rows))
    if "search" in what:
        ways = [("1 job", 1, "loky"), ("2 processes", 2, "loky"), ("2 threads", 2, "threading")]
        seconds = {name: child(script, "search", jobs=jobs, backend=backend) for name, jobs, backend in ways}
        shown = ", ".join(f"{name} {took:.2f} s" for name, took in seconds.items())
        print(f"grid search over digits, 4 settings in 3 folds: {shown}")
    if "first" in what:
        child(script, "first", data="digits")
        found = child(script, "first", data="digits")
        print(f"a second process: {found['seconds']:.2f} s for its first fit, {found['compiled']} functions compiled")


if __name__ == "__main__" and not answer({"compare": compare, "search": search, "first": first}):
    sys.exit(main())

"""Prediction speed of nnlite beside its peers: `python benchmarks/predict.py [--out FOLDER] [--quick]`.

First every side is held against the net's formula in float64. Then each time is taken in a fresh process, which holds
its own answers against the formula once more, the peers by turns, and the median counts. Last comes what `fit` does
around its steps: what a call costs that makes a single step, and what validation after each epoch costs.
"""

from __future__ import annotations

import statistics
import sys
from dataclasses import replace
from datetime import date
from functools import cache
from typing import Any

import numpy as np
import report
from options import comparison
from peers import PEERS, Peer
from predictors import PREDICTORS, USUAL
from processes import answer, child, seconds_each, seconds_more, wait_for_quiet
from report import Result
from workloads import WORKLOADS, Problem, activations_of, layers_of

NETS = ("digits", "tabular", "mnist-128")  # of the workloads
ROWS = (1, 32, 10_000)
TOLERANCE = 1e-5  # of the largest answer
FORMULAS = {
    "relu": lambda z: np.maximum(z, 0),
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "tanh": np.tanh,
    "identity": lambda z: z,
    "softmax": lambda z: np.exp(z) / np.exp(z).sum(axis=1, keepdims=True),  # no logit here is near 700
}
STEPS = {"numba": "numba", "torch": "torch", "sklearn": "sklearn-partial"}  # who predicts -> who calls for one step


# ---- what each process does ------------------------------------------------------------------------------------------


@cache
def loaded(net: str) -> Problem:
    """One of the nets with all of its rows."""
    return WORKLOADS[net].problem()


def problem(net: str, rows: int) -> Problem:
    """One of the nets on so many rows; its biases, which start at 0 and then could be left out, are drawn."""
    whole, rng = loaded(net), np.random.default_rng(0)
    weights = {
        name: rng.normal(0, 0.5, array.shape).astype(array.dtype) if name.endswith(".b") else array
        for name, array in whole.weights.items()
    }
    x, y = np.resize(whole.x, (rows, *whole.x.shape[1:])), np.resize(whole.y, (rows, *whole.y.shape[1:]))
    return replace(whole, x=x, y=y, weights=weights)


def formula(problem: Problem) -> np.ndarray:
    """What is to be predicted, (N, outputs) in float64."""
    a = problem.x.astype(np.float64)
    for name, (W, b) in zip(activations_of(problem), layers_of(problem)):
        a = FORMULAS[name](a @ W.astype(np.float64) + b)
    return a


def apart(problem: Problem, predicted: Any) -> float:
    """How far a prediction is from the formula, relative to the largest answer; raises ValueError for other shapes."""
    expected = formula(problem)
    found = np.asarray(predicted, np.float64)
    if found.size != expected.size or len(found) != len(expected):
        raise ValueError(f"predicted {found.shape} instead of {expected.shape}")
    return float(np.abs(found.reshape(expected.shape) - expected).max() / np.abs(expected).max())


def prove(peers: list[str]) -> dict[str, dict[str, float]]:
    """Net -> peer -> how far it was from the formula at most; ends the process where that is too far."""
    return {net: {peer: max(proven(net, rows, peer)[0] for rows in ROWS) for peer in peers} for net in NETS}


def proven(net: str, rows: int, peer: str) -> tuple[float, Any]:
    """How far the peer's first answer is from the formula, and what predicts on."""
    given = problem(net, rows)
    run = PREDICTORS[peer].build(given)
    far = apart(given, run(1))
    if not far <= TOLERANCE:  # so that NaN fails too
        title = PREDICTORS[peer].title
        raise SystemExit(f"{net}, {rows:,} rows: {title} is {far:.1e} from the formula, allowed {TOLERANCE:.0e}")
    return far, run


def timing(net: str, peer: str, seconds: float) -> list[dict[str, float]]:
    """µs a call, by the wall and of processors, for each number of rows."""
    found = []
    for rows in ROWS:
        wall, processor = seconds_each(proven(net, rows, peer)[1], seconds)
        found.append({"us_per_call": wall * 1e6, "processor_us_per_call": processor * 1e6})
    return found


def one_step(peer: str, seconds: float) -> dict[str, float]:
    """µs of a call that trains on 32 rows, seen before, for an epoch of one step; and of one step more in a call."""
    given = WORKLOADS["digits"].problem().head(32)
    train = PEERS[peer].build(given)
    call, _ = seconds_each(lambda calls: [train(1, True) for _ in range(calls)], seconds)
    if peer == "sklearn-partial":  # it makes no more than one epoch a call
        train = PEERS["sklearn"].build(given)
    step = seconds_more(lambda epochs: train(epochs, True), seconds)
    return {"us_per_call": call * 1e6, "us_per_step": step * 1e6, "us_around": (call - step) * 1e6}


def validation(seconds: float) -> dict[str, float]:
    """µs of an epoch of fit on 1,438 digits without and with validation on 359 others, and of evaluate on these."""
    import nnlite as nl

    given, split = WORKLOADS["digits"].problem(), nl.datasets.digits()
    held = split.x_test.astype(np.float32), split.y_test

    def trainer() -> nl.Trainer:
        net = nl.mlp(given.sizes, given.hidden, given.output, device="numba", seed=0)
        net.load_state_dict(given.weights)
        return nl.Trainer(net, loss=given.loss, optimizer=nl.SGD(lr=given.lr))

    def epoch(data: Any) -> float:
        fit = trainer().fit
        settings = {"validation_data": data, "progress": False}
        return seconds_more(lambda epochs: fit(given.x, given.y, epochs, given.batch_size, **settings), seconds)

    checked = trainer()
    history = checked.fit(given.x, given.y, 2, given.batch_size, validation_data=held, progress=False)
    told, found = history["val_loss"][-1], checked.evaluate(*held)["loss"]
    if not abs(told - found) <= TOLERANCE * abs(found):
        raise SystemExit(f"no times: fit says a validation loss of {told}, evaluate {found}")
    alone, beside = (statistics.median(each) for each in zip(*[(epoch(None), epoch(held)) for _ in range(3)]))
    evaluated, _ = seconds_each(lambda calls: [checked.evaluate(*held) for _ in range(calls)], seconds)
    return {
        "us_per_epoch": alone * 1e6,
        "us_per_epoch_validated": beside * 1e6,
        "us_added": (beside - alone) * 1e6,
        "us_evaluate": evaluated * 1e6,
    }


# ---- all of them -----------------------------------------------------------------------------------------------------


def measure(
    net: str, peers: dict[str, Peer], rate: float, repeats: int, seconds: float, patience: float
) -> list[Result]:
    """The times of one net, a result for each number of rows; `rate` is that of multiply-adds a second."""
    load = WORKLOADS[net]
    title = f"{net}: {'-'.join(map(str, load.sizes))} {load.hidden}/{load.output}"
    results = [Result(f"{net}, {rows:,}", title, {"reasons": {}}, key="us_per_call") for rows in ROWS]
    for result, rows in zip(results, ROWS):
        result.least = rows * load.multiply_adds(training=False) / rate * 1e6
    for repeat in range(repeats):
        for name, peer in peers.items():
            for threads in peer.threads:
                wait_for_quiet(patience)
                found = child("predict.py", "time", threads=threads, net=net, peer=name, seconds=seconds)
                for result, times in zip(results, found, strict=True):
                    run = {"workload": result.name, "peer": name, "threads": threads, "repeat": repeat}
                    result.runs.append(run | times)
    return results


def measure_steps(peers: dict[str, Peer], repeats: int, seconds: float, patience: float) -> Result:
    """Calls that make one step."""
    result = Result("one step", WORKLOADS["digits"].title, key="us_per_call")
    for repeat in range(repeats):
        for name, peer in peers.items():
            for threads in peer.threads:
                wait_for_quiet(patience)
                found = child("predict.py", "one_step", threads=threads, peer=name, seconds=seconds)
                run = {"workload": result.name, "peer": name, "threads": threads, "repeat": repeat}
                result.runs.append(run | found)
    return result


def measure_validation(repeats: int, seconds: float, patience: float) -> list[dict[str, Any]]:
    """Runs of nnlite's fit with and without validation."""
    runs = []
    for repeat in range(repeats):
        wait_for_quiet(patience)
        run = {"workload": "validation", "peer": "numba", "threads": None, "repeat": repeat}
        runs.append(run | child("predict.py", "validation", seconds=seconds))
    return runs


# ---- what it says ----------------------------------------------------------------------------------------------------


def text(
    results: list[Result],
    peers: dict[str, Peer],
    calls: Result,
    callers: dict[str, Peer],
    validations: list[dict[str, Any]],
    worst: dict[str, dict[str, float]],
    facts: dict[str, str],
) -> str:
    """Everything, as Markdown."""
    added = ("us_per_epoch", "us_per_epoch_validated", "us_added", "us_evaluate")
    sections = [
        f"# Prediction speed, {date.today():%Y-%m-%d}",
        "\n".join(f"- {name}: {value}" for name, value in facts.items()),
        "## µs per call",
        f"Each line is a net and the rows of a call. Median of {len(validations)} fresh processes, the peers by turns. "
        "Where two numbers of threads were tried, the faster is shown: ¹ one thread; else the library's own default.",
        "\n".join(dict.fromkeys(f"- {result.title}" for result in results)),
        report.speed(results, peers),
        report.remarks(results, peers),
        *report.comparison(results, peers),
        *report.limits(results, peers),
        "With each number of threads, default / one:",
        report.threads(results, peers, "us_per_call"),
        "The same in processor time, summed over threads. Waiting for other threads counts.",
        report.threads(results, peers, "processor_us_per_call"),
        "## Around a step",
        "µs of a call that trains on 32 rows, seen before, for one epoch, which is one step (64-32-10 relu/softmax, "
        "CE, plain SGD): `fit(x, y, epochs=1, batch_size=32)`; the same in eager PyTorch, the loss read; "
        "`partial_fit`. Then what one step more takes in a longer call (of scikit-learn's `fit`), and the difference, "
        "which a call does around its step: medians (lowest … highest).",
        report.table(
            ["µs", "the call", "a step", "around it"],
            [one_step_cells(calls, name, peer) for name, peer in callers.items()],
        ),
        "µs of an epoch of `fit` on 1,438 digits in batches of 32, without and with validation on 359 others after it, "
        "beside `evaluate` on these alone: medians (lowest … highest).",
        report.table(
            ["training alone", "with validation", "validation adds", "evaluate alone"],
            [[report.spread([run[key] for run in validations]) for key in added]],
        ),
        "## The same is computed",
        "How far each side's answer was from the formula in float64 at most, relative to the largest answer, over "
        f"{', '.join(f'{rows:,}' for rows in ROWS[:-1])} and {ROWS[-1]:,} rows; allowed is {TOLERANCE:.0e}. The calls "
        "of one step are held against each other by their losses. Without this no time is taken.",
        proofs(worst, peers),
    ]
    return "\n\n".join(section for section in sections if section)


def one_step_cells(calls: Result, name: str, peer: Peer) -> list[str]:
    """The call, the step and the difference, of the runs with the best number of threads."""
    runs = calls.best(name)
    keys = ("us_per_call", "us_per_step", "us_around")
    return [peer.title, *(report.spread([run[key] for run in runs]) for key in keys)]


def proofs(worst: dict[str, dict[str, float]], peers: dict[str, Peer]) -> str:
    """How far each side was from the formula."""
    head = ["net", *(peer.title for peer in peers.values())]
    return report.table(head, [[net, *(f"{far[peer]:.0e}" for peer in peers)] for net, far in worst.items()])


def main() -> None:
    asked = comparison(__doc__, "predict", NETS, PREDICTORS, USUAL, seconds=0.5)
    peers, times = asked.peers, (asked.repeats, asked.seconds, asked.patience)
    nets = asked.names or (NETS[:1] if asked.quick else NETS)
    callers = {STEPS[name]: PEERS[STEPS[name]] for name in ("numba", *peers) if name in STEPS}

    facts = report.facts(PREDICTORS) | child("measure.py", "machine")
    worst = child("predict.py", "prove", peers=list(peers))
    child("measure.py", "prove", workloads={"digits": list(callers)})
    rate = report.multiply_adds(asked.seconds / 10)
    results = []
    for net in nets:
        results += measure(net, peers, rate, *times)
        for result in results[-len(ROWS) :]:
            print(result.line(peers), file=sys.stderr, flush=True)
    calls = measure_steps(callers, *times)
    print(calls.line(callers), file=sys.stderr, flush=True)
    validations = measure_validation(*times)
    facts |= report.load()
    said = text(results, peers, calls, callers, validations, worst, facts)
    print(said)
    if asked.out:
        rows = [run for result in [*results, calls] for run in result.runs] + validations
        report.save(asked.out, asked.stem, f"{said}\n\n![µs per call]({asked.stem}.png)", rows)
        report.draw(results, peers, "call", asked.out / f"{asked.stem}.png")


JOBS = {"prove": prove, "time": timing, "one_step": one_step, "validation": validation}

if __name__ == "__main__" and not answer(JOBS):
    main()

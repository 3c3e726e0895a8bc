"""`nnlite train`: train a network on a data set or a table, test it, and save it with its history and pictures."""

from __future__ import annotations

import argparse
import contextlib
import errno
import io
import itertools
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial, wraps
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np

import nnlite as nl

from .. import gate, tables
from ..datasets import LOADERS, Split
from ..losses import LOSSES
from ..ranks import Ranks, world
from ..rules import OPTIMIZERS
from ..tables import learning
from ..tables.scaling import Scale, fold
from . import output, report
from .output import say

CHECKPOINT = "checkpoint.safetensors"  # its name in the folder of the results
MODEL = "model.safetensors"
SECONDS = 5.0  # from one checkpoint to the next
OF_TABLES = ("target", "task", "header", "categorical", "numeric", "ignore", "drop_missing")  # options
FOR_CLASSES = {name for name, loss in LOSSES.items() if loss.target in ("probability", "class", "side")}


class Recipe(NamedTuple):
    """The network and its training, for each option that the user does not give."""

    layers: Sequence[int] = (32,)
    activation: str = "tanh"
    epochs: int = 60
    batch_size: int = 16
    lr: float = 0.01  # for Adam
    weight_decay: float = 0.0


MEASUREMENTS = ("breast_cancer", "iris", "wine")  # each column has its own unit and size, such as centimetres, grams
GATE = Recipe(layers=(8,), epochs=300, batch_size=4, lr=0.05)
IMAGES = Recipe((256,), "relu", epochs=10, batch_size=128, lr=0.001)
PICTURES = ("learning_curve.png", "confusion_matrix.png", "decision_boundary.png", "predicted.png", "importance.png")
RECIPES = {
    **dict.fromkeys(("and", "nand", "nor", "or", "xnor", "xor"), GATE),
    **dict.fromkeys(("mnist", "fashion_mnist"), IMAGES),
    "circles": Recipe((8, 8), batch_size=32),
    "moons": Recipe((16, 16), epochs=100),
    "digits": Recipe((64,), "relu", epochs=40, batch_size=32, lr=0.003),
    "sine": Recipe(epochs=200),
    "spirals": Recipe((32, 32), epochs=200),
}


class Data(NamedTuple):
    """Rows to learn from and rows held back, and their meaning: labels (N,) of K classes, or numbers (N, 1)."""

    name: str
    split: Split
    recipe: Recipe
    loss: str
    classes: list[str] | None  # K names; None for numbers
    decisions: tables.Decisions | None = None  # for a table: what its columns are
    told: Sequence[str] = ()  # about the rows of the table
    raw: bool = False  # whether columns have any size: training scales them, and the saved model reads them unscaled


def by_all_ranks(command: Callable[[argparse.Namespace], None]) -> Callable[[argparse.Namespace], None]:
    """A command that all processes of `mpirun -n 4 nnlite …` run together; only the first of them speaks."""

    @wraps(command)
    def run(options: argparse.Namespace) -> None:
        ranks = options.ranks = Ranks.of(world())
        output.silent = ranks is not None and not ranks.first
        with ranks.together() if ranks else contextlib.nullcontext():
            command(options)

    return run


@by_all_ranks
def train(options: argparse.Namespace) -> None:
    """Train a network, test it on rows held back, and write the model, its history and pictures into a folder."""
    tell: Callable[[str], None] = (lambda text: None) if options.quiet else say
    data = _data(options)
    if data.classes is None and data.loss in FOR_CLASSES:
        raise ValueError(f"--loss {data.loss} is for classes, but {data.name} has numbers to predict; try --loss mse")
    if data.classes is None and LOSSES[data.loss].target == "count":
        raise ValueError(f"--loss {data.loss} is for counts, but the numbers to predict are scaled; try --loss mse")
    given = {name: value for name in Recipe._fields if (value := getattr(options, name, None)) is not None}
    usual = {"lr": 0.1} if options.optimizer == "sgd" else {}  # the recipes' lr is for Adam
    recipe = Recipe(**(data.recipe._asdict() | usual | given))
    gate.integer(recipe.epochs, "--epochs")
    gate.integer(recipe.batch_size, "--batch-size")
    net = _network(data, recipe, options)
    optimizer = OPTIMIZERS[options.optimizer](lr=recipe.lr, weight_decay=recipe.weight_decay, decoupled=True)
    trainer = nl.Trainer(net, data.loss, optimizer, metrics=[_metric(data)], communicator=options.ranks)
    if options.resume is not None and not os.path.isdir(options.resume):
        raise NotADirectoryError(
            errno.ENOTDIR, "--resume needs the folder of a training that was stopped", options.resume
        )
    with output.folder(options.out or options.resume or "out") as folder:
        _train_into(folder, data, recipe, trainer, options, tell)


def _train_into(
    folder: Path,
    data: Data,
    recipe: Recipe,
    trainer: nl.Trainer,
    options: argparse.Namespace,
    tell: Callable[[str], None],
) -> None:
    """Train, test and write the results into this folder."""
    net = trainer.network
    if data.decisions:
        tell("\n".join([str(data.decisions), *data.told, ""]))
    tell(f"{_description(data)}\n\n{net.summary()}\n")

    x, y, x_test, y_test = data.split
    x_scale = Scale.of(x) if data.raw else None
    y_scale = Scale.of(y) if data.raw and data.classes is None else None
    x, x_test = (x_scale.apply(part) if x_scale else part for part in (x, x_test))
    y, y_test = (y_scale.apply(part) if y_scale else part for part in (y, y_test))
    bar, seen = not options.quiet and sys.stderr is not None, (x_test, y_test)  # only shown: nothing is chosen by it
    noted = tables.Model(net, data.decisions, data.classes).notes(data.name)
    net.notes = noted | _notes_of_checkpoint(options, data, recipe, x_scale, y_scale)
    lost, path = folder / CHECKPOINT, Path(options.resume or folder) / CHECKPOINT
    if lost.exists() and not (options.resume and path.exists() and lost.samefile(path)):
        what = "the checkpoint of a training that was stopped, which this one replaces"
        tell(f"{folder} has {what}; --resume {folder} would go on with it\n")
    if options.resume is not None:
        tell(_resume(trainer, path))
    checkpoint = Backup(folder / CHECKPOINT, seconds=SECONDS)
    try:
        with _sigterm_stops():
            if data.decisions and options.epochs is None:
                how = options.seed, bar, tell, [checkpoint]
                learning.fit_until_best(trainer, x, y, recipe.epochs, recipe.batch_size, *how)
            else:
                trainer.fit(
                    x, y, recipe.epochs, recipe.batch_size, validation_data=seen, progress=bar, callbacks=[checkpoint]
                )
    except Terminated as stop:
        if output.silent:
            raise
        epochs = min(map(len, trainer.history.values()), default=0)
        on = f"; --resume {folder} goes on" if trainer.unfinished else ""
        if not epochs:
            what = "before the first epoch had ended"
            raise Terminated(f"{stop} {what}{on or '; nothing was written'}") from None
        _scale_weights(net, x_scale, y_scale)
        _save(folder, net, data, trainer.history)
        what = f"after {epochs} of {recipe.epochs} epochs; wrote {folder / MODEL} and history.csv"
        raise Terminated(f"{stop} {what}{on}") from None
    if output.silent:
        return  # what follows is written once
    _scale_weights(net, x_scale, y_scale)
    problem = None  # such as a full disk, which takes nothing from the score
    try:
        _save(folder, net, data, trainer.history)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(folder / CHECKPOINT)  # the model is complete
        for name in (MODEL, "history.csv"):
            tell(f"wrote {folder / name}")
    except OSError as error:
        problem = error
    prediction = net.predict(data.split.x_test)  # (N, K)
    try:
        for line in () if problem else _draw(folder, net, data, trainer.history, prediction):
            tell(line)
    except ImportError as error:
        tell(f"the pictures are left out: {error}: pip install matplotlib")
    except OSError as error:
        if error.errno is not None:  # Matplotlib's own have none, such as where no folder is left for its fonts
            problem = error
        else:
            tell(f"the pictures are left out: {' '.join(str(error).split())}")
    if data.decisions:
        tell("\n".join(["", *report.lines(data.split, data.classes, prediction)]))
    say(_result(data, prediction))
    if problem:
        raise problem


class Backup(nl.Checkpoint):
    """A checkpoint that is needed only until the training has ended."""

    def _save(self, trainer: nl.Trainer) -> None:
        if trainer.unfinished is not None and not trainer.unfinished.over:
            super()._save(trainer)


class Terminated(KeyboardInterrupt):
    """SIGTERM asks this process to end. As a KeyboardInterrupt, it stops all that Ctrl-C stops."""


@contextlib.contextmanager
def _sigterm_stops() -> Iterator[None]:
    """In this block SIGTERM raises Terminated. Python allows this in the main thread only; else nothing changes."""

    def stop(number: int, frame: Any) -> NoReturn:
        raise Terminated("stopped by SIGTERM")

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)


def _scale_weights(net: nl.Sequential, x_scale: Scale | None, y_scale: Scale | None) -> None:
    """The scales go into the network's weights, so that it then reads raw columns."""
    if x_scale:
        fold(net, x_scale, y_scale)


def _save(folder: Path, net: nl.Sequential, data: Data, history: nl.History) -> None:
    """Write the model and its history."""
    tables.Model(net, data.decisions, data.classes).save(folder / MODEL, data.name)
    for name in PICTURES:  # those of an earlier model would be taken for this one's
        (folder / name).unlink(missing_ok=True)
    rows = [["epoch", *history], *zip(itertools.count(1), *history.values())]
    output.write(folder / "history.csv", output.to_csv(rows))


def _notes_of_checkpoint(
    options: argparse.Namespace,
    data: Data,
    recipe: Recipe,
    x_scale: Scale | None,
    y_scale: Scale | None,
) -> dict[str, Any]:
    """What is noted in a checkpoint: scales, which are not in the network's weights yet, and what was asked for."""
    asked = {
        "layers": list(recipe.layers),
        **{name: getattr(recipe, name) for name in ("activation", "batch_size", "lr", "weight_decay")},
    }
    asked |= {"loss": data.loss, "optimizer": options.optimizer, "seed": options.seed, "data": data.name}
    if data.decisions:
        given = {name: getattr(options, name) for name in OF_TABLES}
        asked |= {name: [*value] if isinstance(value, tuple) else value for name, value in given.items()}
        asked["epochs"] = "found" if options.epochs is None else "given"
    return {"scales": [scale and [*scale] for scale in (x_scale, y_scale)], "asked": asked}


def _resume(trainer: nl.Trainer, path: Path) -> str:
    """Go on from this checkpoint if there is one; a line that says so. ValueError if it is of another command."""
    if not path.exists():
        _refuse_other_model(path.with_name(MODEL), trainer.network.notes["data"])
        return f"there is no checkpoint in {path.parent}: the training begins\n"
    before = nl.load(path, device="numpy").notes.get("asked")
    if not isinstance(before, dict):
        raise ValueError(f"{path} is not a checkpoint of nnlite train")
    for name, value in trainer.network.notes["asked"].items():
        if before.get(name) != value:
            option = "the data" if name == "data" else f"--{name.replace('_', '-')}"
            raise ValueError(f"{path} was written with {option} {before.get(name)}, and not {value}: give the same")
    trainer.resume(path)
    return f"going on from {path}, after {len(trainer.history.get('loss', ()))} epochs\n"


def _refuse_other_model(path: Path, data: str) -> None:
    """ValueError if this file holds a model of other data, which the training would replace."""
    if not path.exists():
        return
    notes = nl.load(path, device="numpy").notes
    learnt = notes.get("data") if isinstance(notes, dict) else None
    if learnt != data:
        what = f"a model of {learnt}, whose training has ended" if learnt else "a model of something else"
        raise ValueError(f"{path.parent} holds {what}, and no checkpoint of {data}: give another folder")


def _metric(data: Data) -> str | nl.Metric:
    if data.classes is None:
        return "r2"
    return nl.metrics.Accuracy("class" if len(data.classes) > 2 else None)  # also with bce, whose outputs are apart


def _data(options: argparse.Namespace) -> Data:
    """The data set of this name, or the table in this file."""
    name, seed = options.data, gate.integer(options.seed, "--seed", least=0)
    if name not in LOADERS:
        if not (os.path.exists(name) or Path(name).suffix or os.sep in name or name == "-"):
            raise ValueError(f"{name!r} is neither a file here nor a data set; these are {', '.join(LOADERS)}")
        return _table(options, seed)
    for option in OF_TABLES:
        if getattr(options, option) not in (None, (), False):
            told = f"--{option.replace('_', '-')} is for files"
            raise ValueError(f"{told}; the data set {name!r} has its own target and columns")
    recipe = RECIPES.get(name, Recipe())
    raw = {"standardise": False} if name in MEASUREMENTS else {}
    split = LOADERS[name]() if recipe in (GATE, IMAGES) else LOADERS[name](seed=seed, **raw)
    if recipe is GATE:
        split = split._replace(y_train=split.y_train[:, 0].astype(int), y_test=split.y_test[:, 0].astype(int))
    if split.y_train.dtype.kind != "i":
        return Data(name, split, recipe, options.loss or "mse", None)
    classes = [str(k) for k in range(int(split.y_train.max()) + 1)]
    return Data(name, split, recipe, options.loss or ("bce" if recipe is GATE else "cce"), classes, raw=bool(raw))


def _table(options: argparse.Namespace, seed: int) -> Data:
    """The table in a file, as numbers: text, dates and gaps are replaced, and some rows are held back."""
    target = -1 if options.target is None else options.target
    task = options.task or ("classification" if options.loss in FOR_CLASSES else None)
    chosen = options.categorical, options.numeric, options.ignore, options.drop_missing
    found = tables.prepare(options.data, target, task, options.header, *chosen, seed=seed)
    assert found.decisions.target
    classes = found.decisions.target.classes
    epochs = learning.most_epochs(len(found.split.y_train))
    recipe = Recipe(
        learning.LAYERS, learning.ACTIVATION, epochs, learning.BATCH_SIZE, learning.RATE, learning.WEIGHT_DECAY
    )
    loss = options.loss or ("mse" if classes is None else "cce")
    return Data(options.data, found.split, recipe, loss, classes, found.decisions, found.told, raw=True)


def _network(data: Data, recipe: Recipe, options: argparse.Namespace) -> nl.Sequential:
    outputs, output = 1, "identity"
    if data.classes is not None:
        kind = LOSSES[data.loss].target
        outputs = 1 if kind == "probability" and len(data.classes) == 2 else len(data.classes)
        output = {"probability": "sigmoid", "side": "identity", "count": "identity"}.get(kind, "softmax")
    init = "he_normal" if recipe.activation == "relu" and not data.decisions else "glorot_uniform"
    dtype = "float64" if data.raw else "float32"  # raw columns may be 1e6 ± 1: float32 would lose their digits
    sizes = [data.split.x_train.shape[1], *recipe.layers, outputs]
    return nl.mlp(sizes, recipe.activation, output, init, options.device, dtype, options.seed)


def _description(data: Data) -> str:
    def some(number: int, noun: str, names: Sequence[str] | None) -> str:
        return f"{number:,} {noun}" + (f" ({', '.join(names[:10])}{', …' if len(names) > 10 else ''})" if names else "")

    x, x_test, decisions = data.split.x_train, data.split.x_test, data.decisions
    features = decisions.features if decisions and decisions.header else None
    answer = some(len(data.classes), "classes", data.classes) if data.classes else "a number"
    target = f" of {decisions.target.name!r}" if decisions and decisions.target and decisions.header else ""
    rows = f"{len(x):,} rows to learn from, {len(x_test):,} to test with"
    return f"{data.name}: {rows}; {some(x.shape[1], 'columns', features)} -> {answer}{target}"


def _result(data: Data, prediction: np.ndarray) -> str:
    y = data.split.y_test
    if data.classes is None:
        rmse, r2 = (nl.metrics.metric(name)(prediction, y) for name in ("rmse", "r2"))
        return f"test: RMSE {rmse:.4g}, R² {r2:.4f} ({len(y):,} rows)"
    hits = int((nl.metrics.classes(prediction) == y).sum())
    return f"test accuracy: {100 * hits / len(y):.2f} % ({hits:,} of {len(y):,} rows)"


def _draw(folder: Path, net: nl.Sequential, data: Data, history: nl.History, prediction: np.ndarray) -> Iterator[str]:
    """Write the pictures for this kind of data, and yield a line on each when it is written, or left out."""
    from matplotlib.figure import Figure  # used without pyplot, which might look for a screen

    pictures: dict[str, Callable[..., Any]] = {"learning_curve.png": partial(nl.plots.history, history)}
    matrix: Callable[..., Any] | None = None
    if data.classes and len(data.classes) <= 50:  # more would not be legible
        # matplotlib takes text between two $ for mathematics, and a long name would not fit into the picture.
        names = [(name if len(name) <= 20 else name[:19] + "…").replace("$", r"\$") for name in data.classes]
        counts = nl.metrics.confusion_matrix(prediction, data.split.y_test)
        matrix = pictures["confusion_matrix.png"] = partial(nl.plots.confusion_matrix, counts, names)
        if data.split.x_train.shape[1] == 2:
            x, y, x_test, y_test = data.split
            points, labels = np.concatenate([x_test, x])[:2000], np.concatenate([y_test, y])[:2000]
            pictures["decision_boundary.png"] = partial(nl.plots.decision_boundary, net, points, labels)
    if data.decisions:
        pictures |= report.pictures(net, data.split, data.classes, data.decisions.groups, prediction)
        if report.slow_importance(net, data.split.x_test, data.decisions.groups):
            yield "importance.png is left out, since it would take long for so many classes or features"
    for name, draw in pictures.items():
        side = max(4.8, 2 + 0.25 * len(data.classes or ())) if draw is matrix else 4.8  # inches
        figure = Figure(figsize=(side + 1.6, side), dpi=150, layout="constrained")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the font may lack letters of a class name
            draw(ax=figure.subplots())
            picture = io.BytesIO()
            figure.savefig(picture)
        output.write(folder / name, picture.getvalue())
        yield f"wrote {folder / name}"

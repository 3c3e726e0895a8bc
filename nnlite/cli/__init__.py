"""The command line: train on a data set or a CSV file, predict with what came out, compare devices, say what there is.

Results go to stdout, the progress bar and errors to stderr. What the user got wrong is one line and exit status 2.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import errno
import importlib.metadata
import io
import math
import os
import platform
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np

import nnlite as nl

from .. import gate
from ..activations import ACTIVATIONS
from ..datasets import LOADERS, Split
from ..losses import LOSSES
from ..optimizers import OPTIMIZERS
from . import comparison as benchmark
from . import tables

USER_ERRORS = (ValueError, TypeError, OSError, ImportError, MemoryError, nl.DeviceError, nl.DivergedError)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit status: 0, 2 for what the user got wrong, 130 for Ctrl-C."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal without × is no reason to stop
    try:
        options = _parser().parse_args(argv)
        options.run(options)
    except USER_ERRORS as error:
        complain(error)
        return 2
    except KeyboardInterrupt:
        complain("stopped by Ctrl-C")
        return 130
    return 0


class _Parser(argparse.ArgumentParser):
    """argparse, but a mistake is an error like any other, and text for a reader who has left is dropped."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message} (see {self.prog} --help)")

    def _print_message(self, message: str, file: Any = None) -> None:
        say(message, end="")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="nnlite", description="Train small neural networks.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"nnlite {nl.__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, dest="command")

    def command(run: Callable[[argparse.Namespace], None], text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(run.__name__, help=text, description=run.__doc__, allow_abbrev=False)
        added.set_defaults(run=run)
        return added

    new = command(train, "train a network on a data set or a CSV file")
    new.add_argument("data", metavar="NAME|FILE.csv", help=f"a CSV file, or one of {', '.join(LOADERS)}")
    new.add_argument("--target", metavar="COLUMN", help="of the CSV: name, or number from 0 (default: -1, the last)")
    new.add_argument("--layers", type=_layers, metavar="64,32", help="units of each hidden layer, or none")
    new.add_argument("--activation", choices=ACTIVATIONS, help="of the hidden layers")
    new.add_argument("--loss", choices=LOSSES, help="default: cce for classes, bce for logic gates, mse for numbers")
    new.add_argument("--optimizer", choices=OPTIMIZERS, default="adam", help="default: %(default)s")
    new.add_argument("--lr", type=float, help="learning rate")
    new.add_argument("--epochs", type=int, help="how often every row is seen")
    new.add_argument("--batch-size", type=int, help="rows in a step")
    new.add_argument("--seed", type=int, default=0, help="of split, first weights and shuffles (default: %(default)s)")
    new.add_argument("--out", default="out", metavar="DIR", help="folder for the results (default: %(default)s)")
    new.add_argument("--quiet", action="store_true", help="print nothing but the last line")

    use = command(predict, "predict the rows of a CSV file")
    use.add_argument("model", metavar="MODEL", help="a model.safetensors written by nnlite")
    use.add_argument("data", metavar="FILE.csv", help="the features; a target that the header names is left out")
    use.add_argument("--out", metavar="FILE", help="write there instead of to the screen")
    for each in (new, use):
        each.add_argument("--device", default="auto", help="numpy, numba (cpu), cupy (gpu) or auto (default)")

    compare = command(bench, "the devices of this machine side by side")
    compare.add_argument("--devices", nargs="+", metavar="NAME", help="numpy, numba, cupy (default: all there are)")
    compare.add_argument("--seconds", type=float, default=0.3, help="of each measurement (default: %(default)s)")
    compare.add_argument(
        "--sweep", action="store_true", help="two devices by hidden width and by batch size; always done with cupy"
    )
    compare.add_argument("--out", default="out", metavar="DIR", help="folder for the results (default: %(default)s)")
    compare.add_argument("--quiet", action="store_true", help="print nothing but the last line")

    command(info, "versions, devices, threads and BLAS of this machine")
    return parser


def _layers(text: str) -> list[int]:
    try:
        sizes = [] if text == "none" else [int(size) for size in text.split(",")]
    except ValueError:
        sizes = [0]
    if min(sizes, default=1) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be whole numbers of at least 1, such as 64,32, or none")
    return sizes


class Recipe(NamedTuple):
    """What a network is made of and trained by where the user does not say."""

    layers: Sequence[int] = (32,)
    activation: str = "tanh"
    epochs: int = 60
    batch_size: int = 16
    lr: float = 0.01  # Adam's


MEASUREMENTS = ("breast_cancer", "iris", "wine")  # in centimetres, grams, …: each column of another size
GATE = Recipe(layers=(8,), epochs=300, batch_size=4, lr=0.05)
IMAGES = Recipe((256,), "relu", epochs=10, batch_size=128, lr=0.001)
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
    """Rows to learn from and rows held back, and what they mean: labels (N,) of K classes, or numbers (N, 1)."""

    name: str
    split: Split
    recipe: Recipe
    loss: str
    classes: list[str] | None  # K names; None for numbers
    table: tables.Table | None = None
    raw: bool = False  # columns of any size, which training scales, and the saved model takes as they are


def train(options: argparse.Namespace) -> None:
    """Train a network, test it on rows held back, and write the model, its history and pictures into a folder."""
    tell: Callable[[str], None] = (lambda text: None) if options.quiet else say
    data = _data(options)
    if data.classes is None and data.loss in ("bce", "cce"):
        raise ValueError(f"--loss {data.loss} is for classes, but {data.name} has numbers to predict; try --loss mse")
    given = {name: value for name in Recipe._fields if (value := getattr(options, name)) is not None}
    usual = {"lr": 0.1} if options.optimizer == "sgd" else {}  # the recipes' own is Adam's
    recipe = Recipe(**(data.recipe._asdict() | usual | given))
    gate.integer(recipe.epochs, "--epochs")
    gate.integer(recipe.batch_size, "--batch-size")
    net = _network(data, recipe, options)
    optimizer = OPTIMIZERS[options.optimizer](lr=recipe.lr)
    trainer = nl.Trainer(net, data.loss, optimizer, metrics=["r2" if data.classes is None else "accuracy"])
    folder = _folder(options.out)
    tell(f"{_description(data)}\n\n{net.summary()}\n")

    x, y, x_test, y_test = data.split
    x_scale = tables.Scale.of(x) if data.raw else None
    y_scale = tables.Scale.of(y) if data.raw and data.classes is None else None
    x, x_test = (x_scale.apply(part) if x_scale else part for part in (x, x_test))
    y, y_test = (y_scale.apply(part) if y_scale else part for part in (y, y_test))
    bar, seen = not options.quiet and sys.stderr is not None, (x_test, y_test)  # to look at: nothing is chosen by it
    history = trainer.fit(x, y, recipe.epochs, recipe.batch_size, validation_data=seen, progress=bar)
    if x_scale:
        tables.fold(net, x_scale, y_scale)

    features, target = (data.table.features, data.table.target) if data.table else (None, None)
    notes = {"data": data.name, "classes": data.classes, "features": features, "target": target}
    net.save(folder / "model.safetensors", notes)
    rows = [["epoch", *history], *zip(range(1, recipe.epochs + 1), *history.values())]
    (folder / "history.csv").write_text(tables.to_csv(rows), encoding="utf-8", newline="")
    prediction = net.predict(data.split.x_test)  # (N, K)
    for name in ("model.safetensors", "history.csv", *_draw(folder, net, data, history, prediction)):
        tell(f"wrote {folder / name}")
    say(_result(data, prediction))


def _data(options: argparse.Namespace) -> Data:
    """The data set of this name, or the table in this file."""
    name, seed = options.data, gate.integer(options.seed, "--seed", least=0)
    if name not in LOADERS:
        if not (os.path.exists(name) or Path(name).suffix or os.sep in name):
            raise ValueError(f"{name!r} is neither a CSV file here nor a data set; these are {', '.join(LOADERS)}")
        table = tables.read_csv(name, -1 if options.target is None else options.target)
        y, classes = tables.target(table, options.loss)
        epochs = min(200, max(5, 320_000 // len(y)))  # some 10,000 steps
        recipe = Recipe((64, 32), "relu", epochs, batch_size=32, lr=0.003)
        loss = options.loss or ("mse" if classes is None else "cce")
        return Data(name, nl.datasets.split(table.x, y, seed=seed), recipe, loss, classes, table, raw=True)
    if options.target is not None:
        raise ValueError(f"--target is for CSV files; the data set {name!r} has its own target")
    recipe = RECIPES.get(name, Recipe())
    raw = {"standardise": False} if name in MEASUREMENTS else {}
    split = LOADERS[name]() if recipe in (GATE, IMAGES) else LOADERS[name](seed=seed, **raw)
    if recipe is GATE:
        split = split._replace(y_train=split.y_train[:, 0].astype(int), y_test=split.y_test[:, 0].astype(int))
    if split.y_train.dtype.kind != "i":
        return Data(name, split, recipe, options.loss or "mse", None)
    classes = [str(k) for k in range(int(split.y_train.max()) + 1)]
    return Data(name, split, recipe, options.loss or ("bce" if recipe is GATE else "cce"), classes, raw=bool(raw))


def _folder(name: str) -> Path:
    """The folder for the results, made where it is not there; what is wrong with it is said now, and not at the end."""
    folder = Path(name)
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise PermissionError(errno.EACCES, "this folder cannot be written to; choose another --out", name)
    return folder


def _network(data: Data, recipe: Recipe, options: argparse.Namespace) -> nl.Sequential:
    outputs, output = 1, "identity"
    if data.classes is not None:
        outputs = 1 if data.loss == "bce" and len(data.classes) == 2 else len(data.classes)
        output = "sigmoid" if data.loss == "bce" else "softmax"
    init = "he_normal" if recipe.activation == "relu" else "glorot_uniform"
    dtype = "float64" if data.raw else "float32"  # raw columns may be 1e6 ± 1: float32 could not tell them apart
    sizes = [data.split.x_train.shape[1], *recipe.layers, outputs]
    return nl.mlp(sizes, recipe.activation, output, init, options.device, dtype, options.seed)


def _description(data: Data) -> str:
    def some(number: int, noun: str, names: Sequence[str] | None) -> str:
        return f"{number:,} {noun}" + (f" ({', '.join(names[:10])}{', …' if len(names) > 10 else ''})" if names else "")

    x, x_test, features = data.split.x_train, data.split.x_test, data.table.features if data.table else None
    answer = some(len(data.classes), "classes", data.classes) if data.classes else "a number"
    target = f" of {data.table.target!r}" if data.table and data.table.target else ""
    rows = f"{len(x):,} rows to learn from, {len(x_test):,} to test with"
    return f"{data.name}: {rows}; {some(x.shape[1], 'columns', features)} -> {answer}{target}"


def _result(data: Data, prediction: np.ndarray) -> str:
    y = data.split.y_test
    if data.classes is None:
        rmse, r2 = (nl.metrics.metric(name)(prediction, y) for name in ("rmse", "r2"))
        return f"test: RMSE {rmse:.4g}, R² {r2:.4f} ({len(y):,} rows)"
    hits = int((nl.metrics.classes(prediction) == y).sum())
    return f"test accuracy: {100 * hits / len(y):.2f} % ({hits:,} of {len(y):,} rows)"


def _draw(folder: Path, net: nl.Sequential, data: Data, history: nl.History, prediction: np.ndarray) -> list[str]:
    """Write the pictures that this kind of data has; their names."""
    from matplotlib.figure import Figure  # drawn on without pyplot, which might look for a screen

    pictures: dict[str, Callable[..., Any]] = {"learning_curve.png": partial(nl.plots.history, history)}
    if data.classes and len(data.classes) <= 50:  # more could not be read
        # Not as mathematics between $, and not longer than the picture.
        names = [(name if len(name) <= 20 else name[:19] + "…").replace("$", r"\$") for name in data.classes]
        counts = nl.metrics.confusion_matrix(prediction, data.split.y_test)
        pictures["confusion_matrix.png"] = partial(nl.plots.confusion_matrix, counts, names)
        if data.split.x_train.shape[1] == 2:
            x, y, x_test, y_test = data.split
            points, labels = np.concatenate([x_test, x])[:2000], np.concatenate([y_test, y])[:2000]
            pictures["decision_boundary.png"] = partial(nl.plots.decision_boundary, net, points, labels)
    for name, draw in pictures.items():
        figure = Figure(figsize=(6.4, 4.8), dpi=150, layout="constrained")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a class name in letters that the font has not
            draw(ax=figure.subplots())
            figure.savefig(folder / name)
    return list(pictures)


def predict(options: argparse.Namespace) -> None:
    """Predict the rows of a CSV file, one line a row: a class and its probability, or the numbers."""
    net = nl.load(options.model, device=options.device)
    assert net.inputs is not None and net.outputs is not None
    classes, features, target = _notes(options.model, net)
    table = tables.read_csv(options.data, target, needed=False)
    answers = net.predict(tables.select(table, features, net.inputs))  # (N, K)
    if classes:
        best = nl.metrics.classes(answers)  # (N,)
        shares = answers if net.outputs > 1 else np.hstack([1 - answers, answers])  # (N, K)
        header = [target or "class", "probability"]
        rows = [[classes[k], f"{share[k]:.6g}"] for k, share in zip(best, shares)]
    else:
        name = target or "prediction"
        header = [name] if net.outputs == 1 else [f"{name} {k}" for k in range(net.outputs)]
        rows = [[f"{value:.10g}" for value in row] for row in answers]
    text = tables.to_csv([header] * (table.features is not None) + rows)  # a header for a header: line n answers line n
    if options.out is None:
        say(text, end="")
    else:
        Path(options.out).write_text(text, encoding="utf-8", newline="")


def _notes(path: str, net: nl.Sequential) -> tuple[list[str] | None, list[str] | None, str | None]:
    """Classes, features and target that `train` wrote down in the model, where it did."""
    notes = net.notes if isinstance(net.notes, Mapping) else {}
    classes, features, target = (notes.get(key) for key in ("classes", "features", "target"))
    for names, size in ((classes, max(net.outputs or 0, 2)), (features, net.inputs)):
        fits = isinstance(names, list) and len(names) == size and all(isinstance(name, str) for name in names)
        if names is not None and not fits:
            raise nl.CorruptFileError(f"{path}: its notes name other classes or features than the network has")
    return classes, features, target if isinstance(target, str) else None


def bench(options: argparse.Namespace) -> None:
    """Train nets of three sizes on each device of this machine: which one to take, and from what size on."""
    tell: Callable[[str], None] = (lambda text: None) if options.quiet else say
    devices = benchmark.chosen(options.devices)
    seconds = gate.number(options.seconds, "--seconds", above=0)
    pair = benchmark.pair(devices) if options.sweep or ("cupy" in devices and len(devices) > 1) else []
    folder = _folder(options.out)
    columns = ("net, batch", "device", "µs a step", "samples a second", "× the slowest", "first use, s")
    layout = "{:31} {:7} {:>11} {:>16} {:>13} {:>12}"
    tell(f"{_machine(devices)}\n\n{layout.format(*columns)}")
    measured: list[benchmark.Measured] = []
    rows = [["net", "sizes", "batch", "device", "us_per_step", "samples_per_s", "ratio_to_slowest", "first_use_s"]]
    for net in [*benchmark.NETS, *((*benchmark.SWEEP, *benchmark.BATCHES) if pair else ())]:
        of_net = benchmark.measure(net, devices if net in benchmark.NETS else pair, seconds)
        slowest = max(each.seconds for each in of_net)
        for each in of_net:
            micro, ratio = each.seconds * 1e6, slowest / each.seconds
            shown = (f"{micro:,.1f}", f"{each.rate:,.0f}", f"{ratio:.2f}", f"{each.first_use:.2f}")
            tell(layout.format(f"{net.name} {net.shape}, {net.batch}", each.device, *shown))
            numbers = (f"{number:.6g}" for number in (micro, each.rate, ratio, each.first_use))
            rows.append([net.name, net.shape, str(net.batch), each.device, *numbers])
        measured += of_net
    count = len(benchmark.NETS) * len(devices)
    nets = measured[:count]
    sweep, batches = ([each for each in measured if each.net.name == name] for name in ("sweep", "batches"))
    (folder / "bench.csv").write_text(tables.to_csv(rows), encoding="utf-8", newline="")
    _draw_bench(folder / "bench.png", nets, *([sweep, batches] if pair else []))
    *lines, advice = benchmark.verdict(nets, sweep, batches)
    tell("\n".join(["", *lines, "", f"wrote {folder / 'bench.csv'}", f"wrote {folder / 'bench.png'}"]))
    say(advice)


def _machine(devices: Sequence[str]) -> str:
    """One line: processor, CPUs, how busy they are, versions and, where it is compared, the GPU."""
    cpu = platform.processor() or platform.machine()
    with contextlib.suppress(OSError, StopIteration):  # Linux
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        cpu = next(line.partition(": ")[2] for line in lines if line.startswith("model name"))
    cpus = gate.usable_cpus()
    parts = [cpu, f"{cpus} CPU{'s' * (cpus > 1)} for this process"]
    if hasattr(os, "getloadavg") and (load := os.getloadavg()[0]) > cpus / 2:
        parts[-1] += f", busy in the last minute (load {load:.1f}): repeat when it is quiet"
    parts += [f"{name} {_version(name)}" for name in ("numpy", "numba")]
    if "cupy" in devices:
        import cupy

        parts.append(cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)["name"].decode())
    return "; ".join(parts)


def _draw_bench(path: Path, nets: Sequence[benchmark.Measured], *sweeps: Sequence[benchmark.Measured]) -> None:
    """Samples a second: bars for the sizes of net, and beside them, where measured, curves over width and batch."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter, NullFormatter, NullLocator

    count, colours = 1 + len(sweeps), dict(zip(nl.devices(), nl.plots.COLOURS))
    figure = Figure(figsize=(5.2 * count + 0.8, 4.4), dpi=150, layout="constrained")
    bars, *curves = figure.subplots(1, count, squeeze=False)[0]
    shapes, devices = list(dict.fromkeys(each.net for each in nets)), list(dict.fromkeys(each.device for each in nets))
    width = 0.84 / len(devices)
    for k, device in enumerate(devices):
        places = np.arange(len(shapes)) + (k - (len(devices) - 1) / 2) * width
        rates = [each.rate for each in nets if each.device == device]
        boxes = bars.bar(places, rates, 0.94 * width, color=colours[device], label=device)
        labels = [EngFormatter()(float(f"{rate:.3g}")) for rate in rates]
        bars.bar_label(boxes, labels, padding=2, fontsize=8)
    bars.set_xticks(range(len(shapes)), [f"{net.name}\n{net.shape}\nbatch {net.batch}" for net in shapes])
    bars.tick_params(axis="x", length=0)
    bars.set(title="Three sizes of net", yscale="log", ylabel="samples a second (more is better)")
    for ax, sweep in zip(curves, sweeps):
        net = sweep[0].net
        for device in dict.fromkeys(each.device for each in sweep):
            points = [(each.net.place, each.rate) for each in sweep if each.device == device]
            ax.loglog(*zip(*points), "o-", linewidth=2, color=colours[device])
        varied = list(dict.fromkeys(each.net.place for each in sweep))
        ax.set_xticks(varied, map(str, varied))
        ax.xaxis.set_minor_locator(NullLocator())
        if net.name == "batches":
            ax.set(title=f"Batches for {net.shape}", xlabel="batch size")
        else:
            shape = f"{net.sizes[0]}-width-{net.sizes[-1]}"
            ax.set(title=f"One hidden layer: {shape}, batch {net.batch}", xlabel="width of the hidden layer")
        name, start = benchmark.crossing(sweep) or ("", varied[0])
        if start > varied[0]:
            ax.axvline(start, color="#999999", linestyle="--", linewidth=1, zorder=0)
            ax.text(start, 0.02, f"{name} wins \nfrom {start} on ", transform=ax.get_xaxis_transform(), ha="right")
    for ax, drawn in zip((bars, *curves), (nets, *sweeps)):
        least, most = min(each.rate for each in drawn), max(each.rate for each in drawn)
        ax.set_ylim(10.0 ** math.floor(math.log10(least / 1.5)), 2 * most)  # from a power of ten on: one has its number
        ax.yaxis.set_major_formatter(EngFormatter())
        ax.yaxis.set_minor_formatter(NullFormatter())
        ax.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper center", ncols=len(devices), frameon=False)
    figure.savefig(path)


def info(options: argparse.Namespace) -> None:
    """Show versions, devices, threads and the BLAS of this machine."""
    lines = {"nnlite": nl.__version__, "python": f"{platform.python_version()} on {platform.platform()}"}
    lines |= {name: _version(name) for name in ("numpy", "numba", "matplotlib")}
    lines["cupy"] = _version("cupy", "cupy-cuda13x", "cupy-cuda12x", "cupy-cuda11x")
    for name, (available, detail) in nl.devices().items():
        lines[f"device {name}"] = f"{'yes' if available else 'no'}: {detail}"
    lines["CPUs"] = f"{os.cpu_count()}, of which this process may use {gate.usable_cpus()}"
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS", "OPENBLAS_CORETYPE"):
        lines[variable] = os.environ.get(variable, "not set")
    built: Any = np.show_config(mode="dicts")
    blas = built.get("Build Dependencies", {}).get("blas", {})
    lines["BLAS"] = f"{blas.get('name', 'unknown')} {blas.get('version', '')}, core {_blas_core()}"
    say("\n".join(f"{name:<21} {text}" for name, text in lines.items()))


def _version(*packages: str) -> str:
    for package in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(package)
    return "not installed"


def _blas_core() -> str:
    """Which CPU's kernels the OpenBLAS inside NumPy has chosen."""
    numpy, names = Path(np.__file__).parent, ("scipy_openblas_get_corename64_", "openblas_get_corename")
    for path in [*numpy.parent.glob("numpy.libs/*openblas*"), *numpy.glob(".dylibs/*openblas*")]:
        library = ctypes.CDLL(str(path))
        for name in names:
            if function := getattr(library, name, None):
                function.restype = ctypes.c_char_p
                return str(function().decode())
    return "unknown"


def say(text: str, end: str = "\n", error: bool = False) -> None:
    """Print to stdout, an error to stderr; when the reader has left (`| head`, a closed terminal), go on in silence."""
    stream = sys.stderr if error else sys.stdout
    if stream is None:  # closed before the start
        return
    try:
        print(text, end=end, file=stream, flush=True)
    except OSError as problem:
        if not error and problem.errno not in (errno.EPIPE, errno.EIO):
            raise
        # Not for this line only: Python tries to write out what is still in its buffer when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def complain(error: BaseException | str) -> None:
    """One line on stderr, whatever the error."""
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, OSError) and error.filename and error.strerror:
        text = f"{error.filename}: {error.strerror}"
    say(f"nnlite: {text}", error=True)

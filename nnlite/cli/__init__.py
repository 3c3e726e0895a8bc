"""The command line: train on a data set or a table, predict with a saved model or export it, compare devices.

Each command has a file of its own. This file parses the arguments and reports errors. Results go to stdout; the
progress bar and errors go to stderr. A mistake of the user gives one line and exit status 2.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import nnlite as nl

from .. import elsewhere, gate, startup
from ..activations import ACTIVATIONS
from ..datasets import LOADERS
from ..losses import LOSSES
from ..ranks import RankError
from ..rules import OPTIMIZERS
from . import bench, export, info, output, predict, train
from .output import complain, say

USER_ERRORS = (ValueError, TypeError, OSError, ImportError, MemoryError, RankError, nl.DeviceError, nl.DivergedError)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status: 0, 2 for a user's mistake, 130 for Ctrl-C, 143 for SIGTERM."""
    output.lost, output.silent = None, False
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # × must not stop the command where a terminal has no ×
    try:
        startup.over()
        options = _parser().parse_args(argv)
        options.run(options)
    except USER_ERRORS as error:
        complain(error)
        return 2
    except train.Terminated as stop:
        complain(stop)
        return 143
    except KeyboardInterrupt:
        complain("stopped by Ctrl-C")
        return startup.INTERRUPTED
    except SystemExit:  # raised by --help and --version
        if output.lost is None:
            raise
    if output.lost is not None:
        complain(OSError(output.lost.errno, output.lost.strerror, "standard output"))
        return 2
    return 0


class _Parser(argparse.ArgumentParser):
    """argparse with two changes: a mistake raises ValueError, and text is dropped when nobody reads the output."""

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

    new = command(train.train, "train a network on a data set or a table")
    files = "a table: text, packed or not, - for stdin, or with polars also Parquet, Feather and Excel"
    new.add_argument("data", metavar="NAME|FILE", help=f"{files}; or one of {', '.join(LOADERS)}")
    new.add_argument(
        "--target", metavar="COLUMN", help="column of a table: name, or number from 0 (default: -1, the last)"
    )
    new.add_argument("--task", choices=("classification", "regression"), help="default: as the target looks")
    for option, text in (("categorical", "categories"), ("numeric", "numbers"), ("ignore", "nothing: leave them out")):
        new.add_argument(f"--{option}", type=_names, default=(), metavar="A,B", help=f"columns to be taken as {text}")
    new.add_argument("--drop-missing", action="store_true", help="leave out rows that miss a value, not fill it")
    new.add_argument("--layers", type=_layers, metavar="64,32", help="units of each hidden layer, or none")
    how = "default: cce for classes, bce for logic gates, mse for numbers"
    _choice(new, "--activation", ACTIVATIONS, elsewhere.ACTIVATIONS, help="activation of the hidden layers")
    _choice(new, "--loss", LOSSES, elsewhere.LOSSES, help=how)
    _choice(new, "--optimizer", OPTIMIZERS, elsewhere.NONE, default="adam", help="default: %(default)s")
    new.add_argument("--lr", type=float, help="learning rate")
    new.add_argument(
        "--weight-decay", type=float, help="by which a step makes weights smaller (default: 0.1 for tables)"
    )
    new.add_argument("--epochs", type=int, help="how many times every row is seen")
    new.add_argument("--batch-size", type=int, help="rows in a step")
    new.add_argument("--seed", type=int, default=0, help="for split, first weights, shuffles (default: %(default)s)")
    new.add_argument("--out", metavar="DIR", help="folder for the results (default: out, or that of --resume)")
    new.add_argument("--resume", metavar="DIR", help="go on with a training that was stopped, from its folder")
    new.add_argument("--quiet", action="store_true", help="print nothing but the last line")

    use = command(predict.predict, "predict the rows of a table")
    use.add_argument("model", metavar="MODEL", help="a model.safetensors written by nnlite")
    use.add_argument("data", metavar="FILE", help="a table with the columns of the one that it was trained on")
    use.add_argument("--probabilities", action="store_true", help="a column more for the probability of each class")
    use.add_argument("--out", metavar="FILE", help="write there instead of to the screen")
    for each in (new, use):
        how = "whether the first row of a table names the columns; default: as it looks"
        each.add_argument("--header", type=_yes, metavar="yes|no", help=how)
        each.add_argument("--device", default="auto", help="numpy, numba (cpu), cupy (gpu) or auto (default)")

    write = command(export.export, "write a saved network for another program: C or ONNX")
    write.add_argument("model", metavar="MODEL", help="a model.safetensors written by nnlite")
    write.add_argument("out", metavar="FILE", help="what is written: its name ends in .c or .onnx")
    write.add_argument("--function", default="predict", metavar="NAME", help="its name in C (default: %(default)s)")

    compare = command(bench.bench, "the devices of this machine side by side")
    compare.add_argument("--devices", nargs="+", metavar="NAME", help="numpy, numba, cupy (default: all there are)")
    compare.add_argument("--seconds", type=float, default=0.3, help="for each measurement (default: %(default)s)")
    compare.add_argument(
        "--sweep", action="store_true", help="two devices by hidden width and by batch size; always done with cupy"
    )
    compare.add_argument("--out", default="out", metavar="DIR", help="folder for the results (default: %(default)s)")
    compare.add_argument("--quiet", action="store_true", help="print nothing but the last line")

    command(info.info, "versions, devices, threads and BLAS of this machine")
    return parser


def _choice(
    parser: argparse.ArgumentParser, option: str, table: Mapping[str, Any], known: Mapping[str, str], **how: Any
) -> None:
    """Add an option that takes a name of this table, or one that is known elsewhere and means the same."""

    def ours(text: str) -> str:
        found = gate.meant(table, text, known)
        return found if found in table else text

    parser.add_argument(option, type=ours, choices=table, **how)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _yes(text: str) -> bool:
    if text not in ("yes", "no"):
        raise argparse.ArgumentTypeError(f"{text!r} must be yes or no")
    return text == "yes"


def _layers(text: str) -> list[int]:
    try:
        sizes = [] if text == "none" else [int(size) for size in text.split(",")]
    except ValueError:
        sizes = [0]
    if min(sizes, default=1) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be whole numbers of at least 1, such as 64,32, or none")
    return sizes

"""Output of the commands: lines go to stdout and stderr, files go into a folder."""

from __future__ import annotations

import contextlib
import csv
import errno
import io
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..atomic import replacing
from .locking import locked

# The errors of a stream whose reader has left: Windows has another one.
LEFT = {errno.EPIPE, errno.EIO} | ({errno.EINVAL} if os.name == "nt" else set())
silent = False  # whether another process, one of those that mpirun has started, does the talking
lost: OSError | None = None  # why stdout cannot be written to, such as a full disk; the command goes on


def say(text: str, end: str = "\n", error: bool = False) -> None:
    """Print to stdout, or an error to stderr. If the reader has left (`| head`, a closed terminal), go on in silence.

    If stdout cannot be written to for another reason, the command goes on too, and `lost` keeps the reason.
    """
    global lost
    stream = sys.stderr if error else sys.stdout
    if stream is None or silent:  # None: closed before the start
        return
    try:
        print(text, end=end, file=stream, flush=True)
    except OSError as problem:
        if not error and problem.errno not in LEFT:
            lost = problem
        # Later output must go there too: at exit, Python tries again to write what is still in its buffer.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def complain(error: BaseException | str) -> None:
    """Print one line for any error on stderr, and one for each of several problems of a table."""
    problems = getattr(error, "problems", [])
    if len(problems) > 1:
        for problem in problems:
            complain(problem)
        return
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, OSError) and error.filename and error.strerror:
        text = f"{error.filename}: {error.strerror}"
    say(f"nnlite: {text}", error=True)


def to_csv(rows: Sequence[Sequence[Any]]) -> str:
    """The text of a CSV file with these rows."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def write(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Write this to a file, completely or not at all. An OSError names the file."""
    with replacing(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextlib.contextmanager
def folder(name: str) -> Iterator[Path]:
    """The folder for the results, made if it is missing, and in this block used by no other command.

    If it cannot be used, the error comes now, not at the end.
    """
    path = Path(name)
    if path.exists() and not path.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "this is a file; choose another --out, which is a folder", name)
    path.mkdir(parents=True, exist_ok=True)
    if not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, "this folder cannot be written to; choose another --out", name)
    with contextlib.nullcontext() if silent else locked(path):  # of several ranks, the one that speaks has it
        yield path

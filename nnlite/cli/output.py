"""Where results and errors go: lines to stdout and stderr, files into a folder."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

from ..atomic import replacing

lost: OSError | None = None  # why stdout does not take what is written there, such as a full disk; a command goes on


def say(text: str, end: str = "\n", error: bool = False) -> None:
    """Print to stdout, an error to stderr; when the reader has left (`| head`, a closed terminal), go on in silence.

    So does a command whose stdout cannot be written to for another reason, which is kept in `lost`.
    """
    global lost
    stream = sys.stderr if error else sys.stdout
    if stream is None:  # closed before the start
        return
    try:
        print(text, end=end, file=stream, flush=True)
    except OSError as problem:
        if not error and problem.errno not in (errno.EPIPE, errno.EIO):
            lost = problem
        # Not for this line only: Python tries to write out what is still in its buffer when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def complain(error: BaseException | str) -> None:
    """One line on stderr, whatever the error."""
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, OSError) and error.filename and error.strerror:
        text = f"{error.filename}: {error.strerror}"
    say(f"nnlite: {text}", error=True)


def write(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Put this into a file, whole or not at all; OSError that names it."""
    with replacing(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def folder(name: str) -> Path:
    """The folder for the results, made where it is not there; what is wrong with it is said now, and not at the end."""
    path = Path(name)
    path.mkdir(parents=True, exist_ok=True)
    if not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, "this folder cannot be written to; choose another --out", name)
    return path

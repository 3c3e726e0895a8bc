"""Ctrl-C during the import of the command line prints one line and ends the command, as it does later.

The import takes some tenths of a second, and no code of the command line runs before its end. A KeyboardInterrupt
while NumPy is imported may become an ImportError. In any other program, this module does nothing.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

INTERRUPTED = 130  # the exit status of a command that was stopped by Ctrl-C


def is_command(argv: list[str], original: list[str]) -> bool:
    """Whether this process was started as `nnlite` or as `python -m nnlite`, judged by sys.argv and sys.orig_argv."""
    if argv[:1] == ["-m"]:  # while the package is being imported
        return original[original.index("-m") + 1 :][:1] == ["nnlite"] if "-m" in original else "-mnnlite" in original
    return bool(argv) and os.path.basename(argv[0]) in ("nnlite", "nnlite.exe")


def over() -> None:
    """The import has ended: from now on, Ctrl-C raises KeyboardInterrupt."""
    if signal.getsignal(signal.SIGINT) is _stop:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _stop(number: int, frame: Any) -> None:
    os.write(2, b"nnlite: stopped by Ctrl-C\n")
    os._exit(INTERRUPTED)


if is_command(sys.argv, sys.orig_argv) and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, _stop)

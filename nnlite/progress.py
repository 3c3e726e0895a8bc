"""The progress of a fit on stderr: a bar in a terminal or a notebook, plain lines in a file or a pipe."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

EACH = 20  # up to this number of epochs, each has its line; with more, there is a line every PAUSE seconds
PAUSE = 5.0


class Bar:
    """A tqdm bar over all rows of all epochs, drawn at most ten times a second, or lines; nothing unless wanted.

    `before` is the number of epochs, among all, that count as made and are not shown.
    """

    def __init__(self, epochs: int, rows: int | None, wanted: bool, before: int = 0) -> None:
        self.bar, self.lines, self.epochs, self.rows = None, False, epochs, 0
        self.before, self.shown = before, 0  # shown: the number of epochs after these
        self.drawn, self.told = -PAUSE, 0  # the time of the last line or bar, by the monotonic clock, and its epoch
        self.text = f"epoch {before + 1}/{epochs}"
        if wanted and epochs > before and sys.stderr is not None:
            with contextlib.suppress(OSError, ValueError):  # the terminal is gone or closed
                sys.stderr.flush()
                self.lines = not _can_draw(sys.stderr)
                if not self.lines:
                    self._start(rows)

    def _start(self, rows: int | None) -> None:
        # The delay keeps tqdm from drawing in its constructor: if that failed, there would be no bar to close.
        options = {"unit": " rows", "unit_scale": True, "mininterval": 0.1, "dynamic_ncols": True, "delay": 1e-9}
        total = None if rows is None else (self.epochs - self.before) * rows
        self.bar = quiet_tqdm()(total=total, **options)
        self._draw(lambda bar: bar.set_description(self.text, refresh=False))
        self._draw(lambda bar: bar.refresh())

    @contextlib.contextmanager
    def waiting(self, why: Callable[[], str]) -> Iterator[None]:
        """Say why nothing happens if the wait takes longer than a second. The bar's rate leaves the wait out.

        While the wait goes on, the bar follows what `why` returns; lines have only the first text.
        """
        if self.bar is None and not self.lines:
            yield
            return
        over, start = threading.Event(), time.perf_counter()

        def show() -> None:
            self._draw(lambda bar: bar.set_description(why()))

        def say() -> None:
            if not over.wait(1.0):
                self._print(why())
                show()
                while not over.wait(0.2):
                    show()

        note = threading.Thread(target=say, daemon=True)
        note.start()
        try:
            yield
        finally:
            over.set()
            note.join()  # no thread outlives the fit
            self._draw(lambda bar: _leave_out(bar, time.perf_counter() - start))
            self._draw(lambda bar: bar.set_description(self.text, refresh=False))

    def begin(self, rows: int, epochs: int) -> None:
        """Begin where an earlier fit was stopped, after so many rows and epochs."""
        self.rows, self.shown, self.text = rows, epochs, f"epoch {min(epochs + 1, self.epochs)}/{self.epochs}"
        if self.bar is not None:
            self.bar.initial = self.bar.n = rows  # rows that do not count in its rate
        self._draw(lambda bar: bar.set_description(self.text))

    def advance(self, rows: int) -> None:
        """Show that this number of rows is done, counted over all epochs."""
        self.rows = rows
        self._draw(lambda bar: bar.update(rows - bar.n))

    def show(self, history: Mapping[str, Sequence[float]]) -> None:
        """Show epochs that have ended since the last call: their values by name, one for each epoch of the fit."""
        before, self.shown = self.shown, min(map(len, history.values()))
        if self.bar is None and not self.lines:
            return
        for epoch in range(before if self._each else max(before, self.shown - 1), self.shown):
            self._show(self.before + epoch + 1, _text(history, epoch))

    def stopped(self, history: Mapping[str, Sequence[float]]) -> None:
        """Show the last epoch, if training was ended before its time: the bar is then whole."""
        self._draw(lambda bar: setattr(bar, "total", bar.n))
        epoch = self.before + self.shown
        if self.shown and epoch < self.epochs and epoch != self.told:
            self._show(epoch, _text(history, self.shown - 1), last=True)

    @property
    def _each(self) -> bool:
        """Whether every epoch has its line."""
        return self.epochs - self.before <= EACH

    def _show(self, epoch: int, text: Mapping[str, str], last: bool = False) -> None:
        now, last = time.monotonic(), last or epoch == self.epochs
        if self.lines and (last or self._each or now - self.drawn >= PAUSE):
            self.drawn, self.told = now, epoch
            self._print(f"epoch {epoch}/{self.epochs}: {', '.join(f'{name}={value}' for name, value in text.items())}")
        if self.bar is not None and (last or now - self.drawn >= 0.1):
            self.drawn, self.told = now, epoch
            self.text = f"epoch {epoch if last else epoch + 1}/{self.epochs}"
            self._draw(lambda bar: bar.set_description(self.text, refresh=False))
            self._draw(lambda bar: bar.set_postfix(text, refresh=last))

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *error: Any) -> None:
        self._draw(lambda bar: bar.close())

    def _draw(self, draw: Callable[[Any], Any]) -> None:
        if self.bar is not None:
            try:
                draw(self.bar)
            except (OSError, ValueError):  # the terminal is gone or closed; training goes on
                self.bar.disable = True
                self.bar = None

    def _print(self, line: str) -> None:
        if self.lines:
            try:
                sys.stderr.write(line + "\n")
                sys.stderr.flush()
            except (OSError, ValueError, AttributeError):  # no reader of the pipe, a closed file, no stderr
                self.lines = False


def _text(history: Mapping[str, Sequence[float]], epoch: int) -> dict[str, str]:
    return {name: f"{values[epoch]:.4f}" for name, values in history.items()}


def _leave_out(bar: Any, seconds: float) -> None:
    """Let a bar compute its rate as if so many seconds had not been."""
    bar.start_t += seconds
    bar.last_print_t += seconds


def _can_draw(stream: Any) -> bool:
    """Whether a line in this stream can be overwritten, as in a terminal or a notebook."""
    return bool(hasattr(stream, "isatty") and stream.isatty()) or _in_notebook()


def _in_notebook() -> bool:
    return "ipykernel" in sys.modules


def quiet_tqdm() -> Any:
    """tqdm's own bar for a terminal or a notebook, but with no thread that outlives it, and safe to be forked.

    A tqdm bar draws under two locks, one for threads and one for processes. If a child is forked while another thread
    draws, the child would wait for the thread lock for ever, because the thread that holds it does not exist in the
    child. So the process lock is not used here. The thread that forks takes the thread lock before the fork and
    releases it in both processes. A notebook without ipywidgets has no bar of its own, and shows stderr as if it were
    an error: there, the bar is text on stdout.
    """
    from tqdm import std

    shown = type(sys.stdout).__module__.startswith("ipykernel")  # and not a file of a program that has imported it
    plain = _in_notebook() and shown and importlib.util.find_spec("ipywidgets") is None
    kind: Any = std.tqdm
    if not plain:
        from tqdm.auto import tqdm

        kind = tqdm

    class Quiet(kind):
        monitor_interval = 0  # no thread that monitors bars
        _lock = std.TqdmDefaultWriteLock.th_lock  # which any other tqdm bar takes too

        def __init__(self, **options: Any) -> None:
            super().__init__(**({"file": sys.stdout} if plain else {}), **options)

    return Quiet


# ---- fork -------------------------------------------------------------------------------------------------------

_held = threading.local()  # the lock that this thread holds while it forks


def _before_fork() -> None:
    std = sys.modules.get("tqdm.std")
    lock = std.TqdmDefaultWriteLock.th_lock if std else None
    # Drawing takes only a moment, unless nobody reads the output. In that case the child gets a new lock.
    _held.lock = lock if lock is not None and lock.acquire(timeout=1.0) else None


def _in_parent() -> None:
    if _held.lock is not None:
        _held.lock.release()


def _in_child() -> None:
    std = sys.modules.get("tqdm.std")
    if _held.lock is not None:
        _held.lock.release()
    elif std is not None:
        std.TqdmDefaultWriteLock.th_lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_in_parent, after_in_child=_in_child)

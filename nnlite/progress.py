"""The progress bar of a fit: rows, epochs and the last values, on stderr."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any


class Bar:
    """A tqdm bar over all rows of all epochs, drawn at most ten times a second; does nothing if not wanted."""

    def __init__(self, epochs: int, rows: int | None, wanted: bool) -> None:
        self.bar, self.epochs, self.drawn, self.rows = None, epochs, 0.0, 0
        self.text = f"epoch 1/{epochs}"
        if wanted and epochs and sys.stderr is not None:
            from tqdm.auto import tqdm

            # With a delay the bar is not drawn while it is being made: half a bar cannot be closed.
            options = {"unit": " rows", "unit_scale": True, "mininterval": 0.1, "dynamic_ncols": True, "delay": 1e-9}
            with contextlib.suppress(OSError):
                sys.stderr.flush()  # fails where there is no terminal any more
                self.bar = tqdm(total=None if rows is None else epochs * rows, **options)
                self.bar.set_description(self.text, refresh=False)
            self._draw(lambda bar: bar.refresh())

    @contextlib.contextmanager
    def waiting(self, why: str) -> Iterator[None]:
        """Say why nothing happens, if that takes longer than a second."""
        note = threading.Timer(1.0, lambda: self._draw(lambda bar: bar.set_description(why)))
        note.daemon = True
        if self.bar is not None:
            note.start()
        try:
            yield
        finally:
            note.cancel()
            self._draw(lambda bar: bar.set_description(self.text, refresh=False))

    def advance(self, rows: int) -> None:
        """So many rows of all epochs are done."""
        self.rows = rows
        self._draw(lambda bar: bar.update(rows - bar.n))

    def show(self, epoch: int, values: Mapping[str, float]) -> None:
        """So many epochs have ended, the last with these values."""
        now, last = time.monotonic(), epoch == self.epochs
        if self.bar is not None and (last or now - self.drawn >= 0.1):
            self.drawn = now
            text = {name: f"{value:.4f}" for name, value in values.items()}
            self.text = f"epoch {min(epoch + 1, self.epochs)}/{self.epochs}"
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
            except OSError:  # the terminal is gone, or whoever read the pipe; training goes on
                self.bar.disable = True
                self.bar = None

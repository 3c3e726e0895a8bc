"""A callback that saves the trainer while it trains, so that a fit that is killed can go on from there."""

from __future__ import annotations

import contextlib
import glob
import math
import os
import re
import time
from collections.abc import Mapping
from typing import Any

from . import elsewhere, gate
from .watcher import Watcher

EPOCH = "{epoch}"  # in a path, the place of the number of epochs


class Checkpoint(Watcher):
    """Saves the trainer after every so many epochs, at the end of the fit, and where it is interrupted.

    `path` may contain {epoch}, for the number of epochs; then the last `keep` files are kept, and older ones that this
    object has written are removed. With `monitor`, a name in the history such as "val_loss", the best of the epochs
    that are looked at is saved to a file of its own, `best_path`; `mode` says whether "min" or "max" is best. With
    `seconds`, files are written at least so long after one another. ValueError for a monitor that is not measured.

    It looks after all other callbacks.

    >>> checkpoint = nl.Checkpoint("digits.safetensors", every=5)
    >>> checkpoint.newest() is None  # or else: trainer.resume(checkpoint.newest())
    True
    """

    writes = saves = True

    @elsewhere.answered(elsewhere.CHECKPOINT, {"filepath": "path"})
    def __init__(
        self,
        path: str | os.PathLike[str],
        every: int = 1,
        monitor: str | None = None,
        keep: int = 1,
        mode: str = "auto",
        seconds: float = 0.0,
    ) -> None:
        self.path, self.every = os.fsdecode(path), gate.integer(every, "every")
        self.keep, self.seconds = gate.integer(keep, "keep"), gate.number(seconds, "seconds", least=0)
        for field in re.findall(r"\{\w+(?::[^}]*)?\}", self.path.replace(EPOCH, "")):
            what = f"path={self.path!r} has {field}, but only {EPOCH} is replaced"
            raise ValueError(f'{what}; monitor="val_loss" keeps the best epoch in a file of its own')
        if self.keep > 1 and EPOCH not in self.path:
            raise ValueError(f"keep={keep} needs a path with {EPOCH} in it, such as 'net-{EPOCH}.safetensors'")
        super().__init__(monitor, 0, 0.0, mode)
        self.written: list[str] = []  # the last files, the newest at the end
        self._saved: tuple[int, ...] | None = None  # where the fit stood in the last one
        self._at = -math.inf  # its time, by the monotonic clock

    @property
    def best_path(self) -> str:
        """The file of the best epoch."""
        start, end = os.path.splitext(self.path)
        return self.path.replace(EPOCH, "best") if EPOCH in self.path else f"{start}-best{end}"

    def newest(self) -> str | None:
        """The newest file that there is; None if there is none."""
        pattern = re.compile(re.escape(self.path).replace(re.escape(EPOCH), r"\d+"))
        there = [name for name in glob.glob(glob.escape(self.path).replace(EPOCH, "*")) if pattern.fullmatch(name)]
        return max(there, key=lambda name: os.stat(name).st_mtime_ns, default=None)

    def begin(self, trainer: Any) -> None:
        if self.monitor is not None:
            super().begin(trainer)
        os.makedirs(os.path.dirname(self.path) or ".", exist_ok=True)
        self._saved, self._at = None, time.monotonic() if self.seconds else -math.inf

    def after_epoch(self, trainer: Any, epoch: int) -> None:
        if self.monitor is not None and self.improves(trainer):
            trainer.save(self.best_path)
        if time.monotonic() - self._at >= self.seconds:
            self._save(trainer)

    def end(self, trainer: Any) -> None:
        if trainer.stopped:  # by a callback, which may have restored its best parameters since the last file
            self._saved = None
        self._save(trainer)

    def state(self) -> dict[str, Any]:
        return super().state() | {"written": self.written}

    def restore(self, state: Mapping[str, Any]) -> None:
        super().restore(state)
        self.written = list(state["written"])

    def _save(self, trainer: Any) -> None:
        """Write a file, unless the last one says the same, or there is nothing to go on with after a divergence."""
        unfinished = trainer.unfinished
        if unfinished is None or (place := unfinished.stands()) == self._saved:
            return
        path = self.path.replace(EPOCH, str(place[0]))
        self.written = [*(name for name in self.written if name != path), path]
        self.written, old = self.written[-self.keep :], self.written[: -self.keep]
        trainer.save(path)
        self._saved, self._at = place, time.monotonic()
        for name in old:
            with contextlib.suppress(OSError):
                os.unlink(name)

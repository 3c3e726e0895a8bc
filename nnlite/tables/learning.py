"""How long to train on a table: as long as rows that are held back from training are predicted better and better.

N rows, D features
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np

from ..datasets import split
from ..history import History
from ..progress import Bar
from ..trainer import Trainer

HELD = 0.15  # of the rows
PATIENCE = 20  # epochs without a smaller loss
SMALL = 2000  # rows; below, a part that is held back says too little, and would be missed
FOLDS = 5


def fit_until_best(
    trainer: Trainer,
    x: np.ndarray,
    y: np.ndarray,
    most: int,
    batch_size: int,
    seed: int = 0,
    progress: bool = False,
    tell: Callable[[str], None] = lambda text: None,
) -> History:
    """Train on x (N, D), y for the number of epochs, up to `most`, that is best for new rows -> the history.

    With many rows, some are held back, and the parameters of the epoch that predicts them best are kept. With few,
    cross-validation finds the best number of epochs, and all rows are then trained on. "val_loss" is the loss over the
    rows that were held back, in the second case the mean over all parts. An interrupt leaves the best parameters of the
    first case.
    """
    labels = None if y.dtype.kind == "i" else False
    if len(x) >= SMALL:
        x_train, y_train, x_held, y_held = split(x, y, HELD, seed, stratify=labels)
        return _early_stopping(trainer, (x_train, y_train), (x_held, y_held), most, batch_size, PATIENCE, progress)
    parts = _parts(x, y, min(FOLDS, len(x)), seed)
    tell(f"cross-validation in {len(parts)} parts finds the best number of epochs")
    curves = []
    for held in parts:
        fold, train = copy.deepcopy(trainer), np.setdiff1d(np.arange(len(x)), held)
        data, unseen = (x[train], y[train]), (x[held], y[held])
        found = _early_stopping(fold, data, unseen, most, min(batch_size, len(train)), 2 * PATIENCE, False)["val_loss"]
        curves.append(np.array([*found, *[found[-1]] * (most - len(found))]))
        trainer._seconds = fold._seconds  # device "auto" looks at the work of all parts together
    curve = np.mean(curves, axis=0)  # (most,)
    epochs = 1 + int(curve.argmin())
    tell(f"{epochs} epochs")
    try:
        trainer.fit(x, y, epochs, batch_size, progress=progress)
    finally:
        done = min(map(len, trainer.history.values()), default=0)
        trainer.history.extend({"val_loss": curve[:done].tolist()})
    return trainer.history


def _parts(x: np.ndarray, y: np.ndarray, parts: int, seed: int) -> list[np.ndarray]:
    """The rows of each part, about equally many, and equally many of every class."""
    order = np.random.Generator(np.random.PCG64(seed)).permutation(len(x))
    if y.dtype.kind == "i":
        order = order[np.argsort(y[order], kind="stable")]
    return [order[part::parts] for part in range(parts)]


def _early_stopping(
    trainer: Trainer, data: Any, held: Any, most: int, batch_size: int, patience: int, progress: bool
) -> History:
    """Epochs until the loss over the rows held back has not become smaller for a while; the best parameters stay."""
    net, history, (x, y) = trainer.network, History(), data
    best, best_loss, since, epoch = net.state_dict(), np.inf, 0, 0
    try:
        with Bar(most, len(x), progress) as bar:
            while epoch < most and since < patience:
                history.extend(trainer.fit(x, y, 1, batch_size, validation_data=held, progress=False))
                epoch, since = epoch + 1, since + 1
                if history["val_loss"][-1] < best_loss:
                    best, best_loss, since = net.state_dict(), history["val_loss"][-1], 0
                bar.advance(epoch * len(x))
                bar.show(history)
    finally:
        net.load_state_dict(best)
        trainer.history = history
    return history

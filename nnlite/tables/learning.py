"""How long to train on a table: as long as rows that are held back from training are predicted better and better.

N rows, D features
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..callbacks import Callback, EarlyStopping
from ..datasets import split
from ..trainer import Trainer

# The network and its training, by measurement over real tables: its hidden layers and their activation, the rows of a
# batch, and the learning rate and weight decay of Adam.
LAYERS, ACTIVATION, BATCH_SIZE, RATE, WEIGHT_DECAY = (64,), "tanh", 32, 0.001, 0.1
HELD = 0.15  # of the rows
PATIENCE = 20  # epochs without a smaller loss
SMALL = 2000  # rows; below, a part that is held back says too little, and would be missed
FOLDS = 5


def most_epochs(rows: int) -> int:
    """How many epochs at most: about 10,000 steps."""
    return min(500, max(5, 10_000 * BATCH_SIZE // rows))


def fit_until_best(
    trainer: Trainer,
    x: np.ndarray,
    y: np.ndarray,
    most: int,
    batch_size: int,
    seed: int = 0,
    progress: bool = False,
    tell: Callable[[str], None] = lambda text: None,
    callbacks: Sequence[Callback] = (),
    sample_weight: np.ndarray | None = None,
) -> None:
    """Train on x (N, D), y for the number of epochs, up to `most`, that is best for new rows.

    With many rows, some are held back, and the parameters of the epoch that predicts them best are kept. With few,
    cross-validation finds the best number of epochs, and all rows are then trained on. "val_loss" is the loss over the
    rows that were held back, in the second case the mean over all parts. An interrupt leaves the best parameters of the
    first case. `callbacks` look at the training that counts; after `trainer.resume`, it goes on where it was stopped.
    Row n counts sample_weight (N,) times.
    """
    if len(x) < SMALL:
        stopped = trainer.unfinished
        if stopped and stopped.loaded:
            epochs, unseen = stopped.epochs, Unseen()  # which the fit gives its memory back
        else:
            curve = _cross_validated(trainer, x, y, most, batch_size, seed, tell, sample_weight)
            epochs, unseen = 1 + int(curve.argmin()), Unseen(curve, trainer.history.epochs)
            tell(f"{epochs} epochs")
        how: Any = {"progress": progress, "callbacks": [unseen, *callbacks], "sample_weight": sample_weight}
        trainer.fit(x, y, epochs, batch_size, **how)
        return
    labels = None if y.dtype.kind == "i" else False
    learn, _, held, _ = split(np.arange(len(x)), y, HELD, seed, stratify=labels)
    early = EarlyStopping(patience=PATIENCE)
    how = {"validation_data": _rows(held, x, y, sample_weight), "progress": progress, "callbacks": [early, *callbacks]}
    how["sample_weight"] = None if sample_weight is None else sample_weight[learn]
    try:
        trainer.fit(x[learn], y[learn], most, batch_size, **how)
    except KeyboardInterrupt:
        early.bring_back(trainer.network)
        raise


class Unseen(Callback):
    """Adds to the history, after `before` epochs of earlier fits, the mean loss over unseen rows (epochs,)."""

    def __init__(self, losses: np.ndarray | Sequence[float] = (), before: int = 0) -> None:
        self.losses, self.before = np.array(losses, np.float64), before

    def end(self, trainer: Trainer) -> None:
        history = trainer.history
        earlier = history.get("val_loss", [math.nan] * self.before)[: self.before]
        history["val_loss"] = [*earlier, *self.losses[: history.epochs - self.before].tolist()]

    def state(self) -> dict[str, Any]:
        return {"losses": self.losses, "before": self.before}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.losses, self.before = state["losses"], state["before"]


def _cross_validated(
    trainer: Trainer,
    x: np.ndarray,
    y: np.ndarray,
    most: int,
    batch_size: int,
    seed: int,
    tell: Callable[[str], None],
    sample_weight: np.ndarray | None = None,
) -> np.ndarray:
    """The mean loss over unseen rows after each of `most` epochs (most,), of copies of the trainer."""
    parts = _parts(x, y, min(FOLDS, len(x)), seed)
    tell(f"cross-validation in {len(parts)} parts finds the best number of epochs")
    alone, curves = copy.copy(trainer), []
    alone.ranks = None  # every rank finds the same: its parts are too few rows to be shared
    for held in parts:
        fold, train = copy.deepcopy(alone), np.setdiff1d(np.arange(len(x)), held)
        how: Any = {"validation_data": _rows(held, x, y, sample_weight), "progress": False}
        how["callbacks"] = [EarlyStopping(patience=2 * PATIENCE, restore_best=False)]
        how["sample_weight"] = None if sample_weight is None else sample_weight[train]
        found = fold.fit(x[train], y[train], most, min(batch_size, len(train)), **how)["val_loss"]
        curves.append(np.array([*found, *[found[-1]] * (most - len(found))]))
        trainer._seconds = fold._seconds  # device "auto" looks at the work of all parts together
    return np.mean(curves, axis=0)


def _rows(rows: np.ndarray, *arrays: np.ndarray | None) -> tuple[np.ndarray, ...]:
    """These rows of each array that there is."""
    return tuple(array[rows] for array in arrays if array is not None)


def _parts(x: np.ndarray, y: np.ndarray, parts: int, seed: int) -> list[np.ndarray]:
    """The rows of each part, about equally many, and equally many of every class."""
    order = np.random.Generator(np.random.PCG64(seed)).permutation(len(x))
    if y.dtype.kind == "i":
        order = order[np.argsort(y[order], kind="stable")]
    return [order[part::parts] for part in range(parts)]

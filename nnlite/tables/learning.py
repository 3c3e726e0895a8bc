"""How long to train on a table: until rows that are held back from training are predicted best. N rows, D features"""

from __future__ import annotations

import numpy as np

from ..datasets import split
from ..history import History
from ..progress import Bar
from ..trainer import Trainer

HELD = 0.15  # of the rows
PATIENCE = 20  # epochs without a smaller loss


def fit_until_best(
    trainer: Trainer, x: np.ndarray, y: np.ndarray, most: int, batch_size: int, seed: int = 0, progress: bool = False
) -> History:
    """Train on x (N, D), y with early stopping, and keep the parameters of the best epoch -> the history.

    A part of the rows is held back, of every class alike; "val_loss" is the loss over it. Training ends after `most`
    epochs, or when it has not become smaller for a while. An interrupt leaves the parameters of the best epoch, too.
    """
    x_train, y_train, *held = split(x, y, HELD, seed, stratify=None if y.dtype.kind == "i" else False)
    net, history = trainer.network, History()
    best, best_loss, since, epoch = net.state_dict(), np.inf, 0, 0
    try:
        with Bar(most, len(x_train), progress) as bar:
            while epoch < most and since < PATIENCE:
                one = trainer.fit(x_train, y_train, 1, batch_size, validation_data=(held[0], held[1]), progress=False)
                history.extend(one)
                epoch, since = epoch + 1, since + 1
                if history["val_loss"][-1] < best_loss:
                    best, best_loss, since = net.state_dict(), history["val_loss"][-1], 0
                bar.advance(epoch * len(x_train))
                bar.show(history)
    finally:
        net.load_state_dict(best)
        trainer.history = history
    return history

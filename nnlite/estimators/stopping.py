"""Between the epochs: what scikit-learn's estimators note, and when they stop.

Training stops when the loss, or with early stopping the score of rows held back, has not improved by `tol` for more
than `n_iter_no_change` epochs in a row. With learning_rate="adaptive", the learning rate then becomes a fifth instead,
until it is below a millionth.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from ..callback import Callback
from .penalty import PenalizedTrainer
from .solver import name_of_solver

LEAST_RATE = 1e-6


class Watch(Callback):
    """Notes the losses and scores of an estimator's epochs, and ends training when they no longer improve.

    `rows` and `batches` are those of an epoch; `score` is a function without arguments, or None if no rows are held
    back, by which training ends if `by_score`.
    """

    def __init__(
        self,
        estimator: Any,
        rows: int,
        batches: int,
        total_weight: float,
        score: Callable[[], float] | None,
        by_score: bool,
    ) -> None:
        self.estimator, self.rows, self.batches, self.total_weight = estimator, rows, batches, total_weight
        self.score, self.by_score = score, by_score
        self.converged = False

    def begin(self, trainer: PenalizedTrainer) -> None:
        self.squares = trainer.squares() if trainer.alpha else 0.0

    def after_epoch(self, trainer: PenalizedTrainer, epoch: int) -> None:
        estimator = self.estimator
        estimator.loss_ = trainer.history["loss"][-1] + self.penalty(trainer)
        estimator.loss_curve_.append(estimator.loss_)
        estimator.n_iter_ += 1
        estimator.t_ += self.rows
        self.say(f"Iteration {estimator.n_iter_}, loss = {estimator.loss_:.8f}")
        if self.score is not None:
            estimator.validation_scores_.append(self.score())
            self.say(f"Validation score: {estimator.validation_scores_[-1]:f}")
        improved = self.improved(trainer)
        estimator._no_improvement_count = 0 if improved else estimator._no_improvement_count + 1
        if name_of_solver(estimator.solver) == "sgd" and estimator.learning_rate == "invscaling":
            rate = estimator.learning_rate_init / (estimator.t_ + 1) ** estimator.power_t
            set_rate(trainer, rate)
        if estimator._no_improvement_count > estimator.n_iter_no_change:
            self.stop(trainer)

    def penalty(self, trainer: PenalizedTrainer) -> float:
        """The mean over the epoch's rows of alpha / 2n · Σ w², with Σ w² taken to change evenly from batch to batch."""
        if not trainer.alpha:
            return 0.0
        before, self.squares = self.squares, trainer.squares()
        mean = before + (self.squares - before) * (self.batches - 1) / (2 * self.batches)
        return trainer.alpha / 2 * mean * self.batches / self.total_weight

    def improved(self, trainer: PenalizedTrainer) -> bool:
        """Whether the epoch was better than the best before by at least tol; the best is remembered."""
        estimator = self.estimator
        if self.by_score:
            score, best = estimator.validation_scores_[-1], estimator.best_validation_score_
            if score > best:
                estimator.best_validation_score_ = score
                estimator._best = trainer.network.state_dict()
            return not score < best + estimator.tol
        loss, best = estimator.loss_, estimator.best_loss_
        estimator.best_loss_ = min(loss, best)
        return not loss > best - estimator.tol

    def stop(self, trainer: PenalizedTrainer) -> None:
        """End training, or lower the learning rate if it is adaptive and not yet small."""
        estimator = self.estimator
        what = "Validation score" if self.by_score else "Training loss"
        count = estimator.n_iter_no_change
        said = f"{what} did not improve more than tol={estimator.tol:f} for {count} consecutive epochs."
        adaptive = name_of_solver(estimator.solver) == "sgd" and estimator.learning_rate == "adaptive"
        if adaptive and trainer.optimizer.lr > LEAST_RATE:
            set_rate(trainer, trainer.optimizer.lr / 5)
            estimator._no_improvement_count = 0
            self.say(f"{said} Setting learning rate to {trainer.optimizer.lr:f}")
            return
        self.say(f"{said} {'Learning rate too small. ' if adaptive else ''}Stopping.")
        self.converged = True
        trainer.stop()

    def say(self, text: str) -> None:
        if self.estimator.verbose:
            sys.stdout.write(f"{text}\n")


def set_rate(trainer: PenalizedTrainer, rate: float) -> None:
    """Set the learning rate. The velocity becomes larger as the rate becomes smaller, so that the next move does not.

    (scikit-learn's velocity has the rate of its time in it.)
    """
    optimizer: Any = trainer.optimizer
    if "velocity" in vars(optimizer):
        optimizer.velocity[...] *= optimizer.lr / rate
    optimizer.lr = rate

"""A regressor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

from .. import elsewhere
from ..loss import Loss
from ..losses import loss as loss_named
from ..optimizers import Optimizer
from ..schedules import Schedule
from . import inputs
from .penalty import PoissonLoss, SquaredError
from .perceptron import Perceptron
from .scikit_learn import OnlyStepByStep

R = TypeVar("R", bound="MLPRegressor")


class MLPRegressor(Perceptron):
    """A multilayer perceptron for numbers, with the parameters and attributes of scikit-learn's MLPRegressor.

    loss: "squared_error", that is ½ Σ (p − y)² over the outputs of a row; "poisson", whose predictions are above 0; or
    another of nnlite's losses, by its name or as an object. All else is as in `nl.MLPClassifier`. With several outputs,
    y has the shape (N, outputs).

    >>> X, y = nl.datasets.sine(n=200, seed=0)
    >>> regressor = nl.MLPRegressor(solver="lbfgs", activation="tanh", max_iter=500, random_state=0, device="numpy")
    >>> bool(regressor.fit(X, y[:, 0]).score(X, y[:, 0]) > 0.9)
    True
    """

    _estimator_type = "regressor"

    @elsewhere.answered(elsewhere.PERCEPTRON)
    def __init__(
        self,
        loss: str | Loss = "squared_error",
        hidden_layer_sizes: int | Sequence[int] = (100,),
        activation: Any = "relu",
        *,
        solver: str | Optimizer = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float | Schedule = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool | int = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        dropout: float = 0.0,
        callbacks: Sequence[Any] = (),
        device: str = "cpu",
        dtype: str | None = None,
        threads: int | None = None,
    ) -> None:
        self._keep(locals())

    def fit(self: R, X: Any, y: Any, sample_weight: Any = None, validation_data: Any = None) -> R:
        """Train on X (N, features) and numbers y (N,) or (N, outputs); returns the regressor.

        Row n counts sample_weight (N,) times. After each epoch, R² on `validation_data` (X, y) is added to
        `validation_scores_`, and its loss to `history_`; with early_stopping, it decides, and nothing is held back.
        """
        return self._fit(X, y, sample_weight, validation_data)

    @OnlyStepByStep
    def partial_fit(self: R, X: Any, y: Any, sample_weight: Any = None) -> R:
        """One epoch more."""
        return self._fit(X, y, sample_weight, one_epoch=True)

    def predict(self, X: Any) -> np.ndarray:
        """X (N, features) -> numbers (N,), or (N, outputs) if there are several."""
        outputs = self._outputs(X)
        return outputs.ravel() if outputs.shape[1] == 1 else outputs

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """R²: 1 − Σ (y − p)² / Σ (y − mean y)², the mean over the outputs."""
        outputs = self._outputs(X)
        targets = inputs.numbers(inputs.target(y, len(outputs)), np.float64)
        return self._measured(outputs, targets, inputs.weights(sample_weight, len(outputs)))

    # ---- for the training -----------------------------------------------------------------------------------------

    def _targets(self, y: np.ndarray, dtype: Any) -> np.ndarray:
        return inputs.numbers(y, dtype)

    def _output(self) -> tuple[str, Loss]:
        if self.loss == "poisson":
            return "exp", PoissonLoss(log_input=False)
        if self.loss == "squared_error":
            return "identity", SquaredError()
        if not isinstance(self.loss, (str, Loss)):
            hint = f"; the hidden layers are hidden_layer_sizes={self.loss!r}" * isinstance(
                self.loss, (int, tuple, list)
            )
            raise TypeError(f"loss must be a name or a Loss, not {self.loss!r}{hint}")
        return "identity", self.loss if isinstance(self.loss, Loss) else loss_named(self.loss)

    def _measured(self, outputs: np.ndarray, targets: np.ndarray, weight: np.ndarray | None) -> float:
        w = np.ones((len(targets), 1)) if weight is None else weight[:, None]
        errors = (w * (targets - outputs.astype(np.float64)) ** 2).sum(axis=0)  # (outputs,)
        spread = (w * (targets - (w * targets).sum(axis=0) / w.sum()) ** 2).sum(axis=0)  # (outputs,)
        share = np.where(spread > 0, errors / np.where(spread > 0, spread, 1), errors > 0)
        return float((1 - share).mean())

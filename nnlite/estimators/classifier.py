"""A classifier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from .. import elsewhere
from ..loss import Loss
from ..losses import CategoricalCrossEntropy
from ..losses import loss as loss_named
from ..optimizers import Optimizer
from ..schedules import Schedule
from . import inputs
from .labels import Labels
from .penalty import BinaryLogLoss
from .perceptron import Perceptron
from .scikit_learn import OnlyStepByStep

C = TypeVar("C", bound="MLPClassifier")


class MLPClassifier(Perceptron):
    """A multilayer perceptron for labels, with the parameters and attributes of scikit-learn's MLPClassifier.

    hidden_layer_sizes, activation: of the hidden layers; `activation` is one name or layer for all, or a list.
    solver: "adam", "sgd" or "lbfgs"; or any other of nnlite's optimizers, by its name or as an object.
    alpha: the penalty alpha / 2n · Σ w² on weights, for a batch of n rows.
    batch_size, learning_rate ("constant", "invscaling", "adaptive"; the last two for "sgd"), learning_rate_init (also
    a schedule), power_t, max_iter, shuffle, random_state, tol, n_iter_no_change, verbose, warm_start, momentum,
    nesterovs_momentum, early_stopping, validation_fraction, beta_1, beta_2, epsilon, max_fun: as in scikit-learn.
    loss: "log_loss", or another of nnlite's losses, by its name or as an object.
    class_weight: {label: weight} in training, or "balanced", with which all classes count the same.
    dropout: the share of each hidden layer's units that is left out in each step.
    callbacks: of the trainer, which look between its epochs.
    device, threads: those of the network. dtype: None takes float32 if X is, and else float64.

    Beside scikit-learn's attributes, `network_` is the nnlite network, and `history_` has what the trainer measured.
    X may be an array, a DataFrame or a sparse matrix. With the same random_state, the first weights are scikit-learn's.

    >>> X, y = nl.datasets.moons(n=200, noise=0.1, seed=0)
    >>> classifier = nl.MLPClassifier(solver="lbfgs", max_iter=1000, random_state=0, device="numpy").fit(X, y)
    >>> bool(classifier.score(X, y) > 0.95)
    True
    """

    _estimator_type = "classifier"
    _labels: Labels
    classes_: np.ndarray

    class_weight: str | Mapping[Any, float] | None

    @elsewhere.answered(elsewhere.PERCEPTRON)
    def __init__(
        self,
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
        loss: str | Loss = "log_loss",
        class_weight: str | Mapping[Any, float] | None = None,
    ) -> None:
        self._keep(locals())

    def fit(self: C, X: Any, y: Any, sample_weight: Any = None, validation_data: Any = None) -> C:
        """Train on X (N, features) and y: labels (N,), or 0 and 1 for each label (N, labels); returns the classifier.

        Row n counts sample_weight (N,) times. After each epoch, the accuracy on `validation_data` (X, y) is added to
        `validation_scores_`, and its loss to `history_`; with early_stopping, it decides, and nothing is held back.
        """
        return self._fit(X, y, sample_weight, validation_data)

    @OnlyStepByStep
    def partial_fit(self: C, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> C:
        """One epoch more. The first call needs all `classes` that there will be, if y has one label a row."""
        several = inputs.is_sparse(y) or np.ndim(y) > 1
        if classes is not None and not several:
            given = Labels.of(np.asarray(classes))
            if self.__sklearn_is_fitted__() and not np.array_equal(given.classes, self.classes_):
                known = f"those before were {self.classes_}"
                raise ValueError(f"`classes={classes!r}` is not the same as on last call to partial_fit: {known}")
            self._labels = given
        elif not (several or self.__sklearn_is_fitted__()):
            raise ValueError("classes must be passed on the first call to partial_fit.")
        return self._fit(X, y, sample_weight, one_epoch=True)

    def predict(self, X: Any) -> np.ndarray:
        """X (N, features) -> the most probable label of each row (N,), or 0 and 1 for each label (N, labels)."""
        outputs = self._outputs(X)
        return self._labels.answers(outputs)

    def predict_proba(self, X: Any) -> np.ndarray:
        """X (N, features) -> the probability of each class (N, classes)."""
        outputs = self._outputs(X)
        return self._labels.probabilities(outputs)

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """The logarithm of `predict_proba`."""
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """The share of the rows whose label is right, or all of whose labels are."""
        answers = self.predict(X)
        right = (answers == inputs.target(y, len(answers))).reshape(len(answers), -1).all(axis=1)
        return float(np.average(right, weights=sample_weight))

    # ---- for the training -----------------------------------------------------------------------------------------

    def _meet(self, y: np.ndarray, anew: bool, one_epoch: bool) -> None:
        if one_epoch and (y.ndim == 1 or not anew):
            return  # the classes are those of the first call
        found = Labels.of(y)
        if not anew and not np.array_equal(found.classes, self.classes_):
            was = f"Previously got {self.classes_}, `y` has {found.classes}"
            rule = "warm_start can only be used where `y` has the same classes as in the previous call to fit."
            raise ValueError(f"{rule} {was}")
        self._labels = found

    def _targets(self, y: np.ndarray, dtype: Any) -> np.ndarray:
        return self._labels.targets(y, dtype)

    def _weights(self, weight: np.ndarray | None, targets: np.ndarray) -> np.ndarray | None:
        if self.class_weight is None:
            return weight
        if self._labels.several:
            raise ValueError("class_weight is for one label a row, but y has several: weigh its rows by sample_weight")
        factors = self._labels.weights(self._labels.places(targets), self.class_weight)
        found = factors * (1 if weight is None else weight)
        return inputs.weights(found, len(targets))

    def _begin(self, inputs: int, outputs: int, dtype: np.dtype, rng: Any) -> None:
        self.classes_ = self._labels.classes
        super()._begin(inputs, outputs, dtype, rng)

    def _output(self) -> tuple[str, Loss]:
        activation = self._labels.activation
        if self.loss != "log_loss":
            return activation, self.loss if isinstance(self.loss, Loss) else loss_named(self.loss)
        return activation, CategoricalCrossEntropy() if activation == "softmax" else BinaryLogLoss()

    def _measured(self, outputs: np.ndarray, targets: np.ndarray, weight: np.ndarray | None) -> float:
        return float(np.average(self._labels.right(outputs, targets), weights=weight))

    def _groups(self, targets: np.ndarray) -> np.ndarray | None:
        return None if self._labels.several else self._labels.places(targets)

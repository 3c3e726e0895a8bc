"""What the two estimators share: a network made from scikit-learn's parameters, and its training."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np

from .. import gate
from ..activation import Activation
from ..activations import activation as activation_named
from ..divergence import DivergedError
from ..layers import Dense, Layer
from ..loss import Loss
from ..network import Sequential
from ..noise import Dropout
from ..optimizers import SGD, Adam, Optimizer
from ..rules import optimizer as optimizer_named
from ..schedules import Schedule
from . import inputs
from .inputs import is_sparse
from .penalty import PenalizedObjective, PenalizedTrainer, lbfgs
from .scikit_learn import ConvergenceWarning, Estimator, of_scikit_learn
from .solver import name_of_solver
from .stopping import Watch

P = TypeVar("P", bound="Perceptron")
LARGEST_SEED = 2**31 - 1
NOT_FINITE = (  # as scikit-learn says it
    "Solver produced non-finite parameter weights. The input data may contain large values and need to be preprocessed."
)
Part = tuple[Any, np.ndarray, np.ndarray | None]  # rows: X (N, features), targets (N, outputs), weights (N,) or None


class Perceptron(Estimator):
    """A multilayer perceptron with scikit-learn's parameters, methods and attributes; see its two subclasses."""

    hidden_layer_sizes: Any
    activation: Any
    solver: Any
    alpha: float
    batch_size: Any
    learning_rate: str
    learning_rate_init: Any
    power_t: float
    max_iter: int
    loss: Any
    shuffle: bool
    random_state: Any
    tol: float
    verbose: Any
    warm_start: bool
    momentum: float
    nesterovs_momentum: bool
    early_stopping: bool
    validation_fraction: float
    beta_1: float
    beta_2: float
    epsilon: float
    n_iter_no_change: float
    max_fun: int
    dropout: float
    callbacks: Sequence[Any]
    device: Any
    dtype: Any
    threads: int | None

    network_: Sequential
    n_features_in_: int
    best_loss_: Any
    validation_scores_: Any
    best_validation_score_: Any
    _trainer: PenalizedTrainer
    _no_improvement_count: int
    _best: Mapping[str, np.ndarray]

    # ---- what a subclass writes -----------------------------------------------------------------------------------

    def _meet(self, y: np.ndarray, anew: bool, one_epoch: bool) -> None:
        """Look at the targets of a fit before anything else, and refuse them if they do not go with those before."""

    def _targets(self, y: np.ndarray, dtype: Any) -> np.ndarray:
        """y, which has one label or number for each row, or several -> what the network learns (N, outputs)."""
        raise NotImplementedError

    def _output(self) -> tuple[str, Loss]:
        """scikit-learn's name of the output activation, and the loss."""
        raise NotImplementedError

    def _measured(self, outputs: np.ndarray, targets: np.ndarray, weight: np.ndarray | None) -> float:
        """The score of the network's outputs (N, outputs)."""
        raise NotImplementedError

    def _groups(self, targets: np.ndarray) -> np.ndarray | None:
        """The class (N,) of each row if rows are to be held back by class, or None."""
        return None

    # ---- what the network has learnt ------------------------------------------------------------------------------

    @property
    def _dense(self) -> list[Dense]:
        if "network_" not in vars(self):
            raise AttributeError(f"this {type(self).__name__} has no weights before fit")
        return [layer for layer in self.network_.layers if isinstance(layer, Dense)]

    @property
    def coefs_(self) -> list[np.ndarray]:
        """The weights (inputs, outputs) of each layer."""
        return [self.network_.backend.to_numpy(layer.W) for layer in self._dense]

    @property
    def intercepts_(self) -> list[np.ndarray]:
        """The biases (outputs,) of each layer."""
        return [self.network_.backend.to_numpy(layer.b) for layer in self._dense]

    @property
    def n_layers_(self) -> int:
        """The number of layers of units, the inputs among them."""
        return len(self._dense) + 1

    def _outputs(self, X: Any) -> np.ndarray:
        """X (N, features) as it was handed over -> the network's outputs (N, outputs)."""
        self._refuse_unfitted()
        checked = inputs.features(X, self.network_.dtype)
        inputs.refuse_other_features(self, X, checked)
        return self._answers(checked)

    def _answers(self, X: Any) -> np.ndarray:
        """The same for an X that has been checked; a sparse one is made an array some rows at a time."""
        if not is_sparse(X):
            return np.asarray(self.network_.predict(X))
        size = inputs.rows_at_once(X)
        parts = (X[start : start + size].toarray() for start in range(0, X.shape[0], size))
        return np.concatenate([np.asarray(self.network_.predict(part)) for part in parts])

    # ---- training -------------------------------------------------------------------------------------------------

    def _fit(self: P, X: Any, y: Any, sample_weight: Any, validation_data: Any = None, one_epoch: bool = False) -> P:
        """Train anew; with warm_start from where the last fit ended; or for one epoch more."""
        self._check_parameters()
        if self.early_stopping and one_epoch:
            raise ValueError("partial_fit does not support early_stopping=True")
        anew = not (self.__sklearn_is_fitted__() and (self.warm_start or one_epoch))
        named, X = X, inputs.features(X, self.dtype if anew else self.network_.dtype)
        if not anew:
            inputs.refuse_other_features(self, named, X)
        if is_sparse(X) and (name_of_solver(self.solver) == "lbfgs" or inputs.fits(X)):
            X = X.toarray()
        y = inputs.target(y, X.shape[0])
        self._meet(y, anew, one_epoch)
        targets = self._targets(y, X.dtype)  # (N, outputs)
        if not anew and targets.shape[1] != self.n_outputs_:
            raise ValueError(f"y has {targets.shape[1]} columns, but this {type(self).__name__} has {self.n_outputs_}")
        rng = generator(self.random_state)
        if anew:
            inputs.remember(self, named)
            self.n_features_in_ = X.shape[1]
            self._begin(X.shape[1], targets.shape[1], X.dtype, rng)
        if anew or not one_epoch:
            self._trainer = self._new_trainer()
        self._trainer.alpha = float(self.alpha)
        rows: Part = (X, targets, inputs.weights(sample_weight, X.shape[0]))
        if name_of_solver(self.solver) == "lbfgs":
            self._fit_at_once(*rows)
        else:
            self._fit_in_steps(rows, validation_data, 1 if one_epoch else int(self.max_iter), one_epoch, rng)
        return self

    def _weights(self, weight: np.ndarray | None, targets: np.ndarray) -> np.ndarray | None:
        """The weights (N,) of the rows; a classifier multiplies them by those of the classes."""
        return weight

    def _begin(self, inputs: int, outputs: int, dtype: np.dtype, rng: Any) -> None:
        """Make the network, and forget earlier fits."""
        self.n_outputs_, self.t_, self.n_iter_ = outputs, 0, 0
        self.out_activation_ = self._output()[0]
        sizes = [inputs, *hidden_sizes(self.hidden_layer_sizes), outputs]
        hidden = self._activations(len(sizes) - 2)
        layers: list[Layer] = []
        for number, (before, after) in enumerate(pairwise(sizes)):
            layers.append(Dense(before, after, "zeros"))
            if number < len(hidden):
                layers += [hidden[number], *([Dropout(self.dropout)] if self.dropout else [])]
        if self.out_activation_ != "identity":
            layers.append(activation_named(self.out_activation_))
        first = [array for pair in self._first_weights(sizes, rng) for array in pair]
        where = {"device": self.device, "dtype": dtype, "threads": self.threads}
        self.network_ = Sequential(*layers, seed=seed(rng), **where)
        names = (name for name, *_ in self.network_.segments())
        self.network_.load_state_dict({**self.network_.state_dict(), **dict(zip(names, first))})
        self.loss_curve_: list[float] = []
        self._no_improvement_count = 0
        self.best_loss_ = None if self.early_stopping else np.inf
        self.validation_scores_ = [] if self.early_stopping else None
        self.best_validation_score_ = -np.inf if self.early_stopping else None

    def _first_weights(self, sizes: Sequence[int], rng: Any) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Glorot's, and biases within the same bounds: scikit-learn's numbers, in the order in which it draws them."""
        names = self._names(len(sizes) - 2) or [self.activation]
        for number, (before, after) in enumerate(pairwise(sizes)):
            factor = 2 if names[min(number, len(names) - 1)] in ("logistic", "sigmoid") else 6
            bound = np.sqrt(factor / (before + after))
            yield rng.uniform(-bound, bound, (before, after)), rng.uniform(-bound, bound, after)

    def _names(self, layers: int) -> list[Any]:
        """The activation of each hidden layer, as it was named."""
        if isinstance(self.activation, (str, Activation)):
            return [self.activation] * layers
        names = list(self.activation)
        if len(names) != layers:
            raise ValueError(f"activation={self.activation!r} names {len(names)} for {layers} hidden layers")
        return names

    def _activations(self, layers: int) -> list[Layer]:
        return [activation_named(name) for name in self._names(layers)]

    def _new_trainer(self) -> PenalizedTrainer:
        return PenalizedTrainer(self.network_, self._output()[1], self._optimizer())

    def _optimizer(self) -> Optimizer:
        rate = self.learning_rate_init
        if isinstance(self.solver, Optimizer):
            return copy.deepcopy(self.solver)
        name = name_of_solver(self.solver)
        if name == "sgd":
            return SGD(rate, self.momentum, nesterov=bool(self.nesterovs_momentum and self.momentum))
        if name in ("adam", "lbfgs"):
            return Adam(rate, self.beta_1, self.beta_2, self.epsilon)
        optimizer = optimizer_named(name)
        optimizer.lr = rate
        return optimizer

    def _fit_at_once(self, X: np.ndarray, targets: np.ndarray, weight: np.ndarray | None) -> None:
        """By L-BFGS over all rows."""
        weight = self._weights(weight, targets)
        self._trainer.mean_weight = 1.0 if weight is None else float(weight.mean())
        with np.errstate(over="ignore", invalid="ignore"):
            objective = PenalizedObjective(self._trainer, X, targets, weight)
            self.loss_, self.n_iter_, reason = lbfgs(objective, int(self.max_iter), int(self.max_fun), self.tol)
        if not np.isfinite(self.network_.backend.to_numpy(self.network_.parameters)).all():
            raise ValueError(NOT_FINITE)
        if reason:
            self._warn(f"lbfgs has not converged: {reason}. Scale the data, or allow more iterations (max_iter)")

    def _fit_in_steps(self, rows: Part, validation_data: Any, epochs: int, one_epoch: bool, rng: Any) -> None:
        """By batches, until the loss or the score of rows held back no longer improves."""
        held = self._checked(validation_data) if validation_data is not None else None
        if self.early_stopping and held is None:
            rows, held = self._divided(rows, seed(rng))
        rows = self._weighed(rows)
        (X, targets, weight), trainer, count = rows, self._trainer, rows[0].shape[0]
        trainer.mean_weight = 1.0 if weight is None else float(weight.mean())
        batch = min(200, count) if self.batch_size == "auto" else int(self.batch_size)
        if batch > count:
            warnings.warn(
                f"batch_size={batch} is larger than the number of rows, {count}, which is taken instead",
                stacklevel=gate.level_of_caller(),
            )
        batch = min(batch, count)
        score = None
        if held is not None:
            score = partial(self._score_of, *held)
            self.validation_scores_ = self.validation_scores_ or []
        total = count * trainer.mean_weight
        watch = Watch(self, count, -(-count // batch), total, score, self.early_stopping)
        self.n_iter_ = 0
        options: dict[str, Any] = {"epochs": epochs, "batch_size": batch, "shuffle": bool(self.shuffle)}
        options |= {"progress": False, "callbacks": [watch, *self.callbacks]}
        if validation_data is not None and not is_sparse(held[0]):  # type: ignore[index]
            options["validation_data"] = tuple(part for part in held if part is not None)  # type: ignore[union-attr]
        try:
            if is_sparse(X):
                self.history_ = trainer.fit(self._chunks(rows, batch, rng), **options)
            else:
                options |= {} if weight is None else {"sample_weight": weight}
                self.history_ = trainer.fit(X, targets, **options)
        except DivergedError as error:
            self._diverged(error)
        except KeyboardInterrupt:
            warnings.warn("Training interrupted by user.", stacklevel=gate.level_of_caller())
        if self.early_stopping:
            self.network_.load_state_dict(self._best)
        if not (one_epoch or watch.converged or trainer.stopped) and self.n_iter_ == epochs:
            self._warn(f"Stochastic Optimizer: Maximum iterations ({epochs}) reached before training has converged")

    def _weighed(self, rows: Part) -> Part:
        """The rows that count, with all of their weights: the network's trainer leaves the others out, too."""
        X, targets, weight = rows
        weight = self._weights(weight, targets)
        if weight is None or weight.all():
            return X, targets, weight
        there = weight > 0
        return X[there], targets[there], weight[there]

    def _diverged(self, error: DivergedError) -> None:
        """Rows held back have had a best score before, whose weights are taken. Otherwise there is nothing to take."""
        if not (self.early_stopping and self.loss_curve_):
            raise ValueError(f"{NOT_FINITE} {error}") from error
        self.validation_scores_.append(float("nan"))
        self._warn(str(error))

    def _chunks(self, rows: Part, batch: int, rng: Any) -> Callable[[], Iterator[tuple[Any, ...]]]:
        """A function that makes chunks for each epoch: arrays of some rows of a sparse X, picked from all over it."""
        X, targets, weight = rows
        size = max(1, inputs.rows_at_once(X) // batch) * batch
        draws = np.random.Generator(np.random.PCG64(seed(rng)))

        def epoch() -> Iterator[tuple[Any, ...]]:
            order = draws.permutation(X.shape[0]) if self.shuffle else np.arange(X.shape[0])
            for start in range(0, len(order), size):
                some = order[start : start + size]
                yield (X[some].toarray(), targets[some], *([] if weight is None else [weight[some]]))

        return epoch

    # ---- rows held back -------------------------------------------------------------------------------------------

    def _score_of(self, X: Any, targets: np.ndarray, weight: np.ndarray | None) -> float:
        """The score of the network on rows that have been checked; NaN if it gives no finite numbers."""
        outputs = self._answers(X)
        return self._measured(outputs, targets, weight) if np.isfinite(outputs).all() else float("nan")

    def _checked(self, validation_data: Any) -> Part:
        if not isinstance(validation_data, (tuple, list)) or len(validation_data) not in (2, 3):
            raise ValueError("validation_data must be a pair (X, y), or (X, y, sample_weight)")
        X = inputs.features(validation_data[0], self.network_.dtype)
        inputs.refuse_other_features(self, validation_data[0], X)
        X = X.toarray() if is_sparse(X) and inputs.fits(X) else X
        targets = self._targets(inputs.target(validation_data[1], X.shape[0]), X.dtype)
        return X, targets, inputs.weights(validation_data[2] if len(validation_data) == 3 else None, X.shape[0])

    def _divided(self, rows: Part, number: int) -> tuple[Part, Part]:
        """The rows for training, and the share `validation_fraction` of them, held back: for classes, of each."""
        X, targets, weight = rows
        back = held_back(self._groups(targets), X.shape[0], self.validation_fraction, number)  # (N,)
        parts = [(X[some], targets[some], None if weight is None else weight[some]) for some in (~back, back)]
        return parts[0], parts[1]

    # ---- parameters -----------------------------------------------------------------------------------------------

    def _check_parameters(self) -> None:
        """ValueError or TypeError for a parameter that is not what it must be."""
        hidden_sizes(self.hidden_layer_sizes)
        for name in ("alpha", "power_t", "tol"):
            gate.number(getattr(self, name), name, least=0)
        for name in ("validation_fraction", "beta_1", "beta_2", "momentum", "dropout"):
            gate.number(getattr(self, name), name, least=0, below=1)
        gate.number(self.epsilon, "epsilon", above=0)
        if not isinstance(self.learning_rate_init, Schedule):
            gate.number(self.learning_rate_init, "learning_rate_init", above=0)
        for name in ("max_iter", "max_fun"):
            gate.integer(getattr(self, name), name)
        if self.batch_size != "auto":
            gate.integer(self.batch_size, "batch_size")
        if self.n_iter_no_change != np.inf:
            gate.integer(self.n_iter_no_change, "n_iter_no_change")
        gate.one_of(self.learning_rate, ("constant", "invscaling", "adaptive"), "learning_rate")
        name_of_solver(self.solver)

    def _warn(self, text: str) -> None:
        warnings.warn(text, of_scikit_learn(ConvergenceWarning), stacklevel=gate.level_of_caller())


def hidden_sizes(sizes: Any) -> list[int]:
    """The sizes of the hidden layers, from a list or from one number."""
    found = list(sizes) if np.iterable(sizes) else [sizes]
    for size in found:
        if gate.integer(size, "a size of hidden_layer_sizes", least=-(2**63)) <= 0:
            raise ValueError(f"hidden_layer_sizes must be > 0, got {found}.")
    return [int(size) for size in found]


def held_back(groups: np.ndarray | None, rows: int, share: float, number: int) -> np.ndarray:
    """Which rows (N,) are held back: this share of each group, and of all; at random, but the same for one number."""
    count = int(np.ceil(share * rows))
    if count < 2:
        raise ValueError(
            "The validation set is too small. Increase 'validation_fraction' or the size of your dataset: "
            f"{share} of {rows} rows is {count}"
        )
    if count >= rows:
        raise ValueError(f"validation_fraction={share} of {rows} rows leaves none for training")
    draws = np.random.Generator(np.random.PCG64(number))
    order = draws.permutation(rows)
    if groups is not None:
        sizes = np.bincount(groups)
        if sizes[sizes > 0].min() < 2:
            what = "early_stopping=True holds back a share of each class"
            raise ValueError(f"The least populated classes in y have only 1 member, but {what}")
        # Within each class, rows are at even distances of 0 … 1, so that the first of all are a share of each.
        of = groups[order]
        by_class = np.argsort(of, kind="stable")
        place = np.empty(rows)
        place[by_class] = np.concatenate([(np.arange(n) + draws.random()) / n for n in sizes[sizes > 0]])
        order = order[np.argsort(place, kind="stable")]
    back = np.zeros(rows, bool)
    back[order[:count]] = True
    return back


def generator(random_state: Any) -> Any:
    """A NumPy generator, old or new, from a seed, None for NumPy's global one, or a generator."""
    if random_state is None:
        return np.random.mtrand._rand  # as scikit-learn does, so that np.random.seed seeds it
    if isinstance(random_state, (np.random.RandomState, np.random.Generator)):
        return random_state
    return np.random.RandomState(gate.integer(random_state, "random_state", least=0))


def seed(rng: Any) -> int:
    """A seed for nnlite's own generators, drawn from NumPy's, old or new."""
    return int(rng.integers(LARGEST_SEED) if isinstance(rng, np.random.Generator) else rng.randint(LARGEST_SEED))

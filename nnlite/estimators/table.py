"""Estimators for tables as they are: numbers, text, dates and gaps, decided upon as `nnlite train` does.

N rows, K outputs of the network
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from .. import elsewhere, gate, metrics
from ..history import History
from ..network import Sequential
from ..optimizers import Adam
from ..perceptron import mlp
from ..tables import Decisions, Model, Table, Target, choose_target, decide, learning, read
from ..tables.cells import NEVER_A_CLASS, Cells
from ..tables.decisions import place_of, rows_with_target
from ..tables.reading import TableError, cells_of, count, listed
from ..tables.scaling import Scale, fold, too_large
from ..tables.target import no_number
from ..tables.values import places_of
from ..trainer import Trainer
from . import inputs
from .labels import Labels
from .perceptron import generator, hidden_sizes, seed
from .scikit_learn import Estimator

T = TypeVar("T", bound="TableEstimator")
LEAST = 3  # rows to learn from


class TableEstimator(Estimator):
    """What the two estimators for tables share; see there."""

    hidden_layer_sizes: Any
    activation: Any
    weight_decay: float
    batch_size: int
    learning_rate_init: Any
    max_iter: int | None
    categorical: Collection[str]
    numeric: Collection[str]
    ignore: Collection[str]
    random_state: Any
    device: Any
    threads: int | None

    model_: Model
    history_: History
    n_features_in_: int
    feature_names_in_: np.ndarray

    # ---- what a subclass writes -----------------------------------------------------------------------------------

    def _named(self, X: Any, table: Table, name: str) -> tuple[Target, np.ndarray]:
        """The target that is a column of the table X, and its values (N,): classes from 0, −1 for none; or numbers."""
        raise NotImplementedError

    def _given(self, name: str, y: np.ndarray) -> tuple[Target, np.ndarray]:
        """The target that was given as y (N,), and its values (N,)."""
        raise NotImplementedError

    def _values(self, y: np.ndarray) -> np.ndarray:
        """The values of other targets y (N,): −1 for a label that was not there in training."""
        raise NotImplementedError

    def _weights(self, weight: np.ndarray | None, values: np.ndarray) -> np.ndarray | None:
        """The weights (N,) of the rows; a classifier multiplies them by those of the classes."""
        return weight

    def _measured(self, outputs: np.ndarray, values: np.ndarray, weight: np.ndarray | None) -> float:
        """The score of the network's outputs (N, K)."""
        raise NotImplementedError

    # ---- what it has learnt -----------------------------------------------------------------------------------------

    @property
    def decisions_(self) -> Decisions:
        """What each column is taken as, and why; it prints as a table."""
        found = self._fitted.decisions
        assert found is not None
        return found

    @property
    def network_(self) -> Sequential:
        """The network, which reads the numbers that the decisions make of a table."""
        return self._fitted.network

    @property
    def n_iter_(self) -> int:
        """The epochs of the training."""
        self._refuse_unfitted()
        return self.history_.epochs

    @property
    def _fitted(self) -> Model:
        self._refuse_unfitted()
        return self.model_

    def __sklearn_is_fitted__(self) -> bool:
        return "model_" in vars(self)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to a file, for `nnlite predict` and `nl.tables.Model.load`."""
        self._fitted.save(path)

    def _answered(self, X: Any) -> tuple[Table, np.ndarray]:
        """The table X of N rows as it is read, and the network's outputs (N, K)."""
        model = self._fitted
        table = model.read(readable(X))
        if not (table.header or self.decisions_.header):
            inputs.refuse_other_count(self, len(table.names))
        return table, model.answers(table)

    def export(self, path: str | os.PathLike[str], function: str = "predict") -> None:
        """Write model.c or model.onnx for another program; see `nl.tables.Model.export`."""
        self._fitted.export(path, function)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """How well the table X is predicted: the share of right labels, or R² of numbers. y is as in `fit`.

        Rows without a value of y are left out, with a warning.
        """
        table, outputs = self._answered(X)
        if isinstance(y, str):
            name, cells = place_of(table, y), table[place_of(table, y)]
            target = self.decisions_.target
            assert target is not None
            known, values = ~gaps(cells), target.values(cells, table.notation)
            _tell(target.doubts(cells, table.notation))
            wrong = np.flatnonzero(known & ~np.isfinite(values))
            if len(wrong):
                text, at = cells.take(wrong[:1]).distinct()[0][0], table.names.index(name)
                raise TableError([f"{table.place(int(wrong[0]), at)}: {no_number(text)}"])
            values = values[known]
        else:
            y = one_a_row(y, table.rows)
            known = ~gaps(cells_of(y))
            values = self._values(y[known]) if known.any() else np.zeros(0)
        weight = inputs.weights(sample_weight, table.rows)
        if not known.any():
            raise ValueError("no row has a value of y, so there is nothing to compare with")
        if not known.all():
            _tell([f"left out: {count(int((~known).sum()), 'row')} without a value of y"])
        return self._measured(outputs[known], values, None if weight is None else weight[known])

    # ---- training ---------------------------------------------------------------------------------------------------

    def _fit(self: T, X: Any, y: Any, sample_weight: Any) -> T:
        gate.number(self.weight_decay, "weight_decay", least=0)
        for name in ("batch_size", *(() if self.max_iter is None else ("max_iter",))):
            gate.integer(getattr(self, name), name)
        X = readable(X)
        table = read(X, known=[y] if isinstance(y, str) else ())
        if isinstance(y, str):
            target, values = self._named(X, table, place_of(table, y))
        else:
            target, values = self._known(name_of(y, table), one_a_row(y, table.rows))
        weight = self._weights(inputs.weights(sample_weight, table.rows), values)
        rows = rows_with_target(values)
        if weight is not None:
            rows = rows[weight[rows] > 0]
            weight = weight[rows]
        if len(rows) < LEAST:
            raise ValueError(f"n_samples = {len(rows)} with a target, but a minimum of {LEAST} is required")
        decisions = decide(table, target, rows, self.categorical, self.numeric, self.ignore)
        x = decisions.encode(table)[0][rows]  # (n, D)
        y = values[rows] if target.classes else values[rows, None]
        trainer = self._trained(x, y, len(target.classes or ()), weight)
        self.model_, self.history_ = Model(trainer.network, decisions, target.classes), trainer.history
        names = [name for name in table.names if name != target.name]
        self.n_features_in_ = len(names)
        vars(self).pop("feature_names_in_", None)
        if table.header:
            self.feature_names_in_ = np.array(names, object)
        return self

    def _known(self, name: str, y: np.ndarray) -> tuple[Target, np.ndarray]:
        """`_given` of the rows that have a value; the others are left out, with a warning."""
        absent = nothing(y)
        if not absent.any():
            return self._given(name, y)
        if absent.all():
            raise ValueError("no row has a value of y, so there is nothing to learn")
        target, known = self._given(name, y[~absent])
        target.missing = int(absent.sum())
        _tell([f"left out: {count(target.missing, 'row')} without a value of y"])
        values = np.full(len(y), -1 if target.classes else np.nan, known.dtype)
        values[~absent] = known
        return target, values

    def _trained(self, x: np.ndarray, y: np.ndarray, classes: int, weight: np.ndarray | None) -> Trainer:
        """A network, trained on x (n, D) and labels (n,) of so many classes, or for none numbers (n, 1)."""
        x_scale, y_scale = Scale.of(x), None if classes else Scale.of(y)
        x, y = x_scale.apply(x), y_scale.apply(y) if y_scale else y
        number = seed(generator(self.random_state))
        sizes = [x.shape[1], *hidden_sizes(self.hidden_layer_sizes), classes or 1]
        output, loss = ("softmax", "cce") if classes else ("identity", "mse")
        where: dict[str, Any] = {"device": self.device, "dtype": "float64", "seed": number, "threads": self.threads}
        network = mlp(sizes, self.activation, output, "glorot_uniform", **where)
        trainer = Trainer(network, loss, Adam(self.learning_rate_init, weight_decay=self.weight_decay, decoupled=True))
        most = learning.most_epochs(len(x)) if self.max_iter is None else int(self.max_iter)
        learning.fit_until_best(trainer, x, y, most, min(self.batch_size, len(x)), number, sample_weight=weight)
        fold(network, x_scale, y_scale)
        return trainer

    # ---- for scikit-learn -------------------------------------------------------------------------------------------

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = tags.target_tags.multi_output = False
        tags.input_tags.allow_nan = tags.input_tags.string = tags.input_tags.categorical = True
        if tags.classifier_tags:
            tags.classifier_tags.multi_label = False
        return tags

    def _more_tags(self) -> dict[str, Any]:
        return {"requires_y": True, "allow_nan": True, "X_types": ["2darray", "string", "categorical"]}


class TableClassifier(TableEstimator):
    """A classifier for a table as it is: numbers, text, booleans, dates and gaps, unscaled, in columns of any order.

    What each column is taken as is decided as `nnlite train` does; `print(classifier.decisions_)` shows it. Training
    lasts as long as rows that are held back are predicted better, or with few rows as cross-validation says.

    hidden_layer_sizes, activation, batch_size, learning_rate_init, weight_decay: of the network and of Adam; the
    defaults were found by measurement over real tables. max_iter: epochs at most; None for about 10,000 steps.
    class_weight: {label: weight}, or "balanced" for weights with which all classes count the same.
    categorical, numeric, ignore: names of columns to be taken as categories or as numbers, or to be left out.
    random_state, device, threads: as in `nl.MLPClassifier`.

    X is a DataFrame of pandas or polars, a dict of columns, the path of a file, or an array (N, columns). After `fit`,
    columns may come in any order. New columns are ignored; gaps and values never seen before are answered too, the
    latter with a warning.

    >>> weather = {"sky": ["clear", "grey"] * 40, "wind": [3, 1, None, 12] * 20}
    >>> classifier = nl.TableClassifier(random_state=0, device="numpy").fit(weather, ["dry", "dry", "dry", "rain"] * 20)
    >>> print(classifier.decisions_)
    column  taken as       missing  why
    sky     category                text, 2 values
    wind    number              20  filled with the median, 3
    target  target: class           2 labels
    >>> classifier.predict({"wind": [11, None], "sky": ["grey", "?"]}).tolist()
    ['rain', 'dry']
    """

    _estimator_type = "classifier"
    classes_: np.ndarray
    class_weight: str | Mapping[Any, float] | None

    @elsewhere.answered(elsewhere.ESTIMATOR)
    def __init__(
        self,
        hidden_layer_sizes: Any = learning.LAYERS,
        activation: Any = learning.ACTIVATION,
        *,
        weight_decay: float = learning.WEIGHT_DECAY,
        batch_size: int = learning.BATCH_SIZE,
        learning_rate_init: Any = learning.RATE,
        max_iter: int | None = None,
        categorical: Collection[str] = (),
        numeric: Collection[str] = (),
        ignore: Collection[str] = (),
        random_state: Any = None,
        device: Any = "cpu",
        threads: int | None = None,
        class_weight: str | Mapping[Any, float] | None = None,
    ) -> None:
        self._keep(locals())

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> TableClassifier:
        """Train on the table X and y: labels (N,), or the name of the column that has them; returns the classifier.

        Row n counts sample_weight (N,) times. A column with the name of y is not learned from. Rows without a
        value of y are left out, with a warning if y names no column. Labels from a file are text, as they are written
        there.
        """
        return self._fit(X, y, sample_weight)

    def predict(self, X: Any) -> np.ndarray:
        """A table X -> the most probable label of each row (N,)."""
        best = self.predict_proba(X).argmax(axis=1)  # (N,)
        return self.classes_[best]

    def predict_proba(self, X: Any) -> np.ndarray:
        """A table X -> the probability of each class (N, K), in the order of `classes_`."""
        return self._answered(X)[1]

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """The logarithm of `predict_proba`."""
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    # ---- for the training -----------------------------------------------------------------------------------------

    def _named(self, X: Any, table: Table, name: str) -> tuple[Target, np.ndarray]:
        target = choose_target(table, name, "classification")
        values = target.values(table[name], table.notation)
        assert target.classes
        first = [int(np.argmax(values == k)) for k in range(len(target.classes))]
        self.classes_ = cells_in(X, table, name)[first]
        return target, values

    def _given(self, name: str, y: np.ndarray) -> tuple[Target, np.ndarray]:
        self.classes_ = Labels.of(y, "nl.TableRegressor").classes
        if len(self.classes_) < 2:
            raise ValueError(f"y holds one class only, {self.classes_.tolist()[0]!r}; expected two or more")
        return Target(name, f"{len(self.classes_)} labels", [*map(str, self.classes_)]), self._values(y)

    def _values(self, y: np.ndarray) -> np.ndarray:
        place = {label: k for k, label in enumerate(self.classes_.tolist())}
        values = np.array([place.get(label, -1) for label in y.tolist()], np.int64)
        new = np.flatnonzero(values < 0)
        if len(new):  # a file has "true" and "1" where a frame has True and 1
            values[new] = places_of([str(label) for label in y[new].tolist()], [*map(str, self.classes_.tolist())])
        return values

    def _weights(self, weight: np.ndarray | None, values: np.ndarray) -> np.ndarray | None:
        if self.class_weight is None:
            return weight
        known = values >= 0
        found = np.zeros(len(values))
        found[known] = Labels(self.classes_).weights(values[known], self.class_weight)
        return inputs.weights(found * (1 if weight is None else weight), len(values))

    def _measured(self, outputs: np.ndarray, values: np.ndarray, weight: np.ndarray | None) -> float:
        if (values < 0).all():
            _tell([f"no label in y was there in training, which had {listed([*map(str, self.classes_.tolist())])}"])
        return float(np.average(outputs.argmax(axis=1) == values, weights=weight))


class TableRegressor(TableEstimator):
    """A regressor for a table as it is: the same as `nl.TableClassifier`, but for a target of numbers.

    >>> flats = {"rooms": [1, 2, 3, 4] * 20, "heating": ["gas", "oil", "none", "gas"] * 20}
    >>> rents = [300, 400, 450, 700] * 20
    >>> bool(nl.TableRegressor(random_state=0, device="numpy").fit(flats, rents).score(flats, rents) > 0.95)
    True
    """

    _estimator_type = "regressor"

    @elsewhere.answered(elsewhere.ESTIMATOR)
    def __init__(
        self,
        hidden_layer_sizes: Any = learning.LAYERS,
        activation: Any = learning.ACTIVATION,
        *,
        weight_decay: float = learning.WEIGHT_DECAY,
        batch_size: int = learning.BATCH_SIZE,
        learning_rate_init: Any = learning.RATE,
        max_iter: int | None = None,
        categorical: Collection[str] = (),
        numeric: Collection[str] = (),
        ignore: Collection[str] = (),
        random_state: Any = None,
        device: Any = "cpu",
        threads: int | None = None,
    ) -> None:
        self._keep(locals())

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> TableRegressor:
        """Train on the table X and y: numbers (N,), or the name of the column that has them; returns the regressor.

        Row n counts sample_weight (N,) times. A column with the name of y is not learned from. Rows without a
        number are left out, with a warning if y names no column.
        """
        return self._fit(X, y, sample_weight)

    def predict(self, X: Any) -> np.ndarray:
        """A table X -> numbers (N,)."""
        return self._answered(X)[1][:, 0]

    # ---- for the training -----------------------------------------------------------------------------------------

    def _named(self, X: Any, table: Table, name: str) -> tuple[Target, np.ndarray]:
        target = choose_target(table, name, "regression")
        return target, target.values(table[name], table.notation)

    def _given(self, name: str, y: np.ndarray) -> tuple[Target, np.ndarray]:
        values = self._values(y)
        if too_large(values):
            what = f"y has numbers too large to be squared, such as {values[np.abs(values).argmax()]:.6g}"
            raise ValueError(f"{what}; give it in another unit, or its logarithm")
        return Target(name, "numbers"), values

    def _values(self, y: np.ndarray) -> np.ndarray:
        if y.dtype.kind == "M":
            raise ValueError("y holds dates or times, which cannot be predicted; turn them into numbers, such as days")
        if y.dtype.kind == "m":
            y = y / np.timedelta64(1, "s")  # as in columns of a table
        return inputs.numbers(y, np.float64, "nl.TableClassifier")[:, 0]

    def _measured(self, outputs: np.ndarray, values: np.ndarray, weight: np.ndarray | None) -> float:
        return float(metrics.metric("r2")(outputs, values[:, None], weight))


# ---- what is given ------------------------------------------------------------------------------------------------


def readable(X: Any) -> Any:
    """X as `nl.tables.read` takes it: rows in lists become an array (N, columns)."""
    if inputs.is_sparse(X):
        raise TypeError("Sparse data was passed for X, but a table is dense; X.toarray() makes it so")
    if isinstance(X, (str, os.PathLike, Mapping)) or hasattr(X, "columns"):
        return X
    array = np.asarray(X)
    inputs.refuse_shape(array)
    return array


def cells_in(X: Any, table: Table, name: str) -> np.ndarray:
    """A column of the table as X has it (N,): numbers, booleans or text; from a file, text."""
    place = table.names.index(name)
    if isinstance(X, (str, os.PathLike)):
        words, codes = table[name].distinct()
        return np.array(words)[codes]
    if isinstance(X, np.ndarray):
        return X[:, place]
    columns = getattr(X, "columns", X)
    return np.asarray(X[list(columns)[place]])


def alike(one: Cells, other: Cells) -> bool:
    """Whether the same stands in both of these columns of N cells."""
    (words, codes), (others, places) = one.distinct(), other.distinct()
    return np.array_equal(np.array(words)[codes], np.array(others)[places])


def gaps(cells: Cells) -> np.ndarray:
    """Which cells of a target have no value (N,)."""
    words, codes = cells.distinct()
    return np.array([word.lower() in NEVER_A_CLASS for word in words])[codes]


def nothing(y: np.ndarray) -> np.ndarray:
    """Which of y (N,) are None, NaN or another mark of pandas for a missing value (N,)."""

    def absent(value: Any) -> bool:
        try:
            return value is None or bool(value != value)
        except TypeError:  # pandas.NA
            return True

    return np.array([absent(value) for value in y.tolist()], bool) if y.dtype.kind == "O" else y != y


def _tell(lines: Sequence[str]) -> None:
    for line in lines:
        warnings.warn(line, UserWarning, stacklevel=gate.level_of_caller())


def one_a_row(y: Any, rows: int) -> np.ndarray:
    """y as an array (N,)."""
    if np.isscalar(y):
        name = f"the name of a column as text, such as {str(y)!r}"
        raise ValueError(f"y is {y!r}; expected one label or number for each row, or {name}")
    if isinstance(y, (list, tuple)) and any(isinstance(value, float) and value != value for value in y):
        y = np.array(y, object if any(isinstance(value, str) for value in y) else None)  # text has no NaN
    array = inputs.target(y, rows)
    if array.ndim > 1:
        raise ValueError(f"y has the shape {array.shape}; expected one label or number for each row, ({rows},)")
    return array


def name_of(y: Any, table: Table) -> str:
    """The name of y, such as that of a Series or of a frame's only column, or one that no column of the table has.

    The columns of a frame that was made of an array are called 0, 1, 2 …, and so is every Series taken from such a
    frame. A name that is no text therefore counts only if the column of that name holds the same as y.
    """
    columns = getattr(y, "columns", None)
    if columns is not None and len(columns) == 1:
        y = y[columns[0]]
    name = getattr(y, "name", None)
    if isinstance(name, str) and name:
        return name
    if name is not None and str(name) in table and alike(cells_of(y), table[str(name)]):
        return str(name)
    name = "target"
    while name in table.names:
        name = f"the {name}"
    return name

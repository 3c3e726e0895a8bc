"""What scikit-learn expects of every estimator: parameters to get and set, tags, and its own kinds of errors.

scikit-learn is not imported unless it asks. Its errors are looked up among the modules that the process has loaded: who
catches or filters them has imported it.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import sys
from collections.abc import Callable
from typing import Any, TypeVar

from .. import elsewhere, gate
from .routing import Requests
from .solver import SOLVERS

E = TypeVar("E", bound="Estimator")


class NotFittedError(ValueError, AttributeError):
    """An estimator was asked for an answer before it was fitted."""


class ConvergenceWarning(UserWarning):
    """Training ended before it had converged."""


class DataConversionWarning(UserWarning):
    """Data were brought to another form, which may not be what was meant."""


def of_scikit_learn(kind: type) -> Any:
    """scikit-learn's error or warning of this name if it has been imported, or else ours."""
    return getattr(sys.modules.get("sklearn.exceptions"), kind.__name__, kind)


class Estimator(Requests):
    """Parameters are the arguments of __init__, each kept unchanged in an attribute of its name."""

    _estimator_type = ""  # "classifier" or "regressor"; scikit-learn before 1.6 reads it

    @classmethod
    @functools.cache
    def _defaults(cls) -> dict[str, Any]:
        """The names of all parameters, and their defaults."""
        parameters = inspect.signature(cls).parameters.values()
        return {each.name: each.default for each in sorted(parameters, key=lambda each: each.name)}

    def _keep(self, arguments: dict[str, Any]) -> None:
        """Keep the arguments of __init__, which are its local variables."""
        vars(self).update({name: value for name, value in arguments.items() if name != "self"})

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """All parameters by name. None of them is an estimator, so that `deep` makes no difference."""
        return {name: getattr(self, name) for name in self._defaults()}

    def set_params(self: E, **parameters: Any) -> E:
        """Set some parameters; returns the estimator. ValueError for an unknown name."""
        known = self._defaults()
        for name in parameters:
            if name not in known:
                what = f"Invalid parameter {name!r} for estimator {self!r}"
                raise ValueError(f"{what}. Valid parameters are: {list(known)!r}.")
        vars(self).update(parameters)
        return self

    def __repr__(self) -> str:
        changed = (f"{n}={getattr(self, n)!r}" for n, d in self._defaults().items() if not _same(getattr(self, n), d))
        return f"{type(self).__name__}({', '.join(changed)})"

    def __sklearn_is_fitted__(self) -> bool:
        return "network_" in vars(self)

    def _refuse_unfitted(self) -> None:
        if not self.__sklearn_is_fitted__():
            what = f"This {type(self).__name__} instance is not fitted yet"
            raise of_scikit_learn(NotFittedError)(f"{what}: call fit with some data first.")

    def __sklearn_tags__(self) -> Any:
        """What this estimator takes and gives; scikit-learn from 1.6 on asks for it."""
        utils, classifies = importlib.import_module("sklearn.utils"), self._estimator_type == "classifier"
        return utils.Tags(
            estimator_type=self._estimator_type,
            target_tags=utils.TargetTags(required=True, multi_output=not classifies),
            classifier_tags=utils.ClassifierTags(multi_label=True) if classifies else None,
            regressor_tags=None if classifies else utils.RegressorTags(),
            input_tags=utils.InputTags(sparse=True),
        )

    def _more_tags(self) -> dict[str, Any]:
        """The same for scikit-learn before 1.6."""
        multiple = "multilabel" if self._estimator_type == "classifier" else "multioutput"
        return {"requires_y": True, multiple: True, "X_types": ["2darray", "sparse"]}


def _same(value: Any, default: Any) -> bool:
    """Whether a parameter is at its default."""
    return value is default or (type(value) is type(default) and bool(value == default))


class OnlyStepByStep:
    """A method that an estimator has only if its solver goes step by step, so not with "lbfgs"."""

    def __init__(self, method: Callable[..., Any]) -> None:
        self.method = method
        functools.update_wrapper(self, method)  # type: ignore[arg-type]

    def __get__(self, estimator: Any, owner: type) -> Any:
        if estimator is not None and gate.meant(SOLVERS, estimator.solver, elsewhere.NONE) == "lbfgs":
            name = self.method.__name__
            raise AttributeError(f'{name} is for solvers that go step by step, which solver="lbfgs" does not')
        return self.method.__get__(estimator, owner)

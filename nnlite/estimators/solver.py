"""The solver of an estimator: an optimizer, by its name or as an object, or L-BFGS."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import elsewhere, gate
from ..optimizers import Optimizer
from ..rules import OPTIMIZERS

SOLVERS: Mapping[str, Any] = {**OPTIMIZERS, "lbfgs": None}


def name_of_solver(solver: Any) -> str:
    """The name of a solver as it stands in `SOLVERS`, or nothing for an optimizer as an object; or else ValueError.

    >>> name_of_solver("SGD"), name_of_solver("L-BFGS"), name_of_solver(nl.SGD())
    ('sgd', 'lbfgs', '')
    """
    if isinstance(solver, Optimizer):
        return ""
    gate.choose(SOLVERS, solver, "solver", elsewhere.NONE)
    return gate.meant(SOLVERS, solver, elsewhere.NONE)

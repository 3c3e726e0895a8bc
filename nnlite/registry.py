"""Names for what is your own, so that a file can name it: classes of layers, losses and so on, kernels, and functions.

A file holds a class's name and the arguments of its constructor, never code. So whoever loads the file must have
registered the same names before.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, overload

import numpy as np

from .arguments import arguments
from .devices import Kernel

T = TypeVar("T")
REGISTERED: dict[str, Any] = {}
NAMED = "named"  # the key of a dict in a file that stands for what is registered under a name
MADE = "made"  # the key of a dict in a file that stands for an object: its class and the arguments
PAIRS = "pairs"  # the key of a dict in a file that stands for a dict, whose keys may be numbers


class NotRegisteredError(LookupError):
    """A file names a class, a kernel or a function of your own that is not registered in this process."""


@overload
def register(thing: T, name: str | None = None) -> T: ...
@overload
def register(thing: None = None, name: str | None = None) -> Callable[[T], T]: ...
def register(thing: Any = None, name: str | None = None) -> Any:
    """Let files name a class, a kernel or a function of your own: by `name`, or else by its own name. Returns it.

    Needed to save networks with layers of your own, and for `Trainer.load` of your own losses, optimizers, metrics and
    schedules. The arguments of the constructor are saved with it: what `config()` returns, if the class has one, or
    else the attributes of the same names. ValueError for a name that is already something else's.

    >>> @nl.register
    ... class Double(nl.Layer):
    ...     def forward(self, x):
    ...         return self.ops.scaled(x, 2.0, 0.0)
    ...     def backward(self, dy):
    ...         return self.ops.scaled(dy, 2.0, 0.0)
    >>> nl.registry.name_of(Double)
    'Double'
    """
    if thing is None:
        return lambda thing: register(thing, name)
    if not callable(thing) and not isinstance(thing, Kernel):
        raise TypeError(f"only classes, kernels and functions can be registered, not {thing!r}")
    name = _own_name(thing) if name is None else name
    if not isinstance(name, str) or not name:
        raise TypeError(f"name must be text, not {name!r}")
    other = REGISTERED.get(name, thing)
    if other is not thing and _place(other) != _place(thing):  # the same place: a cell of a notebook was run again
        raise ValueError(f"{name!r} is registered already, for {other!r}; give another name: nl.register(…, name=…)")
    REGISTERED[name] = thing
    return thing


def name_of(thing: Any) -> str | None:
    """The name under which a class, kernel or function is registered; None if it is not."""
    return next((name for name, each in REGISTERED.items() if each is thing), None)


def _own_name(thing: Any) -> str:
    return thing.name if isinstance(thing, Kernel) else getattr(thing, "__name__", type(thing).__name__)


def _place(thing: Any) -> tuple[Any, ...]:
    return tuple(getattr(thing, name, None) for name in ("__module__", "__qualname__", "name"))


# ---- objects as dicts that JSON can hold ---------------------------------------------------------------------------


def encoded(value: Any, known: Mapping[str, type]) -> Any:
    """A value as JSON can hold it. An object is its class's name in `known` or as registered, and its arguments.

    What is neither is only named, so that `decoded` can say what is missing.
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    if isinstance(value, (list, tuple)):
        return [encoded(each, known) for each in value]
    if isinstance(value, Mapping):
        return {PAIRS: [[encoded(key, known), encoded(each, known)] for key, each in value.items()]}
    if isinstance(value, Kernel) or inspect.isroutine(value) or isinstance(value, type):
        return {NAMED: name_of(value) or _own_name(value)}
    name = name_of(type(value)) or type(value).__name__
    if known.get(name, type(value)) is not type(value):
        raise ValueError(f"{name} is also a name of nnlite's own: register your class with another one, name=…")
    if name not in known and name not in REGISTERED:
        return {MADE: name, "arguments": {}}
    given = value.config() if hasattr(value, "config") else arguments(value)
    return {MADE: name, "arguments": {key: encoded(each, known) for key, each in given.items()}}


def decoded(value: Any, known: Mapping[str, type]) -> Any:
    """What `encoded` has made this of. NotRegisteredError for a name that is not registered."""
    if isinstance(value, list):
        return [decoded(each, known) for each in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {PAIRS}:
        return {decoded(key, known): decoded(each, known) for key, each in value[PAIRS]}
    if value.keys() == {NAMED}:
        return _found(value[NAMED], REGISTERED)
    name, given = value[MADE], {key: decoded(each, known) for key, each in value["arguments"].items()}
    kind = _found(name, {**REGISTERED, **known})
    if not isinstance(kind, type):
        raise TypeError(f"{name} is no class")
    made = kind(**given)
    if not given.keys() <= (made.config() if hasattr(made, "config") else arguments(made)).keys():
        raise ValueError(f"{name} has no such arguments: {', '.join(given)}")
    return made


def _found(name: Any, table: Mapping[str, Any]) -> Any:
    if name not in table:
        raise NotRegisteredError(f"{name!r:.100} is not registered")
    return table[name]
